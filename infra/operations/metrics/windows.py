"""Sums readings of figures up by window, into rows of dataset pipeline_metrics. It has no clock: time is given."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.operations.metrics.figures import Figure

WINDOW_MS = 15_000
Key = tuple[str, str, str, int]


@dataclass
class Readings:
    """One figure's readings in one window."""

    count: int
    total: float
    least: float
    greatest: float
    last: float


class Windows:
    """Open windows. Each is given out once, when its time is over."""

    def __init__(self) -> None:
        self._open: dict[Key, Readings] = {}

    def add(self, figures: Iterable[Figure], at_ms: int) -> None:
        """Count readings taken at an instant (ms since 1970)."""
        start_ms = at_ms // WINDOW_MS * WINDOW_MS
        for figure in figures:
            key = (figure.metric, figure.part, figure.target, start_ms)
            value = float(figure.value)
            readings = self._open.get(key)
            if readings is None:
                self._open[key] = Readings(1, value, value, value, value)
                continue
            readings.count += 1
            readings.total += value
            readings.least, readings.greatest = min(readings.least, value), max(readings.greatest, value)
            readings.last = value

    def closed(self, now_ms: int | None) -> list[dict[str, Any]]:
        """Rows of the windows that ended by `now_ms`, and of all of them for None; each is given out once."""
        over = [key for key in self._open if now_ms is None or key[3] + WINDOW_MS <= now_ms]
        return [_row(key, self._open.pop(key)) for key in over]


def _row(key: Key, readings: Readings) -> dict[str, Any]:
    metric, part, target, start_ms = key
    return {
        "metric": metric,
        "part": part,
        "target": target,
        "window_start": start_ms,
        "window_end": start_ms + WINDOW_MS,
        "event_count": readings.count,
        "value_sum": readings.total,
        "value_min": readings.least,
        "value_max": readings.greatest,
        "value_last": readings.last,
    }
