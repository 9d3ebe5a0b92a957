"""Which windows must be judged when rows come, and their features.

In the end every window has been judged with its merged rows, whatever the order in which rows came. A row that comes
late or replaces another one causes the windows whose features it changes to be judged again. Windows that the lag state
no longer covers are judged from the log, which a function of the caller reads again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64
from ml.features import INPUTS, LOOK_BACK, History, features
from ml.history import Merged, histories
from ml.lag_state import SLACK, FeatureRows, Judged, LagState, parts_of, winners
from ml.windows import WINDOW_MS
from schemas.order import CONTENT_VERSION

ROWS_AT_ONCE = 4096
COMPARED = 20_000
"""Windows that are compared with what they were before, at most; beyond that all are judged anew, which is harmless."""
REREAD_METERS = 2_000
"""Meters that are judged from the log in one reading of it, at most."""

Spans = Mapping[int, tuple[int, int]]
Reread = Callable[[Spans], FeatureRows]
"""The log's rows of some meters, each with its first and last wanted window."""


@dataclass(frozen=True)
class Suspects:
    """Windows to judge: their merged rows and their features."""

    rows: FeatureRows
    features: F64


class Judge:
    """Turns rows into windows to judge. Holds the lag state of all meters."""

    def __init__(self) -> None:
        self.state = LagState()
        self._late: dict[int, tuple[int, int]] = {}

    @property
    def late_meters(self) -> int:
        """Meters with windows that wait to be judged from the log."""
        return len(self._late)

    def remember(self, rows: FeatureRows) -> None:
        """Take in rows that were judged before, after a restart."""
        for of_span in by_span(rows):
            self.state.apply(of_span)

    def judge(self, rows: FeatureRows, profiles: Mapping[str, F64]) -> Iterator[dict[str, Suspects]]:
        """Take rows in. Yields the windows to judge by model version, whose profile the features depend on."""
        for of_span in by_span(rows):
            known = _Known(self.state, of_span)
            changed, late = self.state.apply(of_span)
            for meter, number in zip(late.meter_id.tolist(), late.number.tolist(), strict=True):
                first, last = self._late.get(meter, (number, number))
                self._late[meter] = (min(first, number), max(last, number))
            slots, numbers = self.state.touched(changed)
            for begin in range(0, len(slots), ROWS_AT_ONCE):
                batch = slice(begin, begin + ROWS_AT_ONCE)
                judged = self.state.judged(slots[batch], numbers[batch])
                new = known.differ(judged)
                history = History(judged.history.values[new], judged.history.window_start[new])
                yield _suspects(judged.rows.chosen(new), history, profiles)

    def judge_late(self, reread: Reread, profiles: Mapping[str, F64]) -> Iterator[dict[str, Suspects]]:
        """Judge the waiting windows from the log."""
        waiting = sorted(self._late.items())
        for begin in range(0, len(waiting), REREAD_METERS):
            asked = dict(waiting[begin : begin + REREAD_METERS])
            spans = {meter: (first - LOOK_BACK, last + LOOK_BACK) for meter, (first, last) in asked.items()}
            rows = winners(reread(spans))
            table = Merged(rows.meter_id, rows.number, rows.values)
            first = np.array([asked[meter][0] for meter in rows.meter_id.tolist()], dtype=np.int64)
            chosen = np.flatnonzero(rows.number >= first)
            at = 0
            for history in histories(table, chosen):
                of_history = rows.chosen(chosen[at : at + len(history.window_start)])
                at += len(of_history)
                yield _suspects(of_history, history, profiles)
            for meter in asked:
                del self._late[meter]


class _Known:
    """The windows as they are before rows come that may change them."""

    def __init__(self, state: LagState, rows: FeatureRows) -> None:
        slots, numbers = state.touched(rows)
        if len(slots) > COMPARED:
            slots, numbers = slots[:0], numbers[:0]
        judged = state.judged(slots, numbers)
        self._values, self._says = judged.history.values, _says(judged.rows)
        self._row = {pair: row for row, pair in enumerate(_pairs(judged.rows))}

    def differ(self, now: Judged) -> NDArray[np.bool_]:
        """Which windows are new, or have other values in them or before them. That an equal row came again, at
        another place in the log, makes no difference."""
        differs = np.ones(len(now.rows), dtype=np.bool_)
        says = _says(now.rows)
        for row, pair in enumerate(_pairs(now.rows)) if self._row else ():
            was = self._row.get(pair)
            if was is not None and np.array_equal(self._says[was], says[row]):
                differs[row] = not np.array_equal(self._values[was], now.history.values[row], equal_nan=True)
        return differs


def _says(rows: FeatureRows) -> I64:
    """What of each row stands in its result, besides what follows from its values."""
    return np.column_stack([rows.building_id, rows.event_count, rows.version_high, rows.version_low])


def _pairs(rows: FeatureRows) -> list[tuple[int, int]]:
    return list(zip(rows.meter_id.tolist(), rows.number.tolist(), strict=True))


def _suspects(rows: FeatureRows, history: History, profiles: Mapping[str, F64]) -> dict[str, Suspects]:
    return {version: Suspects(rows, features(history, profile)) for version, profile in profiles.items()}


def by_span(rows: FeatureRows) -> Iterator[FeatureRows]:
    """The rows by spans of SLACK windows of event time, the oldest span first."""
    which = rows.number // SLACK
    for number in np.unique(which).tolist():
        yield rows.chosen(which == number)


def feature_rows(columns: Mapping[str, Sequence[Any]]) -> FeatureRows:
    """Rows from lists by field; `partition`, `offset` and `produced_at_ms` are lists too."""

    def whole(name: str) -> I64:
        return np.array(columns[name], dtype=np.int64)

    values = [[np.nan if value is None else value for value in columns[name]] for name in INPUTS]
    return FeatureRows(
        whole("meter_id"),
        whole("building_id"),
        whole("window_start") // WINDOW_MS,
        whole("event_count"),
        np.array(values, dtype=np.float64).T.reshape(-1, len(INPUTS)).astype(np.float32),
        whole("partition"),
        whole("offset"),
        whole("produced_at_ms"),
        *parts_of(columns[CONTENT_VERSION]),
    )
