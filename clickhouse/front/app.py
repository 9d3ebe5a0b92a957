"""The WSGI application: HTTP in, HTTP out; decides nothing that a pure function of this package can decide."""

import gzip
import json
import logging
import platform
import re
import shutil
import sys
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, cast

import lz4.frame  # type: ignore[import-untyped]

from clickhouse.front import access, errors, formats, native, statement
from clickhouse.front.access import Credentials
from clickhouse.front.engine import Engine, Job, Result
from clickhouse.front.errors import QueryError
from clickhouse.front.mirror import SchemaMirror
from clickhouse.front.request import QueryRequest, parse

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAX_SQL_BYTES = 64 << 20
_HEAD_BYTES = 256 << 10
_COPY_BYTES = 1 << 20
_PING_PATHS = frozenset({"/", "/ping", "/replicas_status"})
_QUERY_PATHS = frozenset({"/", "/query"})
_SCHEMA_PATH = re.compile(r"/schema-registry/schemas/ids/(\d{1,10})")
_HANDSHAKE = "select displayname(), version(), revision(), timezone()"
_READ_VERBS = access.READER_VERBS | {"CHECK", "USE", "SET"}

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
log = logging.getLogger(__name__)


class Body:
    """An iterable whose `close` runs even when iteration never began, unlike a generator's `finally`."""

    def __init__(self, chunks: Iterator[bytes], close: Callable[[], None]) -> None:
        self._chunks = chunks
        self.close = close

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


