"""ClickHouse's HTTP interface beyond the plain query: what its clients rely on."""

import gzip
import io
import json
import threading
import zlib
from collections.abc import Iterator

import lz4.frame  # type: ignore[import-untyped]
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import urllib3
from backports import zstd

from clickhouse.front.compression import ADMIN_BOUNDS, decoder, encoder
from clickhouse.front.limits import MAX_KEPT_ANSWER_BYTES
from infra.base.wait import until
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front
from tests.integration.test_front_http import ENDLESS, running_queries

UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress, "lz4": lz4.frame.decompress, "zstd": zstd.decompress}
PACK = {"gzip": gzip.compress, "deflate": zlib.compress, "lz4": lz4.frame.compress, "zstd": zstd.compress}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data") as front:
        front.run("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
        yield front


def summary(response: requests.Response) -> dict[str, str]:
    return dict(json.loads(response.headers["X-ClickHouse-Summary"]))


@pytest.mark.parametrize("rows", [0, 1, 3, 1_000_000])
def test_every_answer_says_how_many_rows_there_are(front: FrontServer, rows: int) -> None:
    """A long one says how many it had when it began, as servers do: more than none."""
    response = front.post(f"SELECT number FROM numbers({rows})", READER)
    told = int(summary(response)["result_rows"])
    assert told == rows if rows < 1000 else 0 < told <= rows


@pytest.mark.parametrize("user", [ADMIN, READER], ids=["admin", "reader"])
@pytest.mark.parametrize("rows", [0, 3, 1_000_000])
def test_an_answer_that_is_waited_for_has_the_summary_of_its_end(
    front: FrontServer, rows: int, user: tuple[str, str]
) -> None:
    sql = f"SELECT number FROM numbers({rows})"
    response = front.post(sql, user, wait_end_of_query=1)
    assert summary(response)["result_rows"] == str(rows)
    assert response.headers["Content-Length"] == str(len(response.content))
    assert response.content == front.post(sql, user).content


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd", "blocks"])
def test_a_late_error_of_such_an_answer_is_an_error(front: FrontServer, encoding: str) -> None:
    url = {"wait_end_of_query": 1} | ({"compress": 1} if encoding == "blocks" else {"enable_http_compression": 1})
    sql = "SELECT throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    response = front.post(sql, READER, {"Accept-Encoding": encoding}, **url)
    assert (response.status_code, response.headers["X-ClickHouse-Exception-Code"]) == (500, "395")
    assert response.text.startswith("Code: 395. DB::Exception: too far")
    assert list((front.folder / "front-spool").iterdir()) == []


def test_a_large_answer_is_begun_before_its_end(front: FrontServer) -> None:
    response = front.post("SELECT repeat('x', 1000) FROM numbers(300000)", READER, wait_end_of_query=1)
    assert len(response.content) == 1001 * 300_000
    assert MAX_KEPT_ANSWER_BYTES // 1001 < int(summary(response)["result_rows"]) <= 300_000
    assert "Content-Length" not in response.headers


@pytest.mark.parametrize("encoding", list(UNPACK))
@pytest.mark.parametrize("rows", [0, 3, 500_000])
def test_answers_under_each_compression(front: FrontServer, encoding: str, rows: int) -> None:
    sql = f"SELECT number FROM numbers({rows})"
    url = {"enable_http_compression": "1", "query": sql}
    headers = {"Accept-Encoding": encoding}
    with requests.get(front.url, params=url, auth=READER, headers=headers, stream=True, timeout=60) as response:
        assert response.headers["Content-Encoding"] == encoding
        body = b"".join(response.raw.stream(1 << 20, decode_content=False))
    assert UNPACK[encoding](body).decode() == front.post(sql).text


@pytest.mark.parametrize("encoding", list(PACK))
def test_requests_under_each_compression(front: FrontServer, encoding: str) -> None:
    for user in (ADMIN, READER):
        response = front.post(PACK[encoding](b"SELECT 6 * 7"), user, {"Content-Encoding": encoding})
        assert response.text == "42\n"


@pytest.mark.parametrize("method", ["lz4", "zstd"])
@pytest.mark.parametrize("rows", [1, 500_000])
def test_clickhouses_own_blocks_both_ways(front: FrontServer, rows: int, method: str) -> None:
    packer, unpacker = encoder("", method), decoder("", True, ADMIN_BOUNDS)
    sql = f"SELECT number FROM numbers({rows})"
    packed = front.post(
        packer.feed(sql.encode()) + packer.end(), READER, compress=1, decompress=1, network_compression_method=method
    )
    assert packed.status_code == 200
    plain = b"".join(unpacker.feed(packed.content))
    unpacker.end()
    assert plain == front.post(sql).content


def test_a_block_with_a_wrong_checksum_is_refused(front: FrontServer) -> None:
    block = bytearray(encoder("", "lz4").feed(b"SELECT 1"))
    block[0] ^= 1
    assert front.code(bytes(block), decompress=1) == 36


def test_an_insert_in_blocks(front: FrontServer) -> None:
    front.run("CREATE OR REPLACE TABLE blocks (a Int32) ENGINE = MergeTree ORDER BY a")
    body = encoder("", "lz4").feed(b"1\n2\n3\n")
    response = front.post(body, decompress=1, query="INSERT INTO blocks FORMAT TSV")
    assert summary(response)["written_rows"] == "3"
    assert front.run("SELECT sum(a) FROM blocks") == "6"


@pytest.mark.parametrize("encoding", ["", *UNPACK, "blocks"])
def test_an_error_in_mid_stream_under_each_compression(front: FrontServer, encoding: str) -> None:
    sql = "SELECT throwIf(number = 900000, 'too far') FROM numbers(1000000)"
    blocks = encoding == "blocks"
    url = {"compress": "1"} if blocks else {"enable_http_compression": "1"}
    headers = {"Accept-Encoding": "" if blocks else encoding}
    received = b""
    with requests.post(front.url, sql, params=url, auth=READER, headers=headers, stream=True, timeout=60) as response:
        assert response.status_code == 200
        with pytest.raises(urllib3.exceptions.ProtocolError):
            for part in response.raw.stream(1 << 16, decode_content=False):
                received += part
    if encoding and not blocks:
        received = UNPACK[encoding](received)
    assert b"Code: 395. DB::Exception: too far" in received[received.index(b"__exception__") :]


@pytest.mark.parametrize("user", [ADMIN, READER], ids=["admin", "reader"])
@pytest.mark.parametrize(
    "sql", [ENDLESS, "SELECT 1 FROM system.numbers WHERE sipHash64(number) = 0"], ids=["one row", "stream"]
)
def test_a_query_is_killed_by_its_clients_id(front: FrontServer, user: tuple[str, str], sql: str) -> None:
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(front.post(sql, user, query_id="my 'id'")))
    thread.start()
    until(lambda: sql in running_queries(front), "the query to run", 10)
    assert front.code("SELECT 1", user, query_id="my 'id'") == 216
    # The engine's own id is another, so the client's is shown where the engine shows settings.
    shown = "SELECT Settings['chdb_client_name'] FROM system.processes WHERE query LIKE '%sipHash64%'"
    assert any(line.endswith(" my \\'id\\'") for line in front.run(shown).splitlines())
    assert front.run("KILL QUERY WHERE query_id = 'another'", READER) == ""
    killed = front.run("KILL QUERY WHERE query_id = 'my ''id''' SYNC", user)
    thread.join(15)
    assert killed.split("\t")[:2] == ["waiting", "my \\'id\\'"]
    assert answers[0].headers["X-ClickHouse-Exception-Code"] == "394"
    until(lambda: sql not in running_queries(front), "the query to end", 10)


