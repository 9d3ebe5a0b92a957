"""Readings to windows of 5 min without a stream, as the stream makes them: for training and judging offline.

The rows are those of anomaly_prediction_features, by the contract's own definitions: integer sums in milliwatts and
millivolts, each quotient rounded once. A test compares them with the stream's, value by value.
"""

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64, Column, Columns, length, take
from infra.base.errors import SmartmeterError
from schemas.status import STATUS_BITS

WINDOW_MS = 300_000
SUM_MAX = 3_037_000_499
"""The largest sum whose square fits 64 bits; in milliwatts, 60 readings of 50 MW."""


def windows_of(readings: Columns) -> dict[str, Column]:
    """One row per meter and window that holds a reading, ordered by meter, then time.

    `readings` are columns as `producers` makes them, in any order; of several readings of a meter at one instant the
    last counts (law 5). `gap_count` is a double, NaN where no reading has a sequence. Raises SmartmeterError where the
    sums exceed what 64 bits hold.
    """
    kept = counted_once(readings)
    if not length(kept):
        return {}
    milliwatts, millivolts = _milli(kept["power_kw"], 1e6), _milli(kept["voltage_v"], 1e3)
    window = kept["timestamp"].astype(np.int64) // WINDOW_MS
    meter = kept["meter_id"].astype(np.int64)
    first = np.flatnonzero(np.concatenate([[True], (np.diff(meter) != 0) | (np.diff(window) != 0)]))
    last = np.concatenate([first[1:], [len(meter)]]) - 1
    count = last - first + 1
    begins = np.zeros(len(meter), dtype=np.bool_)
    begins[first] = True
    same = ~begins & (np.diff(milliwatts, prepend=-1) == 0) & (np.diff(millivolts, prepend=-1) == 0)
    return {
        "meter_id": meter[first].astype(np.int32),
        "building_id": kept["building_id"][last].astype(np.int32),
        "window_start": window[first] * WINDOW_MS,
        "window_end": (window[first] + 1) * WINDOW_MS,
        "event_count": count,
        **_statistics("power", "kw", milliwatts, first, count, 1e6),
        **_statistics("voltage", "v", millivolts, first, count, 1e3),
        "power_step_max_kw": _largest_step(milliwatts, begins, first) / 1e6,
        "voltage_step_max_v": _largest_step(millivolts, begins, first) / 1e3,
        "repeat_count": np.add.reduceat(same.astype(np.int64), first),
        "run_max_count": np.maximum.reduceat(_run_lengths(same), first),
        "gap_count": _gaps(kept, first, last, count),
        **{
            name: np.add.reduceat(((kept["status"] & bit) != 0).astype(np.int64), first)
            for name, bit in STATUS_BITS.items()
        },
    }


def counted_once(readings: Columns) -> dict[str, Column]:
    """The readings by meter and time; of several at one instant the last (law 5)."""
    if not length(readings):
        return dict(readings)
    ordered = take(readings, np.lexsort((readings["timestamp"], readings["meter_id"])))
    meter, timestamp = ordered["meter_id"], ordered["timestamp"]
    is_last = np.ones(len(meter), dtype=np.bool_)
    is_last[:-1] = (np.diff(meter) != 0) | (np.diff(timestamp) != 0)
    return ordered if is_last.all() else take(ordered, is_last)


def _milli(values: Column, factor: float) -> I64:
    return np.floor(values * factor + 0.5).astype(np.int64)


def _statistics(
    quantity: str, unit: str, values: I64, first: NDArray[np.intp], count: I64, factor: float
) -> dict[str, F64]:
    total = np.add.reduceat(values, first)
    if np.abs(total).max() > SUM_MAX:
        raise SmartmeterError(
            f"the {quantity} of a window of 5 min sums up to {np.abs(total).max() / factor:g} {unit}, more than 64 "
            "bits hold when squared; judge such meters from the stream's table instead"
        )
    squares = np.add.reduceat(values * values, first)
    return {
        f"{quantity}_avg_{unit}": total / (count * factor),
        f"{quantity}_std_{unit}": np.sqrt(np.maximum(0, count * squares - total * total).astype(np.float64))
        / (count * factor),
        f"{quantity}_min_{unit}": np.minimum.reduceat(values, first) / factor,
        f"{quantity}_max_{unit}": np.maximum.reduceat(values, first) / factor,
    }


def _largest_step(values: I64, begins: NDArray[np.bool_], first: NDArray[np.intp]) -> I64:
    steps = np.where(begins, 0, np.abs(np.diff(values, prepend=values[:1])))
    return np.maximum.reduceat(steps, first)


def _run_lengths(same: NDArray[np.bool_]) -> I64:
    """For each reading, how many identical ones end with it, itself included."""
    place = np.arange(len(same))
    return place - np.maximum.accumulate(np.where(same, 0, place)) + 1


def _gaps(kept: Columns, first: NDArray[np.intp], last: NDArray[np.intp], count: I64) -> F64:
    if "sequence" not in kept:
        return np.full(len(first), np.nan)
    sequence = np.ma.masked_array(kept["sequence"])
    if np.ma.getmaskarray(sequence).any():
        return _gaps_of_some(sequence, first, last, count)
    steps = np.maximum(0, sequence.data[last] - sequence.data[first])  # so that no difference leaves 64 bits
    gaps: F64 = np.maximum(0, steps - (count - 1)).astype(np.float64)
    return gaps


def _gaps_of_some(
    sequence: "np.ma.MaskedArray[tuple[int], np.dtype[np.int64]]",
    first: NDArray[np.intp],
    last: NDArray[np.intp],
    count: I64,
) -> F64:
    """Where some readings have no sequence: from the first to the last that has one."""
    gaps = np.full(len(first), np.nan)
    for row, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        known = sequence[begin : end + 1].compressed()
        if known.size:
            gaps[row] = max(0, int(known[-1]) - int(known[0]) + 1 - int(count[row]))
    return gaps
