"""The engine: connections, sessions, parsing, running and stopping statements. The only user of chDB.

Guarantees: a request without a session gets a connection of its own, so no setting, database or temporary table
outlives it. How many statements run at once is the front's to decide.
"""

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from clickhouse.front import access, errors, formats, library, native
from clickhouse.front.access import Role
from clickhouse.front.errors import QueryError
from clickhouse.front.library import Connection
from clickhouse.front.limits import MAX_SESSIONS, PRINTED_MAX_BYTES
from clickhouse.front.statement import Statement, judged_text, parse_normalised, without_formatquery_scope

IDLE_CHECK_S = 0.25
KAFKA_THREADS = 64
# Tables that hold what they show. A queue, or a table over files or another server, is not for the reader.
_READABLE_ENGINES = (
    "engine LIKE '%MergeTree' OR engine IN ('View', 'MaterializedView', 'Memory', 'Log', 'TinyLog', 'Null')"
)
_SYSTEM_DATABASES = "'system', 'information_schema', 'INFORMATION_SCHEMA'"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class External:
    """A table that a request brings along: `path` holds its rows in `input_format`, `structure` its columns."""

    name: str
    structure: str
    input_format: str
    path: str


@dataclass(frozen=True)
class Job:
    """One statement to run: `sql` is what the engine gets, `statement` what it is (None for an INSERT with data).

    `tables` are the names that a reader's statement mentions, None for the administrator. The engine gives a statement
    an id of its own: `query_id`, its client's, stands beside `marker` in the setting by which statements are found.
    """

    role: Role
    sql: str
    format: str
    statement: Statement | None = None
    database: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    session_id: str | None = None
    session_timeout_s: int = 60
    session_check: bool = False
    tables: Sequence[str] | None = None
    externals: Sequence[External] = ()
    query_id: str = ""
    marker: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True)
class Parsed:
    """What the engine's parser makes of a text: its print, and its tree as JSON if it is asked for and has one.

    The tree is whole: printed again it gives the same statement. Otherwise it is None, as for statements whose tree
    the parser cannot give.
    """

    normalised: str
    tree: str | None


@dataclass
class Result:
    """`rows` tells how many rows were given so far, `summary` what is known at the end."""

    chunks: Iterator[bytes]
    rows: Callable[[], int]
    summary: Callable[[], dict[str, str]]


@dataclass
class _Session:
    connection: Connection
    timeout_s: int
    last_used: float
    lock: threading.Lock = field(default_factory=threading.Lock)


def connect(address: str) -> Connection:
    """A connection to the engine of this process; raises QueryError when the engine cannot open the folder."""
    try:
        return library.connect(address)
    except RuntimeError as error:
        raise errors.from_engine(str(error)) from error


