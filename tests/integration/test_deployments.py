"""Two deployments of different prefixes and databases on one broker, registry and ClickHouse do not meet."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from clickhouse.dead_letters.run import lazy_query
from clickhouse.dead_letters.service import Service
from infra.base.clickhouse_client import connect
from infra.base.errors import SmartmeterError
from infra.base.settings import Settings, load_settings
from infra.base.share_limit import ShareLimit
from infra.base.wait import until
from infra.deploy.apply import apply_plan
from infra.deploy.plan import Plan, make_plan
from infra.deploy.services import Services
from infra.stack.stack import Stack
from schemas.codec import Encoder
from schemas.manifest import Dataset, load_deployed
from schemas.registry import Registry
from schemas.subscription import subscribe
from tests.integration.trial import DEADLINE_S, reading

NO_LIMIT = ShareLimit(max_share=1.0)
LAYOUT = """\
name: {name}
description: One of two that share a broker, a registry and an engine.
prefix: {prefix}
kafka:
  partitions: {{default: {partitions}, datasets: {{raw_data: 2}}}}
  replication_factor: 1
clickhouse: {{database: {database}}}
"""


@dataclass
class World:
    """One deployment on the shared stack."""

    file: Path
    settings: Settings
    datasets: dict[str, Dataset]

    @property
    def prefix(self) -> str:
        return self.settings.deployment.prefix

    @property
    def raw(self) -> Dataset:
        return self.datasets["raw_data"]

    def plan(self) -> Plan:
        services = Services(self.settings)
        return make_plan(self.datasets, services.connection, services.read(self.datasets))

    def apply(self) -> None:
        apply_plan(self.plan(), self.datasets, Services(self.settings), lambda _: None, lambda _: None)

    def send(self, meters: range, *more: bytes) -> None:
        """Readings of these meters, then messages as they are."""
        schema_id = Registry(self.settings.schema_registry_url).id_of(self.raw.subject, self.raw.latest)
        encoder = Encoder(self.raw.latest, schema_id)
        producer = Producer({"bootstrap.servers": self.settings.kafka_brokers})
        for value in (*(encoder.encode(reading(meter)) for meter in meters), *more):
            producer.produce(self.raw.topic, value, b"building_1")
        assert producer.flush(30) == 0

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in connect(self.settings, reader=True).query(sql).result_rows]

    def await_rows(self, sql: str, expected: list[tuple[Any, ...]]) -> None:
        until(lambda: self.rows(sql) == expected, f"{expected} from {sql}", DEADLINE_S, every_s=0.2)

    def service(self) -> Service:
        return Service(self.datasets, self.settings.kafka, lazy_query(self.settings), NO_LIMIT, self.prefix)

    def stop_reading(self) -> None:
        """Give back the engine's threads and connections."""
        connect(self.settings, database="default").command(
            f"DROP DATABASE IF EXISTS {self.settings.deployment.clickhouse.database}"
        )


