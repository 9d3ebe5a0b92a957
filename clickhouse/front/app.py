"""The ASGI application: HTTP in, HTTP out; decides nothing that a pure function of this package can decide."""

import asyncio
import json
import logging
import platform
import re
import shutil
import sys
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import NamedTemporaryFile, SpooledTemporaryFile
from typing import IO

from clickhouse.front import access, errors, formats, native, reader, statement
from clickhouse.front.access import Credentials, Role
from clickhouse.front.compression import ADMIN_BOUNDS, READER_BOUNDS, Decoder, Encoder, decoder, encoder
from clickhouse.front.engine import External, Job, Parsed
from clickhouse.front.errors import QueryError
from clickhouse.front.exchange import ClientGoneError, Exchange, Receive, Scope, Send, packed
from clickhouse.front.externals import ExternalTables
from clickhouse.front.limits import (
    ADMIN_MAX_SQL_BYTES,
    ANSWER_IN_MEMORY_BYTES,
    MAX_KEPT_ANSWER_BYTES,
    PARSED_MAX_BYTES,
    PIECE_BYTES,
    READER_ANSWER_S,
    READER_MAX_EXECUTION_TIME_S,
    READER_MAX_NESTING,
    READER_MAX_REQUESTS,
    READER_MAX_SQL_BYTES,
)
from clickhouse.front.mirror import EnginesConnections, SchemaMirror, ports_of
from clickhouse.front.request import QueryRequest, headers_of, parse
from clickhouse.front.statement import Statement, parse_normalised
from clickhouse.front.supervisor import Answer, EngineLostError, Supervisor
from infra.base import same_origin

_HEAD_BYTES = 256 << 10
_PARSED_SQL_LENGTH = 4096
_PING_PATHS = frozenset({"/", "/ping", "/replicas_status"})
_QUERY_PATHS = frozenset({"/", "/query"})
_SCHEMA_PATH = re.compile(r"/schema-registry/schemas/ids/(\d{1,10})")
_HANDSHAKE = "select displayname(), version(), revision(), timezone()"
_READ_VERBS = reader.VERBS | {"CHECK", "USE", "SET"}
_KILLED = "SELECT 'waiting' AS kill_status, {query_id} AS query_id, {user} AS user, '' AS query"

