"""Rows to the histories that features are made of: for batches, what serving does row by row."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64, Columns, length
from ml.features import F32, INPUTS, LOOK_BACK, PROFILE_CELLS, History, features, fit_profile, power_to_mean
from ml.windows import WINDOW_MS

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Merged:
    """One row per meter and window, by meter, then time; `values` are the rows' INPUTS in single precision."""

    meter_id: I64
    number: I64
    """Windows since 1970."""
    values: F32

    @property
    def window_start(self) -> I64:
        """In ms since 1970."""
        return self.number * WINDOW_MS


def merged(rows: Columns) -> tuple[Merged, NDArray[np.intp]]:
    """The merged rows (law 3: the most events, then the latest offset) of rows in any order, and their places among
    them.

    Without an `offset` column the later row has the later offset.
    """
    meter, start, count = (rows[name].astype(np.int64) for name in ("meter_id", "window_start", "event_count"))
    offset = rows["offset"] if "offset" in rows else np.arange(length(rows))
    order = np.lexsort((offset, count, start, meter))
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = (np.diff(meter[order]) != 0) | (np.diff(start[order]) != 0)
    chosen = order[is_last]
    return Merged(meter[chosen], start[chosen] // WINDOW_MS, input_values(rows)[chosen]), chosen


def input_values(rows: Columns) -> F32:
    """Rows × INPUTS in single precision; a null, in a masked array or as NaN, is NaN."""
    columns = [np.ma.filled(np.ma.asarray(rows[name], dtype=np.float64), np.nan) for name in INPUTS]
    return np.column_stack(columns).astype(np.float32)


def histories(table: Merged, chosen: NDArray[np.intp]) -> Iterator[History]:
    """The chosen rows with the windows before them, in order and in batches of bounded size."""
    numbers = table.number
    for begin in range(0, len(chosen), ROWS_AT_ONCE):
        rows = chosen[begin : begin + ROWS_AT_ONCE]
        values = np.full((len(rows), len(INPUTS), LOOK_BACK + 1), np.nan, dtype=np.float32)
        for back in range(LOOK_BACK + 1):
            # Rows are by meter and time, so the window `w` before stands at most `w` rows before.
            candidate = np.maximum(rows - back, 0)
            same = (rows >= back) & (table.meter_id[candidate] == table.meter_id[rows])
            place = LOOK_BACK - (numbers[rows] - numbers[candidate])
            fits = same & (place >= 0)
            values[fits, :, place[fits]] = table.values[candidate[fits]]
        yield History(values, table.window_start[rows])


def features_of(table: Merged, chosen: NDArray[np.intp], profile: F64) -> F64:
    """Features of the chosen rows of a whole table."""
    batches = [features(history, profile) for history in histories(table, chosen)]
    return np.concatenate(batches) if batches else np.empty((0, 0))


def profile_of(table: Merged, chosen: NDArray[np.intp]) -> F64:
    """The profile of hour and weekday that the chosen rows show; all ones without any."""
    batches = [power_to_mean(history) for history in histories(table, chosen)]
    return fit_profile(np.concatenate(batches), table.window_start[chosen]) if batches else np.ones(PROFILE_CELLS)
