"""A registry that is down turns no good message into an unreadable one: real Kafka, real registry, real engine."""

import io
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fastavro
import pytest
import requests
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.base.settings import Settings
from infra.base.wait import until
from infra.stack.stack import Stack
from tests.integration.front_server import FrontServer, running_front

ROWS_DEADLINE_S = 60


@pytest.fixture(scope="module")
def front(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data", settings.schema_registry_url) as front:
        yield front


class Flow:
    """A topic, a schema of its own, a queue, its rows and its unreadable messages."""

    def __init__(self, front: FrontServer, settings: Settings) -> None:
        self.front = front
        self.brokers = settings.kafka_brokers
        self.name = f"flow_{uuid.uuid4().hex[:8]}"
        self.schema: dict[str, Any] = {
            "type": "record",
            "name": self.name,
            "fields": [{"name": "a", "type": "long"}, {"name": "s", "type": "string"}],
        }
        answer = requests.post(
            f"{settings.schema_registry_url}/subjects/{self.name}-value/versions",
            json={"schema": json.dumps(self.schema)},
            timeout=30,
        )
        self.schema_id = int(answer.json()["id"])
        admin = AdminClient({"bootstrap.servers": self.brokers})
        admin.create_topics([NewTopic(self.name, 1, 1)])[self.name].result(30)

    def message(self, number: int, schema_id: int | None = None) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(self.schema), {"a": number, "s": "x"})
        return b"\0" + (schema_id or self.schema_id).to_bytes(4, "big") + body.getvalue()

    def produce(self, messages: list[bytes]) -> None:
        producer = Producer({"bootstrap.servers": self.brokers})
        for message in messages:
            producer.produce(self.name, message)
        assert producer.flush(30) == 0

    def create_tables(self) -> None:
        self.front.run(f"CREATE TABLE {self.name} (a Int64, s String) ENGINE = MergeTree ORDER BY a")
        self.front.run(f"CREATE TABLE {self.name}_bad (offset Int64, reason String) ENGINE = MergeTree ORDER BY offset")
        self.front.run(
            f"CREATE TABLE {self.name}_queue (a Int64, s String) ENGINE = Kafka SETTINGS "
            f"kafka_broker_list = '{self.brokers}', kafka_topic_list = '{self.name}', "
            f"kafka_group_name = '{self.name}', kafka_format = 'AvroConfluent', "
            "kafka_handle_error_mode = 'stream', kafka_flush_interval_ms = 200, "
            f"format_avro_schema_registry_url = '{self.front.url}/schema-registry'"
        )
        self.front.run(
            f"CREATE MATERIALIZED VIEW {self.name}_bad_view TO {self.name}_bad AS "
            f"SELECT _offset AS offset, _error AS reason FROM {self.name}_queue WHERE length(_error) > 0"
        )
        self.front.run(
            f"CREATE MATERIALIZED VIEW {self.name}_view TO {self.name} AS "
            f"SELECT a, s FROM {self.name}_queue WHERE length(_error) = 0"
        )

    def drop_tables(self) -> None:
        for suffix in ("_bad_view", "_view", "_queue", "_bad", ""):
            self.front.run(f"DROP TABLE {self.name}{suffix}")

    def count(self, suffix: str = "") -> int:
        return int(self.front.run(f"SELECT count() FROM {self.name}{suffix}"))

    def until_rows(self, count: int) -> None:
        until(lambda: self.count() + self.count("_bad") >= count, f"{count} messages in {self.name}", ROWS_DEADLINE_S)
        assert (self.count(), self.count("_bad")) == (count, 0), self.front.run(f"SELECT * FROM {self.name}_bad")


@pytest.fixture
def flow(front: FrontServer, settings: Settings) -> Iterator[Flow]:
    flow = Flow(front, settings)
    yield flow
    flow.drop_tables()


@pytest.fixture
def registry_down(stack: Stack) -> Iterator[None]:
    """For tests that stop the shared registry: it runs again afterwards, whatever happens."""
    yield
    stack.start("registry")


