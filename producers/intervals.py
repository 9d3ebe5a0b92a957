"""Readings that stand for an interval, as readings of the pipeline's own pace; and readings in the order of time.

The stream lets a reading's power hold until the meter's next reading, at most for the hold. So the mean power over a
longer interval is sent several times, no further apart than the hold, the last time one hold before the interval's
end: the energy of every hour is then the interval's, to half a milliwatt, wherever the neighbours are missing.
"""

from functools import cache

import numpy as np

from infra.base.columns import I64, Column, Columns, concatenate, length, take
from schemas.manifest import load_datasets

NEVER = -(2**62)


@cache
def hold_ms() -> int:
    """How long a reading holds at most where no other follows, as the contract of the hours has it."""
    return int(load_datasets()["meter_hourly_power_consumption"].parameters["hold_max_s"] * 1000)


def offsets_ms(interval_ms: int) -> I64:
    """When, after an interval's begin, its power is sent: at 0, and then whole holds before its end."""
    hold = hold_ms()
    return np.array([0, *range(interval_ms - hold * ((interval_ms - 1) // hold), interval_ms, hold)], dtype=np.int64)


def spread(columns: Columns, interval_ms: int | None) -> dict[str, Column]:
    """Readings whose `timestamp` begins an interval, as the readings that are sent; as they are where it is None.

    `sequence` numbers what is sent, so a line that is missing leaves a gap of as many readings as it would give.
    """
    if interval_ms is None:
        return dict(columns)
    offsets = offsets_ms(interval_ms)
    pieces = len(offsets)
    spread_out = {name: np.repeat(values, pieces) for name, values in columns.items()}
    rows = length(columns)
    spread_out["timestamp"] = spread_out["timestamp"] + np.tile(offsets, rows)
    spread_out["sequence"] = spread_out["sequence"] * pieces + np.tile(np.arange(pieces), rows)
    return spread_out


class TimeOrder:
    """Puts readings in the order of time, as far as lines that come together allow; a meter's own order stays.

    Meters that take turns within one instant, or lie one after the other within one batch, come out as one series. A
    reading is held back until a line begins after it.
    """

    def __init__(self) -> None:
        self._held: dict[str, Column] | None = None
        self._begun_ms = NEVER

    def take(self, readings: Columns, begun_ms: int) -> dict[str, Column]:
        """The readings that can go, of those held and of these; lines begin at `begun_ms` at the latest so far."""
        self._begun_ms = max(self._begun_ms, begun_ms)
        waiting = self._sorted(readings)
        split = int(np.searchsorted(waiting["timestamp"], self._begun_ms, side="right"))
        self._held = take(waiting, slice(split, None))
        return take(waiting, slice(split))

    def rest(self) -> dict[str, Column]:
        """What is held at the end."""
        held, self._held = self._held or {}, None
        return held

    def _sorted(self, readings: Columns) -> dict[str, Column]:
        together = concatenate([self._held, readings]) if self._held is not None else dict(readings)
        order = np.argsort(together["timestamp"], kind="stable")
        return take(together, order)
