"""The state of a deployment: parts, consumers, tables, late and unreadable messages, the last verify."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.base.clickhouse_client import UNANSWERED
from infra.base.errors import SmartmeterError, first_line
from infra.base.settings import load_settings
from infra.operations.last_verification import last_verification
from infra.operations.metrics.figures import Figure
from infra.operations.metrics.sources import Gathered, Sources
from infra.stack.stack import PartStatus, Stack
from schemas.manifest import RAW


@dataclass(frozen=True)
class LateCounts:
    """`rows` that the stream found late, and `readings` that repairs found missing."""

    rows: int
    readings: int


@dataclass(frozen=True)
class Overview:
    """What `status` shows. `silent` says by source why its figures are missing. None means not known."""

    parts: Sequence[PartStatus]
    lag: Sequence[tuple[str, str, int]]
    """Consumer, topic, messages."""
    newest_row_age_s: Mapping[str, float]
    """By dataset; a table without rows is missing."""
    late: LateCounts | None
    unreadable: Mapping[str, int] | None
    """By consumer, how many messages are unreadable; consumers without any are not named."""
    dead_letters: Mapping[str, int] | None
    """Letters in all dead-letter topics: `waiting` and `redriven`."""
    repeated_readings: int | None
    """As of the last verify: messages of the raw topic that another one of the same meter and instant replaced."""
    verification: Mapping[str, Any] | None
    silent: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        verified = self.verification
        return {
            "parts": [dataclasses.asdict(part) for part in self.parts],
            "lag": [{"consumer": part, "topic": topic, "messages": count} for part, topic, count in self.lag],
            "newest_row_age_s": dict(self.newest_row_age_s),
            "late": self.late and dataclasses.asdict(self.late),
            "unreadable": self.unreadable,
            "dead_letters": self.dead_letters,
            "repeated_readings": self.repeated_readings,
            "verification": verified and {key: verified[key] for key in ("at", "verified", "failures")},
            "silent": dict(self.silent),
        }


def overview(data_dir: Path, deployment: str | None = None) -> Overview:
    """Ask everything once. Works whatever is down: `silent` names what cannot be asked."""
    parts = Stack(data_dir).status()
    try:
        settings = load_settings(data_dir, deployment)
    except SmartmeterError as error:
        return _told(data_dir, parts, Gathered(silent={"settings": str(error)}), None)
    data_dir = settings.data_dir
    sources = Sources(settings)
    try:
        gathered = sources.gather()
        try:
            late = sources.late()
        except UNANSWERED as error:  # it answered a moment ago
            late = None
            gathered.silent["clickhouse"] = first_line(error)
        return _told(data_dir, parts, gathered, None if late is None else LateCounts(*late))
    finally:
        sources.close()


def _told(data_dir: Path, parts: Sequence[PartStatus], gathered: Gathered, late: LateCounts | None) -> Overview:
    figures = gathered.figures
    verification = last_verification(data_dir)
    answered = set(gathered.sources) - gathered.silent.keys()
    return Overview(
        parts=parts,
        lag=sorted((f.part, f.target, int(f.value)) for f in _of(figures, "lag_messages")),
        newest_row_age_s={f.target: f.value for f in _of(figures, "newest_row_age_s")},
        late=late,
        unreadable={f.part: int(f.value) for f in _of(figures, "unreadable_messages") if f.value}
        if "clickhouse" in answered
        else None,
        dead_letters={f.target: int(f.value) for f in _of(figures, "dead_letter_messages")} or None,
        repeated_readings=verification["positions"][RAW]["superseded"] if verification else None,
        verification=verification,
        silent=gathered.silent,
    )


def _of(figures: Sequence[Figure], metric: str) -> list[Figure]:
    return [figure for figure in figures if figure.metric == metric]


def age_s(at: float) -> float:
    """Seconds since an instant."""
    return max(0.0, time.time() - at)
