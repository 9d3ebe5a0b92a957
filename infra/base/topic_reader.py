"""The messages of one topic as they come: alone, or shared with the other members of a consumer group.

Every message of the topic's committed transactions is given out, in the order of its partition; none is skipped. In a
group at least once: a position is committed only after the caller has asked for the next message, or has called
`commit`, so what was being worked on at a crash comes again. A broker that is down is waited for.
"""

import contextlib
import time
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event
from typing import Literal

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.base import kafka_client
from infra.base.backoff import Backoff, Tell
from infra.base.clock import EPOCH
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.log import REQUEST_TIMEOUT_S, extent_of, offset_of, partition_of, partitions_of

Start = Literal["beginning", "latest"] | datetime
"""A datetime is a time of the log."""

BATCH = 1_000
POLL_S = 0.2
LONGEST_PAUSE_S = 1.0
TELL_AFTER_S, TELL_EVERY_S = 3.0, 10.0
COMMIT_EVERY_S = 1.0
ALONE = "smartmeter-subscribe"
"""The group that a reader on its own names, as librdkafka wants one; it never joins it."""
SETTINGS = {
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a position that is gone is an error, never jumped over
    "queued.max.messages.kbytes": 16_384,
    "reconnect.backoff.max.ms": 1_000,
}
WAITING_CANNOT_HELP = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._FATAL,
}


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the log a message is, and the log's time for it."""

    topic: str
    partition: int
    offset: int
    produced_at_ms: int

    @property
    def produced_at(self) -> datetime:
        """The log's time as a datetime in UTC."""
        return EPOCH + timedelta(milliseconds=self.produced_at_ms)

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


