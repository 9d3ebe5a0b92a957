"""Subscribing to a topic of the test's own on the shared stack."""

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from infra.base.wait import until
from infra.stack.stack import Stack
from schemas.codec import Encoder
from schemas.manifest import Dataset, load_datasets
from schemas.merge import Merge
from schemas.reader import ContractReader
from schemas.registry import Registry
from schemas.subscription import Subscription, Unreadable, UnreadableMessage
from tests.integration.trial import reading
from tests.patience import PATIENCE_S

PARTITIONS = 2
DATASETS = load_datasets()
START_MS = 1_700_000_000_000


class Subscribed:
    """A topic of two partitions with the contract of some dataset, its schemas registered."""

    def __init__(self, settings: Settings, dataset: str) -> None:
        self.settings = settings
        self.producer = Producer({"bootstrap.servers": settings.kafka_brokers, "enable.idempotence": True})
        self.dataset: Dataset = replace(DATASETS[dataset], topic=f"subscribed-{uuid.uuid4().hex[:8]}")
        self.registry = Registry(settings.schema_registry_url, timeout_s=2, deadline_s=0.5)
        admin = AdminClient({"bootstrap.servers": settings.kafka_brokers})
        admin.create_topics([NewTopic(self.dataset.topic, PARTITIONS, 1, config={"retention.ms": "-1"})])[
            self.dataset.topic
        ].result(30)
        self.registry.set_compatibility(self.dataset.subject, "FULL_TRANSITIVE")
        self.encoders = {
            number: Encoder(record, self.registry.register(self.dataset.subject, record))
            for number, record in self.dataset.versions.items()
        }

    def send(self, values: Iterable[bytes | None], partition: int = 0, timestamp_ms: int = 0) -> None:
        for value in values:
            self.producer.produce(
                self.dataset.topic, value, key=b"building_1", partition=partition, timestamp=timestamp_ms or START_MS
            )
        assert self.producer.flush(30) == 0

    def encoded(self, *records: dict[str, Any], version: int = 0) -> list[bytes]:
        encoder = self.encoders[version or max(self.encoders)]
        return [encoder.encode(one) for one in records]

    def subscription(self, start: Any = "beginning", until_end: bool = True, **options: Any) -> Subscription:
        reader = ContractReader(self.dataset, self.registry)
        return Subscription(self.dataset, self.settings.kafka, reader, start=start, until_end=until_end, **options)

    def committed(self, group: str) -> dict[int, int]:
        consumer = Consumer({"bootstrap.servers": self.settings.kafka_brokers, "group.id": group})
        try:
            asked = [TopicPartition(self.dataset.topic, partition) for partition in range(PARTITIONS)]
            return {at.partition: at.offset for at in consumer.committed(asked, timeout=20)}
        finally:
            consumer.close()


@pytest.fixture
def readings(settings: Settings) -> Subscribed:
    return Subscribed(settings, "raw_data")


@pytest.fixture
def trend(settings: Settings) -> Subscribed:
    return Subscribed(settings, "meter_minute_trend")


def row(meter_id: int, minute: int, events: int) -> dict[str, Any]:
    start = START_MS // 60_000 * 60_000 + minute * 60_000
    fields = dict.fromkeys((field.name for field in DATASETS["meter_minute_trend"].latest.fields), 1.0)
    window = {"window_start": start, "window_end": start + 60_000}
    return {**fields, "meter_id": meter_id, "building_id": 1, "event_count": events, **window}


def test_records_of_mixed_versions_come_with_their_positions_and_types(readings: Subscribed) -> None:
    readings.send(readings.encoded(reading(1), version=1) + readings.encoded(reading(2, sequence=7)), partition=0)
    readings.send(readings.encoded(reading(3)), partition=1, timestamp_ms=START_MS + 5)
    with readings.subscription() as subscription:
        found = {(got.position.partition, got.position.offset): got for got in subscription}
    assert {at: (got.record.meter_id, got.record.sequence) for at, got in found.items()} == {
        (0, 0): (1, None),
        (0, 1): (2, 7),
        (1, 0): (3, None),
    }
    last = found[1, 0]
    assert last.record.timestamp == datetime.fromtimestamp(START_MS / 1000, UTC)
    assert (last.key, last.position.topic) == (b"building_1", readings.dataset.topic)
    assert last.position.produced_at_ms == START_MS + 5


def test_it_starts_at_a_time_of_the_log_or_at_its_end(readings: Subscribed) -> None:
    for second in range(3):
        readings.send(readings.encoded(reading(second)), timestamp_ms=START_MS + 1000 * second)
    at = datetime.fromtimestamp(START_MS / 1000 + 0.5, UTC)
    with readings.subscription(at) as subscription:
        assert [got.record.meter_id for got in subscription] == [1, 2]
    with readings.subscription("latest") as subscription:
        assert list(subscription) == []