class Engine:
    def __init__(self, path: Path) -> None:
        if any(mark in str(path) for mark in "?&"):
            raise ValueError(f"the engine's folder {path} must not have ? or & in its name")
        self._path = path
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self._sessions: dict[str, _Session] = {}
        self._keeper: Connection = None
        self._closing = threading.Event()
        self.version = self.timezone = ""

    def open(self) -> None:
        """Open the folder: tables with a Kafka engine go on consuming from here. One process owns a folder."""
        users = self._path / "front-users.xml"
        users.write_text(access.users_xml())
        self._config_file.write_text(access.config_xml(str(users.resolve()), KAFKA_THREADS))
        keeper = self._connect()
        version = _run(keeper, "SELECT version(), timezone()", "JSONCompactEachRow")
        self.version, self.timezone = json.loads(version)
        self._keeper = keeper
        threading.Thread(target=self._expire_sessions, name="sessions", daemon=True).start()

    def close(self) -> None:
        """Stop what runs, wait for it, close every connection; blocks while a Kafka table waits for a schema."""
        self._closing.set()
        deadline = time.monotonic() + 10
        while self._running and time.monotonic() < deadline:
            for marker in list(self._running):
                self.kill(marker)
            time.sleep(0.05)
        for session in self._sessions.values():
            session.connection.close()
        self._sessions.clear()
        if self._keeper is not None:
            self._keeper.close()

    def parse(self, sql: str, max_query_size: str | None, with_tree: bool) -> Parsed:
        """Let the engine parse one statement; raises its syntax error, also for more statements than one."""
        limit = f", max_query_size = {access.quote(max_query_size)}" if max_query_size else ""
        query = f"SELECT formatQuery({{q:String}}) SETTINGS implicit_select = 0{limit}"
        with self._fresh() as connection:
            try:
                text = _run(connection, query, "RawBLOB", {"q": escape_parameter(sql)}).decode(errors="replace")
            except QueryError as error:
                raise QueryError(error.code, without_formatquery_scope(str(error))) from error
            return Parsed(text, _tree(connection, judged_text(parse_normalised(text))) if with_tree else None)

    @contextmanager
    def execute(self, job: Job) -> Iterator[Result]:
        """Run a job. Most of the engine's errors come when the first chunk is asked for."""
        with ExitStack() as stack:
            connection = stack.enter_context(self._connection(job))
            stack.enter_context(self._marked(job.marker))
            if (
                job.statement
                and job.statement.returns_rows_of_select
                and formats.can_stream(job.format, job.settings, job.statement.normalised)
            ):
                yield self._stream(connection, job, stack)
                return
            result = _query(connection, job.sql, job.format, job.params)
            rows, scanned = str(result.rows_read()), str(result.storage_rows_read())
            written = {"written_rows": rows, "written_bytes": str(result.bytes_read())}
            counted = {"result_rows": rows, "read_rows": scanned} if job.statement else written
            summary = {"elapsed_ns": str(round(result.elapsed() * 1e9)), **counted}
            yield Result(iter([result.bytes()]), result.rows_read, lambda: summary)

    def kill(self, marker: str) -> None:
        """Ask the engine to stop a statement; it does so at its next opportunity, which may never come."""
        with self._fresh() as connection:
            where = f"Settings[{access.quote(access.MARKER)}] LIKE {access.quote('%' + marker + '%')}"
            _run(connection, f"KILL QUERY WHERE {where} ASYNC", "Null")

    def _stream(self, connection: Connection, job: Job, stack: ExitStack) -> Result:
        stream = _Stream(connection, job)
        stack.callback(stream.cancel)
        joined = formats.join(job.format, stream.chunks())
        head = list(islice(joined, 1))
        if not head and job.format.lower() == "native" and job.statement:
            head = [native.empty_block(_columns(connection, job))]

        def chunks() -> Iterator[bytes]:
            while head:
                yield head.pop()
            yield from joined

        def summary() -> dict[str, str]:
            elapsed = {"elapsed_ns": str(time.monotonic_ns() - stream.started_ns)}
            return {"result_rows": str(stream.rows), "read_rows": str(stream.rows), **elapsed}

        return Result(chunks(), lambda: stream.rows, summary)

    def _connect(self) -> Connection:
        return connect(f"{self._path}?config-file={self._config_file}")

    @contextmanager
    def _fresh(self) -> Iterator[Connection]:
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    @property
    def _config_file(self) -> Path:
        return self._path / "front-config.xml"

    @contextmanager
    def _connection(self, job: Job) -> Iterator[Connection]:
        """A fresh connection, or the session's own with the request's settings taken back afterwards.

        The reader never gets a session: on a connection that it meets twice it could undo its restrictions.
        """
        prepare = access.preamble(job.role, job.settings, f"{job.marker} {job.query_id}")
        use = f"USE {access.identifier(job.database)}" if job.database else "SELECT 1"
        if job.session_id is None or job.role is Role.READER:
            with self._fresh() as connection:
                _run(connection, use, "Null")
                if job.tables:
                    _refuse_queues(connection, job.tables)
                _run(connection, prepare, "Null")
                self._bring(connection, job)  # under the limits; the role may not make tables
                if job.role is Role.READER:
                    _run(connection, access.RESTRICTIONS, "Null")
                yield connection
            return
        with self._session(job) as connection:
            undo = _undo(connection, job)
            try:
                _run(connection, f"{use}; {prepare}", "Null")
                self._bring(connection, job)
                yield connection
            finally:
                if undo:
                    _run(connection, undo, "Null")

    def _bring(self, connection: Connection, job: Job) -> None:
        for table in job.externals:
            name = access.identifier(table.name)
            _run(connection, f"DROP TEMPORARY TABLE IF EXISTS {name}", "Null")
            _run(connection, f"CREATE TEMPORARY TABLE {name} ({table.structure})", "Null")
            source = f"FROM INFILE {access.quote(table.path)} COMPRESSION 'none' FORMAT {table.input_format}"
            _run(connection, f"INSERT INTO {name} {source}", "Null")

    @contextmanager
    def _session(self, job: Job) -> Iterator[Connection]:
        key = job.session_id or ""
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                if job.session_check:
                    raise QueryError(errors.SESSION_NOT_FOUND, f"there is no session {key!r}, or it has expired")
                if len(self._sessions) >= MAX_SESSIONS:
                    raise QueryError(errors.TOO_MANY_QUERIES, f"there are {MAX_SESSIONS} sessions already")
                session = self._sessions[key] = _Session(self._connect(), job.session_timeout_s, time.monotonic())
            if not session.lock.acquire(blocking=False):
                raise QueryError(errors.SESSION_IS_LOCKED, f"session {key!r} is running another query")
        try:
            yield session.connection
        finally:
            session.last_used, session.timeout_s = time.monotonic(), job.session_timeout_s
            session.lock.release()

    @contextmanager
    def _marked(self, marker: str) -> Iterator[None]:
        if self._closing.is_set():
            raise QueryError(errors.TOO_MANY_QUERIES, "the server is shutting down")
        self._running.add(marker)
        try:
            yield
        finally:
            self._running.discard(marker)

    def _expire_sessions(self) -> None:
        while not self._closing.wait(IDLE_CHECK_S):
            with self._lock:
                for key, session in list(self._sessions.items()):
                    idle_s = time.monotonic() - session.last_used
                    if idle_s > session.timeout_s and session.lock.acquire(blocking=False):
                        del self._sessions[key]
                        try:
                            session.connection.close()
                        except Exception:  # whatever it is: the others' time comes, too
                            log.exception("the connection of a session that expired could not be closed")


