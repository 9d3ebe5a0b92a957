"""Bodies of several parts: what all of them together may hold."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest

from clickhouse.front.errors import QueryError
from clickhouse.front.externals import ExternalTables
from clickhouse.front.limits import READER_MAX_SQL_BYTES


def read(parts: Iterable[tuple[str, str]], spool: Path) -> ExternalTables:
    """A body of these fields, by name and text."""
    lines = [f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in parts]

    async def body() -> AsyncIterator[bytes]:
        for line in (*lines, "--x--\r\n"):
            yield line.encode()

    tables = ExternalTables("x", {}, spool)
    asyncio.run(tables.read(body()))
    return tables


def test_fields_are_kept_by_name(tmp_path: Path) -> None:
    assert read([("query", "SELECT 1"), ("param_a", "2")], tmp_path).fields == {"query": "SELECT 1", "param_a": "2"}


@pytest.mark.parametrize(("parts", "size"), [(3, READER_MAX_SQL_BYTES // 2), (5000, 0)])
def test_fields_are_bounded_together(parts: int, size: int, tmp_path: Path) -> None:
    """A few large ones, or many that are empty."""
    with pytest.raises(QueryError, match="the fields in the body have more than"):
        read([(f"field{number}", "x" * size) for number in range(parts)], tmp_path)
