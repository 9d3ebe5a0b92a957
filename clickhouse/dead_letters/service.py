"""Writes one dead letter per message that ClickHouse's intake found unreadable, exactly once.

The table X_unreadable says which messages are unreadable and why. The service fetches them from the log by position, so
it does not read and decode the topic a second time. At the start it reads from the dead-letter topics which letters are
written. Batches are transactions under one id: killed anywhere, the next start goes on without a letter lost or
doubled. The service waits for what is down. It reads nothing from the registry, so an outage of the registry makes no
letter (the intake waits for it).
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

from confluent_kafka import Message

from clickhouse.ddl import consumer_group, literal, names
from clickhouse.dead_letters.inbox import read_inbox
from clickhouse.dead_letters.letter import GONE, Letter, Origin, ValueFrom, all_headers
from clickhouse.dead_letters.transactions import NotSent, Outgoing, ReplacedByAnother, Transactions
from infra.base.backoff import Backoff
from infra.base.clickhouse_client import UNANSWERED
from infra.base.events import event
from infra.base.kafka_connection import KafkaConnection
from infra.base.log import Extent, Log, headers_of, offset_of
from infra.base.query import Query
from infra.base.share_limit import ShareLimit, TooManyUnreadable
from schemas.manifest import Dataset

TRANSACTIONAL_ID = "smartmeter-dead-letters"
BATCH = 500
POLL_S, LONGEST_PAUSE_S = 1.0, 5.0
TELL_EVERY_S = 10.0

events = logging.getLogger(__name__)
TopicPartition = tuple[str, int]


@dataclass
class Service:
    """Call `open` once, then `sweep` again and again. `query` asks ClickHouse, `prefix` is the deployment's."""

    datasets: Mapping[str, Dataset]
    kafka: KafkaConnection
    query: Query
    limit: ShareLimit
    prefix: str = ""
    _written: dict[TopicPartition, set[int]] = field(default_factory=dict)
    _parts: dict[str, int | None] = field(default_factory=dict)
    """By dataset, the parts of its unreadable table at its last sweep; None where it had none."""

    def open(self) -> None:
        """Take over from whoever ran before, and learn which letters are written."""
        self._transactions = Transactions(self.kafka, f"{self.prefix}{TRANSACTIONAL_ID}")
        self._written, self._parts = {}, {}
        with Log(self.kafka) as log:
            for dataset in self.datasets.values():
                for message in read_inbox(log, dataset.dead_letter_topic):
                    if message.letter is not None:
                        self._note([message.letter.origin])

    def sweep(self) -> int:
        """Write the letters that are missing; return how many. A topic that passes the limit gets none.

        Raises TooManyUnreadable, ReplacedByAnother, or what a dependency that is down raises; call `open` again then.
        """
        parts = self._parts_now()
        written = 0
        for dataset in self.datasets.values():
            parts_of_table = parts.get(names(dataset.name).unreadable)
            if parts_of_table == self._parts.get(dataset.name):
                continue  # no part came since the last sweep
            written += self._sweep(dataset)
            self._parts[dataset.name] = parts_of_table
        return written

    def _parts_now(self) -> dict[str, int]:
        """A number per table that changes with every insert: cheaper to ask than for the rows.

        A table without a row, the last one may have expired, has no part and no number.
        """
        rows = self.query(
            "SELECT table, groupBitXor(cityHash64(name)) FROM system.parts WHERE active "
            "AND database = currentDatabase() AND endsWith(table, '_unreadable') GROUP BY table"
        )
        return dict(rows)  # type: ignore[arg-type]

    def _sweep(self, dataset: Dataset) -> int:
        unreadable: dict[int, list[int]] = {}
        table = names(dataset.name).unreadable
        for partition, offset in self.query(
            f"SELECT DISTINCT partition, offset FROM {table} WHERE topic = {literal(dataset.topic)} ORDER BY 1, 2"
        ):
            unreadable.setdefault(partition, []).append(offset)
        new = {
            partition: not_written
            for partition, offsets in unreadable.items()
            if (not_written := sorted(set(offsets) - self._written.get((dataset.topic, partition), set())))
        }
        if not new:
            return 0
        with Log(self.kafka) as log:
            begins = {extent.partition: extent.begin for extent in log.extents(dataset.topic)}
            for partition, offsets in new.items():
                self._judge(dataset, partition, unreadable[partition], offsets, begins.get(partition, 0))
            for partition, offsets in new.items():
                for first in range(0, len(offsets), BATCH):
                    batch = offsets[first : first + BATCH]
                    self._write(dataset, self._letters(dataset, partition, batch, begins.get(partition, 0), log))
        return sum(len(offsets) for offsets in new.values())

    def _judge(self, dataset: Dataset, partition: int, unreadable: list[int], new: list[int], begin: int) -> None:
        excess = self.limit.first_excess(unreadable, new, begin)
        if excess is not None:
            offset, count, messages = excess
            raise TooManyUnreadable(
                f"{dataset.topic}: {count} of the last {messages} messages of partition {partition} up to offset "
                f"{offset} cannot be read, more than {self.limit.max_share:.1%}, so they get no dead letters. "
                "Look at some with `smartmeter subscribe`, mend the producer or the contract; or go on with "
                "--max-share 1"
            )

    def _letters(self, dataset: Dataset, partition: int, offsets: list[int], begin: int, log: Log) -> list[Letter]:
        rows = self.query(
            f"SELECT offset, toUnixTimestamp64Milli(any(produced_at)), any(reason), hex(any(message)) "
            f"FROM {names(dataset.name).unreadable} WHERE topic = {literal(dataset.topic)} "
            f"AND partition = {partition} AND offset IN ({', '.join(map(str, offsets))}) "
            "GROUP BY offset ORDER BY offset"
        )
        originals = {}
        in_log = [Extent(partition, offset, offset + 1) for offset in offsets if offset >= begin]
        for message in log.messages(dataset.topic, in_log):
            originals[offset_of(message)] = message
        letters = []
        for offset, produced_at_ms, reason, kept in rows:
            origin = Origin(dataset.topic, partition, offset)
            row = (consumer_group(dataset), reason, produced_at_ms, bytes.fromhex(kept))
            letters.append(letter(origin, *row, originals.get(offset)))
        return letters

    def _write(self, dataset: Dataset, letters: Sequence[Letter]) -> None:
        self._transactions.send(
            [
                Outgoing(
                    dataset.dead_letter_topic,
                    letter.key,
                    letter.value,
                    all_headers(letter),
                    timestamp_ms=letter.produced_at_ms,
                )
                for letter in letters
            ]
        )
        self._note(letter.origin for letter in letters)

    def _note(self, origins: Iterable[Origin]) -> None:
        for origin in origins:
            self._written.setdefault((origin.topic, origin.partition), set()).add(origin.offset)


