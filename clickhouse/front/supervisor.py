"""The front's side of the engine's process: started, asked, stopped, replaced. All of it in one event loop.

Guarantees: readers and administrators wait for slots of their own. A reader's statement ends within its own time and
CANCEL_S: the engine is asked to stop it, and if it does not, the engine's process is replaced. Then every statement
that runs fails with EngineLostError, and nothing that was acknowledged is lost: tables lie on disk and queues resume
where they committed. What ended the process, or may have, is refused to readers for a while.
"""

import asyncio
import contextlib
import json
import logging
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickhouse.front import errors, wire, worker
from clickhouse.front.access import Role
from clickhouse.front.brake import Brake
from clickhouse.front.engine import Job, Parsed
from clickhouse.front.errors import QueryError
from clickhouse.front.limits import CANCEL_S, ENGINE_START_S, PARSE_S, PIECE_BYTES, SLOT_WAIT_S
from clickhouse.front.wire import Kind

log = logging.getLogger(__name__)


class EngineLostError(QueryError):
    """The engine's process ended while it worked on this statement. `innocent`: because of another one, or before."""

    def __init__(self, innocent: bool = False) -> None:
        because = "because of another one: run it again" if innocent else "perhaps because of it: it is not asked again"
        super().__init__(errors.ABORTED, f"the engine was restarted while this statement ran, {because}")
        self.innocent = innocent


@dataclass
class Answer:
    """What the engine sends for one statement; `rows` and `summary` grow as it is read."""

    chunks: AsyncIterator[bytes]
    rows: int = 0
    summary: dict[str, str] | None = None


