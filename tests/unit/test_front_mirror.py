"""Schemas by id from disk, from the registry, and while the registry is away."""

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncGenerator
from http import HTTPStatus
from pathlib import Path

import pytest

from clickhouse.front import mirror as mirror_module
from clickhouse.front.mirror import (
    RegistryUnavailableError,
    SchemaMirror,
    UnknownSchemaError,
    is_connection_of,
    read_answer,
)

SCHEMA = json.dumps({"schema": '"string"'}).encode()


class Registry:
    """A registry in memory; `answer` is bytes or an exception; counts the questions."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self, schema_id: int) -> bytes:  # noqa: ARG002 - one answer for every id
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
    return await mirror.answer(7, lambda: for_engine)


async def whole(mirror: SchemaMirror, for_engine: bool = True) -> tuple[HTTPStatus, bytes]:
    status, body = await answer(mirror, for_engine)
    return status, b"".join([chunk async for chunk in body])


def ask(mirror: SchemaMirror, for_engine: bool = True) -> tuple[HTTPStatus, bytes]:
    return asyncio.run(whole(mirror, for_engine))


def test_a_schema_is_asked_for_once_and_survives_a_restart(tmp_path: Path) -> None:
    registry = Registry(SCHEMA)
    for _ in range(2):
        assert ask(SchemaMirror(tmp_path, registry)) == (HTTPStatus.OK, SCHEMA)
    assert registry.asked == 1
    assert (tmp_path / "7.json").read_bytes() == SCHEMA
    assert [path.name for path in tmp_path.iterdir()] == ["7.json"]


def test_a_known_schema_needs_no_registry(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(SCHEMA)
    for for_engine in (True, False):
        mirror = SchemaMirror(tmp_path, Registry(RegistryUnavailableError("down")))
        assert ask(mirror, for_engine) == (HTTPStatus.OK, SCHEMA)


def test_a_damaged_file_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(SCHEMA[:5])
    assert ask(SchemaMirror(tmp_path, Registry(SCHEMA)))[1] == SCHEMA
    assert (tmp_path / "7.json").read_bytes() == SCHEMA


def test_unknown_is_said_and_not_remembered(tmp_path: Path) -> None:
    registry = Registry(UnknownSchemaError())
    status, body = ask(SchemaMirror(tmp_path, registry))
    assert status == HTTPStatus.NOT_FOUND
    assert json.loads(body)["error_code"] == 40403
    registry.answer = SCHEMA
    assert ask(SchemaMirror(tmp_path, registry))[0] == HTTPStatus.OK


async def blanks(body: AsyncGenerator[bytes, None], count: int) -> None:
    assert [await anext(body) for _ in range(count)] == [b" "] * count


@pytest.mark.parametrize("then", [SCHEMA, UnknownSchemaError()])
def test_while_the_registry_is_away_blanks_keep_the_engine_waiting(tmp_path: Path, then: bytes | Exception) -> None:
    async def wait() -> None:
        registry = Registry(RegistryUnavailableError("down"))
        mirror = SchemaMirror(tmp_path, registry)
        status, body = await answer(mirror)
        assert status == HTTPStatus.OK
        await blanks(body, 20)
        assert mirror.held == 1
        assert registry.asked > 2
        registry.answer = then
        rest = b"".join([chunk async for chunk in body]).strip()
        assert rest == (SCHEMA if isinstance(then, bytes) else b"")
        assert mirror.held == 0

    asyncio.run(wait())


def test_a_silent_registry_is_waited_for_too_and_asked_once(tmp_path: Path) -> None:
    answered = threading.Event()
    asked = []

    def silent(schema_id: int) -> bytes:
        asked.append(schema_id)
        assert answered.wait(10)
        return SCHEMA

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

    def silent(schema_id: int) -> bytes:
        assert schema_id == 7 or answered.wait(10)
        return SCHEMA

    async def crowd() -> None:
        mirror = SchemaMirror(tmp_path, silent)
        strangers = [await mirror.answer(number, lambda: False) for number in range(100, 140)]
        assert {status for status, _ in strangers} == {HTTPStatus.SERVICE_UNAVAILABLE}
        assert mirror.held == 0
        assert await whole(mirror) == (HTTPStatus.OK, SCHEMA)
        answered.set()

    asyncio.run(crowd())


def test_a_client_that_leaves_is_no_longer_counted(tmp_path: Path) -> None:
    async def leave() -> None:
        mirror = SchemaMirror(tmp_path, Registry(RegistryUnavailableError("down")))
        _, body = await answer(mirror)
        await anext(body)
        assert mirror.held == 1
        await body.aclose()
        assert mirror.held == 0

    asyncio.run(leave())


def test_a_schema_that_cannot_be_kept_is_answered_all_the_same(tmp_path: Path) -> None:
    mirror = SchemaMirror(tmp_path / "gone", Registry(SCHEMA))
    (tmp_path / "gone").rmdir()
    assert ask(mirror) == (HTTPStatus.OK, SCHEMA)


def test_whose_a_connection_is() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        with socket.create_connection(listening.getsockname()) as ours:
            port = ours.getsockname()[1]
            assert is_connection_of(os.getpid(), port)
            assert not is_connection_of(os.getppid(), port)
            assert not is_connection_of(None, port)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, SCHEMA, SCHEMA),
        (404, b'{"error_code": 40403, "message": "Schema not found"}', UnknownSchemaError),
        (404, b"<html>no such page</html>", RegistryUnavailableError),
        (404, b'{"error_code": 404}', RegistryUnavailableError),
        (200, b"<html>log in</html>", RegistryUnavailableError),
        (200, b'{"schema": 1}', RegistryUnavailableError),
        (401, b"", RegistryUnavailableError),
        (503, SCHEMA, RegistryUnavailableError),
    ],
)
def test_only_a_registry_that_says_so_makes_an_id_unknown(status: int, body: bytes, expected: bytes | type) -> None:
    if isinstance(expected, bytes):
        assert read_answer(status, body) == expected
    else:
        with pytest.raises(expected):
            read_answer(status, body)