def test_a_stream_that_is_killed_says_so(front: FrontServer) -> None:
    sql = "SELECT number FROM system.numbers"
    received = b""
    with requests.post(front.url, sql, params={"query_id": "s"}, auth=READER, stream=True, timeout=60) as response:
        parts = response.raw.stream(1 << 16, decode_content=False)
        received = next(parts)
        front.run("KILL QUERY WHERE query_id = 's'", READER)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            for part in parts:
                received = (received + part)[-4096:]
    assert b"Code: 394. DB::Exception: " in received


def test_the_reader_kills_no_administrators_query(front: FrontServer) -> None:
    thread = threading.Thread(target=lambda: front.post(ENDLESS, query_id="admins"))
    thread.start()
    until(lambda: ENDLESS in running_queries(front), "the query to run", 10)
    assert front.run("KILL QUERY WHERE query_id = 'admins'", READER) == ""
    assert ENDLESS in running_queries(front)
    front.run("KILL QUERY WHERE query_id = 'admins'")
    thread.join(15)
    assert front.code("KILL QUERY WHERE 1", READER) == 497


@pytest.mark.parametrize("user", [ADMIN, READER], ids=["admin", "reader"])
def test_tables_that_a_query_brings_along(front: FrontServer, user: tuple[str, str]) -> None:
    url = {
        "query": "SELECT sum(a), groupArray(s), (SELECT sum(_1) FROM more) FROM mine",
        "mine_structure": "a Int32, s LowCardinality(Nullable(String))",
        "mine_format": "CSV",
        "more_types": "Decimal(9, 2), Tuple(Int8, String)",
    }
    files = {"mine": ("f", b'1,x\n2,"y"\n'), "more": ("g", b"1.5\t(1,'a')\n2\t(2,'b')\n")}
    response = requests.post(front.url, params=url, files=files, auth=user, timeout=30)
    assert response.text == "3\t['x','y']\t3.5\n"
    assert front.code("SELECT * FROM mine", user) in {60, 497}
    assert list((front.folder / "front-spool").iterdir()) == []


