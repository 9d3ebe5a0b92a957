from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.base.topic_reader import Position
from schemas.manifest import load_datasets
from schemas.merge import BUCKET_MS, Merge
from tests.unit.records import unhurried

DATASETS = load_datasets()
TREND = DATASETS["meter_minute_trend"]
RAW = DATASETS["raw_data"]

Row = tuple[int, int, int]
"""Meter, minute, events."""
ROWS = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(1, 3)), max_size=40)


def values(row: Row) -> dict[str, Any]:
    return {"meter_id": row[0], "window_start": row[1] * BUCKET_MS, "event_count": row[2]}


def content(row: Row, offset: int) -> bytes:
    """Rows of even offsets repeat each other, the others are each their own."""
    return repr(row if offset % 2 == 0 else (row, offset)).encode()


def winners(rows: list[tuple[int, Row]]) -> dict[tuple[int, int], tuple[int, bytes]]:
    """What ClickHouse keeps, by its own rule: most events, then the later offset."""
    table: dict[tuple[int, int], tuple[int, int, Row]] = {}
    for offset, row in rows:
        key = row[:2]
        table[key] = max(table.get(key, (0, -1, row)), (row[2], offset, row))
    return {key: (events, content(row, offset)) for key, (events, offset, row) in table.items()}


def passed(merge: Merge, rows: list[tuple[int, Row]]) -> list[tuple[int, Row]]:
    return [(o, row) for o, row in rows if merge.changes(values(row), at(o), content(row, o))]


def at(offset: int, produced_at_ms: int = 0, partition: int = 0) -> Position:
    return Position("topic", partition, offset, produced_at_ms)


@unhurried
@given(ROWS, st.randoms(use_true_random=False))
def test_the_rows_that_pass_give_the_table_that_all_of_them_give(rows: list[Row], random: Any) -> None:
    delivered = list(enumerate(rows)) * 2
    random.shuffle(delivered)
    assert winners(passed(Merge(TREND, 1000), delivered)) == winners(delivered)


@unhurried
@given(ROWS)
def test_each_row_that_passes_differs_from_the_one_before_and_never_has_fewer_events(rows: list[Row]) -> None:
    seen: dict[tuple[int, int], tuple[int, bytes]] = {}
    for offset, row in passed(Merge(TREND, 1000), list(enumerate(rows))):
        before, now = seen.get(row[:2]), (row[2], content(row, offset))
        assert before is None or (before[0] <= now[0] and before != now)
        seen[row[:2]] = now


@unhurried
@given(ROWS, st.integers(1, 5), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4))
def test_with_little_memory_no_winner_is_held_back(
    rows: list[Row], keys: int, restarts: list[tuple[float, float]]
) -> None:
    """A key's messages come in order, and in order again from an earlier one after each restart."""
    delivered: list[tuple[int, Row]] = []
    begin = 0
    for how_far, how_far_back in restarts:
        end = begin + round(how_far * (len(rows) - begin))
        delivered += list(enumerate(rows))[begin:end]
        begin = round(how_far_back * end)
    delivered += list(enumerate(rows))[begin:]
    merge = Merge(TREND, keys)
    assert winners(passed(merge, delivered)) == winners(delivered)
    assert len(merge) <= keys


def test_the_oldest_minute_is_forgotten_first() -> None:
    merge = Merge(TREND, 2)
    rows = [(0, (1, 10, 5)), (1, (1, 11, 5)), (2, (1, 12, 5))]
    assert passed(merge, rows) == rows
    assert passed(merge, [(3, (1, 12, 4)), (4, (1, 11, 4))]) == []
    assert passed(merge, [(5, (1, 10, 4))]) == [(5, (1, 10, 4))], "forgotten, so it passes"


def test_of_two_readings_the_one_that_came_into_the_log_last_counts_and_a_repeated_one_is_left_out() -> None:
    merge = Merge(RAW, 1000)
    reading = {"meter_id": 1, "timestamp": 1_700_000_000_000}
    assert merge.changes(reading, at(5), b"a")
    assert not merge.changes(reading, at(6), b"a"), "the same bytes again"
    assert merge.changes(reading, at(7), b"b"), "another reading for the same instant, later"
    assert not merge.changes(reading, at(4), b"c"), "an earlier one, delivered late"
    assert merge.changes(reading, at(2, 10, partition=1), b"d"), "a later one, at a lower offset of another partition"
    assert not merge.changes(reading, at(9, 5), b"e"), "an earlier one, at a higher offset of the first"
