"""The readings at the end of a topic, for `producers.resume`.

Each partition is read backwards, window by window, until the whole last chunk is seen. Messages of other meters and
unreadable messages are skipped.
"""

import time
from collections.abc import Callable, Collection, Iterator, Set
from dataclasses import dataclass

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from infra.base import kafka_client
from infra.base.backoff import Tell
from infra.base.columns import I64
from infra.base.errors import SmartmeterError
from producers.settings import SinkSettings
from schemas.codec import Undecodable
from schemas.reader import ContractReader

FIRST_WINDOW, LAST_WINDOW = 2_000, 200_000
"""Messages of a partition that are read at once: few at first, then twice as many as before."""
FETCH = 5_000
TELL_AFTER = 1_000_000

Reading = tuple[int, int]
"""Meter and time in ms."""


@dataclass
class _Tail:
    """What is known of the tail of one partition, from the offset `start` on."""

    number: int
    low: int
    start: int
    end: int
    readings: list[Reading]
    """Those that may belong to the last chunk."""
    oldest_ms: int | None = None
    newest_ms: int | None = None

    def needs_more(self, complete_ms: int | None) -> bool:
        """Whether older messages could matter."""
        if self.start <= self.low:
            return False
        return self.oldest_ms is None or complete_ms is None or self.oldest_ms > complete_ms

    def add(self, window: list[Reading], margin_ms: int) -> None:
        """Add the readings of a window. Of all readings, keep those less than the margin older than the newest."""
        if not window:
            return
        times = [ms for _, ms in window]
        self.oldest_ms = min(times) if self.oldest_ms is None else min(self.oldest_ms, *times)
        self.newest_ms = max(times) if self.newest_ms is None else max(self.newest_ms, *times)
        self.readings = [reading for reading in (*self.readings, *window) if reading[1] >= self.newest_ms - margin_ms]


class TailReader:
    """Reads the ends of the partitions of one topic. Registers nothing and commits nothing."""

    def __init__(
        self, settings: SinkSettings, topic: str, contract: ContractReader, on_wait: Tell = lambda _: None
    ) -> None:
        self._settings, self._topic, self._contract, self._on_wait = settings, topic, contract, on_wait
        self._consumer = kafka_client.consumer(
            settings.kafka, "smartmeter-producer-resume", {"auto.offset.reset": "earliest"}
        )

    def read(
        self, partitions: Collection[int], keys: Set[bytes], wanted: Callable[[int], bool], margin_ms: int
    ) -> tuple[I64, I64]:
        """Meter and time of the newest readings: at least of all that are less than `margin_ms` older than the newest
        one.

        Reads messages with one of these `keys`, of meters for which `wanted` holds. Call it once. Raises
        SmartmeterError when the broker does not answer, RegistryUnavailable when the registry does not.
        """
        try:
            tails = [self._bounds(number) for number in partitions]
            complete_ms: int | None = None
            while waiting := [tail for tail in tails if tail.needs_more(complete_ms)]:
                for tail in waiting:
                    self._read_window(tail, keys, wanted, margin_ms)
                newest = [tail.newest_ms for tail in tails if tail.newest_ms is not None]
                complete_ms = max(newest) - margin_ms if newest else None
        except KafkaException as error:
            raise self._silent(error.args[0].str()) from error
        finally:
            self._consumer.close()
        readings = np.array([reading for tail in tails for reading in tail.readings], dtype=np.int64).reshape(-1, 2)
        return readings[:, 0], readings[:, 1]

    def _bounds(self, number: int) -> _Tail:
        where = TopicPartition(self._topic, number)
        low, high = self._consumer.get_watermark_offsets(where, timeout=self._settings.answer_timeout_s)
        return _Tail(number, low, high, high, [])

    def _read_window(self, tail: _Tail, keys: Set[bytes], wanted: Callable[[int], bool], margin_ms: int) -> None:
        """Read the window before the known tail of this partition."""
        known = tail.end - tail.start
        if known >= TELL_AFTER:
            self._on_wait(f"looking for the last of these meters' readings, {known} messages back in {self._topic}")
        start = max(tail.low, tail.start - min(LAST_WINDOW, max(FIRST_WINDOW, 2 * known)))
        window: list[Reading] = []
        for message in self._messages(tail.number, start, tail.start):
            if message.key() not in keys:
                continue
            try:
                values = self._contract.read(message.value(), message.timestamp()[1])
            except Undecodable:
                continue
            if wanted(values["meter_id"]):
                window.append((values["meter_id"], values["timestamp"]))
        tail.start = start
        tail.add(window, margin_ms)

    def _messages(self, number: int, start: int, end: int) -> Iterator[Message]:
        """The messages of a partition from `start` to before `end`."""
        self._consumer.assign([TopicPartition(self._topic, number, start)])
        heard, trouble, following = time.monotonic(), "no message", start
        while True:
            # No more than the window holds: the client would wait for them until the timeout.
            for message in self._consumer.consume(min(FETCH, end - following), timeout=1.0):
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    trouble = error.str()
                    continue
                offset = message.offset()
                if error is not None or offset is None or offset >= end:
                    return
                heard, following = time.monotonic(), offset + 1
                yield message
                if offset == end - 1:
                    return
            if time.monotonic() - heard > self._settings.answer_timeout_s:
                raise self._silent(trouble)

    def _silent(self, trouble: str) -> SmartmeterError:
        return SmartmeterError(
            f"Kafka at {self._settings.kafka} did not answer for {self._settings.answer_timeout_s:g} s when "
            f"asked for the end of {self._topic} ({trouble}): is it running? `smartmeter status` tells"
        )