Headers = list[tuple[str, str]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A statement that runs under an id of its client's or ours."""

    role: Role
    task: "asyncio.Task[None]"


class Front:
    """Requests of the two users, of the engine for schemas, and pings. `names`: hosts under which it is addressed."""

    def __init__(
        self,
        engine: Supervisor,
        mirror: SchemaMirror,
        credentials: Credentials,
        spool: Path,
        names: Collection[str] = same_origin.LOOPBACK_NAMES,
    ) -> None:
        if spool.exists():
            shutil.rmtree(spool)
        spool.mkdir(parents=True, mode=0o700)
        self._engine = engine
        self._mirror = mirror
        self._engines = EnginesConnections(lambda: ports_of(engine.process_id))
        self._credentials = credentials
        self._spool = spool
        self._names = names
        self._name = platform.node()
        self._running: dict[str, Running] = {}
        self._killed: set[str] = set()
        self._parsed_bytes = 0
        self._requests = dict.fromkeys(Role, 0)
        self._parsed: OrderedDict[tuple[Role, str, str | None], Parsed] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send)
        try:
            await self._route(exchange)
        except ClientGoneError:
            log.debug("a client went away")

    async def _route(self, exchange: Exchange) -> None:
        scope = exchange.scope
        method, path, headers = scope["method"], scope["path"], headers_of(scope)
        refused = same_origin.refusal(
            headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"), self._names
        )
        if refused is not None:
            await exchange.plain(HTTPStatus.FORBIDDEN, f"{refused}\n")
        elif method not in {"GET", "HEAD", "POST"}:
            await exchange.plain(HTTPStatus.METHOD_NOT_ALLOWED, f"method {method} is not supported\n")
        elif match := _SCHEMA_PATH.fullmatch(path):
            await self._schema(int(match[1]), exchange)
        elif not self._engine.version:
            await exchange.plain(HTTPStatus.SERVICE_UNAVAILABLE, "The engine is starting.\n")
        elif path in _QUERY_PATHS and (method == "POST" or b"query=" in scope["query_string"]):
            await self._query(exchange)
        elif path in _PING_PATHS:
            known = self._engine.ready
            text = "Ok.\n" if known else "The engine is starting or stopping.\n"
            await exchange.plain(HTTPStatus.OK if known else HTTPStatus.SERVICE_UNAVAILABLE, text)
        else:
            await exchange.plain(HTTPStatus.NOT_FOUND, f"There is no handle {path}\n")

    async def _schema(self, schema_id: int, exchange: Exchange) -> None:
        client = exchange.scope.get("client") or ("", 0)
        if client[0] not in {"127.0.0.1", "::1"}:
            await exchange.plain(HTTPStatus.FORBIDDEN, "schemas are for the engine on this machine only\n")
            return
        status, chunks = await self._mirror.answer(schema_id, partial(self._engines.has, client[1]))
        async with aclosing(chunks), exchange.watched():
            await exchange.begin(status, [("Content-Type", "application/vnd.schemaregistry.v1+json")])
            async for chunk in chunks:
                await exchange.send(chunk, more=True)
            await exchange.send(b"", more=False)

    async def _query(self, exchange: Exchange) -> None:
        query_id = str(uuid.uuid4())
        try:
            request = parse(exchange.scope)
            query_id = request.query_id or query_id
            role = access.authenticate(self._credentials, request.user, request.password)
            if role is Role.READER:
                request = replace(request, settings=access.without_role(request.settings))
                reader.judge_settings(request.settings)
                reader.judge_format(request.default_format)
                reader.judge_database(request.database)
            with self._counted(role):
                await self._answer(exchange, request, role, query_id)
        except QueryError as error:
            await self._refuse(exchange, error, query_id)
        except (ClientGoneError, asyncio.CancelledError):
            raise
        except Exception as error:
            # An error of ours still is an answer that clients understand; the log has all of it.
            log.exception("a request failed in the front's own code")
            await self._refuse(exchange, QueryError(errors.UNEXPECTED, type(error).__name__), query_id)

    @contextmanager
    def _counted(self, role: Role) -> Iterator[None]:
        """A place among the requests of this role, whatever they wait for; the administrator always has one."""
        if role is Role.READER and self._requests[role] >= READER_MAX_REQUESTS:
            raise QueryError(errors.TOO_MANY_QUERIES, f"readers have {READER_MAX_REQUESTS} requests already: wait")
        self._requests[role] += 1
        try:
            yield
        finally:
            self._requests[role] -= 1

    async def _answer(self, exchange: Exchange, request: QueryRequest, role: Role, query_id: str) -> None:
        async with AsyncExitStack() as stack:
            request, externals = await self._parts(exchange, request, role, stack)
            body = exchange.body(_decoder(request, role), at_once=role is Role.READER)
            if request.boundary is not None:
                body = _nothing()
            limit = READER_MAX_SQL_BYTES + 1 if role is Role.READER else _HEAD_BYTES
            head, rest = await _read(body, limit)
            if request.url_query:
                head = request.url_query.encode() + b"\n" + head if head else request.url_query.encode()
            if request.native_revision and " ".join(head.decode("latin-1").lower().split()) == _HANDSHAKE:
                await self._handshake(exchange, request, query_id)
                return
            if role is Role.READER and statement.is_insert(head.decode("latin-1")):
                reader.judge_verb(Statement("", "INSERT", None))  # whatever its data are
            insert = statement.split_insert(head) if role is Role.ADMIN else None
            if insert is not None:
                await self._insert(exchange, request, insert, head, rest, body, query_id)
                return
            if role is Role.ADMIN:
                head, rest = await _read(body, ADMIN_MAX_SQL_BYTES + 1, head + rest)
            await stack.enter_async_context(self._engine.slot(role))
            async with exchange.watched():
                await self._statement(exchange, request, role, head + rest, externals, query_id)

    async def _parts(
        self, exchange: Exchange, request: QueryRequest, role: Role, stack: AsyncExitStack
    ) -> tuple[QueryRequest, list[External]]:
        """The tables of a body of several parts, and the request with what its plain fields say."""
        if request.boundary is None:
            return request, []
        parts = ExternalTables(request.boundary, request.externals, self._spool)
        stack.callback(parts.close)
        await parts.read(exchange.body(_decoder(request, role), at_once=role is Role.READER))
        externals = parts.tables()
        for table in externals:
            sql = f"CREATE TEMPORARY TABLE {access.identifier(table.name)} ({table.structure})"
            reader.judge_columns((await self._engine.parse(Role.READER, sql, None)).tree)
        params = {
            name.removeprefix("param_"): value for name, value in parts.fields.items() if name.startswith("param_")
        }
        sql = request.url_query or parts.fields.get("query", "")
        return replace(request, url_query=sql, params={**request.params, **params}), externals

    async def _handshake(self, exchange: Exchange, request: QueryRequest, query_id: str) -> None:
        block = native.handshake_block(request.native_revision, self._name, self._engine.version, self._engine.timezone)
        packer = encoder(request.encoding, request.block_method)
        headers = self._headers(request, query_id, "Native")
        await exchange.whole(HTTPStatus.OK, headers, packer.feed(block) + packer.end())

    async def _statement(
        self,
        exchange: Exchange,
        request: QueryRequest,
        role: Role,
        sql: bytes,
        externals: list[External],
        query_id: str,
    ) -> None:
        text = _decoded(sql, READER_MAX_SQL_BYTES if role is Role.READER else ADMIN_MAX_SQL_BYTES)
        is_plain_insert = role is Role.ADMIN and request.method == "POST" and statement.is_insert(text)
        parsed = None if is_plain_insert else await self._parse(role, text, request.settings.get("max_query_size"))
        found = parse_normalised(parsed.normalised) if parsed else None
        tables: list[str] | None = None
        if found is not None:
            killed = statement.killed_query_id(found)
            if killed is not None and (role is Role.READER or killed in self._running):
                if role is Role.READER and found.output_format is not None:
                    reader.judge_format(found.output_format)
                _refuse_method(request, found)
                text = self._kill(killed, role)
                found, tables = replace(found, verb="SELECT"), []
            else:
                if role is Role.READER:  # in a thread: a large tree must not hold the others up
                    tables = await asyncio.to_thread(reader.judge, found, parsed.tree if parsed else None)
                _refuse_method(request, found)
                text = statement.without_sync(found) or text
        job = _job(request, role, text, found, tables, externals)
        await self._run(exchange, request, job, query_id)

    async def _parse(self, role: Role, text: str, max_query_size: str | None) -> Parsed:
        if role is Role.READER and statement.nesting(text) > READER_MAX_NESTING:
            reason = f"a statement may have {READER_MAX_NESTING} brackets within each other"
            raise QueryError(errors.TOO_DEEP, reason)
        key = (role, text, max_query_size)
        parsed = self._parsed.get(key)
        if parsed is None:
            parsed = await self._engine.parse(role, text, max_query_size)
            if len(text) <= _PARSED_SQL_LENGTH:
                self._keep_parsed(key, parsed)
        return parsed

    def _keep_parsed(self, key: tuple[Role, str, str | None], parsed: Parsed) -> None:
        replaced = self._parsed.pop(key, None)
        self._parsed[key] = parsed
        self._parsed_bytes += _size(key, parsed) - (_size(key, replaced) if replaced else 0)
        while self._parsed_bytes > PARSED_MAX_BYTES:
            self._parsed_bytes -= _size(*self._parsed.popitem(last=False))

    def _kill(self, query_id: str, role: Role) -> str:
        """Stop a statement by its client's id, and give the SELECT that says so as ClickHouse does."""
        running = self._running.get(query_id)
        user = (self._credentials.admin if role is Role.ADMIN else self._credentials.reader)[0]
        answer = _KILLED.format(query_id=access.quote(query_id), user=access.quote(user))
        if running is None or (role is Role.READER and running.role is not Role.READER):
            return f"{answer} WHERE 0"
        if query_id not in self._killed:  # once: a second time would end the wait for the engine to let go
            self._killed.add(query_id)
            running.task.cancel()
        return answer

    async def _insert(
        self,
        exchange: Exchange,
        request: QueryRequest,
        insert: statement.InsertHead,
        head: bytes,
        rest: bytes,
        body: AsyncIterator[bytes],
        query_id: str,
    ) -> None:
        if request.method != "POST":
            raise QueryError(errors.READONLY, f"method {request.method} implies readonly: use POST for INSERT")
        with NamedTemporaryFile(dir=self._spool) as file:
            file.write(head[insert.data_offset :] + rest)
            async for piece in body:
                await asyncio.to_thread(file.write, piece)
            file.flush()
            job = _job(request, Role.ADMIN, insert.from_file(file.name))
            async with self._engine.slot(Role.ADMIN), exchange.watched():
                await self._run(exchange, request, job, query_id)

    async def _run(self, exchange: Exchange, request: QueryRequest, job: Job, query_id: str) -> None:
        """Run a job under its id; a reading one once more when another ended the engine before its answer began.

        What may have ended the engine itself is not asked again.
        """
        if query_id in self._running:
            raise QueryError(errors.QUERY_WITH_SAME_ID, f"Query with id = {query_id[:200]} is already running")
        job = replace(job, query_id=query_id)
        task = asyncio.current_task()
        assert task is not None
        self._running[query_id] = Running(job.role, task)
        try:
            for again in (True, False):
                try:
                    with self._killable(query_id, task):
                        await self._send_answer(exchange, request, job, query_id, task)
                except EngineLostError as error:
                    reads = job.statement is not None and job.statement.verb in reader.VERBS
                    if exchange.begun or not (again and error.innocent and reads):
                        raise
                else:
                    return
        finally:
            self._running.pop(query_id, None)
            self._killed.discard(query_id)

    @contextmanager
    def _killable(self, query_id: str, task: "asyncio.Task[None]") -> Iterator[None]:
        """Make the cancellation by which a KILL QUERY comes the error that the statement's client sees."""
        try:
            yield
        except asyncio.CancelledError:
            if query_id not in self._killed:
                raise
            task.uncancel()
            raise QueryError(errors.QUERY_WAS_CANCELLED, "Query was cancelled") from None

    async def _send_answer(
        self, exchange: Exchange, request: QueryRequest, job: Job, query_id: str, task: "asyncio.Task[None]"
    ) -> None:
        async with self._engine.run(job, _limit_s(job)) as answer:
            packer = encoder(request.encoding, request.block_method)
            with SpooledTemporaryFile(max_size=ANSWER_IN_MEMORY_BYTES, dir=str(self._spool)) as kept:
                head: list[bytes] = []
                if request.wait_end:
                    await _keep(answer, packer, kept)
                else:
                    head = [chunk async for chunk in _first(answer.chunks, 2)]
                headers = [*self._headers(request, query_id, job.format), _summary(answer)]
                if answer.summary is not None:
                    kept.write(await packed(packer, b"".join(head)) if any(head) else b"")
                    kept.write(packer.end())
                    async with _by_then(job):
                        await exchange.begin(HTTPStatus.OK, [*headers, ("Content-Length", str(kept.tell()))])
                        await _send_kept(exchange, kept)
                        await exchange.send(b"", more=False)
                    return
                tag = uuid.uuid4().hex[:16]
                await exchange.begin(HTTPStatus.OK, [*headers, ("X-ClickHouse-Exception-Tag", tag)])
                try:
                    with self._killable(query_id, task):
                        async with _by_then(job):
                            await _send_kept(exchange, kept)
                            await self._stream(exchange, head, answer, packer)
                except QueryError as error:
                    await exchange.broken(self._mid_stream(error, tag), packer, bool(request.block_method))

    async def _stream(self, exchange: Exchange, head: list[bytes], answer: Answer, packer: Encoder) -> None:
        while head:
            await exchange.more(head.pop(0), packer)
        async for chunk in answer.chunks:
            await exchange.more(chunk, packer)
        await exchange.send(packer.end(), more=False)

    def _mid_stream(self, error: QueryError, tag: str) -> bytes:
        """An error after the response began: framed as servers do it, by a tag that a header announced."""
        text = error.text(self._engine.version)
        mark = "__exception__"
        return f"\r\n{mark}\r\n{tag}\r\n{text}{len(text.encode())} {tag}\r\n{mark}\r\n".encode()

    async def _refuse(self, exchange: Exchange, error: QueryError, query_id: str) -> None:
        if exchange.begun:
            return
        headers = [*self._headers(None, query_id, None), ("X-ClickHouse-Exception-Code", str(error.code))]
        if error.http_status == HTTPStatus.UNAUTHORIZED:
            headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
        await exchange.plain(HTTPStatus(error.http_status), error.text(self._engine.version), headers)

    def _headers(self, request: QueryRequest | None, query_id: str, output_format: str | None) -> Headers:
        headers = [
            ("X-ClickHouse-Server-Display-Name", self._name),
            ("X-ClickHouse-Query-Id", re.sub(r"[^\x20-\x7e]", "?", query_id)[:200]),
            ("X-ClickHouse-Timezone", self._engine.timezone),
        ]
        if output_format is not None:
            headers += [("X-ClickHouse-Format", output_format), ("Content-Type", formats.content_type(output_format))]
        if request is not None and request.encoding and not request.block_method:
            headers.append(("Content-Encoding", request.encoding))
        return headers