def test_a_readers_tables_come_under_his_limits(front: FrontServer) -> None:
    """Some kB of Parquet, in which 4 GB are one word over and over."""
    word = pa.array(["x" * 1_000_000]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 4_000, pa.int32()), word.dictionary)
    pq.write_table(pa.table({"a": column}), file := io.BytesIO(), compression="zstd")
    url = {"query": "SELECT count() FROM mine", "mine_structure": "a String", "mine_format": "Parquet"}
    response = requests.post(front.url, params=url, files={"mine": ("f", file.getvalue())}, auth=READER, timeout=60)
    assert response.headers["X-ClickHouse-Exception-Code"] == "241", response.text[:200]
    assert front.run("SELECT 1", READER) == "1"


@pytest.mark.parametrize(
    "url",
    [
        {"mine_structure": "a String DEFAULT file('/etc/hostname')"},
        {"mine_structure": "a String MATERIALIZED file('/etc/hostname')"},
        {"mine_structure": "a String ALIAS file('/etc/hostname')"},
        {"mine_structure": "a String) AS SELECT file('/etc/hostname') --"},
        {"mine_structure": "a String) ENGINE = File(CSV) --"},
        {"mine_structure": "a String", "mine_format": "Template"},
        {"mine_structure": "a String", "mine_format": "Values"},
        {"mine_structure": "a String", "mine_format": "AvroConfluent"},
        {"mine_structure": "a String", "mine_format": "CSV SETTINGS max_threads = 1"},
    ],
)
def test_such_tables_hold_rows_and_nothing_else(front: FrontServer, url: dict[str, str]) -> None:
    for user in (ADMIN, READER):
        response = requests.post(
            front.url,
            params={"query": "SELECT * FROM mine", **url},
            files={"mine": ("f", b"x\n")},
            auth=user,
            timeout=30,
        )
        assert response.headers["X-ClickHouse-Exception-Code"] in {"497", "62"}, response.text