class Front:
    def __init__(self, engine: Engine, mirror: SchemaMirror, credentials: Credentials, spool: Path) -> None:
        spool.mkdir(parents=True, exist_ok=True)
        for leftover in spool.iterdir():
            leftover.unlink()
        self._engine = engine
        self._mirror = mirror
        self._credentials = credentials
        self._spool = spool
        self._name = platform.node()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method == "OPTIONS":
            start_response("204 No Content", [("Allow", "GET, HEAD, POST, OPTIONS")])
            return []
        if method not in {"GET", "HEAD", "POST"}:
            return _plain(start_response, HTTPStatus.METHOD_NOT_ALLOWED, f"method {method} is not supported\n")
        if match := _SCHEMA_PATH.fullmatch(path):
            return self._schema(int(match[1]), environ, start_response)
        if not self._engine.ready:
            return _plain(start_response, HTTPStatus.SERVICE_UNAVAILABLE, "The engine is starting or stopping.\n")
        is_query = method == "POST" or "query=" in environ.get("QUERY_STRING", "")
        if path in _QUERY_PATHS and is_query:
            return self._query(environ, start_response)
        known = path in _PING_PATHS
        text = "Ok.\n" if known else f"There is no handle {path}\n"
        return _plain(start_response, HTTPStatus.OK if known else HTTPStatus.NOT_FOUND, text)

    def _query(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        query_id = str(uuid.uuid4())
        try:
            request = parse(environ)
            query_id = request.query_id or query_id
            return self._answer(request, query_id, environ, start_response)
        except QueryError as error:
            return self._refuse(error, query_id, start_response)

    def _schema(self, schema_id: int, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("REMOTE_ADDR") not in {"127.0.0.1", "::1"}:
            return _plain(start_response, HTTPStatus.FORBIDDEN, "schemas are for the engine on this machine only\n")
        status, body = self._mirror.answer(schema_id)
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/vnd.schemaregistry.v1+json")])
        return body

    def _answer(
        self, request: QueryRequest, query_id: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        role = access.authenticate(self._credentials, request.user, request.password)
        body = _decoded(environ["wsgi.input"], request.content_encoding)
        head = _read(body, _HEAD_BYTES)
        if request.url_query:
            head = request.url_query.encode() + b"\n" + head if head else request.url_query.encode()
        if request.native_revision and " ".join(head.decode("latin-1").lower().split()) == _HANDSHAKE:
            block = native.handshake_block(
                request.native_revision, self._name, self._engine.version, self._engine.timezone
            )
            start_response("200 OK", [*self._headers(query_id, "Native"), ("Content-Length", str(len(block)))])
            return [block]
        gone = environ.get("waitress.client_disconnected", lambda: False)
        insert = statement.split_insert(head)
        if insert is not None:
            result, output_format = self._insert(role, request, insert, head, body, gone), request.default_format
        else:
            job = self._plain_job(role, request, head + _read(body, MAX_SQL_BYTES + 1), gone)
            result, output_format = self._engine.execute(job), job.format
        return self._respond(request, result, self._headers(query_id, output_format), start_response)

    def _plain_job(self, role: access.Role, request: QueryRequest, sql: bytes, gone: Callable[[], bool]) -> Job:
        if len(sql) > MAX_SQL_BYTES:
            raise QueryError(
                errors.QUERY_IS_TOO_LARGE, f"a statement may have {MAX_SQL_BYTES} bytes; send data after FORMAT"
            )
        try:
            text = sql.decode()
        except UnicodeDecodeError as error:
            raise QueryError(errors.SYNTAX_ERROR, f"the statement is not UTF-8: {error}") from error
        if statement.is_insert(text) and role is access.Role.ADMIN and request.method == "POST":
            return Job(role, request, text, None, gone)
        found = self._engine.analyse(text, request.settings.get("max_query_size"))
        if role is access.Role.READER:
            access.check_reader(found.verb, found.normalised, self._engine.refused_functions)
        if request.method != "POST" and found.verb not in _READ_VERBS:
            raise QueryError(errors.READONLY, f"method {request.method} implies readonly: use POST for {found.verb}")
        return Job(role, request, statement.without_sync(found) or text, found, gone)

    def _insert(
        self,
        role: access.Role,
        request: QueryRequest,
        insert: statement.InsertHead,
        head: bytes,
        body: IO[bytes],
        gone: Callable[[], bool],
    ) -> Result:
        if role is access.Role.READER:
            raise QueryError(errors.NOT_ENOUGH_PRIVILEGES, "the reader may not run INSERT: it can only read")
        if request.method != "POST":
            raise QueryError(errors.READONLY, f"method {request.method} implies readonly: use POST for INSERT")
        with tempfile.NamedTemporaryFile(dir=self._spool) as file:
            file.write(head[insert.data_offset :])
            shutil.copyfileobj(body, file, _COPY_BYTES)
            file.flush()
            return self._engine.execute(Job(role, request, insert.from_file(file.name), None, gone))

    def _respond(
        self, request: QueryRequest, result: Result, headers: list[tuple[str, str]], start_response: StartResponse
    ) -> Iterable[bytes]:
        if result.summary:
            headers.append(("X-ClickHouse-Summary", json.dumps(result.summary)))
        if request.accepts_gzip:
            headers.append(("Content-Encoding", "gzip"))
        if result.rest is None:
            result.close()
            whole = b"".join(result.head)
            whole = gzip.compress(whole, 1) if request.accepts_gzip else whole
            start_response("200 OK", [*headers, ("Content-Length", str(len(whole)))])
            return [whole]
        tag = uuid.uuid4().hex[:16]
        headers.append(("X-ClickHouse-Exception-Tag", tag))
        chunks = self._until_error(result.head, result.rest, tag)
        start_response("200 OK", headers)
        return Body(_gzip(chunks) if request.accepts_gzip else chunks, result.close)

    def _until_error(self, head: list[bytes], rest: Iterator[bytes], tag: str) -> Iterator[bytes]:
        """An error after the response began: its text follows the data and the connection breaks.

        The text is framed as newer servers do it, by a tag that a header announced, so that no data can look like it.
        """
        try:
            while head:
                yield from _pieces(head.pop(0))
            for chunk in rest:
                yield from _pieces(chunk)
        except QueryError as error:
            text = error.text(self._engine.version)
            mark = "__exception__"
            yield f"\r\n{mark}\r\n{tag}\r\n{text}{len(text.encode())} {tag}\r\n{mark}\r\n".encode()
            raise

    def _refuse(self, error: QueryError, query_id: str, start_response: StartResponse) -> Iterable[bytes]:
        headers = [*self._headers(query_id, None), ("X-ClickHouse-Exception-Code", str(error.code))]
        if error.http_status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        status = HTTPStatus(error.http_status)
        return _plain(start_response, status, error.text(self._engine.version), headers)

    def _headers(self, query_id: str, output_format: str | None) -> list[tuple[str, str]]:
        headers = [
            ("X-ClickHouse-Server-Display-Name", self._name),
            ("X-ClickHouse-Query-Id", re.sub(r"[^\x20-\x7e]", "?", query_id)),
            ("X-ClickHouse-Timezone", self._engine.timezone),
        ]
        if output_format is not None:
            headers += [("X-ClickHouse-Format", output_format), ("Content-Type", formats.content_type(output_format))]
        return headers


def _plain(
    start_response: StartResponse, status: HTTPStatus, text: str, headers: list[tuple[str, str]] | None = None
) -> Iterable[bytes]:
    body = text.encode()
    start_response(
        f"{status.value} {status.phrase}",
        [*(headers or []), ("Content-Type", "text/plain; charset=UTF-8"), ("Content-Length", str(len(body)))],
    )
    return [body]


def _pieces(chunk: bytes) -> Iterator[bytes]:
    """The server holds the next piece back until the client has taken the last ones; whole blocks would pile up."""
    for start in range(0, len(chunk), _COPY_BYTES):
        yield chunk[start : start + _COPY_BYTES]


def _gzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(level=1, wbits=31)
    try:
        for chunk in chunks:
            yield compressor.compress(chunk)
    except QueryError:
        yield compressor.flush()  # the error's text must reach the client before the connection breaks
        raise
    yield compressor.flush()


def _decoded(body: IO[bytes], encoding: str) -> IO[bytes]:
    """The request's body without its compression, as a file that is read piece by piece."""
    if encoding in {"", "identity"}:
        return body
    if encoding in {"gzip", "x-gzip"}:
        return cast(IO[bytes], gzip.GzipFile(fileobj=body))
    if encoding == "lz4":
        return cast(IO[bytes], lz4.frame.LZ4FrameFile(body))
    if encoding == "zstd":
        return cast(IO[bytes], zstd.ZstdFile(body))
    raise QueryError(errors.NOT_IMPLEMENTED, f"Content-Encoding {encoding} is not supported: send gzip, lz4 or zstd")


def _read(body: IO[bytes], limit: int) -> bytes:
    """Up to `limit` bytes, fewer only at the end."""
    try:
        parts, size = [], 0
        while size < limit and (part := body.read(limit - size)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)
    except (EOFError, OSError, RuntimeError, zlib.error) as error:
        raise QueryError(errors.BAD_ARGUMENTS, f"the body does not match its Content-Encoding: {error}") from error