def _decoder(request: QueryRequest, role: Role) -> Decoder:
    bounds = READER_BOUNDS if role is Role.READER else ADMIN_BOUNDS
    return decoder(request.content_encoding, request.decompress_blocks, bounds)


def _job(
    request: QueryRequest,
    role: Role,
    sql: str,
    found: Statement | None = None,
    tables: Sequence[str] | None = None,
    externals: Sequence[External] = (),
) -> Job:
    return Job(
        role,
        sql,
        (found.output_format if found else None) or request.default_format,
        found,
        request.database,
        request.settings,
        request.params,
        request.session_id,
        request.session_timeout_s,
        request.session_check,
        tables,
        externals,
    )


def _refuse_method(request: QueryRequest, found: Statement) -> None:
    """GET and HEAD only read."""
    writes = found.verb not in _READ_VERBS or found.writes_a_file
    if request.method != "POST" and writes:
        raise QueryError(errors.READONLY, f"method {request.method} implies readonly: use POST for {found.verb}")


@asynccontextmanager
async def _by_then(job: Job) -> AsyncIterator[None]:
    """Raise error 159 for a reader's answer that takes too long, its client's reading included."""
    try:
        async with asyncio.timeout(READER_ANSWER_S if job.role is Role.READER else None):
            yield
    except TimeoutError as error:
        reason = f"Timeout exceeded: the answer was not taken in full within {READER_ANSWER_S:.0f} s"
        raise QueryError(errors.TIMEOUT_EXCEEDED, reason) from error


