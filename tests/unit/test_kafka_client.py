"""One place knows how Kafka is reached, one makes the clients, and librdkafka takes their settings."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickhouse.dead_letters.transactions import TRANSACTION_TIMEOUT_MS
from infra.base import kafka_client
from infra.base.kafka_connection import KafkaConnection
from tests.unit.test_tree import REPOSITORY, SOURCES

NOBODY = KafkaConnection(brokers="127.0.0.1:1")
CLIENTS = {"Consumer", "Producer", "AdminClient", "SerializingProducer", "DeserializingConsumer"}
BASE = REPOSITORY / "infra" / "base"


def strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "id", getattr(node.func, "attr", ""))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_one_place_knows_how_kafka_is_reached_and_one_makes_clients(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path != BASE / "kafka_connection.py":
        addresses = [text for text in strings(tree) if text in ("bootstrap.servers", "kafka.bootstrap.servers")]
        assert (addresses, "kafka_broker_list" in strings(tree)) == ([], False)
    if path != BASE / "kafka_client.py":
        assert CLIENTS.isdisjoint(calls(tree))


def test_librdkafka_takes_the_settings() -> None:
    """It refuses names that it does not know, and values that contradict each other."""
    kafka_client.consumer(NOBODY, "x", {"fetch.wait.max.ms": 10}).close()
    kafka_client.producer(NOBODY, {"linger.ms": 20})
    timeouts = {"transaction.timeout.ms": TRANSACTION_TIMEOUT_MS, "message.timeout.ms": TRANSACTION_TIMEOUT_MS}
    kafka_client.producer(NOBODY, {"transactional.id": "x", **timeouts})
    kafka_client.admin(NOBODY, {"log_level": 0})


def test_every_client_gets_the_same_address() -> None:
    assert NOBODY.librdkafka() == {"bootstrap.servers": "127.0.0.1:1"}
    assert NOBODY.spark() == {"kafka.bootstrap.servers": "127.0.0.1:1"}
    assert NOBODY.clickhouse() == {"kafka_broker_list": "127.0.0.1:1"}
    assert f"{NOBODY}" == "127.0.0.1:1"
