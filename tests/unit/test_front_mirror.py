"""Schemas by id from disk, from the registry, and while the registry is away."""

import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from clickhouse.front import mirror as mirror_module
from clickhouse.front.mirror import RegistryUnavailableError, SchemaMirror, UnknownSchemaError, read_answer

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


def test_a_schema_is_asked_for_once_and_survives_a_restart(tmp_path: Path) -> None:
    registry = Registry(SCHEMA)
    for _ in range(2):
        status, body = SchemaMirror(tmp_path, registry).answer(7)
        assert (status, b"".join(body)) == (HTTPStatus.OK, SCHEMA)
    assert registry.asked == 1
    assert (tmp_path / "7.json").read_bytes() == SCHEMA
    assert [path.name for path in tmp_path.iterdir()] == ["7.json"]


def test_a_known_schema_needs_no_registry(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(SCHEMA)
    status, body = SchemaMirror(tmp_path, Registry(RegistryUnavailableError("down"))).answer(7)
    assert (status, list(body)) == (HTTPStatus.OK, [SCHEMA])


def test_a_damaged_file_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "7.json").write_bytes(SCHEMA[:5])
    assert b"".join(SchemaMirror(tmp_path, Registry(SCHEMA)).answer(7)[1]) == SCHEMA
    assert (tmp_path / "7.json").read_bytes() == SCHEMA


def test_unknown_is_said_and_not_remembered(tmp_path: Path) -> None:
    registry = Registry(UnknownSchemaError())
    status, body = SchemaMirror(tmp_path, registry).answer(7)
    assert status == HTTPStatus.NOT_FOUND
    assert json.loads(b"".join(body))["error_code"] == 40403
    registry.answer = SCHEMA
    assert SchemaMirror(tmp_path, registry).answer(7)[0] == HTTPStatus.OK


def blanks(body: Iterator[bytes], count: int) -> None:
    assert [next(body) for _ in range(count)] == [b" "] * count


@pytest.mark.parametrize("then", [SCHEMA, UnknownSchemaError()])
def test_while_the_registry_is_away_blanks_keep_the_engine_waiting(tmp_path: Path, then: bytes | Exception) -> None:
    registry = Registry(RegistryUnavailableError("down"))
    mirror = SchemaMirror(tmp_path, registry)
    status, body = mirror.answer(7)
    assert status == HTTPStatus.OK
    blanks(body, 20)
    assert mirror.held == 1
    assert registry.asked > 2
    registry.answer = then
    rest = b"".join(body).strip()
    assert rest == (SCHEMA if isinstance(then, bytes) else b"")
    assert mirror.held == 0


def test_a_silent_registry_is_waited_for_too_and_asked_once(tmp_path: Path) -> None:
    answered = threading.Event()
    asked = []

    def silent(schema_id: int) -> bytes:
        asked.append(schema_id)
        assert answered.wait(10)
        return SCHEMA

    mirror = SchemaMirror(tmp_path, silent)
    first, second = mirror.answer(7)[1], mirror.answer(7)[1]
    blanks(first, 3)
    blanks(second, 3)
    answered.set()
    assert b"".join(first).strip() == b"".join(second).strip() == SCHEMA
    assert asked == [7]


def test_a_client_that_leaves_is_no_longer_counted(tmp_path: Path) -> None:
    mirror = SchemaMirror(tmp_path, Registry(RegistryUnavailableError("down")))
    body = mirror.answer(7)[1]
    next(body)
    assert mirror.held == 1
    body.close()  # type: ignore[attr-defined]
    assert mirror.held == 0


def test_a_schema_that_cannot_be_kept_is_answered_all_the_same(tmp_path: Path) -> None:
    mirror = SchemaMirror(tmp_path / "gone", Registry(SCHEMA))
    (tmp_path / "gone").rmdir()
    status, body = mirror.answer(7)
    assert (status, b"".join(body)) == (HTTPStatus.OK, SCHEMA)


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
