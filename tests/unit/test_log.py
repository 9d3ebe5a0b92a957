"""What a reading of the log picks out of the batches that the broker gives."""

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.base.log import Range, neighbours, within


@dataclass(frozen=True)
class Message:
    at: int

    def offset(self) -> int:
        return self.at


@st.composite
def ranges(draw: st.DrawFn) -> list[Range]:
    """Ascending and apart."""
    edges = sorted(draw(st.sets(st.integers(0, 60), min_size=2, max_size=20)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@given(ranges(), st.sets(st.integers(0, 70)), st.integers(1, 9))
def test_every_message_within_a_range_is_picked_out_once_in_order_however_batches_fall(
    wanted: list[Range], offsets: set[int], batch: int
) -> None:
    log: list[Any] = [Message(offset) for offset in sorted(offsets)]
    coming = deque(wanted)
    found = [one for first in range(0, len(log), batch) for one in within(log[first : first + batch], coming)]
    assert found == [one for one in log if any(first <= one.at < last for first, last in wanted)]


@given(ranges(), st.integers(1, 10))
def test_ranges_are_read_together_where_the_gap_is_narrow(wanted: list[Range], seek_over: int) -> None:
    groups = neighbours(wanted, seek_over)
    assert [one for group in groups for one in group] == wanted
    assert all(after[0] - before[1] < seek_over for group in groups for before, after in itertools.pairwise(group))
    assert all(after[0][0] - before[-1][1] >= seek_over for before, after in itertools.pairwise(groups))
