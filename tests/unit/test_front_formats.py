"""Chunks that each are a document of their own become one document."""

import io

import pyarrow as pa
import pytest

from clickhouse.front.formats import can_stream, content_type, join


@pytest.mark.parametrize(
    ("name", "header", "rows"),
    [
        ("CSVWithNames", b'"a","b\nc ""d"""\n', [b"1,2\n", b"3,4\n", b"5,6\n"]),
        ("CSVWithNamesAndTypes", b'"a\n"\n"Int8"\n', [b"1\n", b"2\n"]),
        ("TSVWithNamesAndTypes", b"a\tb\nInt8\tString\n", [b"1\tx\n", b"2\ty\n"]),
        ("TabSeparatedWithNames", b"a\n", [b"1\n", b"2\n"]),
        ("JSONCompactEachRowWithNames", b'["a"]\n', [b"[1]\n", b"[2]\n"]),
        ("RowBinaryWithNames", b"\x02\x01a\x02bc", [b"\x01\x02", b"\x03\x04"]),
        ("RowBinaryWithNamesAndTypes", b"\x01\x01a\x05UInt8", [b"\x01", b"\x02"]),
        ("TSV", b"", [b"1\n", b"2\n"]),
        ("Native", b"", [b"\x01\x01\x01a\x05UInt8\x01", b"\x01\x01\x01a\x05UInt8\x02"]),
    ],
)
def test_the_header_appears_once(name: str, header: bytes, rows: list[bytes]) -> None:
    assert can_stream(name)
    assert b"".join(join(name, iter([header + row for row in rows]))) == header + b"".join(rows)


def test_arrow_streams_become_one_stream() -> None:
    def stream(values: list[int]) -> bytes:
        sink = io.BytesIO()
        batch = pa.record_batch({"a": pa.array(values, pa.int64())})
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return sink.getvalue()

    joined = b"".join(join("ArrowStream", iter([stream([1, 2]), stream([3]), stream([4, 5])])))
    reader = pa.ipc.open_stream(joined)
    assert reader.read_all().column("a").to_pylist() == [1, 2, 3, 4, 5]
    assert joined.count(b"\xff\xff\xff\xff\x00\x00\x00\x00") == 1


def test_no_chunk_makes_no_document() -> None:
    assert list(join("ArrowStream", iter([]))) == []
    assert list(join("CSVWithNames", iter([]))) == []


def test_a_chunk_of_other_columns_is_an_error() -> None:
    with pytest.raises(ValueError, match="header of the first"):
        list(join("TSVWithNames", iter([b"a\n1\n", b"b\n2\n"])))


def test_what_has_an_end_of_its_own_is_not_streamed() -> None:
    assert can_stream("JSONEachRow")
    assert not can_stream("JSONEachRow", {"output_format_json_array_of_rows": "1"})
    assert can_stream("CSVWithNames", {"extremes": "0"})
    assert can_stream("Native", {"extremes": "1"})
    assert not can_stream("CSVWithNames", {"extremes": "1"})
    assert not can_stream("CSVWithNames", {}, "SELECT a\nFROM t\nGROUP BY a\n    WITH TOTALS")
    assert not can_stream("JSONEachRow", {}, "SELECT 1 SETTINGS output_format_json_array_of_rows = 1")


@pytest.mark.parametrize("name", ["JSON", "Parquet", "Arrow", "Pretty", "XML", "ORC", "Values", "SomethingNew"])
def test_documents_with_an_end_are_not_streamed(name: str) -> None:
    assert not can_stream(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TabSeparated", "text/tab-separated-values; charset=UTF-8"),
        ("TSVWithNames", "text/tab-separated-values; charset=UTF-8"),
        ("CSV", "text/csv; charset=UTF-8; header=absent"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("JSON", "application/json; charset=UTF-8"),
        ("JSONCompact", "application/json; charset=UTF-8"),
        ("JSONEachRow", "application/x-ndjson; charset=UTF-8"),
        ("JSONL", "application/x-ndjson; charset=UTF-8"),
        ("PrettyCompact", "text/plain; charset=UTF-8"),
        ("Native", "application/octet-stream"),
        ("Parquet", "application/octet-stream"),
    ],
)
def test_content_types(name: str, kind: str) -> None:
    assert content_type(name) == kind
