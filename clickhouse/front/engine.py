"""The engine: connections, sessions, limits, running and killing queries. The only user of chDB.

Guarantees: a request without a session gets a connection of its own, so no setting, database or temporary table
outlives it. At most `slots` queries run at once; the rest wait. A query whose client has gone is killed.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from clickhouse.front import access, errors, formats, library, native
from clickhouse.front.access import Role
from clickhouse.front.errors import QueryError
from clickhouse.front.library import Connection
from clickhouse.front.request import QueryRequest
from clickhouse.front.statement import Statement, parse_normalised, without_formatquery_scope

WATCH_INTERVAL_S = 0.25
SLOT_WAIT_S = 60.0
MAX_SESSIONS = 500
CACHED_SQL_LENGTH = 4096
KAFKA_THREADS = 64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One statement to run: `sql` is what the engine gets, `statement` what it is (None for an INSERT with data)."""

    role: Role
    request: QueryRequest
    sql: str | bytes
    statement: Statement | None
    gone: Callable[[], bool]
    marker: str = field(default_factory=lambda: f"front:{uuid.uuid4().hex}")

    @property
    def format(self) -> str:
        named = self.statement.output_format if self.statement else None
        return named or self.request.default_format


@dataclass
class Result:
    """`head` is fetched.

    `rest` is None when that was everything. Close it: until then it holds its slot and connection.
    """

    head: list[bytes]
    rest: Iterator[bytes] | None
    summary: dict[str, str]
    close: Callable[[], None]


@dataclass
class _Session:
    connection: Connection
    timeout_s: int
    last_used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


