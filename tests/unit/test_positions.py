"""What verify looks up at once keeps within a reader's query."""

from hypothesis import given
from hypothesis import strategies as st

from clickhouse.verify.positions import LOOKUP, LOOKUP_BYTES, Row, lookups

keys = st.tuples(st.integers(0, 10**6), st.sampled_from(["", "x", "ä" * 40, "y" * 5_000]), st.just(1_800_000_000_000))


@given(st.lists(keys, max_size=200), st.integers(0, 2 * LOOKUP + 1))
def test_batches_hold_every_row_in_order_and_none_is_too_large(some: list[tuple[int, str, int]], small: int) -> None:
    rows = [Row(number, key, 0) for number, key in enumerate([*some, *[(1, "", 1)] * small])]
    batches = list(lookups(rows))
    assert [row for batch in batches for row in batch] == rows
    for batch in batches:
        assert 0 < len(batch) <= LOOKUP
        assert len(str([row.key for row in batch]).encode()) < LOOKUP_BYTES + 5_000 + 16 * len(batch)
