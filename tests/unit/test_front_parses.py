"""How much of parsed statements the front keeps."""

from pathlib import Path

import pytest

from clickhouse.front import app
from clickhouse.front.access import Credentials, Role
from clickhouse.front.engine import Parsed
from clickhouse.front.mirror import SchemaMirror
from clickhouse.front.supervisor import Supervisor


def test_parses_are_kept_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement of 4 kB may have a tree of a hundred times that; those kept longest go first."""
    monkeypatch.setattr(app, "PARSED_MAX_BYTES", 1_000_000)
    mirror = SchemaMirror(tmp_path / "schemas", lambda _: None)
    credentials = Credentials(("a", "a"), ("r", "r"))
    front = app.Front(Supervisor(tmp_path / "data", 1), mirror, credentials, tmp_path / "spool")
    for again in range(2):
        for number in range(20):
            front._keep_parsed((Role.READER, str(number), None), Parsed(str(again), "x" * 100_000))
    assert [key[1] for key in front._parsed] == [str(number) for number in range(11, 20)]
    assert 900_000 < front._parsed_bytes < 1_000_000
    front._keep_parsed((Role.READER, "huge", None), Parsed("", "x" * 2_000_000))
    assert not front._parsed
    assert front._parsed_bytes == 0
