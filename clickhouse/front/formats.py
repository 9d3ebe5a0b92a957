"""Output formats: which may be streamed, their content types, and how the engine's chunks become one document.

The engine's streaming gives every chunk as a document of its own. Formats without a header join as they are; those
with a header join once the header of every later chunk is cut off; all others (JSON, Parquet, …) are produced in one
piece.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from clickhouse.front.native import read_varuint

_PLAIN = frozenset(
    {
        "native",
        "tabseparated",
        "tsv",
        "tabseparatedraw",
        "tsvraw",
        "raw",
        "csv",
        "rowbinary",
        "jsoneachrow",
        "jsonl",
        "jsonlines",
    }
    | {
        "ndjson",
        "jsoncompacteachrow",
        "jsonstringseachrow",
        "jsoncompactstringseachrow",
        "tskv",
        "lineasstring",
        "rawblob",
    }
)
_WHOLE = ("output_format_json_array_of_rows", "extremes")
"""Settings by which an answer has an end of its own: as a stream each chunk would get one, or the last no place."""
_WHOLE_IN_PRINT = ("WITH TOTALS", *(f"{name} = " for name in _WHOLE))
_ARROW_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_CSV_LINE = re.compile(rb'(?:"[^"]*"|[^"\n])*\n')
_CONTENT_TYPES = (
    (re.compile(r"(tabseparated|tsv)", re.I), "text/tab-separated-values; charset=UTF-8"),
    (re.compile(r"csvwithnames", re.I), "text/csv; charset=UTF-8; header=present"),
    (re.compile(r"csv", re.I), "text/csv; charset=UTF-8; header=absent"),
    (re.compile(r"(json\w*eachrow|jsonl|jsonlines|ndjson)", re.I), "application/x-ndjson; charset=UTF-8"),
    (re.compile(r"json", re.I), "application/json; charset=UTF-8"),
    (re.compile(r"xml", re.I), "application/xml; charset=UTF-8"),
    (re.compile(r"(pretty|vertical|values|markdown|tskv)", re.I), "text/plain; charset=UTF-8"),
)


def content_type(name: str) -> str:
    return next((kind for pattern, kind in _CONTENT_TYPES if pattern.match(name)), "application/octet-stream")


def can_stream(name: str, settings: Mapping[str, str] = MappingProxyType({}), normalised: str = "") -> bool:
    """Whether an answer in this format may be given as it comes, by these settings and to this statement's print."""
    asked = any(settings.get(setting, "0").lower() not in {"0", "false"} for setting in _WHOLE)
    if name.lower() != "native" and (asked or any(mark in normalised for mark in _WHOLE_IN_PRINT)):
        return False
    return name.lower() in _PLAIN or name.lower() in _HEADERS


def join(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """One document from the chunks of a streamed result; holds one chunk at a time."""
    header = _HEADERS.get(name.lower())
    if header is None:
        yield from chunks
        return
    arrow = name.lower() == "arrowstream"
    first: bytes | None = None
    for chunk in chunks:
        start = 0
        if first is None:
            first = chunk[: header(chunk)]
        else:
            start = len(first)
            if chunk[:start] != first:
                raise ValueError(f"a later chunk of format {name} does not begin with the header of the first one")
        yield chunk[start:].removesuffix(_ARROW_END) if arrow else chunk[start:]
    if arrow and first is not None:
        yield _ARROW_END


def _lines(count: int) -> Callable[[bytes], int]:
    def length(chunk: bytes) -> int:
        position = 0
        for _ in range(count):
            position = chunk.index(b"\n", position) + 1
        return position

    return length


def _csv_lines(count: int) -> Callable[[bytes], int]:
    def length(chunk: bytes) -> int:
        position = 0
        for _ in range(count):
            match = _CSV_LINE.match(chunk, position)
            if match is None:
                raise ValueError("the CSV header has no end")
            position = match.end()
        return position

    return length


def _row_binary(lists: int) -> Callable[[bytes], int]:
    def length(chunk: bytes) -> int:
        columns, position = read_varuint(chunk, 0)
        for _ in range(columns * lists):
            size, position = read_varuint(chunk, position)
            position += size
        return position

    return length


def _arrow_schema(chunk: bytes) -> int:
    """An Arrow stream begins with the schema message: continuation mark, 4 bytes of length, metadata, no body."""
    return 8 + int.from_bytes(chunk[4:8], "little")


_HEADERS: dict[str, Callable[[bytes], int]] = {
    "arrowstream": _arrow_schema,
    "rowbinarywithnames": _row_binary(1),
    "rowbinarywithnamesandtypes": _row_binary(2),
    "csvwithnames": _csv_lines(1),
    "csvwithnamesandtypes": _csv_lines(2),
    **{
        f"{stem}{suffix}": _lines(count)
        for stem in (
            "tabseparated",
            "tsv",
            "tabseparatedraw",
            "tsvraw",
            "jsoncompacteachrow",
            "jsoncompactstringseachrow",
        )
        for suffix, count in (("withnames", 1), ("withnamesandtypes", 2))
        if not (stem.endswith("raw"))
    },
}
