"""A query as it comes over HTTP, read from the WSGI environment without touching the body."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from clickhouse.front.errors import AUTHENTICATION_FAILED, BAD_ARGUMENTS, NOT_IMPLEMENTED, QueryError

DEFAULT_SESSION_TIMEOUT_S = 60
MAX_SESSION_TIMEOUT_S = 3600
# URL parameters that are the interface's own; every other one is a setting of the engine.
_OWN = frozenset(
    {
        "query",
        "user",
        "password",
        "database",
        "default_format",
        "query_id",
        "session_id",
        "session_timeout",
        "session_check",
    }
    | {
        "close_session",
        "quota_key",
        "role",
        "client_protocol_version",
        "compress",
        "decompress",
        "buffer_size",
        "stacktrace",
    }
    | {"wait_end_of_query", "cancel_http_readonly_queries_on_client_close", "enable_http_compression"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "http_zlib_compression_level"}
)


@dataclass(frozen=True)
class QueryRequest:
    """Everything but the body.

    `settings` and `params` are verbatim strings; `native_revision` is 0 for plain Native.
    """

    method: str
    url_query: str
    user: str | None
    password: str | None = field(repr=False)
    database: str | None
    default_format: str
    query_id: str | None
    session_id: str | None
    session_timeout_s: int
    session_check: bool
    native_revision: int
    content_encoding: str
    accepts_gzip: bool
    settings: Mapping[str, str]
    params: Mapping[str, str]


def parse(environ: Mapping[str, Any]) -> QueryRequest:
    """Read a request.

    Raises QueryError for what ClickHouse's interface has and this front lacks, and for bad numbers.
    """
    url = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="strict"))
    for name in ("compress", "decompress"):
        if url.get(name) not in {None, "", "0"}:
            raise QueryError(
                NOT_IMPLEMENTED, f"parameter {name}: this server reads and writes HTTP compression only, not blocks"
            )
    if environ.get("CONTENT_TYPE", "").startswith("multipart/"):
        raise QueryError(
            NOT_IMPLEMENTED, "external tables (multipart bodies) are not supported: insert into a table instead"
        )
    user, password = _credentials(environ, url)
    settings = {name: value for name, value in url.items() if name not in _OWN and not name.startswith("param_")}
    return QueryRequest(
        method=environ.get("REQUEST_METHOD", "GET"),
        url_query=url.get("query", ""),
        user=user,
        password=password,
        database=environ.get("HTTP_X_CLICKHOUSE_DATABASE") or url.get("database") or None,
        default_format=environ.get("HTTP_X_CLICKHOUSE_FORMAT") or url.get("default_format") or "TabSeparated",
        query_id=url.get("query_id") or None,
        session_id=url.get("session_id") or None,
        session_timeout_s=min(_number(url, "session_timeout", DEFAULT_SESSION_TIMEOUT_S), MAX_SESSION_TIMEOUT_S),
        session_check=url.get("session_check") == "1",
        native_revision=_number(url, "client_protocol_version", 0),
        content_encoding=environ.get("HTTP_CONTENT_ENCODING", "").strip().lower(),
        accepts_gzip="gzip" in environ.get("HTTP_ACCEPT_ENCODING", "") and url.get("enable_http_compression") == "1",
        settings={name: value for name, value in settings.items() if _is_name(name)},
        params={name.removeprefix("param_"): value for name, value in url.items() if name.startswith("param_")},
    )


def _credentials(environ: Mapping[str, Any], url: Mapping[str, str]) -> tuple[str | None, str | None]:
    if "HTTP_X_CLICKHOUSE_USER" in environ or "HTTP_X_CLICKHOUSE_KEY" in environ:
        return environ.get("HTTP_X_CLICKHOUSE_USER", "default"), environ.get("HTTP_X_CLICKHOUSE_KEY", "")
    scheme, _, encoded = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise QueryError(AUTHENTICATION_FAILED, "the Basic credentials are not base64 of user:password") from error
        return user, password
    return url.get("user"), url.get("password")


def _number(url: Mapping[str, str], name: str, default: int) -> int:
    text = url.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise QueryError(BAD_ARGUMENTS, f"parameter {name} must be a whole number, got {text!r}")
    return int(text)


def _is_name(name: str) -> bool:
    if not name.replace("_", "a").isalnum() or not name.isascii():
        raise QueryError(BAD_ARGUMENTS, f"{name!r} is not the name of a setting")
    return True
