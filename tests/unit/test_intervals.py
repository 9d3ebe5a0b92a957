"""Readings that stand for an interval: whatever its length and its neighbours, what they hold is its energy."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infra.base.columns import concatenate
from producers.intervals import TimeOrder, hold_ms, offsets_ms, spread
from tests.unit.records import unhurried

seconds = st.integers(301, 86_400)


@unhurried
@given(seconds, st.lists(st.booleans(), min_size=1, max_size=6))
def test_what_the_readings_hold_is_the_interval_to_the_millisecond(interval_s: int, given_: list[bool]) -> None:
    interval_ms = 1000 * interval_s
    starts = [number * interval_ms for number, there in enumerate(given_) if there]
    powers = [Fraction(number + 1, 7) for number, there in enumerate(given_) if there]
    columns = {
        "timestamp": np.array(starts, dtype=np.int64),
        "sequence": np.flatnonzero(given_),
        "number": np.arange(len(starts)),
    }
    sent = spread(columns, interval_ms)
    times = sent["timestamp"].tolist()
    assert times == sorted(set(times))
    energy = [Fraction(0)] * len(starts)
    for at, following, number in zip(times, [*times[1:], 2**62], sent["number"].tolist(), strict=False):
        energy[number] += powers[number] * (min(following, at + hold_ms()) - at)
    assert energy == [interval_ms * power for power in powers]
    pieces = len(offsets_ms(interval_ms))
    assert sent["sequence"].tolist() == [n * pieces + k for n in np.flatnonzero(given_).tolist() for k in range(pieces)]


def test_up_to_the_hold_a_line_is_one_reading() -> None:
    assert offsets_ms(60_000).tolist() == offsets_ms(300_000).tolist() == [0]
    assert offsets_ms(300_001).tolist() == [0, 1]
    assert offsets_ms(900_000).tolist() == [0, 300_000, 600_000]


@unhurried
@given(st.lists(st.lists(st.integers(0, 50), max_size=8), max_size=8))
def test_in_the_order_of_time_nothing_is_lost_and_ordered_lines_come_out_ordered(batches: list[list[int]]) -> None:
    lines = sorted(time for batch in batches for time in batch)
    order, out, begun = TimeOrder(), [], 0
    place = 0
    for batch in batches:
        own = lines[place : place + len(batch)]
        place += len(batch)
        begun = max([begun, *own])
        spread_out = np.array([time + more for time in own for more in (0, 10, 20)], dtype=np.int64)
        out.append(order.take({"timestamp": spread_out}, begun))
        assert all(time <= begun for time in out[-1]["timestamp"].tolist())
    rest = order.rest()
    assert all(time > begun for time in rest.get("timestamp", np.empty(0)).tolist())
    times = concatenate([*out, *([rest] if rest else [])]).get("timestamp", np.empty(0)).tolist()
    assert times == sorted(time + more for time in lines for more in (0, 10, 20))