def test_only_what_is_asked_for_is_given_out(readings: Subscribed) -> None:
    readings.send(readings.encoded(*(reading(meter % 3, START_MS + meter) for meter in range(9))))
    with readings.subscription(where={"meter_id": 2}) as subscription:
        assert [got.position.offset for got in subscription] == [2, 5, 8]
    with pytest.raises(SmartmeterError, match="raw_data has no field phase; it has meter_id"):
        readings.subscription(where={"phase": 2})


def test_what_cannot_be_read_is_raised_or_handed_over_and_nothing_else_is_lost(readings: Subscribed) -> None:
    good = readings.encoded(reading(1), reading(2), reading(3))
    bad = [b"{}", None, b"", good[0][:-3], *readings.encoded(reading(4, power_kw=1e9))]
    readings.send([good[0], *bad, *good[1:]])
    with readings.subscription() as subscription:
        assert next(subscription).record.meter_id == 1
        with pytest.raises(UnreadableMessage, match=r":0:1 cannot be read: first byte is 0x7b"):
            next(subscription)
    told: list[Unreadable] = []
    with readings.subscription(on_unreadable=told.append) as subscription:
        assert [got.record.meter_id for got in subscription] == [1, 2, 3]
    assert [one.position.offset for one in told] == [1, 2, 3, 4, 5]
    assert [one.value for one in told] == bad
    reasons = ["first byte", "tombstone", "empty value", "ends before", "power_kw is out of contract"]
    assert all(reason in one.reason for reason, one in zip(reasons, told, strict=True))


def test_only_committed_transactions_are_seen(readings: Subscribed) -> None:
    producer = Producer(
        {"bootstrap.servers": readings.settings.kafka_brokers, "transactional.id": readings.dataset.topic}
    )
    producer.init_transactions(30)
    for meter, end in ((1, producer.abort_transaction), (2, producer.commit_transaction)):
        producer.begin_transaction()
        producer.produce(readings.dataset.topic, readings.encoded(reading(meter))[0], partition=0)
        producer.flush(30)
        end(30)
    with readings.subscription() as subscription:
        assert [got.record.meter_id for got in subscription] == [2]


def test_merged_rows_are_those_that_win(trend: Subscribed) -> None:
    rows = [row(1, 0, 5), row(1, 0, 12), row(1, 0, 11), row(1, 0, 12), row(2, 0, 4), row(1, 1, 3)]
    trend.send(trend.encoded(*rows))
    with trend.subscription(merge=Merge(trend.dataset, 1000)) as subscription:
        assert [(got.position.offset, got.record.event_count) for got in subscription] == [
            (0, 5),
            (1, 12),
            (4, 4),
            (5, 3),
        ]


def test_a_group_gives_again_what_was_not_done(readings: Subscribed) -> None:
    readings.send(readings.encoded(*(reading(meter) for meter in range(6))))
    group = readings.dataset.topic
    with readings.subscription(group=group) as subscription:
        assert [next(subscription).record.meter_id for _ in range(3)] == [0, 1, 2]
    assert readings.committed(group)[0] == 2, "the third was still in the caller's hands"
    with readings.subscription(group=group) as subscription:
        assert [next(subscription).record.meter_id for _ in range(2)] == [2, 3]
        subscription.commit()
    assert readings.committed(group)[0] == 4
    with readings.subscription(group=group) as subscription:
        assert [got.record.meter_id for got in subscription] == [4, 5]
    assert readings.committed(group)[0] == 6


