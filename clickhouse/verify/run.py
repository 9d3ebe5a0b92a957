"""Verify a whole system: every dataset's positions and values, waiting for consumers that are still behind."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clickhouse import late
from clickhouse.recreated import recreated
from clickhouse.verify.dead_letters import Letters, account_letters
from clickhouse.verify.positions import Positions, account
from clickhouse.verify.values import Comparison, compare, is_aggregate
from infra.base.log import Extent, Log
from infra.base.query import Query
from schemas.manifest import RAW, Dataset
from schemas.reader import ContractReader
from schemas.registry import Registry

POLL_S = 1.0
CONFIRMATIONS = 2
"""Views of one block are filled one after another, so a difference counts only when it was seen twice."""

NewestReading = Callable[[datetime | None], datetime | None]


@dataclass(frozen=True)
class Report:
    """The outcome by dataset. `newest`: of all readings, None without one. Windows of an aggregate that end
    after `closed_before` are still open."""

    positions: Mapping[str, Positions]
    values: Mapping[str, Comparison]
    letters: Mapping[str, Letters]
    newest: datetime | None
    closed_before: Mapping[str, datetime]
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Sentences, each naming dataset, place and what is wrong; empty when all is proved."""
        behind = [
            f"{name}: ClickHouse is {positions.behind} messages behind the topic; `smartmeter status` tells what runs, "
            "`smartmeter up` starts what does not"
            for name, positions in self.positions.items()
            if positions.behind
        ]
        accounts: list[Positions | Comparison | Letters] = [
            *self.positions.values(),
            *self.values.values(),
            *self.letters.values(),
        ]
        return behind + [failure for account in accounts for failure in account.failures]

    @property
    def may_come(self) -> bool:
        """Whether waiting may mend some of the failures."""
        return (
            any(positions.behind for positions in self.positions.values())
            or any(comparison.may_come for comparison in self.values.values())
            or any(letters.missing for letters in self.letters.values())
        )


@dataclass
class Verification:
    """One run over fixed extents of the log: those, and the closed windows, at its beginning.

    `closed` gives the instant up to which each dataset's windows are closed. It asks for the time of the newest
    reading before an instant, or of all readings (None). `query` and `progress` are called from two threads.
    """

    datasets: Mapping[str, Dataset]
    query: Query
    log: Log
    registry: Registry
    closed: Callable[[NewestReading], Mapping[str, datetime]]
    progress: Callable[[str], None] = lambda _: None
    _extents: dict[str, list[Extent]] = field(default_factory=dict)
    _positions: dict[str, Positions] = field(default_factory=dict)
    _values: dict[str, Comparison] = field(default_factory=dict)
    _letters: dict[str, Letters] = field(default_factory=dict)
    _newest: datetime | None = None
    _closed_before: dict[str, datetime] = field(default_factory=dict)
    _complete_from: datetime | None = None
    _raw_is_complete: bool = False
    _is_abandoned: bool = False

    def run(self, wait_s: float) -> Report:
        """Check until all is proved, or something is wrong for good, or nothing has changed for `wait_s` seconds.

        What was not proved is looked at twice at least: the first look over much data may take longer than `wait_s`.
        """
        started = changed_at = time.monotonic()
        seen: list[str] = []
        self._extents = {name: self.log.extents(dataset.topic) for name, dataset in self.datasets.items()}
        self._complete_from = self._readings_are_complete_from()
        checks = wrong = 0
        while True:
            report = self._check(started)
            checks += 1
            wrong += bool(report.failures and not report.may_come)
            if report.failures != seen:
                seen, changed_at = report.failures, time.monotonic()
            is_over = checks >= CONFIRMATIONS and time.monotonic() - changed_at > wait_s
            if not report.failures or wrong >= CONFIRMATIONS or is_over:
                return report
            self.progress(f"waiting: {report.failures[0]}")
            time.sleep(POLL_S)

    def _readings_are_complete_from(self) -> datetime | None:
        """The start of the first window of which no reading can have been removed, from the log or by the table's TTL.

        A reading is at most the tolerance newer than its message, so what was removed belongs to windows that begin
        before the oldest message that is left, plus that. None where nothing was removed.
        """
        raw = self.datasets[RAW]
        tolerance = timedelta(seconds=raw.parameters.get("future_tolerance_s", 0))
        expired = datetime.now(UTC) - timedelta(days=raw.ttl_days) if raw.ttl_days else None
        limits = []
        for extent in self._extents[RAW]:
            oldest = self.log.produced_at(raw.topic, extent)
            if extent.begin > 0:
                limits.append(oldest or datetime.now(UTC))
            if expired and oldest and oldest < expired:
                limits.append(expired)
        return max(limits) + tolerance if limits else None

    def _newest_reading(self, before: datetime | None) -> datetime | None:
        return late.newest_reading(self.query, before)

    def _check(self, started: float) -> Report:
        """Look at everything that is not proved yet: what is, within these extents and windows, stays so.

        What lies in the log keeps this process busy, and values keep the engine busy: both at once.
        """
        self._check_positions([RAW])
        if not self._raw_is_complete:
            self._newest = self._newest_reading(None)
            self._closed_before = dict(self.closed(self._newest_reading))
            self._raw_is_complete = not self._positions[RAW].behind
            self._values.clear()
        with ThreadPoolExecutor(1, "verify-positions") as beside:
            positions = beside.submit(self._check_positions, [name for name in self.datasets if name != RAW])
            try:
                self._check_values()
            except BaseException:
                self._is_abandoned = True
                raise
            positions.result()
        for name, dataset in self.datasets.items():
            letters = self._letters.get(name)
            if letters is None or letters.failures:
                extents = self._extents[name]
                self._letters[name] = account_letters(dataset, extents, self.query, self.log)
        return Report(
            positions={name: self._positions[name] for name in self.datasets},
            values=dict(self._values),
            letters=dict(self._letters),
            newest=self._newest,
            closed_before=dict(self._closed_before),
            seconds=time.monotonic() - started,
        )

    def _check_positions(self, names: Iterable[str]) -> None:
        for name in names:
            known = self._positions.get(name)
            if self._is_abandoned:
                return
            if known is None or known.failures or known.behind:
                self.progress(f"{name}: offsets")
                self._positions[name] = self._account(name, self.datasets[name])

    def _check_values(self) -> None:
        for name, dataset in self.datasets.items():
            known = self._values.get(name)
            if self._newest is not None and is_aggregate(dataset) and (known is None or known.failures):
                self.progress(f"{name}: values")
                self._values[name] = compare(dataset, self._closed_before[name], self.query, self._complete_from)

    def _account(self, name: str, dataset: Dataset) -> Positions:
        reader = ContractReader(dataset, self.registry)
        positions = account(dataset, self._extents[name], self.query, self.log, reader)
        if (sentence := recreated(dataset, self.query, self.log)) is not None:
            positions.failures = [sentence]  # what else was found compares positions of two topics
        return positions
