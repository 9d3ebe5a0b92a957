"""Tables that a request brings along, in a body of several parts: read part by part, each into a file."""

from collections.abc import AsyncIterator, Mapping
from email.message import Message
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from clickhouse.front.catalogue import words
from clickhouse.front.engine import External
from clickhouse.front.errors import BAD_ARGUMENTS, NOT_ENOUGH_PRIVILEGES, QUERY_IS_TOO_LARGE, QueryError
from clickhouse.front.limits import MAX_EXTERNAL_BYTES, READER_MAX_SQL_BYTES
from clickhouse.front.request import ExternalHead
from clickhouse.front.statement import typed_columns

# Formats of rows that read nothing but the rows: none that names schemas, evaluates SQL or asks a registry.
INPUT_FORMATS = words(
    """
    Arrow ArrowStream BSONEachRow CSV CSVWithNames CSVWithNamesAndTypes JSONColumns JSONCompactEachRow
    JSONCompactEachRowWithNames JSONCompactEachRowWithNamesAndTypes JSONEachRow JSONLines MsgPack NDJSON Native ORC
    Parquet RowBinary RowBinaryWithNames RowBinaryWithNamesAndTypes TSKV TSV TSVWithNames TSVWithNamesAndTypes
    TabSeparated TabSeparatedWithNames TabSeparatedWithNamesAndTypes
    """
)

LIMITS = {"tables": MAX_EXTERNAL_BYTES, "fields": READER_MAX_SQL_BYTES}
"""What a body may hold of each kind."""
PART_BYTES = 64
"""What a part is counted for beside its name and its data."""


class _Part:
    def __init__(self) -> None:
        self.headers = Message()
        self.field = self.value = ""
        self.name = ""
        self.file: IO[bytes] | None = None
        self.text = bytearray()


class ExternalTables:
    """Collects the parts of a body: files of the tables that the URL describes, and plain fields.

    All files together are bounded, and so are all fields: a body may have as many parts as its sender likes.
    """

    def __init__(self, boundary: str, heads: Mapping[str, ExternalHead], spool: Path) -> None:
        self._heads = heads
        self._spool = spool
        self._part = _Part()
        self._files: dict[str, IO[bytes]] = {}
        self._held = dict.fromkeys(LIMITS, 0)
        self.fields: dict[str, str] = {}
        callbacks: dict[str, Any] = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._data,
            "on_part_end": self._end,
        }
        self._parser = MultipartParser(boundary.encode("latin-1"), callbacks)  # type: ignore[arg-type]

    async def read(self, body: AsyncIterator[bytes]) -> None:
        """Read the whole body. Raises QueryError for one that is too large or no body of several parts."""
        try:
            async for piece in body:
                self._parser.write(piece)
            self._parser.finalize()
        except FormParserError as error:
            raise QueryError(BAD_ARGUMENTS, f"the parts of the body cannot be read: {error}") from error

    def tables(self) -> list[External]:
        """The tables. Raises QueryError for a format that is not for them."""
        tables = []
        for name, file in self._files.items():
            head = self._heads[name]
            if head.input_format.lower() not in {known.lower() for known in INPUT_FORMATS}:
                raise QueryError(NOT_ENOUGH_PRIVILEGES, f"an external table may not be of format {head.input_format}")
            file.flush()
            structure = head.structure or typed_columns(head.types)
            tables.append(External(name, structure, head.input_format, file.name))
        return tables

    def close(self) -> None:
        """Remove the files."""
        for file in self._files.values():
            file.close()

    def _count(self, kind: str, size: int) -> None:
        self._held[kind] += size
        if self._held[kind] > LIMITS[kind]:
            reason = f"the {kind} in the body have more than {LIMITS[kind]} bytes together"
            raise QueryError(QUERY_IS_TOO_LARGE, reason)

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.field += data[start:end].decode("latin-1")

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.value += data[start:end].decode("latin-1")

    def _header_end(self) -> None:
        self._part.headers[self._part.field] = self._part.value
        self._part.field = self._part.value = ""

    def _headers_finished(self) -> None:
        name = self._part.headers.get_param("name", "", "content-disposition")
        self._part.name = str(name)
        self._count("fields", len(self._part.name) + PART_BYTES)
        if self._part.name in self._heads:
            self._part.file = NamedTemporaryFile(dir=self._spool)  # noqa: SIM115
            self._files[self._part.name] = self._part.file

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        self._count("tables" if part.file else "fields", end - start)
        if part.file:
            part.file.write(data[start:end])
        else:
            part.text += data[start:end]

    def _end(self) -> None:
        if self._part.file is None:
            try:
                self.fields[self._part.name] = self._part.text.decode()
            except UnicodeDecodeError as error:
                raise QueryError(BAD_ARGUMENTS, f"the part {self._part.name!r} is not UTF-8: {error}") from error
