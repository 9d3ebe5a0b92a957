"""The last windows of every meter, in arrays: what serving needs to judge the next window, or to judge some again.

A meter has a ring of RING windows. A row that wins (law 3: `schemas.order.row_version`) replaces its window's
row, whenever it comes. Features are always made of the rows as they are then, so the features after the last row do not
depend on the order of the rows. If a row is so late that its window, or one of the windows before it, has left the
ring, `apply` returns its window, to be judged from the log.

Memory: BYTES_PER_METER for every meter ever seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import I64
from ml.features import F32, INPUTS, LOOK_BACK, History
from ml.windows import WINDOW_MS

SLACK = 24
"""Windows by which a row may be late and is still judged from the ring: two hours."""
RING = LOOK_BACK + SLACK
CELL_BYTES = 4 * len(INPUTS) + 6 * 8 + 2 * 4
BYTES_PER_METER = RING * CELL_BYTES
EMPTY = -(2**62)
FIRST_METERS = 1024

Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class FeatureRows:
    """Rows of anomaly_prediction_features with their positions, in the order in which they came."""

    meter_id: I64
    building_id: I64
    number: I64
    """Windows since 1970."""
    event_count: I64
    values: F32
    partition: I64
    offset: I64
    produced_at_ms: I64
    version_high: I64
    version_low: I64
    """The row's content_version in two parts (`parts_of`): none of 64 bits holds it."""

    def __len__(self) -> int:
        return len(self.meter_id)

    def chosen(self, which: Mask | Indices) -> "FeatureRows":
        """Some of the rows."""
        return FeatureRows(**{name: value[which] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Judged:
    """Windows to judge, with the rows that count in them, and their histories."""

    rows: FeatureRows
    history: History


def parts_of(content_versions: Sequence[int | None]) -> tuple[I64, I64]:
    """Content versions, in two parts that compare as they do; null is less than any."""
    whole = [int(version or 0) for version in content_versions]
    high, low = [version >> 62 for version in whole], [version & (2**62 - 1) for version in whole]
    return np.array(high, dtype=np.int64), np.array(low, dtype=np.int64)


def winners(rows: FeatureRows) -> FeatureRows:
    """The winning row (law 3) of each meter and window, by meter and time."""
    order = np.lexsort((rows.offset, rows.version_low, rows.version_high, rows.event_count, rows.number, rows.meter_id))
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = (np.diff(rows.meter_id[order]) != 0) | (np.diff(rows.number[order]) != 0)
    return rows.chosen(order[is_last])


class LagState:
    """The rings of all meters. Not for use by several threads."""

    _newest: I64
    _meter: I64
    _number: I64
    _count: I64
    _high: I64
    _low: I64
    _offset: I64
    _produced: I64
    _partition: NDArray[np.int32]
    _building: NDArray[np.int32]
    _values: F32

    def __init__(self) -> None:
        self._slot: dict[int, int] = {}
        self._newest = np.empty(0, dtype=np.int64)
        self._allocate(FIRST_METERS)

    def __len__(self) -> int:
        """Meters."""
        return len(self._slot)

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def needed_from_ms(self) -> int | None:
        """The log's time of the oldest row in a ring. Reading from there again gives the same state."""
        used = self._number[: len(self._slot)]
        if not used.size or not (used != EMPTY).any():
            return None
        return int(self._produced[: len(self._slot)][used != EMPTY].min())

    def apply(self, rows: FeatureRows) -> tuple[FeatureRows, FeatureRows]:
        """Take in rows of one span of event time, in which all windows of a meter lie within SLACK of each other.

        Returns the rows that changed the ring, and the rows that are too late for it. Rows that lost are in neither.
        """
        rows = winners(rows)
        slots = self._slots(rows.meter_id)
        newest = self._newest.copy()
        np.maximum.at(newest, slots, rows.number)
        too_late = rows.number <= newest[slots] - SLACK
        self._newest = newest
        cell = rows.number % RING
        held = self._number[slots, cell] == rows.number
        older = self._offset[slots, cell] < rows.offset
        for ours, theirs in (
            (self._low, rows.version_low),
            (self._high, rows.version_high),
            (self._count, rows.event_count),
        ):
            ring = ours[slots, cell]
            older = (ring < theirs) | ((ring == theirs) & older)
        takes = np.where(held, older, self._number[slots, cell] < rows.number)
        put, at = rows.chosen(takes), (slots[takes], cell[takes])
        self._number[at], self._count[at], self._offset[at] = put.number, put.event_count, put.offset
        self._values[at], self._partition[at], self._produced[at] = put.values, put.partition, put.produced_at_ms
        self._building[at], self._high[at], self._low[at] = put.building_id, put.version_high, put.version_low
        # Too late: whether it counts cannot be told where its window has left the ring; to judge it anew is harmless.
        return rows.chosen(takes & ~too_late), rows.chosen(too_late & (takes | ~held))

    def touched(self, changed: FeatureRows) -> tuple[Indices, I64]:
        """Slots and windows in the ring, each once, whose features a change of these rows can change.

        They are the rows' own windows and the LOOK_BACK windows after each.
        """
        slots = self._slots(changed.meter_id)
        last = np.minimum(changed.number + LOOK_BACK, self._newest[slots])
        spans = np.maximum(0, last - changed.number + 1)
        slot = np.repeat(slots, spans)
        number = np.repeat(changed.number, spans) + _count_up(spans)
        present = self._number[slot, number % RING] == number
        pairs = np.unique(np.column_stack([slot[present], number[present]]), axis=0)
        return pairs[:, 0].astype(np.intp), pairs[:, 1]

    def judged(self, slots: Indices, numbers: I64) -> Judged:
        """The rows of these windows, and their histories as they are now."""
        cell = numbers % RING
        rows = FeatureRows(
            self._meter[slots],
            self._building[slots, cell].astype(np.int64),
            numbers,
            self._count[slots, cell],
            self._values[slots, cell],
            self._partition[slots, cell].astype(np.int64),
            self._offset[slots, cell],
            self._produced[slots, cell],
            self._high[slots, cell],
            self._low[slots, cell],
        )
        wanted = numbers[:, None] - np.arange(LOOK_BACK, -1, -1)
        there = self._number[slots[:, None], wanted % RING] == wanted
        values = self._values[slots[:, None], wanted % RING]
        values[~there] = np.nan
        return Judged(rows, History(np.swapaxes(values, 1, 2), numbers * WINDOW_MS))

    def _slots(self, meter_id: I64) -> Indices:
        slots = [self._slot.setdefault(meter, len(self._slot)) for meter in meter_id.tolist()]
        while len(self._slot) > len(self._newest):
            self._allocate(2 * len(self._newest))
        indices = np.array(slots, dtype=np.intp)
        self._meter[indices] = meter_id
        return indices

    def _allocate(self, meters: int) -> None:
        before = len(self._newest)
        shape = (meters, RING)
        fresh = {
            "_newest": np.full(meters, EMPTY),
            "_meter": np.zeros(meters, dtype=np.int64),
            "_number": np.full(shape, EMPTY),
            "_count": np.zeros(shape, dtype=np.int64),
            "_high": np.zeros(shape, dtype=np.int64),
            "_low": np.zeros(shape, dtype=np.int64),
            "_offset": np.zeros(shape, dtype=np.int64),
            "_produced": np.zeros(shape, dtype=np.int64),
            "_partition": np.zeros(shape, dtype=np.int32),
            "_building": np.zeros(shape, dtype=np.int32),
            "_values": np.zeros((*shape, len(INPUTS)), dtype=np.float32),
        }
        for name, array in fresh.items():
            if before:
                array[:before] = getattr(self, name)
            setattr(self, name, array)


def _count_up(sizes: I64) -> I64:
    """0, 1, … up to below each size, one run after the other."""
    ends = np.cumsum(sizes)
    counted: I64 = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
    return counted
