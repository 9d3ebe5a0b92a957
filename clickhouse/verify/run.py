"""Verify a whole system: every dataset's positions and values, waiting for consumers that are still behind."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from clickhouse.verify.log import Extent, Log
from clickhouse.verify.positions import Positions, account
from clickhouse.verify.values import Comparison, compare, is_aggregate
from schemas.manifest import RAW, Dataset
from schemas.reader import ContractReader
from schemas.registry import Registry

POLL_S = 1.0
CONFIRMATIONS = 2
"""Views of one block are filled one after another, so a difference counts only when it was seen twice."""

Query = Callable[[str, Mapping[str, float]], Sequence[Sequence[Any]]]


@dataclass(frozen=True)
class Report:
    """The outcome by dataset. `newest`: of all readings, None without one. Windows of an aggregate that end within
    `closes_after_s` of it are still open."""

    positions: Mapping[str, Positions]
    values: Mapping[str, Comparison]
    newest: datetime | None
    closes_after_s: Mapping[str, int]
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Sentences, each naming dataset, place and what is wrong; empty when all is proved."""
        behind = [
            f"{name}: ClickHouse is {positions.behind} messages behind the topic"
            for name, positions in self.positions.items()
            if positions.behind
        ]
        told = [failure for part in (self.positions, self.values) for one in part.values() for failure in one.failures]
        return behind + told

    @property
    def may_come(self) -> bool:
        """Whether waiting may mend some of the failures."""
        return any(p.behind for p in self.positions.values()) or any(c.may_come for c in self.values.values())


@dataclass
class Verification:
    """One run over a fixed stretch of the log: extents and closed windows are those of its beginning."""

    datasets: Mapping[str, Dataset]
    query: Query
    log: Log
    registry: Registry
    closes_after_s: Mapping[str, int]
    progress: Callable[[str], None] = lambda _: None
    _extents: dict[str, list[Extent]] = field(default_factory=dict)
    _newest: datetime | None = None
    _raw_is_complete: bool = False

    def run(self, wait_s: float) -> Report:
        """Check until all is proved, or something is wrong for good, or `wait_s` have passed."""
        started = time.monotonic()
        self._extents = {name: self.log.extents(dataset.topic) for name, dataset in self.datasets.items()}
        wrong = 0
        while True:
            report = self._check(started)
            wrong += bool(report.failures and not report.may_come)
            if not report.failures or wrong >= CONFIRMATIONS or time.monotonic() - started > wait_s:
                return report
            self.progress(f"waiting: {report.failures[0]}")
            time.sleep(POLL_S)

    def _newest_reading(self) -> datetime | None:
        [(count, newest)] = self.query(f"SELECT count(), max(timestamp) FROM {RAW}", {})
        return newest if count else None

    def _check(self, started: float) -> Report:
        positions: dict[str, Positions] = {}
        values: dict[str, Comparison] = {}
        for name, dataset in self.datasets.items():
            self.progress(f"{name}: offsets")
            reader = ContractReader(dataset, self.registry)
            positions[name] = account(dataset, self._extents[name], lambda sql: self.query(sql, {}), self.log, reader)
        if not self._raw_is_complete:
            self._newest = self._newest_reading()
            self._raw_is_complete = not positions[RAW].behind
        for name, dataset in self.datasets.items():
            if self._newest is not None and is_aggregate(dataset):
                self.progress(f"{name}: values")
                closed_before = self._newest - timedelta(seconds=self.closes_after_s[name])
                values[name] = compare(dataset, closed_before, self.query)
        return Report(positions, values, self._newest, self.closes_after_s, time.monotonic() - started)