class _Stream:
    """The chunks of a SELECT; on `cancel` before the end, the statement is stopped."""

    def __init__(self, connection: Connection, job: Job) -> None:
        self._connection = connection
        self._job = job
        self._handle: Any = None
        self._finished = False
        self.rows = 0
        self.started_ns = time.monotonic_ns()

    def chunks(self) -> Iterator[bytes]:
        try:
            self._handle = self._connection.send_query(self._job.sql, self._job.format, params=dict(self._job.params))
            while True:
                result = self._connection.streaming_fetch_result(self._handle)
                data = result.bytes() if result is not None else b""
                rows = result.rows_read() if result is not None else 0
                self.rows += rows
                del result  # a second copy of the data, and blocks can be large
                if data:
                    yield data
                del data
                if rows == 0:
                    self._finished = True
                    return
        except RuntimeError as error:
            self._finished = True
            raise errors.from_engine(str(error)) from error

    def cancel(self) -> None:
        if self._handle is not None and not self._finished:
            self._connection.streaming_cancel_query(self._handle)


def _tree(connection: Connection, sql: str) -> str | None:
    """The parser's tree of a statement as JSON, if it is whole: printed, it is the statement again."""
    tree = "parseQueryToJSON({q:String})"
    whole = f"formatQueryFromJSON({tree}) = formatQuerySingleLine({{q:String}})"
    query = f"SELECT {tree}, {whole} SETTINGS implicit_select = 0, max_query_size = {PRINTED_MAX_BYTES}"
    try:
        answer = json.loads(_run(connection, query, "JSONCompactEachRow", {"q": escape_parameter(sql)}))
    except QueryError as error:
        if error.code == errors.BAD_ARGUMENTS:  # the parser has no tree of this kind of statement
            return None
        raise
    return str(answer[0]) if answer[1] else None


def _refuse_queues(connection: Connection, names: Sequence[str]) -> None:
    quoted = ", ".join(map(access.quote, names))
    sql = f"SELECT name, engine FROM system.tables WHERE name IN ({quoted}) AND database NOT IN ({_SYSTEM_DATABASES}) "
    for line in _run(connection, f"{sql} AND NOT ({_READABLE_ENGINES})", "JSONCompactEachRow").splitlines():
        name, engine = json.loads(line)
        raise QueryError(errors.NOT_ENOUGH_PRIVILEGES, f"the reader may not read {name}, a table of engine {engine}")


def _columns(connection: Connection, job: Job) -> list[tuple[str, str]]:
    assert job.statement is not None
    sql = f"DESCRIBE TABLE (\n{job.statement.without_format}\n)"
    lines = _run(connection, sql, "JSONCompactEachRow", job.params).splitlines()
    return [(row[0], row[1]) for row in map(json.loads, lines)]


def _undo(connection: Connection, job: Job) -> str:
    """SQL that takes back what the request itself sets on a session: its settings, and its database unless it says USE.

    The marker stays: the next statement sets its own.
    """
    undo = []
    if job.settings:
        names = ", ".join(map(access.quote, job.settings))
        query = f"SELECT name, value, changed FROM system.settings WHERE name IN ({names})"
        rows = map(json.loads, _run(connection, query, "JSONCompactEachRow").splitlines())
        undo += [f"SET {name} = {access.quote(value) if changed else 'DEFAULT'}" for name, value, changed in rows]
    if job.database and not (job.statement and job.statement.verb == "USE"):
        database = _run(connection, "SELECT currentDatabase()", "RawBLOB").decode()
        undo.append(f"USE {access.identifier(database)}")
    return "; ".join(undo)


def _query(connection: Connection, sql: str, output_format: str, params: Any = None) -> Any:
    try:
        return connection.query(sql, output_format, params=dict(params or {}))
    except RuntimeError as error:
        raise errors.from_engine(str(error)) from error


def _run(connection: Connection, sql: str, output_format: str, params: Any = None) -> bytes:
    body: bytes = _query(connection, sql, output_format, params).bytes()
    return body


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


def escape_parameter(value: str) -> str:
    """A query parameter's value as the engine reads it: escaped as in TabSeparated."""
    return value.translate(_ESCAPES)
