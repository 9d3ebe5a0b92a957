"""Schemas by id from disk, from the registry, and while the registry is away."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from clickhouse.front import mirror as mirror_module
from clickhouse.front.mirror import MAX_STRANGERS, EnginesConnections, SchemaMirror, ports_of, registry_fetch
from schemas.registry import RegistryUnavailable

TEXT = '"string"'
SCHEMA = json.dumps({"schema": TEXT}).encode()
DOWN = RegistryUnavailable("down")


class Registry:
    """A registry in memory; `answer` is a schema, None for unknown, or an exception; counts the questions."""

    def __init__(self, answer: str | Exception | None) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self, schema_id: int) -> str | None:  # noqa: ARG002 - one answer for every id
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "FIRST_BYTE_S", 0.05)
    monkeypatch.setattr(mirror_module, "KEEP_ALIVE_S", 0.01)
    monkeypatch.setattr(mirror_module, "RETRY_S", 0.02)


async def answer(mirror: SchemaMirror, for_engine: bool = True) -> tuple[HTTPStatus, AsyncGenerator[bytes, None]]:
    return await mirror.answer(7, told(for_engine))


def told(for_engine: bool) -> Callable[[], Awaitable[bool]]:
    async def whether() -> bool:
        return for_engine

    return whether


async def whole(mirror: SchemaMirror, for_engine: bool = True) -> tuple[HTTPStatus, bytes]:
    status, body = await answer(mirror, for_engine)
    return status, b"".join([chunk async for chunk in body])


def ask(mirror: SchemaMirror, for_engine: bool = True) -> tuple[HTTPStatus, bytes]:
    return asyncio.run(whole(mirror, for_engine))


def test_a_schema_is_asked_for_once_and_survives_a_restart(tmp_path: Path) -> None:
    registry = Registry(TEXT)
    for _ in range(2):
        assert ask(SchemaMirror(tmp_path, registry)) == (HTTPStatus.OK, SCHEMA)
    assert registry.asked == 1
    assert (tmp_path / "7.json").read_bytes() == SCHEMA
    assert [path.name for path in tmp_path.iterdir()] == ["7.json"]


def test_a_known_schema_needs_no_registry(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(SCHEMA)
    for for_engine in (True, False):
        mirror = SchemaMirror(tmp_path, Registry(DOWN))
        assert ask(mirror, for_engine) == (HTTPStatus.OK, SCHEMA)


def test_a_damaged_file_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(SCHEMA[:5])
    assert ask(SchemaMirror(tmp_path, Registry(TEXT)))[1] == SCHEMA
    assert (tmp_path / "7.json").read_bytes() == SCHEMA


def test_unknown_is_said_and_not_remembered(tmp_path: Path) -> None:
    registry = Registry(None)
    status, body = ask(SchemaMirror(tmp_path, registry))
    assert status == HTTPStatus.NOT_FOUND
    assert json.loads(body)["error_code"] == 40403
    registry.answer = TEXT
    assert ask(SchemaMirror(tmp_path, registry))[0] == HTTPStatus.OK


async def blanks(body: AsyncGenerator[bytes, None], count: int) -> None:
    assert [await anext(body) for _ in range(count)] == [b" "] * count


@pytest.mark.parametrize("then", [TEXT, None])
def test_while_the_registry_is_away_blanks_keep_the_engine_waiting(tmp_path: Path, then: str | None) -> None:
    async def wait() -> None:
        registry = Registry(DOWN)
        mirror = SchemaMirror(tmp_path, registry)
        status, body = await answer(mirror)
        assert status == HTTPStatus.OK
        await blanks(body, 20)
        assert mirror.held == 1
        assert registry.asked > 2
        registry.answer = then
        rest = b"".join([chunk async for chunk in body]).strip()
        assert rest == (SCHEMA if then else b"")
        assert mirror.held == 0

    asyncio.run(wait())


def test_a_silent_registry_is_waited_for_too_and_asked_once(tmp_path: Path) -> None:
    answered = threading.Event()
    asked = []

    def silent(schema_id: int) -> str:
        asked.append(schema_id)
        assert answered.wait(10)
        return TEXT

    async def wait() -> None:
        mirror = SchemaMirror(tmp_path, silent)
        (_, first), (_, second) = await answer(mirror), await answer(mirror)
        await blanks(first, 3)
        await blanks(second, 3)
        answered.set()
        assert [b"".join([chunk async for chunk in body]).strip() for body in (first, second)] == [SCHEMA, SCHEMA]

    asyncio.run(wait())
    assert asked == [7]


def test_strangers_are_not_held_and_keep_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_module, "STRANGERS_WAIT_S", 0.05)
    answered = threading.Event()

    def silent(schema_id: int) -> str:
        assert schema_id == 7 or answered.wait(10)
        return TEXT

    async def crowd() -> None:
        mirror = SchemaMirror(tmp_path, silent)
        strangers = [await mirror.answer(number, told(for_engine=False)) for number in range(100, 140)]
        assert {status for status, _ in strangers} == {HTTPStatus.SERVICE_UNAVAILABLE}
        assert mirror.held == 0
        assert await whole(mirror) == (HTTPStatus.OK, SCHEMA)
        answered.set()

    asyncio.run(crowd())


def test_a_client_that_leaves_is_no_longer_counted(tmp_path: Path) -> None:
    async def leave() -> None:
        mirror = SchemaMirror(tmp_path, Registry(DOWN))
        _, body = await answer(mirror)
        await anext(body)
        assert mirror.held == 1
        await body.aclose()
        assert mirror.held == 0

    asyncio.run(leave())


def test_a_schema_that_cannot_be_kept_is_answered_all_the_same(tmp_path: Path) -> None:
    mirror = SchemaMirror(tmp_path / "gone", Registry(TEXT))
    (tmp_path / "gone").rmdir()
    assert ask(mirror) == (HTTPStatus.OK, SCHEMA)


def test_whose_a_connection_is() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()) as ours:
            port = ours.getsockname()[1]
            assert port in (ports_of(os.getpid()) or ())
            assert port not in (ports_of(os.getppid()) or ())
            assert ports_of(None) == frozenset()


def test_one_look_serves_a_crowd(tmp_path: Path) -> None:
    """And waits for no thread of others', as when readers have all of them."""
    looks = 0
    busy, looking = threading.Event(), threading.Event()

    def look() -> frozenset[int]:
        nonlocal looks
        looks += 1
        if looks > 1:
            return frozenset({7})
        assert looking.wait(10)  # the engine connects while the first look is under way
        return frozenset()

    async def crowd() -> None:
        readers = [asyncio.create_task(asyncio.to_thread(busy.wait, 10)) for _ in range(100)]
        engine = EnginesConnections(look)
        mirror = SchemaMirror(tmp_path, Registry(TEXT))
        first = asyncio.create_task(engine.has(1))
        while looks == 0:
            await asyncio.sleep(0.001)
        strangers = [asyncio.create_task(engine.has(port)) for port in range(1000, 2000)]
        engines = asyncio.create_task(mirror.answer(7, lambda: engine.has(7)))
        await asyncio.sleep(0)
        looking.set()
        try:
            assert (await asyncio.wait_for(engines, 5))[0] == HTTPStatus.OK
            assert not any(await asyncio.gather(first, *strangers))
        finally:
            busy.set()
            await asyncio.gather(*readers)

    asyncio.run(crowd())
    assert looks == 2