async def _keep(answer: Answer, packer: Encoder, kept: IO[bytes]) -> None:
    """Keep an answer to its end, as `wait_end_of_query` asks; a large one is begun before."""
    async for chunk in answer.chunks:
        await asyncio.to_thread(kept.write, await packed(packer, chunk))
        if kept.tell() > MAX_KEPT_ANSWER_BYTES:
            return


async def _send_kept(exchange: Exchange, kept: IO[bytes]) -> None:
    kept.seek(0)
    while piece := kept.read(PIECE_BYTES):  # from memory, or just written: no thread that others wait for
        await exchange.send(piece, more=True)


def _summary(answer: Answer) -> tuple[str, str]:
    """What is known of an answer: all of it at its end, and before how many rows it has had so far."""
    so_far = {"result_rows": str(answer.rows), "read_rows": str(answer.rows)}
    return "X-ClickHouse-Summary", json.dumps(answer.summary or so_far)


def _limit_s(job: Job) -> float | None:
    if job.role is Role.ADMIN:
        return None
    try:
        wanted = float(job.settings.get("max_execution_time", ""))
    except ValueError:
        return READER_MAX_EXECUTION_TIME_S
    return wanted if 0 < wanted < READER_MAX_EXECUTION_TIME_S else READER_MAX_EXECUTION_TIME_S


def _size(key: tuple[Role, str, str | None], parsed: Parsed) -> int:
    """What a kept parse takes of memory, about: the engine's print may be wide characters."""
    return sys.getsizeof(key[1]) + sys.getsizeof(parsed.normalised) + sys.getsizeof(parsed.tree) + 1000


def _decoded(sql: bytes, limit: int) -> str:
    if len(sql) > limit:
        raise QueryError(errors.QUERY_IS_TOO_LARGE, f"a statement may have {limit} bytes; send data after FORMAT")
    try:
        return sql.decode()
    except UnicodeDecodeError as error:
        raise QueryError(errors.SYNTAX_ERROR, f"the statement is not UTF-8: {error}") from error


async def _read(body: AsyncIterator[bytes], limit: int, begun: bytes = b"") -> tuple[bytes, bytes]:
    """The first `limit` bytes of what `begun` and the body hold, and what came beyond with the last piece."""
    parts, size = [begun], len(begun)
    if size < limit:
        async for piece in body:
            parts.append(piece)
            size += len(piece)
            if size >= limit:
                break
    whole = b"".join(parts)
    return whole[:limit], whole[limit:]


async def _first(chunks: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        yield chunk
        count -= 1
        if not count:
            return


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield
