"""Which hours are recomputed together, and which extents of the log are read for them."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from clickhouse.late import HOUR, batches, fewer

START = datetime(2026, 1, 5, tzinfo=UTC)

counted_hours = st.dictionaries(st.integers(0, 40), st.integers(1, 50), max_size=30).map(
    lambda counts: [(START + hour * HOUR, counts[hour]) for hour in sorted(counts)]
)
ranges = st.lists(st.integers(1, 50), min_size=2, max_size=60).map(
    lambda steps: [
        (sum(steps[: 2 * i + 1]), sum(steps[: 2 * i + 2])) for i in range(len(steps) // 2)
    ]  # widths and gaps in turn
)


@given(hours=counted_hours, most=st.integers(1, 100))
def test_batches_hold_every_hour_once_and_no_more_than_they_may(hours: list[tuple[datetime, int]], most: int) -> None:
    spans = batches(hours, most)
    counts = dict(hours)
    covered = [start + n * HOUR for start, end in spans for n in range(int((end - start) / HOUR))]
    assert covered == list(counts)
    for start, end in spans:
        inside = [counts[start + n * HOUR] for n in range(int((end - start) / HOUR))]
        assert sum(inside) <= most or len(inside) == 1


def test_a_batch_is_as_large_as_it_may_be() -> None:
    hours = [(START + n * HOUR, 10) for n in (0, 1, 2, 5)]
    assert batches(hours, 20) == [
        (START, START + 2 * HOUR),
        (START + 2 * HOUR, START + 3 * HOUR),
        (START + 5 * HOUR, START + 6 * HOUR),
    ]
    assert batches(hours[:3], 30) == [(START, START + timedelta(hours=3))]


@given(ranges=ranges, most=st.integers(1, 10))
def test_fewer_extents_cover_what_all_did(ranges: list[tuple[int, int]], most: int) -> None:
    joined = fewer(ranges, most)
    assert len(joined) == min(most, len(ranges))
    offsets = {offset for first, last in ranges for offset in range(first, last)}
    assert offsets <= {offset for first, last in joined for offset in range(first, last)}
    assert all(before[1] < after[0] for before, after in itertools.pairwise(joined))


def test_the_narrowest_gaps_are_read_through() -> None:
    assert fewer([(0, 10), (12, 20), (500, 510), (515, 520)], 2) == [(0, 20), (500, 520)]