def test_strangers_are_counted_whatever_they_ask_for(tmp_path: Path) -> None:
    """A crowd that asks for one schema, too: only so many are kept waiting."""
    answered = threading.Event()

    def silent(_: int) -> str:
        assert answered.wait(10)
        return TEXT

    async def crowd() -> None:
        mirror = SchemaMirror(tmp_path, silent)
        asking = [asyncio.create_task(whole(mirror, for_engine=False)) for _ in range(50)]
        done, waiting = await asyncio.wait(asking, timeout=0.2)
        assert {task.result()[0] for task in done} == {HTTPStatus.SERVICE_UNAVAILABLE}
        assert len(waiting) == MAX_STRANGERS
        answered.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {HTTPStatus.OK}

    asyncio.run(crowd())


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, SCHEMA, TEXT),
        (404, b'{"error_code": 40403, "message": "Schema not found"}', None),
        (404, b"<html>no such page</html>", DOWN),
        (404, b'{"error_code": 404}', DOWN),
        (200, b"<html>log in</html>", DOWN),
        (200, b'{"schema": 1}', DOWN),
        (301, b"", DOWN),
        (401, b"", DOWN),
        (503, SCHEMA, DOWN),
    ],
)
def test_only_a_registry_that_says_so_makes_an_id_unknown(
    status: int, body: bytes, expected: str | Exception | None
) -> None:
    with answering(status, body) as url:
        if isinstance(expected, Exception):
            with pytest.raises(RegistryUnavailable):
                registry_fetch(url)(7)
        else:
            assert registry_fetch(url)(7) == expected


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """A server that gives every request this answer; a redirection leads to itself, for ever."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", self.path)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