@pytest.fixture(scope="module")
def worlds(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    """Both applied. One database has a name that stands before dots in the SQL, too."""
    folder, mark = tmp_path_factory.mktemp("deployments"), uuid.uuid4().hex[:6]
    worlds = []
    for colour, partitions, database in (("blue", 1, "smartmeter"), ("green", 3, f"green_{mark}")):
        name = f"{colour}-{mark}"
        file = folder / f"{name}.yaml"
        file.write_text(LAYOUT.format(name=name, prefix=f"{name}.", partitions=partitions, database=database))
        settings = load_settings(stack.data_dir, str(file))
        worlds.append(World(file, settings, load_deployed(settings)))
    try:
        for world in worlds:
            world.apply()
        yield worlds[0], worlds[1]
    finally:
        for world in worlds:
            world.stop_reading()


def admin(world: World) -> AdminClient:
    return AdminClient({"bootstrap.servers": world.settings.kafka_brokers})


def test_both_are_as_declared_beside_each_other_and_neither_sees_the_other(worlds: tuple[World, World]) -> None:
    topics = admin(worlds[0]).list_topics(timeout=10).topics
    for world in worlds:
        plan = world.plan()
        assert (plan.changes, plan.unmanaged) == ((), ())
        for dataset in world.datasets.values():
            assert len(topics[dataset.topic].partitions) == dataset.partitions
    blue, green = worlds
    assert (len(topics[blue.raw.topic].partitions), len(topics[green.raw.topic].partitions)) == (2, 2)
    assert (blue.datasets["late_readings"].partitions, green.datasets["late_readings"].partitions) == (1, 3)


def test_readings_dead_letters_and_groups_stay_apart(worlds: tuple[World, World]) -> None:
    blue, green = worlds
    blue.send(range(10), b"no Avro")
    green.send(range(100, 103))
    blue.await_rows("SELECT count(), max(meter_id) FROM raw_data_latest", [(10, 9)])
    green.await_rows("SELECT count(), max(meter_id) FROM raw_data_latest", [(3, 102)])
    blue.await_rows("SELECT count() FROM raw_data_unreadable", [(1,)])

    services = [world.service() for world in worlds]
    for service in services:
        service.open()  # with one transactional id between them the second would end the first
    assert [service.sweep() for service in services] == [1, 0]
    blue.await_rows("SELECT topic FROM dead_letters_latest", [(blue.raw.topic,)])
    assert green.rows("SELECT count() FROM dead_letters") == [(0,)]

    groups = consumer_groups(blue)
    for world in worlds:
        own = {group for group in groups if group.startswith(world.prefix)}
        assert own == {f"{world.prefix}clickhouse-{name}" for name in (*world.datasets, "dead_letters")}


def test_a_subscribers_group_is_the_deployments(worlds: tuple[World, World]) -> None:
    """The same group name in both: each reads all of its readings, and commits where only it looks."""
    blue, green = worlds
    blue.send(range(5))
    green.send(range(5))
    for world in worlds:
        beginning = {"start": "beginning", "until_end": True, "on_unreadable": lambda _: None}
        with subscribe("raw_data", world.settings, group="alerts", **beginning) as readings:
            assert len(list(readings)) >= 5
        offsets = committed(world, f"{world.prefix}alerts")
        assert offsets
    groups = consumer_groups(blue)
    assert "alerts" not in groups


def consumer_groups(world: World) -> set[str]:
    """Every group of the cluster."""
    client = admin(world)  # held until the answer is there: without its client a request has none
    return {group.group_id for group in client.list_consumer_groups().result(DEADLINE_S).valid}


def committed(world: World, group: str) -> int:
    """Messages of the raw topic that a group has committed."""
    consumer = Consumer({"bootstrap.servers": world.settings.kafka_brokers, "group.id": group})
    try:
        asked = [TopicPartition(world.raw.topic, partition) for partition in range(world.raw.partitions)]
        return sum(max(at.offset, 0) for at in consumer.committed(asked, timeout=10))
    finally:
        consumer.close()


def smartmeter(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ["--data-dir", str(world.settings.stack_dir), "--deployment", str(world.file)]
    command = [sys.executable, "-c", "from infra.cli import main; main()", *arguments, *where]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)


def test_the_commands_work_on_the_deployment_that_they_are_given(worlds: tuple[World, World]) -> None:
    """Aggregates recomputed by Spark into the prefixed topics, and verified there; the other stays as it is."""
    blue, green = worlds
    before = green.rows("SELECT count() FROM meter_stats_30s")
    replayed = smartmeter(blue, "replay")
    assert replayed.returncode == 0, replayed.stderr
    assert f"{blue.prefix}meter_stats_30s" in replayed.stdout
    letters = smartmeter(blue, "dead-letters", "run", "--once", "--max-share", "1")
    assert letters.returncode == 0, letters.stderr
    verified = smartmeter(blue, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert (blue.settings.data_dir / "verify" / "last.json").exists()
    assert not (blue.settings.stack_dir / "verify" / "last.json").exists()
    assert blue.rows("SELECT count() FROM meter_stats_30s_latest") == [(10,)]
    assert green.rows("SELECT count() FROM meter_stats_30s") == before


def test_a_deployment_without_its_database_says_what_to_do(worlds: tuple[World, World], tmp_path: Path) -> None:
    file = tmp_path / "red.yaml"
    file.write_text(LAYOUT.format(name="red", prefix="red.", partitions=1, database="red_is_not_there"))
    settings = load_settings(worlds[0].settings.stack_dir, str(file))
    with pytest.raises(SmartmeterError, match="no database red_is_not_there: run `smartmeter apply`"):
        connect(settings)
