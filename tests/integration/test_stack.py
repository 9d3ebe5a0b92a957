"""The embedded stack with its real parts: it keeps what it acknowledged, for this machine alone, and stops."""

import json
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from infra.base.parts import has_ended
from infra.base.settings import Settings, load_settings
from infra.base.wait import until
from infra.cli import cli
from infra.stack.stack import DEFAULT_PORTS, PARTS, Stack
from tests.patience import PATIENCE_S

RECORD = {"type": "record", "name": "Trial", "fields": [{"name": "a", "type": "int"}]}


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for the tests that stop it, in a folder whose name every part must spell right."""
    stack = Stack(tmp_path_factory.mktemp("zähler stack") / "data")
    stack.up(dict.fromkeys(DEFAULT_PORTS, 0))
    yield stack
    stack.down()


@pytest.fixture
def own_settings(own_stack: Stack) -> Settings:
    return load_settings(own_stack.data_dir)


def new_topic(brokers: str, partitions: int = 1) -> str:
    topic = f"trial-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return topic


def produce(brokers: str, topic: str, values: list[bytes], timestamp_ms: int = 0) -> None:
    """Send the values; fails unless the broker acknowledged each."""
    refused: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, message: Message) -> None:  # noqa: ARG001 - confluent_kafka's signature
        if error is not None:
            refused.append(error)

    producer = Producer({"bootstrap.servers": brokers, "acks": "all", "linger.ms": 0})
    for value in values:
        producer.produce(topic, value, timestamp=timestamp_ms, on_delivery=on_delivery)
    assert producer.flush(30) == 0
    assert refused == []


def consume(brokers: str, topic: str, count: int) -> list[bytes | None]:
    """The first `count` values of partition 0."""
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes | None] = []

    def enough() -> bool:
        values.extend(message.value() for message in consumer.consume(count, 0.5) if not message.error())
        return len(values) >= count

    try:
        until(enough, f"{count} messages of {topic}", deadline_s=PATIENCE_S)
        return values
    finally:
        consumer.close()


def registry_of(settings: Settings) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": settings.schema_registry_url, "timeout": 20})


def test_readings_of_any_age_go_in_and_come_out(stack: Stack, settings: Settings) -> None:
    topic = new_topic(settings.kafka_brokers)
    values = [f"value {i}".encode() for i in range(100)]
    year_2006_ms, year_2100_ms = 1_166_289_840_000, 4_102_444_800_000

    produce(settings.kafka_brokers, topic, values[:50], year_2006_ms)
    produce(settings.kafka_brokers, topic, values[50:], year_2100_ms)

    assert consume(settings.kafka_brokers, topic, 100) == values
    assert [part.state for part in stack.status()] == ["running"] * 3


def test_a_topic_that_nobody_made_is_not_made_by_writing(settings: Settings) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_brokers, "message.timeout.ms": 3000})
    producer.produce("never-made", b"lost")
    producer.flush(30)

    assert "never-made" not in AdminClient({"bootstrap.servers": settings.kafka_brokers}).list_topics(timeout=20).topics


def test_a_schema_is_registered_and_an_incompatible_one_refused(settings: Settings) -> None:
    registry = registry_of(settings)
    subject = f"trial-{uuid.uuid4().hex[:8]}-value"

    schema_id = registry.register_schema(subject, Schema(json.dumps(RECORD), "AVRO"))

    assert json.loads(registry.get_schema(schema_id).schema_str or "") == RECORD
    required = {**RECORD, "fields": [*RECORD["fields"], {"name": "b", "type": "int"}]}
    with pytest.raises(SchemaRegistryError) as caught:
        registry.register_schema(subject, Schema(json.dumps(required), "AVRO"))
    assert caught.value.http_status_code == 409


def test_only_this_machine_can_reach_it(stack: Stack) -> None:
    listeners = set()
    for part in PARTS:
        process = stack.process(part)
        assert process is not None
        for member in [process, *process.children(recursive=True)]:
            for connection in member.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    listeners.add((connection.laddr.ip, connection.laddr.port))

    assert {host for host, _ in listeners} == {"127.0.0.1"}
    ports = {port for _, port in listeners}
    assert ports >= set(stack.ports().values())
    assert len(ports - set(stack.ports().values())) == 1, "the registry's own, behind its gate"


def test_what_was_acknowledged_survives_kill_9(own_stack: Stack, own_settings: Settings) -> None:
    brokers, registry = own_settings.kafka_brokers, registry_of(own_settings)
    topic = new_topic(brokers)
    values = [f"value {i}".encode() for i in range(1000)]
    produce(brokers, topic, values)
    committed = Consumer({"bootstrap.servers": brokers, "group.id": "keeper"})
    committed.commit(offsets=[TopicPartition(topic, 0, 400)], asynchronous=False)
    committed.close()
    schemas = {f"trial-{i}-value": Schema(json.dumps({**RECORD, "name": f"Trial{i}"}), "AVRO") for i in range(40)}
    ids = {subject: registry.register_schema(subject, schema) for subject, schema in schemas.items()}

    own_stack.kill("kafka")
    own_stack.kill("registry")
    assert own_stack.up() == ["kafka", "registry"]

    assert consume(brokers, topic, 1000) == values
    [position] = Consumer({"bootstrap.servers": brokers, "group.id": "keeper"}).committed(
        [TopicPartition(topic, 0)], 30
    )
    assert position.offset == 400
    registry = registry_of(own_settings)
    assert {subject: registry.get_latest_version(subject).schema_id for subject in schemas} == ids


def test_data_survive_down_and_other_ports(own_stack: Stack, own_settings: Settings) -> None:
    topic = new_topic(own_settings.kafka_brokers)
    produce(own_settings.kafka_brokers, topic, [b"kept"])
    schema_id = registry_of(own_settings).register_schema("kept-value", Schema(json.dumps(RECORD), "AVRO"))
    before = own_stack.ports()

    own_stack.down()
    own_stack.up(dict.fromkeys(DEFAULT_PORTS, 0))

    assert not set(own_stack.ports().values()) & set(before.values())
    moved = load_settings(own_stack.data_dir)
    assert consume(moved.kafka_brokers, topic, 1) == [b"kept"]
    assert registry_of(moved).get_latest_version("kept-value").schema_id == schema_id


def smartmeter(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_commands_say_what_happens(own_stack: Stack) -> None:
    folder = own_stack.data_dir

    code, out, _ = smartmeter("status", "--data-dir", folder, "--json")
    assert code == 0
    assert [(part["part"], part["state"]) for part in json.loads(out)["parts"]] == [(part, "running") for part in PARTS]
    assert all(part["resident_bytes"] > 2**20 and part["uptime_s"] > 0 for part in json.loads(out)["parts"])
    assert json.loads(out)["silent"] == {"clickhouse": "ClickHouse has no tables yet: run `smartmeter apply`"}

    code, _, err = smartmeter("up", "--data-dir", folder)
    assert code == 1
    assert "is already running: see `smartmeter status`" in err


def test_a_taken_port_is_an_error_before_anything_starts(own_stack: Stack, tmp_path: Path) -> None:
    port = own_stack.ports()["kafka"]

    code, _, err = smartmeter(
        "up", "--data-dir", tmp_path, "--kafka-port", str(port), "--kafka-controller-port", "0",
        "--registry-port", "0", "--registry-management-port", "0", "--clickhouse-port", "0",
    )  # fmt: skip

    assert code == 1
    assert f"port {port} for kafka is taken by java (pid " in err
    assert "--kafka-port" in err
    assert all(part.state == "stopped" for part in Stack(tmp_path).status())


def test_down_leaves_no_process(own_stack: Stack) -> None:
    family = []
    for part in PARTS:
        process = own_stack.process(part)
        assert process is not None
        family += [process, *process.children(recursive=True)]

    code, _, err = smartmeter("down", "--data-dir", own_stack.data_dir)

    assert (code, err) == (0, "stopped clickhouse, registry, kafka\n")
    assert [process for process in family if not has_ended(process)] == []
    assert smartmeter("down", "--data-dir", own_stack.data_dir)[0] == 0
    assert smartmeter("status", "--data-dir", own_stack.data_dir)[0] == 1


def test_nobody_else_reads_what_the_parts_write(stack: Stack) -> None:
    """Kafka's log, the registry's database, ClickHouse's tables with their passwords, in a folder of the user's own."""
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
    for pattern in ("kafka/**/0*.log", "registry/*.db", "clickhouse/**/*.xml"):
        paths = list(stack.data_dir.glob(pattern))
        assert paths, pattern
        assert [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
