"""Figures: each a number about one part and one target. Names and meanings are here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.progress import Progress

METRICS = {
    "end_offset_messages": "Messages of a topic, by its partitions' end offsets.",
    "lag_messages": "Messages of a topic that a consumer has yet to read.",
    "newest_row_age_s": "Time since the newest message that a table holds was written to the log.",
    "unreadable_messages": "Unreadable messages of a dataset, as ClickHouse keeps them.",
    "unreadable_by_reason_messages": "Those of them by reason, without digits.",
    "dead_letter_messages": "Dead letters: those still to be looked at, and those that were sent again.",
    "schema_versions": "Versions of a subject in the registry.",
    "resident_bytes": "Resident memory of a part's process.",
    "uptime_s": "Time since a part's process was started.",
    "batch_duration_s": "Duration of each batch of a grain.",
    "batch_rows": "Rows that each batch of a grain has read.",
    "late_rows": "Rows of each batch that came after the grain's watermark.",
    "state_rows": "Open windows of a grain.",
    "state_bytes": "Memory of a grain's open windows.",
    "restarts": "Failures of a grain's query since it last ran well.",
}
"""Metric → meaning; the unit is the name's last word."""
PER_BATCH = {"batch_duration_s", "batch_rows", "late_rows"}
"""Read once per batch, so that sums over time are right."""


@dataclass(frozen=True)
class Figure:
    """One reading of one figure. `target` is empty if the figure is about the part as a whole."""

    metric: str
    part: str
    target: str
    value: float


def of_batches(progress: Mapping[str, Any], seen: dict[str, int]) -> list[Figure]:
    """Figures from the stream's progress: states as they are, and the figures of a batch once per batch.

    `seen` holds the last batch of each grain and is updated. The first progress of a grain counts as new.
    """
    figures = []
    for grain, status in progress.get("grains", {}).items():
        batch = status["progress"]
        figures.append(Figure("restarts", "stream", grain, status["restarts"]))
        if not batch:
            continue
        figures += [Figure(name, "stream", grain, batch[name]) for name in ("state_rows", "state_bytes")]
        if seen.get(grain) != batch["batch"]:
            seen[grain] = batch["batch"]
            values = {
                "batch_duration_s": batch["batch_s"],
                "batch_rows": batch["rows"],
                "late_rows": batch["late_rows"],
            }
            figures += [Figure(name, "stream", grain, value) for name, value in values.items()]
    return figures


def predict_lag(progress: Progress, topic: str, ends: Mapping[int, int]) -> list[Figure]:
    """How many feature rows the prediction service has yet to judge; nothing if it never ran."""
    if not progress.positions:
        return []
    behind = sum(max(0, end - progress.positions.get(partition, 0)) for partition, end in ends.items())
    return [Figure("lag_messages", "predict", topic, behind)]


def stream_lag(progress: Mapping[str, Any], ends: Mapping[str, Mapping[int, int]]) -> list[Figure]:
    """How far each grain is behind the end of the topic that it reads."""
    figures = []
    for grain, status in progress.get("grains", {}).items():
        for topic, offsets in (status["progress"].get("end_offsets") or {}).items():
            reached = offsets or {}
            behind = sum(
                max(0, end - int(reached.get(str(partition), 0))) for partition, end in ends.get(topic, {}).items()
            )
            figures.append(Figure("lag_messages", f"stream-{grain}", topic, behind))
    return figures
