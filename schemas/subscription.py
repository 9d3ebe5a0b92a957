"""Subscribing to a dataset: typed records with their positions, from any topic with a contract.

    with subscribe("anomaly_prediction_results", load_settings(), group="alerts", merge=True) as predictions:
        for got in predictions:
            print(got.position, got.record.meter_id, got.record.probability)

What is promised. Every message of the topic's committed transactions is given out in the order of its partition, or
told as unreadable; none is skipped. In a group at least once: a position is committed only after the caller has asked
for the next record, or has called `commit`, so what was being worked on at a crash comes again. A broker or a registry
that is down is waited for, and no message is blamed for it.
"""

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from threading import Event
from types import TracebackType
from typing import Any, Literal

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, Message, TopicPartition

from infra.base.clock import EPOCH
from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from schemas.avro import Record
from schemas.codec import Undecodable, Values, to_millis, with_datetimes
from schemas.manifest import Dataset, load_datasets
from schemas.merge import Merge
from schemas.models import model_of
from schemas.reader import ContractReader
from schemas.registry import Registry, RegistryUnavailable

Start = Literal["beginning", "latest"] | datetime
OnWait = Callable[[str], None]

BATCH = 1_000
POLL_S = 0.2
ANSWER_TIMEOUT_S = 10.0
TELL_AFTER_S, TELL_EVERY_S = 3.0, 10.0
COMMIT_EVERY_S = 1.0
REGISTRY_DEADLINE_S = 2.0
MERGE_KEYS = 1_000_000

CLIENT_LOG = logging.getLogger("schemas.kafka")
CLIENT_LOG.addHandler(logging.NullHandler())  # what matters of it is told by `on_wait`

NOT_AGAIN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError._FATAL,
}
"""What waiting does not mend."""


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


@dataclass(frozen=True)
class Received:
    """One record. `values` are the log's numbers (instants are ints in ms), with every field of the newest version."""

    position: Position
    key: bytes | None
    values: Values
    contract: Record

    @cached_property
    def record(self) -> Any:
        """The record as its pydantic model (`schemas.models.model_of`): frozen, instants as datetimes in UTC."""
        return model_of(self.contract)(**with_datetimes(self.values, self.contract))


@dataclass(frozen=True)
class Unreadable:
    """A message that cannot be read by its own fault: it belongs with the dead letters."""

    position: Position
    key: bytes | None
    value: bytes | None
    reason: str


class UnreadableMessage(SmartmeterError):  # noqa: N818
    """Raised where nobody takes unreadable messages; `unreadable` is the message. Asked for the next, it goes on."""

    def __init__(self, unreadable: Unreadable) -> None:
        super().__init__(
            f"{unreadable.position} cannot be read: {unreadable.reason}; pass on_unreadable to take such messages"
        )
        self.unreadable = unreadable


def subscribe(
    dataset: str,
    settings: Settings,
    *,
    start: Start = "latest",
    group: str | None = None,
    merge: bool = False,
    where: Mapping[str, Any] | None = None,
    until_end: bool = False,
    stop: Event | None = None,
    on_unreadable: Callable[[Unreadable], None] | None = None,
    on_wait: OnWait = lambda _: None,
) -> "Subscription":
    """Subscribe to a dataset by name; see Subscription. Raises SmartmeterError where no dataset has that name."""
    datasets = load_datasets(raw_topic=settings.kafka_topic)
    if dataset not in datasets:
        raise SmartmeterError(f"no dataset is named {dataset}; there are {', '.join(datasets)}")
    registry = Registry(settings.schema_registry_url, deadline_s=REGISTRY_DEADLINE_S)
    return Subscription(
        datasets[dataset],
        settings.kafka_brokers,
        ContractReader(datasets[dataset], registry),
        start=start,
        group=group,
        merge=Merge(datasets[dataset], MERGE_KEYS) if merge else None,
        where=where,
        until_end=until_end,
        stop=stop,
        on_unreadable=on_unreadable,
        on_wait=on_wait,
    )


