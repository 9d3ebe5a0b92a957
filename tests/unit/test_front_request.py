"""Reading a query's request from the WSGI environment."""

import base64
from typing import Any

import pytest

from clickhouse.front.__main__ import read_settings
from clickhouse.front.errors import QueryError
from clickhouse.front.request import ExternalHead, parse


def scope(query: str = "", **headers: str) -> dict[str, Any]:
    """Headers by name, with _ for -."""
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"method": "POST", "query_string": query.encode(), "headers": sent}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_what_grafanas_plugin_sends() -> None:
    request = parse(
        scope(
            "client_protocol_version=54460&database=default&default_format=Native&max_execution_time=60",
            authorization=basic("reader:a:b"),
            accept_encoding="gzip",
        )
    )
    assert (request.user, request.password) == ("reader", "a:b")
    assert (request.native_revision, request.database, request.default_format) == (54460, "default", "Native")
    assert request.settings == {"max_execution_time": "60"}
    assert request.encoding == ""


def test_own_parameters_settings_and_query_parameters_are_told_apart() -> None:
    request = parse(
        scope(
            "query=SELECT%201&query_id=q&session_id=s&session_timeout=9999&session_check=1&enable_http_compression=1"
            "&param_a=%27x%27&param_b=&max_threads=2",
            accept_encoding="lz4, gzip",
        )
    )
    assert (request.url_query, request.query_id, request.session_id) == ("SELECT 1", "q", "s")
    assert (request.session_timeout_s, request.session_check, request.encoding) == (3600, True, "lz4")
    assert request.params == {"a": "'x'", "b": ""}
    assert request.settings == {"max_threads": "2"}


@pytest.mark.parametrize(
    ("given", "user", "password"),
    [
        ({"x_clickhouse_user": "u", "x_clickhouse_key": "k", "authorization": basic("x:y")}, "u", "k"),
        ({"authorization": basic("x:y")}, "x", "y"),
        ({}, "url", "p"),
    ],
)
def test_where_credentials_come_from(given: dict[str, str], user: str, password: str) -> None:
    request = parse(scope("user=url&password=p", **given))
    assert (request.user, request.password) == (user, password)


def test_the_password_is_not_shown() -> None:
    assert "hush" not in repr(parse(scope("user=url", x_clickhouse_user="u", x_clickhouse_key="hush")))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (scope("query=%ff"), 36),
        (scope("", content_type="multipart/form-data"), 36),
        (scope("session_timeout=" + "9" * 5000), 36),
        (scope("&".join(f"a{number}=1" for number in range(1001))), 36),
        (scope("session_timeout=abc"), 36),
        (scope("a%20b=1"), 36),
        (scope("x'%3D1=2"), 36),
        (scope("", authorization="Basic !!!"), 516),
        (scope("", authorization="Basic \xff"), 516),
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


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("br, deflate", "deflate"), ("lz4,zstd;q=0,gzip", "lz4"), ("*", ""), ("", ""), ("zstd", "zstd")],
)
def test_the_answers_encoding(accepted: str, encoding: str) -> None:
    assert parse(scope("enable_http_compression=1", accept_encoding=accepted)).encoding == encoding
    assert parse(scope("", accept_encoding=accepted)).encoding == ""


def test_clickhouses_own_compression() -> None:
    request = parse(scope("compress=1&decompress=1"))
    assert (request.block_method, request.decompress_blocks) == ("lz4", True)
    assert parse(scope("compress=1&network_compression_method=ZSTD")).block_method == "zstd"
    assert parse(scope("compress=0&decompress=")).block_method == ""


def test_tables_that_come_along() -> None:
    query = "ids_structure=a%20Int8&ids_format=CSV&x_y_types=String&max_threads=1&lone_format=CSV"
    request = parse(scope(query, content_type="multipart/form-data; boundary=abc"))
    assert request.boundary == "abc"
    assert dict(request.externals) == {
        "ids": ExternalHead("a Int8", "", "CSV"),
        "x_y": ExternalHead("", "String", "TabSeparated"),
    }
    assert set(request.settings) == {"max_threads", "lone_format"}
    assert parse(scope("a_structure=1")).settings == {"a_structure": "1"}


def test_a_content_type_as_long_as_headers_may_be_is_refused_and_not_parsed() -> None:
    """The standard library takes 16 s for 128 kB of it, before any password is looked at."""
    with pytest.raises(QueryError, match="Content-Type has more than 1024 bytes"):
        parse(scope("query=1", content_type='multipart/form-data; boundary="' + ";" * 1_000_000))