class Engine:
    def __init__(self, path: Path, slots: int) -> None:
        if any(mark in str(path) for mark in "?&"):
            raise ValueError(f"the engine's folder {path} must not have ? or & in its name")
        self._path = path
        self._slots = threading.BoundedSemaphore(slots)
        self._waiting = threading.BoundedSemaphore(slots * 4)
        self._lock = threading.Lock()
        self._running: dict[str, Callable[[], bool]] = {}
        self._sessions: dict[str, _Session] = {}
        self._keeper: Connection = None
        self._closing = threading.Event()
        self._parse_once = lru_cache(maxsize=1000)(self._parse)
        self.version = self.timezone = ""
        self.refused_functions: frozenset[str] = frozenset()

    @property
    def ready(self) -> bool:
        return self._keeper is not None and not self._closing.is_set()

    def open(self) -> None:
        """Open the folder: tables with a Kafka engine go on consuming from here. One process owns a folder."""
        self._path.mkdir(parents=True, exist_ok=True)
        users = self._path / "front-users.xml"
        users.write_text(access.users_xml())
        self._config_file.write_text(access.config_xml(str(users.resolve()), KAFKA_THREADS))
        keeper = self._connect()
        version = _run(keeper, "SELECT version(), timezone()", "JSONCompactEachRow")
        self.version, self.timezone = json.loads(version)
        names = _run(keeper, "SELECT name FROM system.table_functions", "TSV").decode().split()
        self.refused_functions = access.refused_functions(names)
        self._keeper = keeper
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def close(self) -> None:
        """Kill what runs, wait for it, close every connection; blocks while a Kafka table waits for a schema."""
        self._closing.set()
        deadline = time.monotonic() + 10
        while self._running and time.monotonic() < deadline:
            self._kill(list(self._running))
            time.sleep(0.05)
        for session in self._sessions.values():
            session.connection.close()
        self._sessions.clear()
        if self._keeper is not None:
            self._keeper.close()

    def analyse(self, sql: str, max_query_size: str | None) -> Statement:
        """Let the engine parse one statement; raises its syntax error, also for more statements than one."""
        return (self._parse_once if len(sql) <= CACHED_SQL_LENGTH else self._parse)(sql, max_query_size)

    def _parse(self, sql: str, max_query_size: str | None) -> Statement:
        limit = f", max_query_size = {access.quote(max_query_size)}" if max_query_size else ""
        query = f"SELECT formatQuery({{q:String}}) SETTINGS implicit_select = 0{limit}"
        connection = self._connect()
        try:
            text = _run(connection, query, "RawBLOB", {"q": escape_parameter(sql)})
        except QueryError as error:
            raise QueryError(error.code, without_formatquery_scope(str(error))) from error
        finally:
            connection.close()
        return parse_normalised(text.decode())

    def execute(self, job: Job) -> Result:
        """Run a job up to its first two chunks, so that most errors come before the response begins."""
        with ExitStack() as stack:
            stack.enter_context(self._slot())
            connection = stack.enter_context(self._connection(job))
            stack.enter_context(self._watched(job))
            if job.statement and job.statement.returns_rows_of_select and formats.can_stream(job.format):
                return self._stream(connection, job, stack)
            result = _query(connection, job.sql, job.format, job.request.params)
            result_rows = {"result_rows": str(result.rows_read()), "read_rows": str(result.storage_rows_read())}
            written = {"written_rows": str(result.rows_read()), "written_bytes": str(result.bytes_read())}
            summary = {"elapsed_ns": str(round(result.elapsed() * 1e9)), **(result_rows if job.statement else written)}
            return Result([result.bytes()], None, summary, stack.pop_all().close)
        raise AssertionError("unreachable")

    def _stream(self, connection: Connection, job: Job, stack: ExitStack) -> Result:
        chunks = stack.enter_context(_streaming(connection, job))
        joined = formats.join(job.format, chunks)
        head = list(islice(joined, 2))
        if not head and job.format.lower() == "native" and job.statement:
            head = [native.empty_block(_columns(connection, job))]
        if len(head) < 2:
            return Result(head, None, {}, stack.pop_all().close)
        return Result(head, joined, {}, stack.pop_all().close)

    def _connect(self) -> Connection:
        try:
            return library.connect(f"{self._path}?config-file={self._config_file}")
        except RuntimeError as error:
            raise errors.from_engine(str(error)) from error

    @property
    def _config_file(self) -> Path:
        return self._path / "front-config.xml"

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._waiting.acquire(blocking=False):
            raise QueryError(errors.TOO_MANY_QUERIES, "too many queries wait already: try again later")
        try:
            if not self._slots.acquire(timeout=SLOT_WAIT_S):
                raise QueryError(errors.TOO_MANY_QUERIES, f"no query slot became free within {SLOT_WAIT_S:.0f} s")
        except BaseException:
            self._waiting.release()
            raise
        try:
            yield
        finally:
            self._slots.release()
            self._waiting.release()

    @contextmanager
    def _connection(self, job: Job) -> Iterator[Connection]:
        """A fresh connection, or the session's own with the request's settings taken back afterwards.

        The reader never gets a session: on a connection that it meets twice it could undo its restrictions.
        """
        prepare = access.preamble(job.role, job.request.settings, job.marker)
        use = f"USE {_identifier(job.request.database)}; " if job.request.database else ""
        if job.request.session_id is None or job.role is Role.READER:
            connection = self._connect()
            try:
                _run(connection, use + prepare, "Null")
                yield connection
            finally:
                connection.close()
            return
        with self._session(job.request) as connection:
            undo = _undo(connection, job)
            try:
                _run(connection, use + prepare, "Null")
                yield connection
            finally:
                if undo:
                    _run(connection, undo, "Null")

    @contextmanager
    def _session(self, request: QueryRequest) -> Iterator[Connection]:
        key = request.session_id or ""
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                if request.session_check:
                    raise QueryError(errors.SESSION_NOT_FOUND, f"there is no session {key!r}, or it has expired")
                if len(self._sessions) >= MAX_SESSIONS:
                    raise QueryError(errors.TOO_MANY_QUERIES, f"there are {MAX_SESSIONS} sessions already")
                session = self._sessions[key] = _Session(self._connect(), request.session_timeout_s, time.monotonic())
            if not session.lock.acquire(blocking=False):
                raise QueryError(errors.SESSION_IS_LOCKED, f"session {key!r} is running another query")
        try:
            yield session.connection
        finally:
            session.last_used, session.timeout_s = time.monotonic(), request.session_timeout_s
            session.lock.release()

    @contextmanager
    def _watched(self, job: Job) -> Iterator[None]:
        if self._closing.is_set():
            raise QueryError(errors.TOO_MANY_QUERIES, "the server is shutting down")
        self._running[job.marker] = job.gone
        try:
            yield
        finally:
            del self._running[job.marker]

    def _watch(self) -> None:
        """Kill queries whose client has gone, drop sessions that were idle too long."""
        while not self._closing.wait(WATCH_INTERVAL_S):
            abandoned = [marker for marker, gone in list(self._running.items()) if gone()]
            if abandoned:
                self._kill(abandoned)
            with self._lock:
                for key, session in list(self._sessions.items()):
                    idle_s = time.monotonic() - session.last_used
                    if idle_s > session.timeout_s and session.lock.acquire(blocking=False):
                        session.connection.close()
                        del self._sessions[key]

    def _kill(self, markers: list[str]) -> None:
        condition = " OR ".join(f"endsWith(Settings['log_comment'], {access.quote(marker)})" for marker in markers)
        connection = self._connect()
        try:
            _run(connection, f"KILL QUERY WHERE {condition} ASYNC", "Null")
        finally:
            connection.close()