def test_two_members_of_a_group_share_the_partitions_and_lose_nothing(readings: Subscribed) -> None:
    count, group, stop = 400, readings.dataset.topic, threading.Event()
    seen: list[list[tuple[int, int]]] = [[], []]

    def member(number: int) -> None:
        with readings.subscription(until_end=False, group=group, stop=stop) as subscription:
            for got in subscription:
                seen[number].append((got.position.partition, got.position.offset))

    def both_read() -> bool:
        for partition in range(PARTITIONS):
            readings.send(readings.encoded(reading(1)), partition)
        return bool(seen[0] and seen[1])

    threads = [threading.Thread(target=member, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    try:
        for chunk in range(0, count, 50):
            for partition in range(PARTITIONS):
                meters = (reading(meter) for meter in range(chunk, chunk + 50))
                readings.send(readings.encoded(*meters), partition=partition)
        everything = {(partition, offset) for partition in range(PARTITIONS) for offset in range(count)}
        until(lambda: {*seen[0], *seen[1]} == everything, "every record at one of the members", PATIENCE_S)
        until(both_read, "both members to read", PATIENCE_S, every_s=0.5)
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    for member_saw in seen:
        for partition in range(PARTITIONS):
            offsets = [offset for where, offset in member_saw if where == partition]
            assert offsets == sorted(offsets), "in the order of the partition"


def test_a_registry_or_a_broker_that_is_down_is_waited_for(readings: Subscribed, stack: Stack) -> None:
    readings.send(readings.encoded(reading(1)))
    told: list[str] = []
    with readings.subscription(until_end=False, on_wait=told.append) as subscription:
        for part, is_told in (("registry", "registry"), ("kafka", "Kafka")):
            stack.kill(part)
            restart = threading.Thread(
                target=lambda part=part, is_told=is_told: (  # type: ignore[misc]
                    until(lambda: any(is_told in sentence for sentence in told), f"to be told of {part}", PATIENCE_S),
                    stack.start(part),
                    part == "kafka" and readings.send(readings.encoded(reading(2))),
                )
            )
            restart.start()
            try:
                got = next(subscription)
            finally:
                restart.join(120)
            assert got.record.meter_id == (1 if part == "registry" else 2)


def test_a_position_that_retention_has_removed_is_told(readings: Subscribed) -> None:
    readings.send(readings.encoded(*(reading(meter) for meter in range(4))))
    group = readings.dataset.topic
    with readings.subscription(group=group) as subscription:
        next(subscription), next(subscription)
    admin = AdminClient({"bootstrap.servers": readings.settings.kafka_brokers})
    [done] = admin.delete_records([TopicPartition(readings.dataset.topic, 0, 3)]).values()
    done.result(30)
    with readings.subscription(group=group) as subscription, pytest.raises(SmartmeterError, match="retention"):
        next(subscription)
    with readings.subscription() as subscription:
        assert [got.position.offset for got in subscription] == [3]


def test_a_topic_that_does_not_exist_is_told(readings: Subscribed) -> None:
    readings.dataset = replace(readings.dataset, topic="no-such-topic")
    with readings.subscription() as subscription, pytest.raises(SmartmeterError, match="no topic no-such-topic"):
        next(subscription)


COMMAND = (str(Path(sys.executable).with_name("smartmeter")), "subscribe", "raw_data", "--from", "beginning")


def environment(readings: Subscribed) -> dict[str, str]:
    return {**os.environ, "KAFKA_TOPIC": readings.dataset.topic, "SMARTMETER_DATA_DIR": str(readings.settings.data_dir)}


def test_the_command_prints_records_for_people_and_for_programs(readings: Subscribed) -> None:
    readings.send(readings.encoded(reading(1), reading(2, sequence=7)))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "--until-end", *arguments],
            env=environment(readings),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    table = run()
    assert (table.returncode, table.stderr) == (0, "")
    heading, first, second = (line.split() for line in table.stdout.splitlines())
    assert heading == ["partition", "offset", *(field.name for field in readings.dataset.latest.fields)]
    assert first == ["0", "0", "1", "1", "2023-11-14T22:13:20.000Z", "0.5", "230.0", "0", "·"]
    assert second[-1] == "7"
    objects = [json.loads(line) for line in run("--json", "--meter", "2").stdout.splitlines()]
    assert objects == [
        {
            "topic": readings.dataset.topic,
            "partition": 0,
            "offset": 1,
            "produced_at": "2023-11-14T22:13:20.000Z",
            **reading(2, sequence=7),
            "timestamp": "2023-11-14T22:13:20.000Z",
        }
    ]
    readings.send([b"{}"])
    stopped = run("--json")
    assert (stopped.returncode, stopped.stdout.count("\n")) == (1, 2)
    assert ":0:2 cannot be read: first byte" in stopped.stderr
    skipped = run("--json", "--on-error", "skip")
    assert (skipped.returncode, skipped.stdout.count("\n")) == (0, 2)
    assert ":0:2 cannot be read: first byte" in skipped.stderr


def test_the_command_ends_in_order_at_ctrl_c(readings: Subscribed, tmp_path: Path) -> None:
    readings.send(readings.encoded(reading(1)))
    output = tmp_path / "out"
    with output.open("wb") as out:
        running = subprocess.Popen([*COMMAND, "--json"], env=environment(readings), stdout=out)
    try:
        until(lambda: output.read_text().count("\n") == 1, "the record to be printed", PATIENCE_S)
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    finally:
        if running.poll() is None:
            running.kill()
