"""Kafka's side: where each partition begins and ends, and what stands at given offsets."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.base.errors import SmartmeterError

REQUEST_TIMEOUT_S = 15.0
POLL_S = 0.1
BATCH = 10_000
SEEK_OVER = 50_000
Range = tuple[int, int]
"""Offsets [first, last)."""


@dataclass(frozen=True)
class Extent:
    """Offsets [begin, end) of one partition."""

    partition: int
    begin: int
    end: int


@dataclass(frozen=True)
class Entry:
    """What the log holds at one offset; `value` is None for a tombstone, `produced_at_ms` the message's own time."""

    partition: int
    offset: int
    value: bytes | None
    produced_at_ms: int


class Log:
    """Reads positions in any order, and commits nothing. Use as a context manager, from one thread."""

    def __init__(self, brokers: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": "smartmeter-verify",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                # Else the client rests for a second whenever it is ahead: 0.17 million messages/s instead of 1.8.
                "fetch.queue.backoff.ms": 5,
                # Else the broker keeps a request for what is not there yet, and all that are behind it, for 0.5 s.
                "fetch.wait.max.ms": 10,
            }
        )

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def extents(self, topic: str) -> list[Extent]:
        """Where each partition begins and ends now; raises SmartmeterError if there is no such topic or no broker."""
        try:
            partitions = self._consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
            if not partitions:
                raise SmartmeterError(f"Kafka has no topic {topic}; run `smartmeter apply`")
            found = [(p, self._consumer.get_watermark_offsets(TopicPartition(topic, p))) for p in sorted(partitions)]
        except KafkaException as error:
            raise SmartmeterError(f"Kafka does not answer ({error}); `smartmeter status` tells what runs") from error
        return [Extent(partition, begin, end) for partition, (begin, end) in found]

    def produced_at(self, topic: str, extent: Extent) -> datetime | None:
        """The time in the log of the oldest message within an extent; None if it has none."""
        for messages in self._batches(topic, extent.partition, extent.begin, extent.begin + 1):
            if offset_of(messages[0]) >= extent.end:
                return None
            return datetime.fromtimestamp(messages[0].timestamp()[1] / 1000, UTC)
        return None

    def entries(self, topic: str, partition: int, ranges: Sequence[Range]) -> Iterator[Entry]:
        """What the log holds within `ranges`, each [first, last), ascending and apart; in order.

        Offsets that the log itself does not have (compacted away, or taken by a transaction's marker) give nothing.
        """
        for message in self.messages(topic, partition, ranges):
            yield Entry(partition, offset_of(message), message.value(), message.timestamp()[1])

    def messages(self, topic: str, partition: int, ranges: Sequence[Range]) -> Iterator[Message]:
        """The same as whole messages, with key and headers."""
        for near in neighbours(ranges):
            coming, end = deque(near), near[-1][1]
            for messages in self._batches(topic, partition, near[0][0], end):
                yield from within(messages, coming)
                if offset_of(messages[-1]) >= end - 1:
                    break

    def _batches(self, topic: str, partition: int, offset: int, last: int) -> Iterator[list[Message]]:
        """Every message from an offset to the partition's end as it is when reached; `last`: how far is of interest."""
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        heard = time.monotonic()
        try:
            while True:
                # A batch is waited for as long as it is not full, whatever it holds: so ask for no more than can come.
                messages = self._consumer.consume(max(1, min(BATCH, last - offset)), timeout=POLL_S)
                if messages:
                    heard = time.monotonic()
                elif time.monotonic() - heard > REQUEST_TIMEOUT_S:
                    raise SmartmeterError(
                        f"Kafka gave nothing from {topic} for {REQUEST_TIMEOUT_S:g} s; is the broker up?"
                    )
                good = list(takewhile(lambda message: message.error() is None, messages))
                if good:
                    offset = offset_of(good[-1]) + 1
                    yield good
                if len(good) < len(messages):
                    error = messages[len(good)].error()
                    if error is not None and error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise SmartmeterError(f"Kafka: reading {topic}: {error}")
        finally:
            self._consumer.unassign()  # an idle reader asks for nothing


def within(messages: list[Message], ranges: deque[Range]) -> Iterator[Message]:
    """Those of a batch that are within `ranges`; takes from these what the batch has passed.

    Found by bisection, as most of a topic is of no interest and a look at each message would take most of the time.
    """
    passed = offset_of(messages[-1]) + 1
    begin = 0
    while ranges and ranges[0][0] < passed:
        first, last = ranges[0]
        begin = bisect_left(messages, first, begin, key=offset_of)
        end = bisect_left(messages, last, begin, key=offset_of)
        yield from messages[begin:end]
        if last > passed:
            return
        begin = end
        ranges.popleft()


def offset_of(message: Message) -> int:
    """The offset of a message that the log gave."""
    offset = message.offset()
    assert offset is not None, "a message that was delivered has an offset"
    return offset


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers of a message that the log gave, in order."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def neighbours(ranges: Sequence[Range], seek_over: int = SEEK_OVER) -> list[list[Range]]:
    """Ranges grouped so that reading through the gaps of a group is cheaper than seeking over them."""
    groups: list[list[Range]] = []
    for first, last in ranges:
        if groups and first - groups[-1][-1][1] < seek_over:
            groups[-1].append((first, last))
        else:
            groups.append([(first, last)])
    return groups
