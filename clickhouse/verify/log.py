"""Kafka's side: where each partition begins and ends, and what stands at given offsets."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.errors import SmartmeterError

REQUEST_TIMEOUT_S = 15.0
POLL_S = 0.1
BATCH = 10_000
SEEK_OVER = 50_000


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
        for message in self._from(topic, extent.partition, extent.begin, extent.begin + 1):
            offset = message.offset()
            if offset is None or offset >= extent.end:
                return None
            return datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC)
        return None

    def entries(self, topic: str, partition: int, ranges: Sequence[tuple[int, int]]) -> Iterator[Entry]:
        """What the log holds within `ranges`, each [first, last), ascending and apart; in order.

        Offsets that the log itself does not have (compacted away, or taken by a transaction's marker) give nothing.
        """
        for message in self.messages(topic, partition, ranges):
            yield Entry(partition, offset_of(message), message.value(), message.timestamp()[1])

    def messages(self, topic: str, partition: int, ranges: Sequence[tuple[int, int]]) -> Iterator[Message]:
        """The same as whole messages, with key and headers."""
        for near in neighbours(ranges):
            end = near[-1][1]
            coming = iter(near)
            first, last = next(coming)
            for message in self._from(topic, partition, first, end):
                offset = offset_of(message)
                while offset >= last and last < end:
                    first, last = next(coming)
                if first <= offset < last:
                    yield message
                if offset >= end - 1:
                    break

    def _from(self, topic: str, partition: int, offset: int, last: int) -> Iterator[Message]:
        """Every message from an offset to the partition's end as it is when reached; `last`: how far is of interest."""
        self._consumer.assign([TopicPartition(topic, partition, offset)])
        heard = time.monotonic()
        while True:
            # A batch is waited for as long as it is not full, whatever it holds: so ask for no more than can come.
            messages = self._consumer.consume(max(1, min(BATCH, last - offset)), timeout=POLL_S)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > REQUEST_TIMEOUT_S:
                raise SmartmeterError(f"Kafka gave nothing from {topic} for {REQUEST_TIMEOUT_S:g} s; is the broker up?")
            for message in messages:
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    return
                if error is not None:
                    raise SmartmeterError(f"Kafka: reading {topic}: {error}")
                offset = (message.offset() or 0) + 1
                yield message


def offset_of(message: Message) -> int:
    """The offset of a message that the log gave."""
    offset = message.offset()
    assert offset is not None, "a message that was delivered has an offset"
    return offset


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """The headers of a message that the log gave, in order."""
    return cast("list[tuple[str, bytes | None]]", message.headers() or [])


def neighbours(ranges: Sequence[tuple[int, int]], seek_over: int = SEEK_OVER) -> list[list[tuple[int, int]]]:
    """Ranges grouped so that reading through the gaps of a group is cheaper than seeking over them."""
    groups: list[list[tuple[int, int]]] = []
    for first, last in ranges:
        if groups and first - groups[-1][-1][1] < seek_over:
            groups[-1].append((first, last))
        else:
            groups.append([(first, last)])
    return groups
