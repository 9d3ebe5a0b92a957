"""What our tables rest on in the engine and what it may change between versions, asked of the engine itself."""

import json
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from clickhouse.ddl import REGISTRY_SILENT
from infra.base.loopback import HOST, free_ports
from infra.base.settings import Settings
from infra.base.wait import until
from schemas.framing import frame
from tests.integration.front_server import FrontServer, running_front

DEADLINE_S = 90
HANGS, CLOSES = "hangs", "closes the connection"
SILENT: dict[str, tuple[int, bytes] | str] = {
    "server error": (500, b'{"error_code": 500}'),
    "overloaded": (503, b"later"),
    "not logged in": (401, b"{}"),
    "404 of something else": (404, b"<html>"),
    "404 with another code": (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}'),
    "a page": (200, b"<html>"),
    "nothing": (200, b""),
    "no schema in it": (200, b"{}"),
    HANGS: HANGS,
    CLOSES: CLOSES,
}
"""Answers of a registry, or of something before it, that say nothing about the message."""
CERTAIN: dict[str, tuple[int, bytes] | str] = {
    "unknown id": (404, b'{"error_code": 40403, "message": "Schema 1 not found"}'),
    "unknown id, as Jackson prints it": (404, b'{ "error_code" : 40403 }'),
    "no Avro": (200, json.dumps({"schema": "no Avro"}).encode()),
}
"""Answers that make the message unreadable for ever."""
ANSWERS = [*(SILENT | CERTAIN).values()]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data") as front:
        yield front


@pytest.fixture
def registry() -> Iterator[str]:
    """The address of a registry whose answer for schema N is ANSWERS[N]."""
    ending = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = ANSWERS[int(self.path.rpartition("/")[2])]
            if isinstance(answer, str):
                if answer == HANGS:
                    ending.wait(DEADLINE_S)
                self.close_connection = True
                return
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://{HOST}:{server.server_port}"
    ending.set()
    server.shutdown()
    server.server_close()


def reasons(front: FrontServer, settings: Settings, registry_url: str, ids: list[int]) -> list[tuple[str, bool]]:
    """For a message of each schema id: the engine's error, and whether the intake takes it for a silent registry."""
    name = f"engine_{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": settings.kafka_brokers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(30)
    producer = Producer({"bootstrap.servers": settings.kafka_brokers})
    for schema_id in ids:
        producer.produce(name, frame(schema_id, b"\x02"))
    assert producer.flush(30) == 0
    front.run(f"CREATE TABLE {name} (at Int64, error String, silent Bool) ENGINE = MergeTree ORDER BY at")
    front.run(
        f"CREATE TABLE {name}_queue (a Nullable(Int64)) ENGINE = Kafka SETTINGS kafka_format = 'AvroConfluent', "
        f"kafka_broker_list = '{settings.kafka_brokers}', kafka_topic_list = '{name}', kafka_group_name = '{name}', "
        f"kafka_handle_error_mode = 'stream', kafka_flush_interval_ms = 200, "
        f"format_avro_schema_registry_url = '{registry_url}'"
    )
    front.run(
        f"CREATE MATERIALIZED VIEW {name}_view TO {name} AS "
        f"SELECT _offset AS at, _error AS error, {REGISTRY_SILENT} AS silent FROM {name}_queue"
    )
    try:
        count = f"SELECT count() FROM {name}"
        until(lambda: front.run(count) == str(len(ids)), f"{len(ids)} errors in {name}", DEADLINE_S)
        rows = front.run(f"SELECT error, silent FROM {name} ORDER BY at FORMAT JSONCompactEachRow")
        return [(error, silent) for error, silent in map(json.loads, rows.splitlines())]
    finally:
        for suffix in ("_view", "_queue", ""):
            front.run(f"DROP TABLE {name}{suffix}")


def test_a_silent_registry_is_told_from_a_message_that_cannot_be_read(
    front: FrontServer, settings: Settings, registry: str
) -> None:
    """By the engine's words. With others, the intake would dead-letter good messages, or wait for ever."""
    answers = dict(zip(SILENT | CERTAIN, reasons(front, settings, registry, list(range(len(ANSWERS)))), strict=True))
    assert {name: silent for name, (_, silent) in answers.items()} == {
        **dict.fromkeys(SILENT, True),
        **dict.fromkeys(CERTAIN, False),
    }, answers


def test_a_registry_that_is_not_there_is_silent(front: FrontServer, settings: Settings) -> None:
    (closed,) = free_ports(1)
    ((error, silent),) = reasons(front, settings, f"http://{HOST}:{closed}", [1])
    assert silent, error


def test_a_refused_table_leaves_nothing_behind(front: FrontServer) -> None:
    """`apply` creates only what is not there: half a table would stay for ever."""
    kafka = (
        "CREATE TABLE half (a Int64{default}) ENGINE = Kafka SETTINGS kafka_broker_list = '127.0.0.1:1', "
        "kafka_topic_list = 't', kafka_group_name = 'g', kafka_format = 'JSONEachRow'{more}"
    )
    refused = [
        kafka.format(default="", more=", kafka_handle_error_mode = 'dead_letter_queue'"),
        kafka.format(default="", more=", kafka_num_consumers = 1000"),
        kafka.format(default="", more=", kafka_max_block_size = 0"),
        kafka.format(default="", more=", no_such_setting = 1"),
        kafka.format(default=" DEFAULT 1", more=""),
        "CREATE MATERIALIZED VIEW half TO no_such_table AS SELECT 1 AS a",
        "CREATE TABLE half (a Int64) ENGINE = ReplacingMergeTree(no_such_column) ORDER BY a",
        "CREATE TABLE half (a String CODEC(T64)) ENGINE = MergeTree ORDER BY a",
    ]
    for sql in refused:
        front.code(sql)
        assert front.run("EXISTS TABLE half") == "0", sql
    front.run(kafka.format(default="", more=""))
    front.run("DROP TABLE half")


def test_a_kill_in_the_middle_of_inserts_loses_nothing_and_halves_nothing(tmp_path: Path) -> None:
    rows = 20_000
    with running_front(tmp_path / "data") as front:
        front.run("CREATE TABLE t (batch Int64, a Int64) ENGINE = MergeTree ORDER BY (batch, a)")
        acknowledged: list[int] = []

        def insert(first: int) -> None:
            for batch in range(first, 1_000_000, 2):
                body = "".join(f"{batch}\t{a}\n" for a in range(rows)).encode()
                try:
                    if front.post(body, query="INSERT INTO t FORMAT TSV").status_code != 200:
                        return
                except requests.ConnectionError:
                    return
                acknowledged.append(batch)

        with ThreadPoolExecutor(2) as pool:
            inserting = [pool.submit(insert, first) for first in (0, 1)]
            until(lambda: len(acknowledged) >= 10, "ten inserts", DEADLINE_S, every_s=0.001)
            front.kill()
            for one in inserting:
                one.result(DEADLINE_S)
        front.start()
        text = front.run("SELECT batch, count() FROM t GROUP BY batch ORDER BY batch FORMAT JSONCompactEachRow")
        kept: dict[int, int] = dict(map(json.loads, text.splitlines()))
        assert set(kept.values()) == {rows}
        assert set(acknowledged) <= kept.keys()
