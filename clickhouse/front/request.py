"""A query as it comes over HTTP, read from the ASGI scope without touching the body."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qsl

from clickhouse.front.compression import HTTP_ENCODINGS
from clickhouse.front.errors import AUTHENTICATION_FAILED, BAD_ARGUMENTS, QueryError

DEFAULT_SESSION_TIMEOUT_S = 60
MAX_SESSION_TIMEOUT_S = 3600
MAX_CONTENT_TYPE = 1024
# URL parameters that are the interface's own; every other one is a setting of the engine.
_OWN = frozenset(
    {"query", "user", "password", "database", "default_format", "query_id", "session_id", "session_timeout"}
    | {"session_check", "close_session", "quota_key", "role", "client_protocol_version", "compress", "decompress"}
    | {"buffer_size", "stacktrace", "wait_end_of_query", "cancel_http_readonly_queries_on_client_close"}
    | {"enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
    | {"http_zlib_compression_level", "http_native_compression_disable_checksumming_on_decompress"}
)
_EXTERNAL_SUFFIXES = ("_structure", "_types", "_format")


@dataclass(frozen=True)
class ExternalHead:
    """What the URL says of a table that the body brings: `structure` or `types`, one of them empty."""

    structure: str = ""
    types: str = ""
    input_format: str = "TabSeparated"


@dataclass(frozen=True)
class QueryRequest:
    """Everything but the body.

    `settings` and `params` are verbatim strings; `native_revision` is 0 for plain Native. `wait_end` asks for
    the answer when it is whole. `boundary` is set for a body of several parts, whose fields `externals` describes.
    `encoding` and `block_method` are the answer's, empty for none.
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
    encoding: str
    block_method: str
    decompress_blocks: bool
    wait_end: bool
    boundary: str | None
    externals: Mapping[str, ExternalHead]
    settings: Mapping[str, str]
    params: Mapping[str, str]


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Headers by name in small letters; of several with one name the last."""
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def parse(scope: Mapping[str, Any]) -> QueryRequest:
    """Read a request. Raises QueryError for text that is not UTF-8, and for bad numbers, names and credentials."""
    headers = headers_of(scope)
    url = _url(scope)
    user, password = _credentials(headers, url)
    boundary = _boundary(headers.get("content-type", ""))
    externals = _externals(url) if boundary is not None else {}
    described = {name + suffix for name in externals for suffix in _EXTERNAL_SUFFIXES}
    settings = {
        name: value
        for name, value in url.items()
        if name not in _OWN and name not in described and not name.startswith("param_")
    }
    return QueryRequest(
        method=scope["method"],
        url_query=url.get("query", ""),
        user=user,
        password=password,
        database=headers.get("x-clickhouse-database") or url.get("database") or None,
        default_format=headers.get("x-clickhouse-format") or url.get("default_format") or "TabSeparated",
        query_id=url.get("query_id") or None,
        session_id=url.get("session_id") or None,
        session_timeout_s=min(_number(url, "session_timeout", DEFAULT_SESSION_TIMEOUT_S), MAX_SESSION_TIMEOUT_S),
        session_check=url.get("session_check") == "1",
        native_revision=_number(url, "client_protocol_version", 0),
        content_encoding=headers.get("content-encoding", "").strip().lower(),
        encoding=_encoding(headers.get("accept-encoding", "")) if _is_on(url, "enable_http_compression") else "",
        block_method=_block_method(settings) if _is_on(url, "compress") else "",
        decompress_blocks=_is_on(url, "decompress"),
        wait_end=_is_on(url, "wait_end_of_query"),
        boundary=boundary,
        externals=externals,
        settings={name: value for name, value in settings.items() if _is_name(name)},
        params={name.removeprefix("param_"): value for name, value in url.items() if name.startswith("param_")},
    )


def _url(scope: Mapping[str, Any]) -> dict[str, str]:
    try:
        text = scope["query_string"].decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=1000))
    except ValueError as error:
        raise QueryError(BAD_ARGUMENTS, f"the URL's parameters cannot be read: {error}") from error


def _credentials(headers: Mapping[str, str], url: Mapping[str, str]) -> tuple[str | None, str | None]:
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError as error:  # of base64, of UTF-8, and of what is not even ASCII
            raise QueryError(AUTHENTICATION_FAILED, "the Basic credentials are not base64 of user:password") from error
        return user, password
    return url.get("user"), url.get("password")


def _encoding(accepted: str) -> str:
    """The encoding of the answer that the client takes and the front prefers; empty for none."""
    wanted = {}
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        wanted[name.strip()] = weight.replace(" ", "") not in {"q=0", "q=0.0"}
    return next((name for name in HTTP_ENCODINGS if wanted.get(name)), "")


def _block_method(settings: Mapping[str, str]) -> str:
    return "zstd" if settings.get("network_compression_method", "").upper() == "ZSTD" else "lz4"


def _boundary(content_type: str) -> str | None:
    if len(content_type) > MAX_CONTENT_TYPE:  # the standard library's parser takes time by its square
        raise QueryError(BAD_ARGUMENTS, f"the header Content-Type has more than {MAX_CONTENT_TYPE} bytes")
    message = Message()
    message["content-type"] = content_type
    if message.get_content_maintype() != "multipart":
        return None
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not boundary:
        raise QueryError(BAD_ARGUMENTS, "a body of several parts needs a boundary in its Content-Type")
    return boundary


def _externals(url: Mapping[str, str]) -> dict[str, ExternalHead]:
    heads: dict[str, ExternalHead] = {}
    for parameter in url:
        name, _, suffix = parameter.rpartition("_")
        if name and suffix in {"structure", "types"}:
            heads[name] = ExternalHead(
                url.get(f"{name}_structure", ""),
                url.get(f"{name}_types", ""),
                url.get(f"{name}_format", "TabSeparated"),
            )
    return heads


def _is_on(url: Mapping[str, str], name: str) -> bool:
    return url.get(name, "").lower() in {"1", "true"}


def _number(url: Mapping[str, str], name: str, default: int) -> int:
    text = url.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 18:
        raise QueryError(BAD_ARGUMENTS, f"parameter {name} must be a whole number, got {text[:40]!r}")
    return int(text)


def _is_name(name: str) -> bool:
    if not name.replace("_", "a").isalnum() or not name.isascii():
        raise QueryError(BAD_ARGUMENTS, f"{name[:200]!r} is not the name of a setting")
    return True
