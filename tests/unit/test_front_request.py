"""Reading a query's request from the WSGI environment."""

import base64
from typing import Any

import pytest

from clickhouse.front.__main__ import read_settings
from clickhouse.front.errors import QueryError
from clickhouse.front.request import parse


def environ(query: str = "", **more: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "POST", "QUERY_STRING": query, **more}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_what_grafanas_plugin_sends() -> None:
    request = parse(
        environ(
            "client_protocol_version=54460&database=default&default_format=Native&max_execution_time=60",
            HTTP_AUTHORIZATION=basic("reader:a:b"),
            HTTP_ACCEPT_ENCODING="gzip",
        )
    )
    assert (request.user, request.password) == ("reader", "a:b")
    assert (request.native_revision, request.database, request.default_format) == (54460, "default", "Native")
    assert request.settings == {"max_execution_time": "60"}
    assert not request.accepts_gzip


def test_own_parameters_settings_and_query_parameters_are_told_apart() -> None:
    request = parse(
        environ(
            "query=SELECT%201&query_id=q&session_id=s&session_timeout=9999&session_check=1&enable_http_compression=1"
            "&param_a=%27x%27&param_b=&max_threads=2",
            HTTP_ACCEPT_ENCODING="lz4, gzip",
        )
    )
    assert (request.url_query, request.query_id, request.session_id) == ("SELECT 1", "q", "s")
    assert (request.session_timeout_s, request.session_check, request.accepts_gzip) == (3600, True, True)
    assert request.params == {"a": "'x'", "b": ""}
    assert request.settings == {"max_threads": "2"}


@pytest.mark.parametrize(
    ("given", "user", "password"),
    [
        ({"HTTP_X_CLICKHOUSE_USER": "u", "HTTP_X_CLICKHOUSE_KEY": "k", "HTTP_AUTHORIZATION": basic("x:y")}, "u", "k"),
        ({"HTTP_AUTHORIZATION": basic("x:y")}, "x", "y"),
        ({}, "url", "p"),
    ],
)
def test_where_credentials_come_from(given: dict[str, str], user: str, password: str) -> None:
    request = parse(environ("user=url&password=p", **given))
    assert (request.user, request.password) == (user, password)


def test_the_password_is_not_shown() -> None:
    assert "hush" not in repr(parse(environ("user=url", HTTP_X_CLICKHOUSE_USER="u", HTTP_X_CLICKHOUSE_KEY="hush")))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (environ("compress=1"), 48),
        (environ("decompress=1"), 48),
        (environ("", CONTENT_TYPE="multipart/form-data; boundary=x"), 48),
        (environ("session_timeout=abc"), 36),
        (environ("a%20b=1"), 36),
        (environ("x'%3D1=2"), 36),
        (environ("", HTTP_AUTHORIZATION="Basic !!!"), 516),
    ],
)
def test_what_is_refused(given: dict[str, Any], code: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse(given)
    assert caught.value.code == code


def test_missing_credentials_are_named_and_given_ones_hidden() -> None:
    full = {
        "CLICKHOUSE_USER": "a",
        "CLICKHOUSE_PASSWORD": "hush",
        "CLICKHOUSE_READER_USER": "r",
        "CLICKHOUSE_READER_PASSWORD": "hush",
    }
    assert "hush" not in repr(read_settings(full))
    with pytest.raises(Exception, match="CLICKHOUSE_READER_PASSWORD"):
        read_settings({**full, "CLICKHOUSE_READER_PASSWORD": ""})
