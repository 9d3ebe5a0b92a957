"""What one connection, one client and all strangers together may hold of the front, tried against it."""

import asyncio
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from backports import zstd

from clickhouse.front import app, exchange
from clickhouse.front.access import Credentials
from clickhouse.front.compression import encoder
from clickhouse.front.limits import (
    BODY_S,
    HEAD_S,
    MAX_HEAD_BYTES,
    MAX_WAITING_CONNECTIONS,
    MAX_WAITING_HEADS_BYTES,
    READER_MAX_BLOCK_BYTES,
    READER_MAX_REQUESTS,
)
from clickhouse.front.mirror import SchemaMirror
from clickhouse.front.supervisor import Supervisor
from infra.base.wait import until
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front
from tests.integration.test_front_http import ENDLESS, running_queries

SOON_S = 20.0
"""What needs no waiting is answered within it on a busy machine too; less than the deadlines that are tried."""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "clickhouse") as front:
        front.run("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
        yield front


def head(user: tuple[str, str] | None, *lines: str, method: str = "POST", query: str = "") -> bytes:
    who = f"user={user[0]}&password={user[1]}&" if user else ""
    return "\r\n".join([f"{method} /?{who}{query} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode()


def connected(front: FrontServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", front.port), timeout=60)


def all_of(client: socket.socket) -> bytes:
    """What comes until the front closes the connection."""
    answer = b""
    try:
        while part := client.recv(65536):
            answer += part
    except ConnectionResetError:
        pass
    return answer


def code_of(answer: bytes) -> str:
    lines = answer.decode("latin-1").lower().split("\r\n")
    return next((line.split(": ")[1] for line in lines if line.startswith("x-clickhouse-exception-code")), "")


@pytest.mark.parametrize(("user", "code"), [(READER, "36"), (ADMIN, "")], ids=["reader", "admin"])
def test_a_block_is_bounded_before_it_is_held(front: FrontServer, user: tuple[str, str], code: str) -> None:
    """The head of a block of 60 MB and nothing after it: for the reader that is an answer."""
    size = 60 << 20
    block = bytes(16) + b"\x02" + size.to_bytes(4, "little") + (size - 9).to_bytes(4, "little")
    with connected(front) as client:
        client.sendall(head(user, f"Content-Length: {size + 16}", query="decompress=1") + block)
        client.settimeout(SOON_S if code else 2)
        if code:
            assert code_of(all_of(client)) == code
        else:
            with pytest.raises(TimeoutError):
                client.recv(1)


def test_a_block_within_the_bound_is_read(front: FrontServer) -> None:
    sql = b"SELECT 1" + b" " * (READER_MAX_BLOCK_BYTES // 16)
    assert front.post(encoder("", "lz4").feed(sql), READER, decompress=1).text == "1\n"


@pytest.mark.parametrize(("user", "status"), [(READER, 400), (ADMIN, 200)], ids=["reader", "admin"])
def test_a_window_of_zstandard_is_bounded(front: FrontServer, user: tuple[str, str], status: int) -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    body = packer.compress(b"SELECT 1") + packer.flush()
    assert front.post(body, user, {"Content-Encoding": "zstd"}).status_code == status


def test_a_head_that_does_not_come_ends_the_connection(front: FrontServer) -> None:
    """Nothing, a part of it, a byte now and then; after an answer too, when uvicorn's deadline counts no longer."""
    with ExitStack() as stack:
        silent, cut, trickling, later = (stack.enter_context(connected(front)) for _ in range(4))
        cut.sendall(b"GET / HTTP/1.1\r\nHost: local")
        later.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: b"Ok.\n" in later.recv(65536), "the first answer", 10)
        started = time.monotonic()
        held = {silent, cut, trickling, later}
        while held and time.monotonic() - started < HEAD_S + SOON_S:
            for client in list(held):
                client.settimeout(0.1)
                try:
                    if client in {trickling, later}:
                        client.sendall(b"G")
                    if not client.recv(1):
                        held.remove(client)
                except TimeoutError:
                    continue
                except ConnectionError:
                    held.remove(client)
            assert len(held) == 4 or time.monotonic() - started > HEAD_S / 2
        assert not held


def test_those_who_wait_make_room_for_who_asks(front: FrontServer) -> None:
    """Many more connections than places: each new client is served at once, and no more are held."""
    assert front.process is not None
    with ExitStack() as stack:
        clients = []
        for _ in range(MAX_WAITING_CONNECTIONS + 50):
            client = stack.enter_context(connected(front))
            client.sendall(b"GET /")
            clients.append(client)
        started = time.monotonic()
        assert front.run("SELECT 1") == front.run("SELECT 1", READER) == "1"
        assert time.monotonic() - started < HEAD_S, "too slow to tell"
        assert len(front.process.net_connections("tcp")) < MAX_WAITING_CONNECTIONS + 20
        clients[0].settimeout(SOON_S)
        assert all_of(clients[0]) == b""


def test_heads_are_bounded_together(front: FrontServer) -> None:
    assert front.process is not None
    before = front.process.memory_info().rss
    many = 2 * MAX_WAITING_HEADS_BYTES // MAX_HEAD_BYTES
    with ExitStack() as stack:
        for _ in range(many):
            client = stack.enter_context(connected(front))
            client.sendall(b"GET /?" + b"x" * (MAX_HEAD_BYTES - 4096))
        assert front.run("SELECT 1") == "1"
        assert front.process.memory_info().rss - before < 3 * MAX_WAITING_HEADS_BYTES // 2


def test_readers_requests_are_counted_and_the_administrator_served(front: FrontServer) -> None:
    with ExitStack() as stack:
        for _ in range(READER_MAX_REQUESTS):
            client = stack.enter_context(connected(front))
            client.sendall(head(READER, "Content-Length: 8"))
        until(lambda: front.post("SELECT 1", READER).status_code == 503, "readers to have all their requests", SOON_S)
        assert front.code("SELECT 1", READER) == 202
        assert front.run("SELECT 1") == "1"
        client.sendall(b"SELECT 1")  # whoever has a place is answered
        assert b" 200 " in client.recv(65536)
    until(lambda: front.post("SELECT 1", READER).ok, "readers to be served again", SOON_S)


def test_a_readers_body_comes_within_its_time(front: FrontServer) -> None:
    """However small the pieces: an administrator's INSERT may take as long as its pieces come."""
    with connected(front) as slow, connected(front) as admin:
        slow.sendall(head(READER, "Content-Length: 1000000"))
        admin.sendall(head(ADMIN, "Content-Length: 1000000"))
        started = time.monotonic()
        slow.settimeout(0.5)
        answer = b""
        while not answer and time.monotonic() - started < BODY_S + SOON_S:
            admin.sendall(b" ")
            slow.sendall(b" ")
            try:
                answer = slow.recv(65536)
            except TimeoutError:
                continue
        assert code_of(answer) == "36", answer
        assert time.monotonic() - started > BODY_S / 2
        admin.settimeout(1)
        with pytest.raises(TimeoutError):
            admin.recv(1)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("announced", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_who_announces_a_body_and_is_refused_loses_the_connection(
    front: FrontServer, method: str, announced: str
) -> None:
    with connected(front) as client:
        client.settimeout(HEAD_S / 2)
        client.sendall(head(None, announced, method=method, query="query=SELECT+1"))
        status = all_of(client).split(b" ", 2)[1]
    assert status == (b"405" if method in {"PUT", "DELETE"} else b"401")


def test_a_get_may_have_a_body(front: FrontServer) -> None:
    """As at a server: the statement in the URL, and the rest of it in the body."""
    response = requests.get(front.url, params={"query": "SELECT 1"}, data=b"+ 1", auth=READER, timeout=30)
    assert response.text == "2\n"


def end_engine(front: FrontServer) -> None:
    """As a crash would."""
    assert front.process is not None
    (engine,) = front.process.children()
    engine.kill()


def begun(front: FrontServer, *sqls: str) -> None:
    until(lambda: set(sqls) <= set(running_queries(front)), "the statements to run", SOON_S)


def test_what_may_have_ended_the_engine_is_not_asked_again_and_refused_for_a_while(front: FrontServer) -> None:
    sql = f"{ENDLESS} AND 1 = 1"
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(front.post, sql, READER)
        begun(front, sql)
        end_engine(front)
        answer = asked.result(SOON_S)  # asked again, it would run until its time is over
    assert answer.headers["X-ClickHouse-Exception-Code"] == "236"
    assert "perhaps because of it: it is not asked again" in answer.text
    for spelt in (sql, f"/* again */ {sql.lower()}".replace("siphash64", "sipHash64")):
        refused = front.post(spelt, READER)
        assert refused.headers["X-ClickHouse-Exception-Code"] == "392", refused.text
        assert "it ended the engine's process" in refused.text
    assert front.run("SELECT 1", READER) == "1"
    assert front.code(sql, max_execution_time=1) == 159  # the administrator may


def test_several_are_suspect_at_the_second_time(front: FrontServer) -> None:
    sqls = [f"{ENDLESS} AND {number} = {number}" for number in (2, 3)]
    for _ in range(2):
        with ThreadPoolExecutor() as pool:
            asked = [pool.submit(front.post, sql, READER) for sql in sqls]
            begun(front, *sqls)
            end_engine(front)
            assert {each.result(SOON_S).headers["X-ClickHouse-Exception-Code"] for each in asked} == {"236"}
    assert [front.code(sql, READER) for sql in sqls] == [392, 392]


STUBBORN = "SELECT editDistance(repeat('ab', 15000 + number), repeat('cd', 15000)) FROM numbers(64)"


def test_another_ones_fault_is_nobodys_error(front: FrontServer) -> None:
    """What ignores its time costs the engine's process; what ran beside it is answered all the same."""
    patient = "SELECT sum(sleepEachRow(1)) FROM numbers(14)"
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(front.post, patient, READER, max_block_size=1)
        begun(front, patient)
        assert front.code(STUBBORN, READER, max_execution_time=1) == 159
        assert front.code(STUBBORN, READER, max_execution_time=1) == 392
        assert asked.result(60).text == "0\n"


def test_to_kill_twice_frees_no_slot_early(front: FrontServer) -> None:
    """A reader's statement waits until the engine has let go of what was killed, and be it by its end."""
    with ThreadPoolExecutor() as pool:
        sqls = {f"q{number}": f"{STUBBORN} WHERE number >= {number}" for number in range(4)}  # there are four slots
        asked = [pool.submit(front.post, sql, READER, query_id=name) for name, sql in sqls.items()]
        begun(front, *sqls.values())
        replaced = front.log.read_text().count("replacing the engine's process")
        for _ in range(2):
            for name in sqls:
                assert name in front.run(f"KILL QUERY WHERE query_id = '{name}'")
        assert front.run("SELECT 1", READER) == "1"
        assert front.log.read_text().count("replacing the engine's process") == replaced + 1
        assert {each.result(SOON_S).headers["X-ClickHouse-Exception-Code"] for each in asked} == {"394"}


def test_an_answer_that_is_not_taken_in_its_time_ends_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that reads all the while, too slowly; the time is a test's own, for the real one is ten minutes."""
    monkeypatch.setattr(app, "READER_ANSWER_S", 1.0)
    monkeypatch.setattr(exchange, "LINGER_S", 0.0)
    sent: list[Mapping[str, Any]] = []

    body: list[Mapping[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Mapping[str, Any]:
        return body.pop() if body else await asyncio.Future()

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)
        await asyncio.sleep(0.01)

    async def ask() -> None:
        engine = Supervisor(tmp_path / "data", 2)
        await engine.start()
        try:
            mirror = SchemaMirror(tmp_path / "schemas", lambda _: None)
            front = app.Front(engine, mirror, Credentials(ADMIN, READER), tmp_path / "spool")
            query = f"user={READER[0]}&password={READER[1]}&query=SELECT+number+FROM+system.numbers"
            scope = {"type": "http", "method": "POST", "path": "/", "query_string": query.encode()}
            headers = [(b"host", b"localhost"), (b"content-length", b"0")]
            await asyncio.wait_for(front({**scope, "headers": headers}, receive, send), SOON_S)
        finally:
            await engine.close(20)

    asyncio.run(ask())
    assert sent[0]["status"] == 200
    assert b"__exception__" in sent[-1]["body"]
    assert b"Code: 159. DB::Exception: Timeout exceeded: the answer was not taken in full" in sent[-1]["body"]
    assert sent[-1]["more_body"], "a proper end would be a whole answer"