def test_rows_while_the_front_is_idle_and_errors_with_their_reason(flow: Flow) -> None:
    flow.create_tables()
    flow.produce([flow.message(1), b"no frame", flow.message(2, schema_id=999_999), flow.message(3)])
    until(lambda: (flow.count(), flow.count("_bad")) == (2, 2), "two rows and two unreadable messages", ROWS_DEADLINE_S)
    reasons = flow.front.run(f"SELECT reason FROM {flow.name}_bad WHERE offset = 2")
    assert "while fetching schema id = 999999" in reasons
    assert "40403" in reasons
    assert flow.front.run(f"SELECT offset FROM {flow.name}_bad ORDER BY offset") == "1\n2"


@pytest.mark.usefixtures("registry_down")
def test_a_known_schema_needs_no_registry_even_after_a_crash(flow: Flow, stack: Stack) -> None:
    flow.create_tables()
    flow.produce([flow.message(1)])
    flow.until_rows(1)
    stack.kill("registry")
    flow.front.kill()
    flow.produce([flow.message(number) for number in range(2, 1001)])
    flow.front.start()
    flow.until_rows(1000)
    assert flow.front.run(f"SELECT sum(a) FROM {flow.name}") == str(sum(range(1001)))


@pytest.mark.usefixtures("registry_down")
def test_an_unknown_schema_waits_for_the_registry(flow: Flow, stack: Stack) -> None:
    """Longer than the engine waits for a silent server (1 s), while queries go on."""
    stack.kill("registry")
    flow.create_tables()
    flow.produce([flow.message(number) for number in range(100)])
    asked = f"schema {flow.schema_id}: registry unavailable"
    until(lambda: asked in flow.front.log.read_text(), "the engine to ask for the schema", 30)
    held_since = time.monotonic()
    until(lambda: flow.front.run("SELECT 1") == "1" and time.monotonic() - held_since > 5, "five seconds to pass", 30)
    assert (flow.count(), flow.count("_bad")) == (0, 0)
    stack.start("registry")
    flow.until_rows(100)
    assert flow.front.log.read_text().count(asked) == 1, "the engine asked again: it did not wait"


@pytest.mark.usefixtures("registry_down")
def test_ending_while_a_schema_is_awaited_loses_nothing(flow: Flow, stack: Stack) -> None:
    stack.kill("registry")
    flow.create_tables()
    flow.produce([flow.message(1), flow.message(2)])
    asked = f"schema {flow.schema_id}: registry unavailable"
    until(lambda: asked in flow.front.log.read_text(), "the engine to ask for the schema", 30)
    assert flow.front.terminate() == 0
    assert "leaving without closing the engine" in flow.front.log.read_text()
    flow.front.start()
    stack.start("registry")
    flow.until_rows(2)


def test_the_mirror_answers_this_machine_only_and_only_ids(flow: Flow) -> None:
    url = f"{flow.front.url}/schema-registry"
    answer = requests.get(f"{url}/schemas/ids/{flow.schema_id}", timeout=10)
    assert json.loads(answer.json()["schema"]) == flow.schema
    unknown = requests.get(f"{url}/schemas/ids/999999", timeout=10)
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, 40403)
    for path in ("subjects", "schemas/ids/", "schemas/ids/1/versions", "schemas/ids/-1", "schemas/ids/../1", "config"):
        assert requests.get(f"{url}/{path}", timeout=10).status_code == 404
    flow.create_tables()


def test_insert_of_kafkas_bytes_asks_the_mirror_too(flow: Flow) -> None:
    """As a repair does: many at once, each query waiting in the engine for an answer from the same process."""
    flow.create_tables()
    settings = f"format_avro_schema_registry_url = '{flow.front.url}/schema-registry'"
    sql = f"INSERT INTO {flow.name} SETTINGS {settings} FORMAT AvroConfluent"
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda number: flow.front.post(flow.message(number), query=sql), range(24)))
    assert [answer.status_code for answer in answers] == [200] * 24, answers[0].text
    assert flow.front.run(f"SELECT count(), sum(a) FROM {flow.name}") == f"24\t{sum(range(24))}"


def test_the_cache_holds_whole_schemas(front: FrontServer) -> None:
    folder = Path(f"{front.folder}-schemas")
    assert all(path.suffix == ".json" and "schema" in json.loads(path.read_text()) for path in folder.iterdir())
    assert any(folder.iterdir())