class Subscription(Iterator[Received]):
    """An iterator of records; use it as a context manager, from one thread.

    `start`: where to begin; in a group, where a partition has no committed position. `group` None: on its own, all
    partitions, nothing committed. `merge`: give out only rows that replace what was given out before (law 3).
    `where`: only records whose fields equal these. `until_end`: end where the topic ended at the start. `stop`: end
    before the next record when set. `on_unreadable` takes what cannot be read; without it UnreadableMessage is raised.
    `on_wait` is told while something that is down is waited for.

    Raises SmartmeterError where waiting mends nothing: no such topic, a refused login, a position that retention has
    removed meanwhile.
    """

    def __init__(
        self,
        dataset: Dataset,
        brokers: str,
        reader: ContractReader,
        *,
        start: Start = "latest",
        group: str | None = None,
        merge: Merge | None = None,
        where: Mapping[str, Any] | None = None,
        until_end: bool = False,
        stop: Event | None = None,
        on_unreadable: Callable[[Unreadable], None] | None = None,
        on_wait: OnWait = lambda _: None,
    ) -> None:
        where = where or {}
        unknown = where.keys() - {field.name for field in dataset.latest.fields}
        if unknown:
            fields = ", ".join(field.name for field in dataset.latest.fields)
            raise SmartmeterError(f"{dataset.name} has no field {min(unknown)}; it has {fields}")
        self._dataset, self._brokers, self._reader, self._merge = dataset, brokers, reader, merge
        self._start, self._group, self._where, self._until_end = start, group, tuple(where.items()), until_end
        self._stop, self._on_unreadable, self._on_wait = stop or Event(), on_unreadable, on_wait
        self._buffer: deque[Message] = deque()
        self._ends: dict[int, int] | None = None
        self._taken: tuple[int, int] | None = None
        self._done: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        self._committed_at = time.monotonic()
        self._trouble = ""
        self._waiting_since: float | None = None
        self._told_at = 0.0
        self._open = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": group or "smartmeter-subscribe",  # a client must name one; on its own it is never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",  # a position that is gone is told, never jumped over
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 5,  # by default it rests for a second whenever it is ahead
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 16_384,
                "reconnect.backoff.max.ms": 1_000,
                "on_commit": self._note_commit,
                "error_cb": self._note_error,
                "logger": CLIENT_LOG,
            }
        )

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __next__(self) -> Received:
        """The next record; waits for it. StopIteration at the end that was asked for."""
        self._count_as_done()
        while not self._stop.is_set():
            if not self._buffer:
                if not self._fetch():
                    break
                continue
            message = self._buffer.popleft()
            found = self._judged(message)
            if found is not None:
                return found
            self._count_as_done()
        raise StopIteration

    @property
    def buffered(self) -> int:
        """Messages that were fetched and are not given out yet: 0 before a wait."""
        return len(self._buffer)

    def commit(self) -> None:
        """In a group: commit everything given out so far, the last record too; returns when the broker has it.

        Raises SmartmeterError where the broker does not take it: what was given out comes again then, here or at
        another member of the group.
        """
        self._count_as_done()
        self._commit(asynchronous=False)

    def close(self) -> None:
        """Commit what is done and leave. The record in the caller's hands is not done: it comes again."""
        self._taken = None
        try:
            self._commit(asynchronous=False)
        except SmartmeterError as error:
            self._on_wait(str(error))  # at least once still holds
        finally:
            self._consumer.close()

    def _judged(self, message: Message) -> Received | None:
        """The record of a message; None where it cannot be read and somebody took it, or is not asked for."""
        position = _position(message)
        self._taken = (position.partition, position.offset + 1)
        value = message.value()
        try:
            values = self._read(value, position)
        except Undecodable as error:
            self._report(Unreadable(position, message.key(), value, str(error)))
            return None
        if values is None:  # told to stop while waiting: the message is not done
            self._taken = None
            return None
        if self._merge is not None and not self._merge.changes(values, position.offset, value or b""):
            return None
        if any(values[name] != wanted for name, wanted in self._where):
            return None
        return Received(position, message.key(), values, self._reader.record)

    def _read(self, value: bytes | None, position: Position) -> Values | None:
        while True:
            try:
                values = self._reader.read(value, position.produced_at_ms)
            except RegistryUnavailable as error:
                self._wait(str(error))
                if self._stop.is_set():
                    return None
                continue
            self._waiting_since = None
            return values

    def _report(self, unreadable: Unreadable) -> None:
        if self._on_unreadable is None:
            raise UnreadableMessage(unreadable)
        self._on_unreadable(unreadable)

    def _count_as_done(self) -> None:
        if self._taken is not None:
            partition, offset = self._taken
            self._done[partition] = offset
            self._taken = None

    def _fetch(self) -> bool:
        """Fill the buffer with what there is, waiting a moment; False at the end that was asked for."""
        if not self._open:
            self._open_when_answered()
            return True
        if self._ends is not None and not self._ends:
            return False
        if time.monotonic() - self._committed_at > COMMIT_EVERY_S:
            with contextlib.suppress(SmartmeterError):  # tried again; until then what was read would come again
                self._commit(asynchronous=True)
        for message in self._consumer.consume(BATCH, timeout=POLL_S):
            error = message.error()
            if error is None:
                self._trouble, self._waiting_since = "", None
                if self._wanted(message):
                    self._buffer.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._trouble, self._waiting_since = "", None
                if self._ends is not None:
                    self._ends.pop(message.partition() or 0, None)
            else:
                self._failed(error)
        if self._trouble and not self._buffer and not self._answers():
            self._wait(f"Kafka at {self._brokers} does not answer: {self._trouble}")
        return True

    def _answers(self) -> bool:
        """Whether the trouble is over: after an outage nothing tells so where no message comes."""
        try:
            self._consumer.list_topics(self._dataset.topic, timeout=POLL_S)
        except KafkaException:
            return False
        self._trouble, self._waiting_since = "", None
        return True

    def _wanted(self, message: Message) -> bool:
        """Whether the message stands before the end that was asked for."""
        if self._ends is None:
            return True
        position = _position(message)
        end = self._ends.get(position.partition)
        if end is not None and position.offset + 1 >= end:
            del self._ends[position.partition]
        return end is not None and position.offset < end

    def _failed(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:
            raise SmartmeterError(
                f"{self._dataset.topic}: the position to read from is not in the topic any more ({error.str()}): "
                "retention has removed it; subscribe from the beginning of what is there"
            )
        if error.code() in NOT_AGAIN or error.fatal():
            raise SmartmeterError(f"Kafka: reading {self._dataset.topic}: {error.str()}")
        self._trouble = error.str()

    def _open_when_answered(self) -> None:
        """Begin to read; a broker that does not answer is waited for, one attempt a call."""
        try:
            partitions = self._partitions()
            if self._group is None:
                self._consumer.assign(self._starts(partitions))
                self._read_until_end_of(partitions)
            else:
                self._consumer.subscribe(
                    [self._dataset.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
                )
        except KafkaException as error:
            if error.args[0].code() in NOT_AGAIN:
                raise SmartmeterError(f"Kafka: opening {self._dataset.topic}: {error.args[0].str()}") from error
            self._wait(f"Kafka at {self._brokers} does not answer: {error.args[0].str()}")
            return
        self._open, self._trouble, self._waiting_since = True, "", None

    def _read_until_end_of(self, partitions: Collection[int]) -> None:
        if self._until_end:
            self._ends = {partition: end for partition in partitions if (end := self._end(partition)) > 0}

    def _partitions(self) -> list[int]:
        topic = self._consumer.list_topics(timeout=ANSWER_TIMEOUT_S).topics.get(self._dataset.topic)
        if topic is None:
            raise SmartmeterError(
                f"Kafka at {self._brokers} has no topic {self._dataset.topic}; run `smartmeter apply`"
            )
        return sorted(topic.partitions)

    def _starts(self, partitions: Collection[int]) -> list[TopicPartition]:
        """Where each partition begins, as an offset: nothing that comes from now on is missed."""
        topic = self._dataset.topic
        if isinstance(self._start, datetime):
            asked = [TopicPartition(topic, partition, to_millis(self._start)) for partition in partitions]
            found = self._consumer.offsets_for_times(asked, timeout=ANSWER_TIMEOUT_S)
            return [
                where if where.offset >= 0 else TopicPartition(topic, where.partition, self._end(where.partition))
                for where in found
            ]
        side = 0 if self._start == "beginning" else 1
        return [TopicPartition(topic, partition, self._bounds(partition)[side]) for partition in partitions]

    def _bounds(self, partition: int) -> tuple[int, int]:
        where = TopicPartition(self._dataset.topic, partition)
        low, high = self._consumer.get_watermark_offsets(where, timeout=ANSWER_TIMEOUT_S)
        return low, high

    def _end(self, partition: int) -> int:
        return self._bounds(partition)[1]

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Go on where the group has committed, else where it was told to start."""
        self._done, self._committed = {}, {}
        while not self._stop.is_set():
            try:
                known = consumer.committed(partitions, timeout=ANSWER_TIMEOUT_S)
                fresh = [where.partition for where in known if where.offset == OFFSET_INVALID]
                kept = [where for where in known if where.offset != OFFSET_INVALID]
                starts = [*kept, *self._starts(fresh)]
                self._read_until_end_of([where.partition for where in starts])
                consumer.assign(starts)
                return
            except KafkaException as error:
                self._wait(f"Kafka at {self._brokers} does not answer: {error.args[0].str()}")

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
        offsets = [TopicPartition(self._dataset.topic, partition, offset) for partition, offset in self._done.items()]
        committing = dict(self._done)
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            raise SmartmeterError(
                f"group {self._group}: positions in {self._dataset.topic} were not committed "
                f"({error.args[0].str()}); what was read since the last commit comes again"
            ) from error
        self._committed = committing

    def _note_commit(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        if error is not None:
            self._committed = {}  # the next attempt says it again

    def _wait(self, sentence: str) -> None:
        """Pause before the next attempt, and tell now and then; ends at once when told to stop."""
        now = time.monotonic()
        self._waiting_since = self._waiting_since or now
        if now - self._waiting_since > TELL_AFTER_S and now - self._told_at > TELL_EVERY_S:
            self._told_at = now
            self._on_wait(f"waiting for {now - self._waiting_since:.0f} s: {sentence}")
        self._stop.wait(POLL_S)

    def _note_error(self, error: KafkaError) -> None:
        self._trouble = error.str()


def _position(message: Message) -> Position:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None and partition is not None and offset is not None, "a delivered message has a position"
    return Position(topic, partition, offset, message.timestamp()[1])
