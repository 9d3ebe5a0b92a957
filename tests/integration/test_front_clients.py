"""clickhouse-connect as it is, with each of its compressions."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import ibis  # type: ignore[import-untyped]
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
import sqlalchemy
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.integration.front_server import ADMIN, READER, FrontServer, running_front

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
COLUMNS = ["a", "s", "d", "f", "l", "arr", "m"]
ROWS = [[1, "xÿ", NOON, None, "l", [1, 2], {"k": 1}], [2, "y'\n\0", NOON, 1.5, "m", [], {}]]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data") as front:
        yield front


def connect(front: FrontServer, user: tuple[str, str] = ADMIN, **options: Any) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=front.port, username=user[0], password=user[1], **options
    )


@pytest.fixture(params=[True, False, "gzip", "lz4", "zstd"], ids=str)
def client(front: FrontServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    client = connect(front, compress=request.param)
    fill(client)
    yield client
    client.close()


@pytest.fixture
def filled(front: FrontServer) -> FrontServer:
    """With the table that `client` makes, for other clients."""
    client = connect(front)
    fill(client)
    client.close()
    return front


def fill(client: Client) -> None:
    client.command(
        "CREATE OR REPLACE TABLE t (a Int32, s String, d DateTime64(3, 'UTC'), f Nullable(Float64), "
        "l LowCardinality(String), arr Array(UInt8), m Map(String, Int8)) ENGINE = MergeTree ORDER BY a"
    )
    client.insert("t", ROWS, column_names=COLUMNS)


def test_rows_come_back_as_they_went(client: Client) -> None:
    result = client.query("SELECT * FROM t ORDER BY a", tz_mode="aware")
    assert list(result.column_names) == COLUMNS
    assert [list(row) for row in result.result_rows] == ROWS


def test_frames_and_arrow(client: Client) -> None:
    frame = pd.DataFrame({"a": [5, 6], "s": ["p", "q"]})
    assert client.insert_df("t", frame).written_rows == 2
    assert client.insert_arrow("t", pa.table({"a": pa.array([7], pa.int32()), "s": ["r"]})).written_rows == 1
    assert client.query_df("SELECT a, s FROM t WHERE a >= 5 ORDER BY a")["s"].tolist() == ["p", "q", "r"]
    assert client.query_arrow("SELECT a FROM t ORDER BY a").column("a").to_pylist() == [1, 2, 5, 6, 7]


def test_streams_are_whole(client: Client) -> None:
    rows = 500_000
    total = rows * (rows - 1) // 2
    sql = f"SELECT number, toString(number) AS s FROM numbers({rows})"
    with client.query_arrow_stream(sql) as tables:
        assert sum(sum(table.column("number").to_pylist()) for table in tables) == total
    with client.query_rows_stream(sql) as stream:
        assert sum(row[0] for row in stream) == total
    with client.query_df_stream(sql) as frames:
        assert sum(int(frame["number"].sum()) for frame in frames) == total
    assert client.raw_query(sql, fmt="CSVWithNames").count(b"\n") == rows + 1


def test_a_late_error_is_raised(client: Client) -> None:
    """The client asks for answers that are whole (wait_end_of_query): so the error is one, as at a server."""
    with pytest.raises(DatabaseError, match="too far"):
        _ = client.query("SELECT throwIf(number = 900000, 'too far') FROM numbers(1000000)").result_rows


def test_an_empty_result_has_its_columns(client: Client) -> None:
    sql = "SELECT a, s FROM t WHERE a = 99"
    assert client.query(sql).column_names == ("a", "s")
    assert client.query_arrow(sql).schema.names == ["a", "s"]
    assert client.query("SELECT a, s FROM t LIMIT 0").column_names == ("a", "s")


def test_parameters_settings_and_ids(client: Client) -> None:
    values = {"i": 1, "s": "it's\ta\\b\n", "l": ["x'", "y"], "d": NOON, "n": None}
    sql = "SELECT {i:Int32}, {s:String}, {l:Array(String)}, {d:DateTime('UTC')}, {n:Nullable(Int8)}"
    assert client.query(sql, parameters=values, tz_mode="aware").result_rows == [tuple(values.values())]
    threads = "SELECT getSetting('max_block_size')"
    assert client.query(threads, settings={"max_block_size": 3}).result_rows == [(3,)]
    assert client.query(threads).result_rows[0][0] > 3
    assert client.query("SELECT 1", settings={"query_id": "mine"}).query_id == "mine"


def test_the_clients_session(client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE IF NOT EXISTS mine (x Float64)")
    client.insert("mine", [[math.pi]], column_names=["x"])
    assert client.query("SELECT x FROM mine").result_rows == [(math.pi,)]


def test_a_database_of_its_own(front: FrontServer, client: Client) -> None:
    client.command("CREATE DATABASE IF NOT EXISTS second")
    assert connect(front, database="second").command("SELECT currentDatabase()") == "second"
    with pytest.raises(DatabaseError, match="81"):
        connect(front, database="third")


def test_wrong_password(front: FrontServer) -> None:
    with pytest.raises(DatabaseError, match="516"):
        connect(front, (ADMIN[0], "wrong"))


def test_the_reader_reads(front: FrontServer, client: Client) -> None:
    reader = connect(front, READER)
    assert reader.query("SELECT a FROM t ORDER BY a", settings={"max_execution_time": 30}).result_rows == [(1,), (2,)]
    assert reader.query_df("SELECT a FROM t").shape == (2, 1)
    with pytest.raises(DatabaseError, match="497"):
        reader.insert("t", ROWS, column_names=COLUMNS)
    with pytest.raises(DatabaseError, match="497"):
        reader.command("DROP TABLE t")
    assert client.command("SELECT count() FROM t") == 2


def test_sqlalchemy(filled: FrontServer) -> None:
    for user in (ADMIN, READER):
        engine = sqlalchemy.create_engine(f"clickhousedb://{user[0]}:{user[1]}@127.0.0.1:{filled.port}/default")
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.text("SELECT a, s FROM t WHERE a = :a"), {"a": 1}).fetchall()
            assert [tuple(row) for row in rows] == [(1, "xÿ")]
            inspector = sqlalchemy.inspect(connection)
            assert "t" in inspector.get_table_names()
            assert [column["name"] for column in inspector.get_columns("t")] == COLUMNS
        engine.dispose()


def ibis_connect(front: FrontServer, user: tuple[str, str]) -> Any:
    return ibis.clickhouse.connect(host="127.0.0.1", port=front.port, user=user[0], password=user[1])


def test_ibis_brings_tables_along(filled: FrontServer) -> None:
    brought = ibis.memtable({"a": [1, 2, 3], "word": ["one", "two", "three"]})
    for user in (ADMIN, READER):
        connection = ibis_connect(filled, user)
        table = connection.table("t")
        joined = table.join(brought, "a")[["a", "word"]].order_by("a")
        assert joined.execute()["word"].tolist() == ["one", "two"]
        assert table.a.sum().execute() == 3
        connection.disconnect()


def test_ibis_makes_a_table_of_a_frame(front: FrontServer) -> None:
    connection = ibis_connect(front, ADMIN)
    frame = pd.DataFrame({"x": [1.5, 2.5], "word": ["a", "b"]})
    table = connection.create_table("frames", frame, overwrite=True)
    assert table.x.sum().execute() == 4.0
    connection.disconnect()
