"""The lag state: whatever the order in which rows come, every window is judged in the end as a batch would."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.features import PROFILE_CELLS
from ml.history import Merged, features_of
from ml.judge import Judge, Spans, Suspects
from ml.lag_state import BYTES_PER_METER, FIRST_METERS, RING, FeatureRows, LagState, winners
from tests.ml_rows import as_log, simulated_windows

PROFILE = np.linspace(0.4, 1.6, PROFILE_CELLS)
Results = dict[tuple[int, int], tuple[int, int, int, bytes]]


def batch(log: FeatureRows) -> Results:
    """By meter and window: events and version of the row that counts, and its features."""
    rows = winners(log)
    found = features_of(Merged(rows.meter_id, rows.number, rows.values), np.arange(len(rows)), PROFILE)
    return {
        (int(rows.meter_id[row]), int(rows.number[row])): (
            int(rows.event_count[row]),
            *version(rows, row),
            found[row].tobytes(),
        )
        for row in range(len(rows))
    }


def version(rows: FeatureRows, row: int) -> tuple[int, int]:
    """A row's content_version in its parts."""
    return int(rows.version_high[row]), int(rows.version_low[row])


def disorder(how: str, seed: int) -> FeatureRows:
    """A day of three meters as a topic may hold it: windows with fewer events or older readings, and some twice."""
    rng = np.random.default_rng(seed)
    base = as_log(simulated_windows(3, 24))
    partial = base.chosen(rng.random(len(base)) < 0.1)
    partial = FeatureRows(
        **{**vars(partial), "event_count": partial.event_count - 1, "values": partial.values * np.float32(0.9)}
    )
    base = FeatureRows(**{**vars(base), "version_low": base.version_low + 5, "version_high": base.version_high + 1})
    stale = base.chosen(rng.random(len(base)) < 0.1)
    part = rng.choice(["version_low", "version_high"])
    stale = FeatureRows(**{**vars(stale), part: getattr(stale, part) - 1, "values": stale.values * np.float32(1.1)})
    again = base.chosen(rng.random(len(base)) < 0.05)
    parts = [partial, stale, base, again]
    log = FeatureRows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(base)})
    order = {
        "by time": np.lexsort((log.meter_id, log.number)),
        "a little late": np.argsort(log.number + rng.integers(0, 12, len(log)), kind="stable"),
        "very late": np.argsort(log.number + 200 * (rng.random(len(log)) < 0.05), kind="stable"),
        "by meter": np.lexsort((log.number, log.meter_id)),
        "any": rng.permutation(len(log)),
    }[how]
    log = log.chosen(order)
    return FeatureRows(
        **{**vars(log), "offset": np.arange(len(log)), "produced_at_ms": np.arange(len(log), dtype=np.int64) * 10}
    )


class Serving:
    """A judge fed from a log, and the table that its results make by law 3."""

    def __init__(self, log: FeatureRows) -> None:
        self.log, self.judge, self.table, self.emitted, self.at = log, Judge(), Results(), 0, 0

    def feed(self, end: int) -> None:
        for suspects in self.judge.judge(self.log.chosen(np.arange(self.at, end)), {"v": PROFILE}):
            self._emit(suspects["v"])
        self.at = end

    def late(self) -> None:
        for suspects in self.judge.judge_late(self._reread, {"v": PROFILE}):
            self._emit(suspects["v"])

    def restart(self) -> None:
        """As after a kill: a new state, of nothing but what the log holds from the noted time on."""
        from_ms = self.judge.state.needed_from_ms()
        seen = self.log.chosen(np.arange(self.at))
        self.judge = Judge()
        if from_ms is not None:
            self.judge.remember(seen.chosen(seen.produced_at_ms >= from_ms))

    def _reread(self, spans: Spans) -> FeatureRows:
        seen = self.log.chosen(np.arange(self.at))
        places = zip(seen.meter_id.tolist(), seen.number.tolist(), strict=True)
        return seen.chosen(np.array([m in spans and spans[m][0] <= n <= spans[m][1] for m, n in places]))

    def _emit(self, suspects: Suspects) -> None:
        rows = suspects.rows
        for row in range(len(rows)):
            key = (int(rows.meter_id[row]), int(rows.number[row]))
            count = int(rows.event_count[row])
            self.emitted += 1
            order = (count, *version(rows, row))
            if key not in self.table or self.table[key][:3] <= order:
                self.table[key] = (*order, suspects.features[row].tobytes())


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["by time", "a little late", "very late", "by meter", "any"]),
    st.integers(0, 10_000),
    st.integers(20, 700),
    st.booleans(),
)
def test_any_order_and_any_restarts_end_in_what_a_batch_gives(how: str, seed: int, rows: int, restarts: bool) -> None:
    log = disorder(how, seed)
    serving, rng = Serving(log), np.random.default_rng(seed)
    for end in [*range(rows, len(log), rows), len(log)]:
        serving.feed(end)
        if rng.random() < 0.4:
            serving.late()
            if restarts:
                serving.restart()
    serving.late()
    assert serving.table == batch(log)


def test_windows_in_order_are_judged_once_and_repeats_not_at_all() -> None:
    log = as_log(simulated_windows(3, 24))
    log = log.chosen(np.lexsort((log.meter_id, log.number)))
    log = FeatureRows(**{**vars(log), "offset": np.arange(len(log))})
    serving = Serving(log)
    for end in range(50, len(log), 50):
        serving.feed(end)
    emitted = serving.emitted
    assert emitted == serving.at
    again = log.chosen(np.arange(serving.at - 30, serving.at))
    assert [len(s["v"].rows) for s in serving.judge.judge(again, {"v": PROFILE})] in ([], [0])
    assert serving.judge.late_meters == 0


def test_equal_rows_that_come_again_at_later_offsets_are_not_judged_again() -> None:
    """A repair or a replay that changes nothing gives no new result; one with newer readings gives one."""
    log = as_log(simulated_windows(3, 6))
    serving = Serving(log)
    serving.feed(len(log))
    last = log.chosen(np.arange(len(log) - 5, len(log)))
    moved = FeatureRows(**{**vars(last), "offset": last.offset + 1000, "produced_at_ms": last.produced_at_ms + 10**6})
    newer = FeatureRows(**{**vars(moved), "offset": moved.offset + 1000, "version_low": moved.version_low + 1})
    counts = [
        sum(len(suspects["v"].rows) for suspects in serving.judge.judge(rows, {"v": PROFILE}))
        for rows in (moved, newer, newer)
    ]
    assert counts == [0, 5, 0]


def test_a_correction_judges_anew_only_what_it_changed() -> None:
    log = as_log(simulated_windows(2, 6))
    serving = Serving(log)
    serving.feed(len(log))
    before = serving.emitted
    one = log.chosen(np.array([60]))
    more = FeatureRows(**{**vars(one), "event_count": one.event_count + 1, "offset": np.array([len(log)])})
    judged = [s["v"].rows for s in serving.judge.judge(more, {"v": PROFILE})]
    numbers = np.concatenate([rows.number for rows in judged])
    assert set(np.concatenate([rows.meter_id for rows in judged]).tolist()) == {int(one.meter_id[0])}
    assert numbers.min() == one.number[0]
    assert len(numbers) <= 73
    assert before == len(log)


def test_memory_per_meter_is_what_is_stated() -> None:
    state = LagState()
    state.apply(as_log(simulated_windows(2, 1)).chosen(np.array([0])))
    assert state.bytes == FIRST_METERS * (BYTES_PER_METER + 16)
    assert BYTES_PER_METER == RING * 112 < 11_000