@contextmanager
def _streaming(connection: Connection, job: Job) -> Iterator[Iterator[bytes]]:
    """The chunks of a SELECT; on leaving before the end, the query is cancelled."""
    handle: Any = None
    finished = False

    def chunks() -> Iterator[bytes]:
        nonlocal handle, finished
        try:
            handle = connection.send_query(job.sql, job.format, params=dict(job.request.params))
            while True:
                result = connection.streaming_fetch_result(handle)
                data = result.bytes() if result is not None else b""
                rows = result.rows_read() if result is not None else 0
                del result  # a second copy of the data, and blocks can be large
                if data:
                    yield data
                del data
                if rows == 0:
                    finished = True
                    return
        except RuntimeError as error:
            finished = True
            raise errors.from_engine(str(error)) from error

    try:
        yield chunks()
    finally:
        if handle is not None and not finished:
            connection.streaming_cancel_query(handle)


def _columns(connection: Connection, job: Job) -> list[tuple[str, str]]:
    assert job.statement is not None
    sql = f"DESCRIBE TABLE (\n{job.statement.without_format}\n)"
    lines = _run(connection, sql, "JSONCompactEachRow", job.request.params).splitlines()
    return [(row[0], row[1]) for row in map(json.loads, lines)]


def _undo(connection: Connection, job: Job) -> str:
    """SQL that takes back what the request itself sets on a session: its settings, and its database unless it says USE.

    `log_comment` stays: on a session it is the front's.
    """
    undo = []
    if job.request.settings:
        names = ", ".join(map(access.quote, job.request.settings))
        query = f"SELECT name, value, changed FROM system.settings WHERE name IN ({names})"
        rows = map(json.loads, _run(connection, query, "JSONCompactEachRow").splitlines())
        undo += [f"SET {name} = {access.quote(value) if changed else 'DEFAULT'}" for name, value, changed in rows]
    if job.request.database and not (job.statement and job.statement.verb == "USE"):
        database = _run(connection, "SELECT currentDatabase()", "RawBLOB").decode()
        undo.append(f"USE {_identifier(database)}")
    return "; ".join(undo)


def _query(connection: Connection, sql: str | bytes, output_format: str, params: Any = None) -> Any:
    try:
        return connection.query(sql, output_format, params=dict(params or {}))
    except RuntimeError as error:
        raise errors.from_engine(str(error)) from error


def _run(connection: Connection, sql: str, output_format: str, params: Any = None) -> bytes:
    body: bytes = _query(connection, sql, output_format, params).bytes()
    return body


def _identifier(name: str | None) -> str:
    return "`" + (name or "").replace("\\", "\\\\").replace("`", "\\`") + "`"


def escape_parameter(value: str) -> str:
    """A query parameter's value as the engine reads it: escaped as in TabSeparated."""
    table = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
    return "".join(table.get(character, character) for character in value)
