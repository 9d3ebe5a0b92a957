"""Who may do what; what the engine enforces itself is tested against the engine, in tests/integration."""

import xml.etree.ElementTree as ET

import pytest

from clickhouse.front.access import (
    Credentials,
    Role,
    authenticate,
    check_reader,
    config_xml,
    preamble,
    quote,
    refused_functions,
    users_xml,
)
from clickhouse.front.errors import QueryError, from_engine

CREDENTIALS = Credentials(admin=("admin", "a-secret"), reader=("reader", "r-secret"))
REFUSED = refused_functions(["file", "url", "remote", "numbers", "s3", "python", "merge"])


def test_each_user_has_its_role() -> None:
    assert authenticate(CREDENTIALS, "admin", "a-secret") is Role.ADMIN
    assert authenticate(CREDENTIALS, "reader", "r-secret") is Role.READER


@pytest.mark.parametrize(
    ("user", "password", "code"),
    [
        ("admin", "r-secret", 516),
        ("reader", "a-secret", 516),
        ("admin", "", 516),
        ("admin", None, 516),
        ("nobody", "a-secret", 516),
        ("ädmin", "ä", 516),
        (None, None, 194),
        ("", "a-secret", 194),
    ],
)
def test_others_are_refused(user: str | None, password: str | None, code: int) -> None:
    with pytest.raises(QueryError) as caught:
        authenticate(CREDENTIALS, user, password)
    assert caught.value.code == code


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(CREDENTIALS)


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("INSERT", "INSERT INTO t SELECT 1"),
        ("SET", "SET readonly = 0"),
        ("KILL", "KILL QUERY WHERE 1 ASYNC"),
        ("SELECT", "SELECT file('x')"),
        ("SELECT", "SELECT FILE ('x')"),
        ("SELECT", "SELECT `file`('x')"),
        ("SELECT", "SELECT 1 AS `'`, file('x') AS `'`"),
        ("SELECT", "SELECT 'it\\'s', file('x')"),
        ("DESCRIBE", "DESCRIBE TABLE url('http://x')"),
        ("SELECT", "SELECT * FROM merge('system', 'p')"),
        ("SELECT", "SELECT 1\nINTO OUTFILE 'x'"),
        ("SELECT", "SELECT * FROM system.processes"),
        ("SELECT", "SELECT * FROM system.`processes`"),
        ("SELECT", "SELECT * FROM system.{t:Identifier}"),
        ("SHOW", "SHOW PROCESSLIST"),
        ("SELECT", "SELECT * FROM (SELECT * FROM q SETTINGS stream_like_engine_allow_direct_select = 1)"),
    ],
)
def test_the_reader_is_refused(verb: str, text: str) -> None:
    with pytest.raises(QueryError) as caught:
        check_reader(verb, text, REFUSED)
    assert caught.value.code == 497


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("SELECT", "SELECT 'file(', \"profile\", file_name, 'processes' FROM t"),
        ("SELECT", "SELECT number FROM numbers(10)"),
        ("SELECT", "SELECT profile(x), {d:DateTime}"),
        ("SHOW", "SHOW TABLES"),
    ],
)
def test_the_reader_may_read(verb: str, text: str) -> None:
    check_reader(verb, text, REFUSED)


def test_unknown_table_functions_are_refused_known_harmless_ones_not() -> None:
    assert {"file", "url", "python", "brand_new"} <= refused_functions(["url", "python", "brand_new", "numbers"])
    assert "numbers" not in REFUSED


def test_the_readers_restrictions_come_last_and_cannot_be_overridden() -> None:
    settings = {"readonly": "0", "profile": "default", "max_threads": "2", "max_execution_time": "5"}
    statements = preamble(Role.READER, settings, "mark").split("; ")
    assert statements[0] == "SET profile = 'reader'"
    assert statements[-2:] == ["SET ROLE reader", "SET readonly = 2"]
    assert not any("readonly = '0'" in text or "default" in text for text in statements)
    assert "max_execution_time = '5'" in statements[2]


def test_settings_cannot_break_out_of_their_quotes() -> None:
    text = preamble(Role.ADMIN, {"a": "x'; DROP TABLE t; --\\"}, "mark")
    assert "a = 'x\\'; DROP TABLE t; --\\\\'" in text
    assert quote("\\'") == "'\\\\\\''"


def test_the_mark_stays_at_the_end_of_the_clients_own_comment() -> None:
    assert "log_comment = 'mine front:1'" in preamble(Role.ADMIN, {"log_comment": "mine"}, "front:1")


def test_configuration_is_xml() -> None:
    assert (
        ET.fromstring(config_xml("/a & b/users.xml", 7)).findtext("user_directories/users_xml/path")
        == "/a & b/users.xml"
    )
    grants = [grant.text for grant in ET.fromstring(users_xml()).iterfind("roles/reader/grants/query")]
    assert grants == ["GRANT SELECT ON *.*"]


def test_engine_errors() -> None:
    nested = "Code: 164. DB::Exception: Code: 62. DB::Exception: Syntax error: x. (SYNTAX_ERROR)"
    error = from_engine(nested)
    assert (error.code, error.http_status) == (62, 400)
    assert error.text("25.8.2.1") == "Code: 62. DB::Exception: Syntax error: x. (SYNTAX_ERROR) (version 25.8.2.1)\n"
    assert from_engine("something else").http_status == 500
    file = (
        "Code: 497. DB::Exception: default: Not enough privileges. To execute this query, it's necessary to have the "
    )
    missing = from_engine(f"{file}grant READ ON FILE. (ACCESS_DENIED)")
    assert (missing.code, missing.http_status, "(UNKNOWN_TABLE)" in missing.text("26.9")) == (60, 404, True)


@pytest.mark.parametrize(
    ("code", "status"), [(516, 403), (194, 401), (81, 404), (60, 404), (62, 400), (159, 408), (48, 501)]
)
def test_http_status(code: int, status: int) -> None:
    assert QueryError(code, "x").http_status == status
