"""The front over plain HTTP: what curl and Grafana's plugin do, limits, sessions, ends and restarts."""

import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import pytest
import requests

from clickhouse.front.errors import QUERY_IS_TOO_LARGE
from clickhouse.front.limits import ADMIN_MAX_SQL_BYTES, READER_MAX_SQL_BYTES
from infra.base.wait import until
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front
from tests.unit.test_front_native import Reader

ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "zähler front") as front:
        yield front


@pytest.fixture
def table(front: FrontServer, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"t_{request.node.originalname}"
    front.run(f"CREATE TABLE {name} (a Int32, s String DEFAULT 'none') ENGINE = MergeTree ORDER BY a")
    yield name
    front.run(f"DROP TABLE {name} SYNC")


def running_queries(front: FrontServer) -> list[str]:
    text = front.run(
        "SELECT query FROM system.processes WHERE query NOT LIKE '%system.processes%' FORMAT JSONCompactEachRow"
    )
    return [json.loads(line)[0] for line in text.splitlines()]


@pytest.mark.parametrize("path", ["/", "/ping", "/replicas_status"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping_needs_no_password(front: FrontServer, path: str, method: str) -> None:
    response = requests.request(method, front.url + path, timeout=10)
    assert (response.status_code, response.text) == (200, "Ok.\n" if method == "GET" else "")


def test_other_paths_and_methods(front: FrontServer) -> None:
    assert requests.get(f"{front.url}/nothing", timeout=10).status_code == 404
    assert requests.get(f"{front.url}/schema-registry/subjects", timeout=10).status_code == 404
    assert requests.put(front.url, timeout=10).status_code == requests.options(front.url, timeout=10).status_code == 405


def test_three_ways_to_log_in(front: FrontServer) -> None:
    query = {"query": "SELECT 1"}
    assert requests.get(front.url, params=query, auth=ADMIN, timeout=10).text == "1\n"
    assert requests.get(front.url, params={**query, "user": ADMIN[0], "password": ADMIN[1]}, timeout=10).text == "1\n"
    assert front.run("SELECT 1") == "1"


def test_wrong_and_missing_passwords(front: FrontServer) -> None:
    wrong = front.post("SELECT 1", (ADMIN[0], "wrong"))
    assert (wrong.status_code, wrong.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    missing = requests.get(front.url, params={"query": "SELECT 1"}, timeout=10)
    assert (missing.status_code, missing.headers["X-ClickHouse-Exception-Code"]) == (401, "194")
    assert missing.headers["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    ("sql", "url", "status", "code"),
    [
        ("SELEC 1", {}, 400, 62),
        ("SELECT 1; SELECT 2", {}, 400, 62),
        ("", {}, 400, 62),
        ("SELECT 1", {"database": "nowhere"}, 404, 81),
        ("SELECT * FROM nowhere.t", {}, 404, 81),
        ("SELECT * FROM missing", {}, 404, 60),
        ("SELECT missing", {}, 404, 47),
        ("SELECT 1", {"no_such_setting": 1}, 404, 115),
        ("SELECT {a:UInt8}", {}, 400, 456),
        ("SELECT 1", {"decompress": 1}, 400, 36),
        (b"x" * 40, {"decompress": 1}, 400, 36),
        (ENDLESS, {"max_execution_time": 1}, 408, 159),
        ("SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'", {"max_query_size": 20}, 400, 62),
        (b"SELECT '\xff'", {}, 400, 62),
    ],
)
def test_errors_have_clickhouses_code_and_status(
    front: FrontServer, sql: str | bytes, url: dict[str, Any], status: int, code: int
) -> None:
    response = front.post(sql, **url)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (status, str(code)), response.text
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "formatQuery" not in response.text


def test_headers_of_an_answer(front: FrontServer) -> None:
    response = front.post("SELECT 1 AS a FORMAT JSONEachRow", query_id="my-id")
    assert response.json() == {"a": 1}
    assert response.headers["X-ClickHouse-Query-Id"] == "my-id"
    assert response.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert response.headers["X-ClickHouse-Timezone"] == front.run("SELECT timezone()")
    assert response.headers["X-ClickHouse-Server-Display-Name"]
    assert response.headers["Content-Type"] == "application/x-ndjson; charset=UTF-8"


def test_version_is_the_engines(front: FrontServer) -> None:
    assert front.run("SELECT version()").startswith("26.9.")


def test_settings_of_a_request_end_with_it(front: FrontServer) -> None:
    assert front.run("SELECT getSetting('max_block_size')", max_block_size=7) == "7"
    assert front.run("SELECT getSetting('max_block_size') SETTINGS max_block_size = 8") == "8"
    front.run("SET max_block_size = 9")
    front.run("USE system")
    assert front.run("SELECT getSetting('max_block_size') > 9, currentDatabase()") == "1\tdefault"


def test_query_parameters(front: FrontServer) -> None:
    text = front.run(
        "SELECT {a:Int32} + 1, {s:String}, {l:Array(String)}", param_a=1, param_s="it's\\ta", param_l="['x']"
    )
    assert text == "2\tit\\'s\\ta\t['x']"


def test_get_only_reads(front: FrontServer, table: str) -> None:
    for sql in (f"INSERT INTO {table} (a) VALUES (1)", f"INSERT INTO {table} FORMAT CSV\n1,a", f"DROP TABLE {table}"):
        response = requests.get(front.url, params={"query": sql}, auth=ADMIN, timeout=10)
        assert response.headers["X-ClickHouse-Exception-Code"] == "164", sql
    assert front.run(f"SELECT count() FROM {table}") == "0"


@pytest.mark.parametrize("encoding", ["", "gzip", "lz4"])
def test_insert_of_bytes_that_are_not_utf_8(front: FrontServer, table: str, encoding: str) -> None:
    rows = b"".join(struct.pack("<iB2s", number, 2, b"\xff\xfe") for number in range(1000))
    pack = {"": bytes, "gzip": gzip.compress, "lz4": lz4.frame.compress}[encoding]
    headers = {"Content-Encoding": encoding} if encoding else {}
    sql = f"INSERT INTO {table} (a, s) FORMAT RowBinary"
    in_url = front.post(pack(rows), headers=headers, query=sql)
    in_body = front.post(pack(f"{sql}\n".encode() + rows), headers=headers)
    for response in (in_url, in_body):
        assert response.status_code == 200, response.text
        assert json.loads(response.headers["X-ClickHouse-Summary"])["written_rows"] == "1000"
    assert front.run(f"SELECT count(), sum(a), any(hex(s)) FROM {table}") == f"2000\t{2 * sum(range(1000))}\tFFFE"


def test_insert_of_text_values_and_defaults(front: FrontServer, table: str) -> None:
    values = front.post(f"INSERT INTO {table} VALUES (1, 'ä'), (2, 'b')")
    assert json.loads(values.headers["X-ClickHouse-Summary"])["written_rows"] == "2", values.text
    front.run(
        '{"a": 3}\n{"a": 4, "other": 1}',
        query=f"INSERT INTO {table} SETTINGS input_format_skip_unknown_fields = 1 FORMAT JSONEachRow",
    )
    front.run(f"INSERT INTO {table} SELECT a + 10, s FROM {table} WHERE a = 1")
    assert front.run(f"SELECT groupArray((a, s)) FROM (SELECT * FROM {table} ORDER BY a)") == (
        "[(1,'ä'),(2,'b'),(3,'none'),(4,'none'),(11,'ä')]"
    )


def test_bad_data_is_an_error_and_nothing_of_it_stays(front: FrontServer, table: str) -> None:
    assert front.code(b"1,a\nx,b\n", query=f"INSERT INTO {table} FORMAT CSV") == 27
    garbled = front.post(b"not gzip", headers={"Content-Encoding": "gzip"}, query=f"INSERT INTO {table} FORMAT CSV")
    assert garbled.status_code == 400
    assert front.run(f"SELECT count() FROM {table}") == "0"
    assert list((front.folder / "front-spool").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["CSVWithNames", "TSVWithNamesAndTypes", "RowBinaryWithNames", "Native", "JSONCompact"]
)
def test_a_long_result_is_whole_and_has_one_header(front: FrontServer, name: str) -> None:
    """The same rows, streamed in many blocks and made in one piece by the engine itself."""
    select = "SELECT number, toString(number) AS text FROM numbers(100000)"
    streamed = front.post(f"{select} FORMAT {name}", max_block_size=1000)
    assert streamed.status_code == 200
    if name in {"Native", "JSONCompact"}:
        insert = f"INSERT INTO FUNCTION null('number UInt64, text String') FORMAT {name}"
        written = front.post(streamed.content, query=insert)
        assert json.loads(written.headers["X-ClickHouse-Summary"])["written_rows"] == "100000", written.text
    else:
        assert streamed.content == front.post(f"{select} FORMAT {name}", max_block_size=1_000_000).content


def test_totals_follow_a_stream(front: FrontServer) -> None:
    assert (
        front.run("SELECT number % 2 AS a, count() FROM numbers(10) GROUP BY a WITH TOTALS ORDER BY a")
        == "0\t5\n1\t5\n\n0\t10"
    )


def test_a_big_result_is_not_held_in_memory(front: FrontServer) -> None:
    assert front.process is not None
    before = front.process.memory_info().rss
    received = peak = 0
    with requests.post(
        front.url, "SELECT repeat('x', 100) FROM numbers(8000000)", auth=ADMIN, stream=True, timeout=60
    ) as response:
        for part in response.iter_content(1 << 20):
            received += len(part)
            peak = max(peak, front.process.memory_info().rss)
    assert received == 101 * 8_000_000
    assert peak - before < 300 << 20


def test_an_error_in_mid_stream_is_seen(front: FrontServer) -> None:
    sql = "SELECT throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    received = b""
    with requests.post(front.url, sql, auth=ADMIN, stream=True, timeout=60) as response:
        assert response.status_code == 200
        tag = response.headers["X-ClickHouse-Exception-Tag"]
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for part in response.iter_content(1 << 16):
                received += part
    text = received[received.index(b"__exception__") :].decode()
    assert "Code: 395. DB::Exception: too far" in text
    assert text.count(tag) == 2


def test_gzip_when_asked_for(front: FrontServer) -> None:
    headers = {"Accept-Encoding": "gzip"}
    for rows in (3, 300_000):
        plain = front.post(f"SELECT number FROM numbers({rows})", headers=headers)
        packed = front.post(f"SELECT number FROM numbers({rows})", headers=headers, enable_http_compression=1)
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert plain.text == packed.text
        assert plain.text.count("\n") == rows


def test_what_grafanas_plugin_does(front: FrontServer, table: str) -> None:
    url: dict[str, Any] = {"client_protocol_version": 54460, "default_format": "Native", "max_execution_time": 60}
    url["database"] = "default"
    for user in (ADMIN, READER):
        hello = front.post("SELECT displayName(), version(), revision(), timezone()", user, **url)
        rows, columns = Reader(hello.content).block(54460)
        assert rows == 1
        assert [values for _, _, values in columns][1:3] == [[front.run("SELECT version()")], [0]]
        one = Reader(front.post("SELECT 1", user, **url).content)
        assert (one.uvarint(), one.uvarint(), one.string(), one.string(), one.take(1)) == (1, 1, "1", "UInt8", b"\x01")
        empty = front.post(f"SELECT a, s AS `größe` FROM {table} WHERE a = 7", user, **url)
        assert Reader(empty.content).block(0) == (0, [("a", "Int32", []), ("größe", "String", [])])
        broken = front.post("SELECT nothing", user, **url)
        assert broken.status_code == 404
        assert "nothing" in broken.text
        for sql in (
            "SHOW DATABASES",
            "SHOW TABLES",
            f"DESC TABLE {table}",
            "SELECT name FROM system.columns",
            "SELECT name FROM system.functions",
        ):
            assert front.post(sql, user, **url).content[0] > 0


def test_grafanas_driver_with_gzip(front: FrontServer) -> None:
    """Handshake, data, an empty result and an error, each as without compression."""
    url: dict[str, Any] = {"client_protocol_version": 54460, "default_format": "Native", "enable_http_compression": 1}
    sqls = ("SELECT displayName(), version(), revision(), timezone()", "SELECT 1", "SELECT 1 WHERE 0")
    for sql in sqls:
        packed = front.post(sql, READER, {"Accept-Encoding": "gzip"}, **url)
        assert packed.content == front.post(sql, READER, {"Accept-Encoding": "identity"}, **url).content, sql
    failed = front.post("SELECT nothing", READER, {"Accept-Encoding": "gzip"}, **url)
    assert (failed.status_code, "UNKNOWN_IDENTIFIER" in failed.text) == (404, True)


def test_a_statement_that_is_too_long_is_refused(front: FrontServer) -> None:
    for user, limit in ((ADMIN, ADMIN_MAX_SQL_BYTES), (READER, READER_MAX_SQL_BYTES)):
        assert front.code(b"SELECT 1 -- " + b"x" * limit, user) == QUERY_IS_TOO_LARGE
    assert front.run("SELECT 1", READER) == "1"


def test_a_result_that_does_not_fit_the_readers_memory_is_an_error(front: FrontServer) -> None:
    assert front.code("SELECT length(groupArray(number)) FROM numbers(1000000000)", READER) == 241
    assert front.run("SELECT 1", READER) == "1"


def test_sessions_keep_settings_and_temporary_tables(front: FrontServer) -> None:
    front.run("CREATE TEMPORARY TABLE mine (a Int8)", session_id="one")
    front.run("INSERT INTO mine FORMAT CSV\n5", session_id="one")
    front.run("SET max_block_size = 11", session_id="one")
    assert front.run("SELECT a, getSetting('max_block_size') FROM mine", session_id="one", max_block_size=12) == "5\t12"
    assert front.run("SELECT a, getSetting('max_block_size') FROM mine", session_id="one") == "5\t11"
    assert front.run("SELECT currentDatabase()", session_id="one", database="system") == "system"
    assert front.run("SELECT currentDatabase()", session_id="one") == "default"
    assert front.code("SELECT a FROM mine", session_id="two") == 60
    assert front.code("SELECT 1", session_id="never seen", session_check=1) == 372


def test_a_session_runs_one_query_at_a_time_and_expires(front: FrontServer) -> None:
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(front.run, "SELECT sleep(2)", session_id="slow", session_timeout=1)
        until(lambda: "SELECT sleep(2)" in running_queries(front), "the slow query to run", 10)
        assert front.code("SELECT 1", session_id="slow") == 373
        assert slow.result() == "0"
    until(
        lambda: front.post("SELECT 1", session_id="slow", session_check=1, session_timeout=1).status_code == 404,
        "the session to expire",
        20,
        every_s=2,
    )


def test_a_query_ends_when_its_client_goes_away(front: FrontServer) -> None:
    body = ENDLESS.encode()
    head = (
        f"POST /?user={ADMIN[0]}&password={ADMIN[1]} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", front.port)) as client:
        client.sendall(head.encode() + body)
        until(lambda: ENDLESS in running_queries(front), "the query to run", 10)
    until(lambda: ENDLESS not in running_queries(front), "the query to be killed", 10)


def test_a_stream_ends_when_its_client_goes_away(front: FrontServer) -> None:
    sql = "SELECT number FROM system.numbers"
    response = requests.post(front.url, sql, auth=ADMIN, stream=True, timeout=10)
    next(response.iter_content(1000))
    response.close()
    until(lambda: sql not in running_queries(front), "the stream to be cancelled", 10)


def test_many_at_once(front: FrontServer) -> None:
    """More clients than slots and connections kept alive: each gets its own answer."""
    local = threading.local()

    def ask(number: int) -> bool:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        response = local.session.post(
            front.url,
            f"SELECT {number}, getSetting('max_block_size')",
            params={"max_block_size": number},
            auth=ADMIN,
            timeout=60,
        )
        return bool(response.text == f"{number}\t{number}\n")

    with ThreadPoolExecutor(12) as pool:
        assert all(pool.map(ask, range(1, 400)))


def test_maintenance_statements(front: FrontServer, table: str) -> None:
    front.run(f"CREATE TABLE other AS {table}")
    front.run(f"INSERT INTO {table} VALUES (1, 'x')")
    front.run(f"EXCHANGE TABLES {table} AND other")
    assert front.run(f"SELECT (SELECT count() FROM {table}), (SELECT count() FROM other)") == "0\t1"
    front.run("DETACH TABLE other")
    assert front.code("SELECT * FROM other") == 60
    front.run("ATTACH TABLE other")
    front.run("SYSTEM FLUSH LOGS")
    front.run("OPTIMIZE TABLE other FINAL")
    assert front.run("SELECT count() FROM other") == "1"
    front.run("DROP TABLE other SYNC")


def test_it_ends_when_asked_and_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    with running_front(tmp_path / "data") as front:
        front.run("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
        front.run("INSERT INTO t VALUES (1)")
        front.kill()
        front.start()
        front.run("INSERT INTO t VALUES (2)")
        with ThreadPoolExecutor() as pool:
            endless = pool.submit(front.post, ENDLESS)
            until(lambda: ENDLESS in running_queries(front), "the query to run", 10)
            started = time.monotonic()
            assert front.terminate() == 0
            assert "without closing" not in front.log.read_text(), f"{time.monotonic() - started:.1f} s"
            assert endless.exception() is not None or endless.result().status_code != 200
        front.start()
        assert front.run("SELECT groupArray(a) FROM (SELECT a FROM t ORDER BY a)") == "[1,2]"


def test_a_second_front_over_the_same_folder_says_so(front: FrontServer) -> None:
    second = FrontServer(front.folder)
    with pytest.raises(AssertionError, match="already"):
        second.start()
    assert front.ready()
