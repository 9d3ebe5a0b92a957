"""Kafka as a log: where each partition begins and ends, and what stands at given offsets."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, takewhile
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.base import kafka_client
from infra.base.backoff import Backoff
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
NOT_YET = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}
REQUEST_TIMEOUT_S = 15.0
"""How long a broker may take to answer one question."""
POLL_S = 0.1
BATCH = 10_000
SEEK_OVER = 50_000


class Extent(NamedTuple):
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
    """Reads extents in any order, and commits nothing. Use as a context manager, from one thread."""

    def __init__(self, kafka: KafkaConnection) -> None:
        # By default the broker keeps a request for what is not there yet, and all that are behind it, for 0.5 s.
        self._consumer = kafka_client.consumer(kafka, "smartmeter-verify", {"fetch.wait.max.ms": 10})

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def extents(self, topic: str) -> list[Extent]:
        """Where each partition begins and ends now.

        A broker that has just started does not lead its partitions yet: it is asked again. Raises SmartmeterError if
        there is no such topic, or if the broker does not answer in REQUEST_TIMEOUT_S.
        """
        give_up_at = time.monotonic() + REQUEST_TIMEOUT_S
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                partitions = partitions_of(self._consumer, topic)
                if not partitions:
                    raise SmartmeterError(f"Kafka has no topic {topic}; run `smartmeter apply`")
                return [extent_of(self._consumer, topic, partition) for partition in partitions]
            except KafkaException as error:
                if error.args[0].code() not in NOT_YET or time.monotonic() > give_up_at:
                    sentence = f"Kafka does not answer ({error}); `smartmeter status` tells what runs"
                    raise SmartmeterError(sentence) from error
                time.sleep(backoff.failed(error))

    def produced_at(self, topic: str, extent: Extent) -> datetime | None:
        """The time in the log of the oldest message within an extent; None if it has none."""
        for messages in self._batches(topic, extent.partition, extent.begin, extent.begin + 1):
            if offset_of(messages[0]) >= extent.end:
                return None
            return datetime.fromtimestamp(messages[0].timestamp()[1] / 1000, UTC)
        return None

    def entries(self, topic: str, extents: Sequence[Extent]) -> Iterator[Entry]:
        """What the log holds within `extents`, which ascend and do not overlap; in order.

        Offsets that the log itself does not have (compacted away, or taken by a transaction's marker) give nothing.
        """
        for message in self.messages(topic, extents):
            yield Entry(partition_of(message), offset_of(message), message.value(), message.timestamp()[1])

    def messages(self, topic: str, extents: Sequence[Extent]) -> Iterator[Message]:
        """The same as whole messages, with key and headers."""
        not_empty = (extent for extent in extents if extent.begin < extent.end)
        for partition, in_partition in groupby(not_empty, key=lambda extent: extent.partition):
            for group in neighbours(list(in_partition)):
                coming, end = deque(group), group[-1].end
                for messages in self._batches(topic, partition, group[0].begin, end):
                    yield from within(messages, coming)
                    if offset_of(messages[-1]) >= end - 1:
                        break

    def _batches(self, topic: str, partition: int, offset: int, end: int) -> Iterator[list[Message]]:
        """Every message from an offset to the partition's end as it is when reached; only those before `end` matter."""
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        last_batch_at = time.monotonic()
        try:
            while True:
                # The client waits for a batch that is not full, whatever it holds: so ask for no more than can come.
                messages = self._consumer.consume(max(1, min(BATCH, end - offset)), timeout=POLL_S)
                if messages:
                    last_batch_at = time.monotonic()
                elif time.monotonic() - last_batch_at > REQUEST_TIMEOUT_S:
                    raise SmartmeterError(
                        f"Kafka gave nothing from {topic} for {REQUEST_TIMEOUT_S:g} s; is the broker up?"
                    )
                delivered = list(takewhile(lambda message: message.error() is None, messages))
                if delivered:
                    offset = offset_of(delivered[-1]) + 1
                    yield delivered
                if len(delivered) < len(messages):
                    error = messages[len(delivered)].error()
                    if error is not None and error.code() == KafkaError._PARTITION_EOF:
                        return
                    raise SmartmeterError(f"Kafka: reading {topic}: {error}")
        finally:
            self._consumer.unassign()  # an idle reader asks for nothing


def partitions_of(consumer: Consumer, topic: str) -> list[int]:
    """Partitions of a topic; empty if there is no such topic. Raises KafkaException after REQUEST_TIMEOUT_S.

    All topics are asked for, as some brokers create a topic when they are asked for that one.
    """
    metadata = consumer.list_topics(timeout=REQUEST_TIMEOUT_S).topics.get(topic)
    return sorted(metadata.partitions) if metadata is not None else []


def extent_of(consumer: Consumer, topic: str, partition: int) -> Extent:
    """Where a partition begins and ends now. Raises KafkaException after REQUEST_TIMEOUT_S."""
    begin, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S)
    return Extent(partition, begin, end)


def within(messages: list[Message], extents: deque[Extent]) -> Iterator[Message]:
    """Those of a batch that are within `extents`; takes from these what the batch has passed.

    Found by bisection, as most of a topic is of no interest and a look at each message would take most of the time.
    """
    passed = offset_of(messages[-1]) + 1
    begin = 0
    while extents and extents[0].begin < passed:
        extent = extents[0]
        begin = bisect_left(messages, extent.begin, begin, key=offset_of)
        end = bisect_left(messages, extent.end, begin, key=offset_of)
        yield from messages[begin:end]
        if extent.end > passed:
            return
        begin = end
        extents.popleft()


def offset_of(message: Message) -> int:
    """The offset of a message that the log gave."""
    offset = message.offset()
    assert offset is not None, "a message that was delivered has an offset"
    return offset


def partition_of(message: Message) -> int:
    """The partition of a message that the log gave, or of the event that a partition ended."""
    partition = message.partition()
    assert partition is not None, "a message that was delivered has a partition"
    return partition


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers of a message that the log gave, in order."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def neighbours(extents: Sequence[Extent], seek_over: int = SEEK_OVER) -> list[list[Extent]]:
    """Extents of one partition grouped so that reading through a group's gaps is cheaper than seeking over them."""
    groups: list[list[Extent]] = []
    for extent in extents:
        if groups and extent.begin - groups[-1][-1].end < seek_over:
            groups[-1].append(extent)
        else:
            groups.append([extent])
    return groups