def letter(
    origin: Origin, consumer: str, reason: str, produced_at_ms: int, kept: bytes, original: Message | None
) -> Letter:
    """The letter of one message, made from the log or, if retention has removed it, from what ClickHouse kept."""
    if original is not None:
        value, at_ms = original.value() or b"", original.timestamp()[1]
        return Letter(origin, original.key(), value, headers_of(original), at_ms, consumer, reason)
    source: ValueFrom = "clickhouse" if kept else "nowhere"
    reason += GONE[source]
    # A letter should show in ClickHouse too, and the engine gives no row for an empty value.
    return Letter(origin, None, kept or reason.encode(), (), produced_at_ms, consumer, reason, source)


def run(service: Service, stop: Event, once: bool = False) -> int:
    """Sweep until `stop` is set or, with `once`, until everything is written; return how many letters were written.

    Raises TooManyUnreadable and ReplacedByAnother. Any other failure is logged and tried again.
    """
    backoff = Backoff(POLL_S, LONGEST_PAUSE_S, _tell_waiting, tell_every_s=TELL_EVERY_S)
    is_open, total = False, 0
    while not stop.is_set():
        try:
            if not is_open:
                service.open()
                is_open = True
            written = service.sweep()
        except (TooManyUnreadable, ReplacedByAnother):
            raise
        except UNANSWERED as error:
            is_open = is_open and not isinstance(error, NotSent)  # the topic says whether the batch is there
            backoff.wait(error, stop)
            continue
        backoff.succeeded()
        total += written
        if written:
            event(events, "written", letters=written, since_start=total)
        if once:
            break
        stop.wait(POLL_S)
    return total


def _tell_waiting(sentence: str) -> None:
    event(events, "waiting", logging.WARNING, reason=sentence)