class TopicReader:
    """Reads one topic; for use from one thread, which closes it.

    `start`: where to begin; in a group, where a partition has no committed position. `group` None: alone, all
    partitions, nothing committed. `until_end`: end where the topic ended at the start. `stop`: end before the next
    message when set. `on_wait` gets a sentence now and then while something that is down is waited for.

    Raises SmartmeterError where waiting cannot help: no such topic, a refused login, a position that retention has
    removed meanwhile.
    """

    def __init__(
        self,
        kafka: KafkaConnection,
        topic: str,
        *,
        start: Start = "latest",
        group: str | None = None,
        until_end: bool = False,
        stop: Event | None = None,
        on_wait: Tell = lambda _: None,
    ) -> None:
        self._kafka, self._topic, self._start, self._group = kafka, topic, start, group
        self._until_end, self._stop, self._on_wait = until_end, stop or Event(), on_wait
        self._backoff = Backoff(POLL_S, LONGEST_PAUSE_S, on_wait, TELL_AFTER_S, TELL_EVERY_S)
        self._buffer: deque[Message] = deque()
        self._ends: dict[int, int] | None = None
        """Partitions that have not ended yet, with their ends; None: read for ever."""
        self._given: tuple[int, int] | None = None
        """Partition and next offset of the message in the caller's hands."""
        self._done: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._committed_at = time.monotonic()
        self._trouble = ""
        self._is_open = False
        callbacks = {"on_commit": self._note_commit, "error_cb": self._note_error}
        self._consumer = kafka_client.consumer(kafka, group or ALONE, {**SETTINGS, **callbacks})

    @property
    def buffered(self) -> int:
        """Messages that were fetched and are not given out yet: 0 before a wait."""
        return len(self._buffer)

    def next(self) -> Message | None:
        """The next message; waits for it. The one before is done then. None at the end, or when told to stop."""
        self._count_as_done()
        while not self._stop.is_set():
            if self._buffer:
                message = self._buffer.popleft()
                self._given = (partition_of(message), offset_of(message) + 1)
                return message
            if not self._fetch():
                break
        return None

    def give_back(self) -> None:
        """The message in the caller's hands is not done: in a group it comes again."""
        self._given = None

    def wait(self, reason: BaseException | str) -> bool:
        """Pause because something that is needed is down. False when told to stop meanwhile."""
        return self._backoff.wait(reason, self._stop)

    def succeeded(self) -> None:
        """What was waited for is there again."""
        self._backoff.succeeded()

    def commit(self) -> None:
        """In a group: commit everything given out so far, the last message too; returns when the broker has it.

        Raises SmartmeterError where the broker does not take it: what was given out comes again then, here or at
        another member of the group.
        """
        self._count_as_done()
        self._commit(asynchronous=False)

    def close(self) -> None:
        """Commit what is done and leave. The message in the caller's hands is not done: it comes again."""
        self.give_back()
        try:
            self._commit(asynchronous=False)
        except SmartmeterError as error:
            self._on_wait(str(error))  # at least once still holds
        finally:
            self._consumer.close()

    def _count_as_done(self) -> None:
        if self._given is not None:
            partition, offset = self._given
            self._done[partition] = offset
            self._given = None

    def _fetch(self) -> bool:
        """Fill the buffer with what there is, waiting a moment; False at the end that was asked for."""
        if not self._is_open:
            self._open()
            return True
        if self._ends is not None and not self._ends:
            return False
        if time.monotonic() - self._committed_at > COMMIT_EVERY_S:
            with contextlib.suppress(SmartmeterError):  # tried again; until then what was read would come again
                self._commit(asynchronous=True)
        for message in self._consumer.consume(BATCH, timeout=POLL_S):
            error = message.error()
            if error is None:
                self._recovered()
                if self._is_wanted(message):
                    self._buffer.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._recovered()
                if self._ends is not None:
                    self._ends.pop(partition_of(message), None)
            else:
                self._failed(error)
        if self._trouble and not self._buffer and not self._answers():
            self.wait(f"Kafka at {self._kafka} does not answer: {self._trouble}")
        return True

    def _answers(self) -> bool:
        """Whether the trouble is over: after an outage nothing says so where no message comes."""
        try:
            self._consumer.list_topics(self._topic, timeout=POLL_S)
        except KafkaException:
            return False
        self._recovered()
        return True

    def _recovered(self) -> None:
        self._trouble = ""
        self._backoff.succeeded()

    def _is_wanted(self, message: Message) -> bool:
        """Whether the message stands before the end that was asked for."""
        if self._ends is None:
            return True
        partition, offset = partition_of(message), offset_of(message)
        end = self._ends.get(partition)
        if end is not None and offset + 1 >= end:
            del self._ends[partition]
        return end is not None and offset < end

    def _failed(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise SmartmeterError(
                f"{self._topic}: the position to read from is not in the topic any more ({error.str()}): "
                "retention has removed it; subscribe from the beginning of what is there"
            )
        if error.code() in WAITING_CANNOT_HELP or error.fatal():
            raise SmartmeterError(f"Kafka: reading {self._topic}: {error.str()}")
        self._trouble = error.str()

    def _open(self) -> None:
        """Begin to read; a broker that does not answer is waited for, one attempt a call."""
        try:
            partitions = self._partitions()
            if self._group is None:
                self._consumer.assign(self._starts(partitions))
                self._end_where_these_end(partitions)
            else:
                self._consumer.subscribe(
                    [self._topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
                )
        except KafkaException as error:
            if error.args[0].code() in WAITING_CANNOT_HELP:
                raise SmartmeterError(f"Kafka: opening {self._topic}: {error.args[0].str()}") from error
            self.wait(f"Kafka at {self._kafka} does not answer: {error.args[0].str()}")
            return
        self._is_open = True
        self._recovered()

    def _partitions(self) -> list[int]:
        partitions = partitions_of(self._consumer, self._topic)
        if not partitions:
            raise SmartmeterError(f"Kafka at {self._kafka} has no topic {self._topic}; run `smartmeter apply`")
        return partitions

    def _end_where_these_end(self, partitions: Collection[int]) -> None:
        if self._until_end:
            ends = {partition: self._end(partition) for partition in partitions}
            self._ends = {partition: end for partition, end in ends.items() if end > 0}

    def _starts(self, partitions: Collection[int]) -> list[TopicPartition]:
        """Where each partition begins, as an offset: nothing that comes from now on is missed."""
        if isinstance(self._start, datetime):
            start_ms = (self._start - EPOCH) // timedelta(milliseconds=1)
            asked = [TopicPartition(self._topic, partition, start_ms) for partition in partitions]
            starts = self._consumer.offsets_for_times(asked, timeout=REQUEST_TIMEOUT_S)
            nothing_since = [start for start in starts if start.offset < 0]
            for start in nothing_since:
                start.offset = self._end(start.partition)
            return starts
        extents = [extent_of(self._consumer, self._topic, partition) for partition in partitions]
        is_beginning = self._start == "beginning"
        return [TopicPartition(self._topic, at.partition, at.begin if is_beginning else at.end) for at in extents]

    def _end(self, partition: int) -> int:
        return extent_of(self._consumer, self._topic, partition).end

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Go on where the group has committed, else where it was told to start."""
        self._done, self._committed = {}, {}
        while not self._stop.is_set():
            try:
                committed = consumer.committed(partitions, timeout=REQUEST_TIMEOUT_S)
                fresh = [at.partition for at in committed if at.offset == OFFSET_INVALID]
                kept = [at for at in committed if at.offset != OFFSET_INVALID]
                starts = [*kept, *self._starts(fresh)]
                self._end_where_these_end([at.partition for at in starts])
                consumer.assign(starts)
                return
            except KafkaException as error:
                self.wait(f"Kafka at {self._kafka} does not answer: {error.args[0].str()}")

    def _revoked(self, consumer: Consumer, _: list[TopicPartition]) -> None:
        """The buffer is empty here, so what was given out is done, and the next member goes on after it."""
        try:
            self._commit(asynchronous=False)
        except SmartmeterError as error:
            self._on_wait(str(error))
        consumer.unassign()

    def _lost(self, consumer: Consumer, _: list[TopicPartition]) -> None:
        """Others have the partitions already; what was not committed comes again there."""
        self._done = {}
        consumer.unassign()

    def _commit(self, asynchronous: bool) -> None:
        self._committed_at = time.monotonic()
        if self._group is None or self._done == self._committed:
            return
        committing = dict(self._done)
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in committing.items()]
        try:
            if asynchronous:  # two calls, as the client's types have no third way
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise SmartmeterError(
                f"group {self._group}: positions in {self._topic} were not committed "
                f"({error.args[0].str()}); what was read since the last commit comes again"
            ) from error
        self._committed = committing

    def _note_commit(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is not None:
            self._committed = {}  # the next attempt commits everything again

    def _note_error(self, error: KafkaError) -> None:
        self._trouble = error.str()


def position_of(message: Message) -> Position:
    """Where a message stands that the log gave."""
    topic = message.topic()
    assert topic is not None, "a message that was delivered has a topic"
    return Position(topic, partition_of(message), offset_of(message), message.timestamp()[1])