class Supervisor:
    def __init__(self, path: Path, slots: int, confine: bool = True) -> None:
        self._path = path
        self._slots = {role: asyncio.Semaphore(slots) for role in Role}
        self._waiting = dict.fromkeys(Role, 0)
        self._max_waiting = slots * 4
        self._confine = confine
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._ready = asyncio.Event()
        self._closing = False
        self._generation = 0
        self._asking: dict[object, tuple[int, str | None]] = {}
        """Generation and, of a reader, text of each statement that the engine has now."""
        self._accounted: set[int] = set()
        self._replaced: set[int] = set()
        self.brake = Brake()
        self._watch: asyncio.Task[None] | None = None
        self.version = self.timezone = ""

    @property
    def ready(self) -> bool:
        return self._ready.is_set() and not self._closing

    @property
    def process_id(self) -> int | None:
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the engine's process. Raises QueryError when it cannot open its folder."""
        self._path.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Names of files that are not whole lead there: nothing is in it, and where it confines itself nothing gets in.
        empty = self._path.with_name(f"{self._path.name}-empty")
        shutil.rmtree(empty, ignore_errors=True)
        empty.mkdir(mode=0o700)
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "clickhouse.front.worker", "--path", str(self._path)]
        command += ["--control", str(theirs.fileno())] + ([] if self._confine else ["--open-to-all-files"])
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=[theirs.fileno()], umask=0o077, cwd=empty
            )
        self._control = ours
        try:
            kind, body = await asyncio.wait_for(asyncio.to_thread(wire.receive, ours), ENGINE_START_S)
        except (EOFError, TimeoutError, OSError) as error:
            raise QueryError(errors.ABORTED, f"the engine's process did not start: {error}") from error
        if kind is Kind.ERROR:
            raise QueryError(errors.ABORTED, f"the engine cannot open {self._path}: {body.decode().strip()}")
        told = json.loads(body)
        self.version, self.timezone = told["version"], told["timezone"]
        log.info("engine %s runs as process %d, %s", self.version, self._process.pid, _confined(told["confined"]))
        self._generation += 1
        self._ready.set()
        self._watch = asyncio.create_task(self._restart_when_it_ends(self._process))

    async def close(self, deadline_s: float) -> None:
        """Close the engine; after `deadline_s` end it as a crash would, which loses nothing either."""
        self._closing = True
        process, control = self._process, self._control
        if process is None or control is None or process.returncode is not None:
            return
        if deadline_s > 0:
            with contextlib.suppress(OSError):  # it has ended by itself
                control.send(worker.CLOSE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), deadline_s)
        if process.returncode is None:
            log.warning("leaving without closing the engine")
            process.kill()
            await process.wait()

    def _replace(self, generation: int, text: str | None, why: str) -> None:
        """End the engine's process of that generation because of one statement, so that the next begins."""
        if generation == self._generation and self._ready.is_set() and self._process is not None:
            log.warning("replacing the engine's process: %s", why)
            self._accounted.add(generation)
            self._replaced.add(generation)
            if text is not None:
                self.brake.suspect(text, alone=True)
            self._ready.clear()
            self._process.kill()

    def _account_for(self, generation: int) -> None:
        """The process ended by itself: all that it worked on is suspect, once."""
        if generation not in self._accounted:
            self._accounted.add(generation)
            texts = [text for of, text in self._asking.values() if of == generation]
            for text in texts:
                if text is not None:
                    self.brake.suspect(text, alone=len(texts) == 1)

    async def _restart_when_it_ends(self, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if self._closing:
            return
        self._account_for(self._generation)
        self._ready.clear()
        started = time.monotonic()
        log.warning("the engine's process ended (%d); starting the next", code)
        while not self._closing:
            try:
                await self.start()
            except (QueryError, OSError) as error:  # also where no process, no folder, no socket is to be had just now
                log.error("%s; trying again", error)
                await asyncio.sleep(1)
            else:
                log.warning("the engine is back after %.1f s", time.monotonic() - started)
                return

    @asynccontextmanager
    async def slot(self, role: Role) -> AsyncIterator[None]:
        """A place among the statements of this role. Raises error 202 when too many wait, or for too long."""
        if self._waiting[role] >= self._max_waiting:
            raise QueryError(errors.TOO_MANY_QUERIES, "too many queries wait already: try again later")
        self._waiting[role] += 1
        try:
            await asyncio.wait_for(self._slots[role].acquire(), SLOT_WAIT_S)
        except TimeoutError as error:
            reason = f"no query slot became free within {SLOT_WAIT_S:.0f} s"
            raise QueryError(errors.TOO_MANY_QUERIES, reason) from error
        finally:
            self._waiting[role] -= 1
        try:
            yield
        finally:
            self._slots[role].release()

    async def parse(self, role: Role, sql: str, max_query_size: str | None) -> Parsed:
        """The engine's parse of a statement, with its tree for the reader.

        Raises its syntax error, and error 392 for a reader's that the engine's process ended at.
        """
        told = {"sql": sql, "max_query_size": max_query_size, "with_tree": role is Role.READER}
        limit_s = PARSE_S if role is Role.READER else None
        text = sql if role is Role.READER else None
        async with self._asked(json.dumps({"parse": told}).encode(), limit_s, text) as reader:
            kind, body = await reader.frame()
            if kind is Kind.ERROR:
                raise _error(body)
            return Parsed(**json.loads(body))

    @asynccontextmanager
    async def run(self, job: Job, limit_s: float | None) -> AsyncIterator[Answer]:
        """Run a job. The engine stops it when this context is left, and at the latest `limit_s` from now.

        Raises error 392 for a reader's statement that the engine's process ended at.
        """
        text = job.statement.normalised if job.role is Role.READER and job.statement else None
        async with self._asked(worker.encode(job), limit_s, text) as reader:
            answer = Answer(_nothing())

            async def chunks() -> AsyncIterator[bytes]:
                while True:
                    kind, body = await reader.frame()
                    if kind is Kind.ERROR:
                        raise _error(body)
                    if kind is Kind.END:
                        answer.summary = json.loads(body)
                        return
                    answer.rows = wire.ROWS.unpack_from(body)[0]
                    yield body[wire.ROWS.size :]

            answer.chunks = chunks()
            yield answer

    @asynccontextmanager
    async def _asked(self, job: bytes, limit_s: float | None, text: str | None) -> AsyncIterator["_Frames"]:
        if text is not None:
            self.brake.judge(text)
        await self._until_ready()
        generation, control = self._generation, self._control
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                assert control is not None
                socket.send_fds(control, [worker.STATEMENT], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise EngineLostError(innocent=True) from error
        reader, writer = await asyncio.open_connection(sock=ours, limit=PIECE_BYTES)
        frames = _Frames(reader, None if limit_s is None else time.monotonic() + limit_s + CANCEL_S)
        self._asking[frames] = generation, text
        try:
            with contextlib.suppress(OSError):  # then there is no answer either, which says it
                writer.write(wire.frame(Kind.JOB, job))
                await writer.drain()
            yield frames
        except _OverdueError as error:
            self._replace(generation, text, f"a statement goes on {CANCEL_S:.0f} s past its time")
            raise QueryError(errors.TIMEOUT_EXCEEDED, "Timeout exceeded: the statement could not be stopped") from error
        except EngineLostError as error:
            self._account_for(generation)
            raise EngineLostError(generation in self._replaced) from error
        finally:
            # Also while this task is being cancelled, twice too: the slot is free only when the engine has let go.
            await _whole(self._let_go(frames, writer, limit_s))

    async def _let_go(self, frames: "_Frames", writer: asyncio.StreamWriter, limit_s: float | None) -> None:
        generation, text = self._asking[frames]
        with contextlib.suppress(OSError):
            writer.write_eof()
        try:
            await asyncio.wait_for(frames.until_end(), None if limit_s is None else CANCEL_S)
        except TimeoutError:
            self._replace(generation, text, f"a statement goes on {CANCEL_S:.0f} s after it was asked to stop")
        finally:
            del self._asking[frames]
        writer.close()

    async def _until_ready(self) -> None:
        try:
            await asyncio.wait_for(self._ready.wait(), SLOT_WAIT_S)
        except TimeoutError as error:
            raise QueryError(errors.ABORTED, "the engine does not come back: see the log") from error


class _OverdueError(Exception):
    """The engine did not end a statement in time."""


class _Frames:
    """Frames from the engine's process, each by the deadline."""

    def __init__(self, reader: asyncio.StreamReader, deadline: float | None) -> None:
        self._reader = reader
        self._deadline = deadline

    async def frame(self) -> tuple[Kind, bytes]:
        """The next frame. Raises EngineLostError when the process has gone, _OverdueError at the deadline."""
        # A client that reads slowly is no fault of the engine's: past the deadline each frame has its own time.
        left = None if self._deadline is None else max(CANCEL_S, self._deadline - time.monotonic())
        try:
            kind, size = wire.HEADER.unpack(await asyncio.wait_for(self._reader.readexactly(wire.HEADER.size), left))
            return Kind(kind), await self._reader.readexactly(size)
        except TimeoutError as error:
            raise _OverdueError from error
        except (asyncio.IncompleteReadError, OSError) as error:
            raise EngineLostError from error

    async def until_end(self) -> None:
        """Read what is left, and drop it."""
        with contextlib.suppress(OSError):  # the process has gone: that is an end too
            while await self._reader.read(1 << 20):
                pass


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Do this to its end, however often the task that asks for it is cancelled meanwhile; then raise that."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    task.result()
    if cancelled is not None:
        raise cancelled


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _error(body: bytes) -> QueryError:
    told = json.loads(body)
    return QueryError(told["code"], told["message"])


def _confined(confined: bool) -> str:
    return "confined to its folder" if confined else "NOT confined: no Landlock here"
