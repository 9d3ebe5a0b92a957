"""Who may do what; what the engine enforces itself is tested against the engine, in tests/integration."""

import xml.etree.ElementTree as ET

import pytest

from clickhouse.front.access import (
    MARKER,
    Credentials,
    Role,
    authenticate,
    config_xml,
    preamble,
    quote,
    users_xml,
)
from clickhouse.front.errors import QueryError, from_engine

CREDENTIALS = Credentials(admin=("admin", "a-secret"), reader=("reader", "r-secret"))


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


def test_what_a_reader_asks_for_overrides_no_restriction() -> None:
    settings = {"readonly": "0", "profile": "default", "max_threads": "2", "max_execution_time": "5"}
    statements = preamble(Role.READER, settings, "mark").split("; ")
    assert statements[0] == "SET profile = 'reader'"
    assert not any("readonly = '0'" in text or "default" in text for text in statements)
    assert "max_execution_time = '5'" in statements[2]


def test_settings_cannot_break_out_of_their_quotes() -> None:
    text = preamble(Role.ADMIN, {"a": "x'; DROP TABLE t; --\\"}, "mark")
    assert "a = 'x\\'; DROP TABLE t; --\\\\'" in text
    assert quote("\\'") == "'\\\\\\''"


def test_the_mark_leaves_the_clients_own_comment_alone() -> None:
    for role in Role:
        text = preamble(role, {"log_comment": "mine"}, "front:1")
        assert "log_comment = 'mine'" in text
        assert f"{MARKER} = 'front:1'" in text


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
