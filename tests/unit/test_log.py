"""What a reading of the log picks out of the batches that the broker gives."""

import itertools
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import KafkaException
from hypothesis import given
from hypothesis import strategies as st

from infra.base import kafka_client, log
from infra.base.kafka_connection import KafkaConnection
from infra.base.log import Extent, neighbours, within


@dataclass(frozen=True)
class Message:
    at: int

    def offset(self) -> int:
        return self.at


@st.composite
def extents(draw: st.DrawFn) -> list[Extent]:
    """Of one partition, ascending and apart."""
    edges = sorted(draw(st.sets(st.integers(0, 60), min_size=2, max_size=20)))
    return [Extent(0, begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=False)]


@given(extents(), st.sets(st.integers(0, 70)), st.integers(1, 9))
def test_every_message_within_an_extent_is_picked_out_once_in_order_however_batches_fall(
    wanted: list[Extent], offsets: set[int], batch: int
) -> None:
    messages: list[Any] = [Message(offset) for offset in sorted(offsets)]
    coming = deque(wanted)
    found = [one for first in range(0, len(messages), batch) for one in within(messages[first : first + batch], coming)]
    assert found == [one for one in messages if any(extent.begin <= one.at < extent.end for extent in wanted)]


@given(extents(), st.integers(1, 10))
def test_extents_are_read_together_where_the_gap_is_narrow(wanted: list[Extent], seek_over: int) -> None:
    groups = neighbours(wanted, seek_over)
    assert [one for group in groups for one in group] == wanted
    assert all(after.begin - before.end < seek_over for group in groups for before, after in itertools.pairwise(group))
    assert all(after[0].begin - before[-1].end >= seek_over for before, after in itertools.pairwise(groups))


def test_a_broker_that_does_not_answer_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked without a time-out, the client waits for ever."""
    monkeypatch.setattr(log, "REQUEST_TIMEOUT_S", 0.2)
    consumer = kafka_client.consumer(KafkaConnection(brokers="127.0.0.1:1"), "x")
    for ask in (lambda: log.extent_of(consumer, "t", 0), lambda: log.partitions_of(consumer, "t")):
        with ThreadPoolExecutor(1) as beside, pytest.raises(KafkaException):
            beside.submit(ask).result(20)
