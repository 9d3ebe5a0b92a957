"""Where the data of an INSERT begins, and what the engine's print of a statement says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.front.errors import QueryError
from clickhouse.front.statement import (
    is_insert,
    judged_text,
    parse_normalised,
    split_insert,
    without_formatquery_scope,
    without_sync,
)


@pytest.mark.parametrize(
    ("text", "before", "after", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t", "", "CSV", b"1,2\n"),
        (b"insert into t (a, `b)`) format Native\n\x01\xff", "insert into t (a, `b)`)", "", "Native", b"\x01\xff"),
        (b"INSERT INTO t FORMAT RowBinary\n\n \x20", "INSERT INTO t", "", "RowBinary", b"\n \x20"),
        (b"INSERT INTO t FORMAT JSONEachRow {}", "INSERT INTO t", "", "JSONEachRow", b"{}"),
        (b"INSERT INTO t FORMAT CSV \r\n1", "INSERT INTO t", "", "CSV", b"1"),
        (
            b"INSERT INTO t SETTINGS a = 'FORMAT', b = 1 FORMAT CSV\n1",
            "INSERT INTO t",
            "SETTINGS a = 'FORMAT', b = 1",
            "CSV",
            b"1",
        ),
        (
            b"-- FORMAT a\n/* b */ INSERT INTO `FORMAT`.`x` FORMAT CSV\n1",
            "-- FORMAT a\n/* b */ INSERT INTO `FORMAT`.`x`",
            "",
            "CSV",
            b"1",
        ),
        ("INSERT INTO zähler FORMAT CSV\nä".encode(), "INSERT INTO zähler", "", "CSV", "ä".encode()),
        (b"INSERT INTO FUNCTION null('a Int8') FORMAT CSV\n1", "INSERT INTO FUNCTION null('a Int8')", "", "CSV", b"1"),
        (b"INSERT INTO values FORMAT CSV\n1", "INSERT INTO values", "", "CSV", b"1"),
    ],
)
def test_insert_with_data(text: bytes, before: str, after: str, name: str, data: bytes) -> None:
    head = split_insert(text)
    assert head is not None
    assert (head.before, head.after, head.input_format, text[head.data_offset :]) == (before, after, name, data)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT * FROM u FORMAT CSV",
        b"INSERT INTO t VALUES (1, 'FORMAT CSV')",
        b"INSERT INTO t WITH 1 AS x SELECT x FORMAT CSV",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"INSERT INTO t",
        b"",
        b"\xff\xfe",
    ],
)
def test_statements_without_data_of_a_format(text: bytes) -> None:
    assert split_insert(text) is None


def test_rows_for_input_are_refused_and_not_dropped() -> None:
    with pytest.raises(QueryError) as caught:
        split_insert(b"INSERT INTO t (a) SELECT upper(a) FROM input('a String') FORMAT CSV\nx\n")
    assert caught.value.code == 48
    assert split_insert(b"INSERT INTO t SELECT 'input(' AS input FROM u") is None


def test_a_query_that_is_described_is_judged_as_it_is() -> None:
    assert judged_text(parse_normalised("DESCRIBE TABLE\n(\n    SELECT 1\n)")) == "SELECT * FROM (\n    SELECT 1\n)"


def test_settings_follow_the_file() -> None:
    head = split_insert(b"INSERT INTO t (a) SETTINGS x = 1 FORMAT CSV\n")
    assert head is not None
    assert head.from_file("/s/f") == "INSERT INTO t (a) FROM INFILE '/s/f' COMPRESSION 'none' SETTINGS x = 1 FORMAT CSV"


@given(st.binary(max_size=200))
def test_any_bytes_may_follow_the_format(data: bytes) -> None:
    text = b"INSERT INTO t (a, b) FORMAT RowBinary\n" + data
    head = split_insert(text)
    assert head is not None
    assert text[head.data_offset :] == data


def test_is_insert_skips_comments() -> None:
    assert is_insert("/* SELECT */ -- x\n insert INTO t")
    assert not is_insert("SELECT 1 -- INSERT")
    assert not is_insert("")


@pytest.mark.parametrize(
    ("normalised", "verb", "output_format", "rows_of_select"),
    [
        ("SELECT 1\nFORMAT JSON\n", "SELECT", "JSON", True),
        ("SELECT 1\nSETTINGS max_threads = 1\nFORMAT CSV", "SELECT", "CSV", True),
        ("SELECT 'FORMAT JSON', '\\nFORMAT CSV'", "SELECT", None, True),
        ("WITH 1 AS x\nSELECT x", "WITH", None, True),
        ("SELECT 1\nINTO OUTFILE 'x'\nFORMAT JSON", "SELECT", "JSON", False),
        ("(\n    SELECT 1\n)\nUNION ALL\nSELECT 2", "SELECT", None, True),
        ("SHOW TABLES\nFORMAT TSV", "SHOW", "TSV", False),
        ("EXPLAIN\nSELECT 1\nFORMAT TSV", "EXPLAIN", "TSV", False),
    ],
)
def test_parse_normalised(normalised: str, verb: str, output_format: str | None, rows_of_select: bool) -> None:
    statement = parse_normalised(normalised)
    assert (statement.verb, statement.output_format) == (verb, output_format)
    assert statement.returns_rows_of_select is rows_of_select


def test_without_format_keeps_the_rest() -> None:
    statement = parse_normalised("SELECT 1\nFORMAT CSV\nSETTINGS a = 1")
    assert statement.without_format.split() == ["SELECT", "1", "SETTINGS", "a", "=", "1"]


def test_sync_is_taken_off_drops_only() -> None:
    assert without_sync(parse_normalised("DROP TABLE t SYNC\n")) == "DROP TABLE t"
    assert without_sync(parse_normalised("DROP TABLE t")) is None
    assert without_sync(parse_normalised("SELECT 1 AS SYNC")) is None


def test_the_parsers_own_query_is_not_mentioned() -> None:
    message = "Syntax error: failed at position 3. Expected x: In scope SELECT formatQuery('a'). (SYNTAX_ERROR)"
    assert without_formatquery_scope(message) == "Syntax error: failed at position 3. Expected x"


@pytest.mark.parametrize(
    "head", [b"INSERT INTO t\xff FORMAT CSV\n1", b"INSERT INTO t SETTINGS a = '\xff' FORMAT CSV\n1"]
)
def test_a_head_that_is_not_utf_8_is_a_syntax_error(head: bytes) -> None:
    with pytest.raises(QueryError, match="not UTF-8") as caught:
        split_insert(head)
    assert caught.value.code == 62
