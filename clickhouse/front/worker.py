"""The engine's process: `python -m clickhouse.front.worker --path DIR --control FD`, started by the front alone.

It holds no password, runs in an empty folder, and confines itself before it opens the engine. The front
sends one socket a statement through the control socket. When the control socket ends, so does this process: at once,
as in a crash, or after closing the engine if the front says so first.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from clickhouse.front import confine, errors, library, statement, wire
from clickhouse.front.access import Role
from clickhouse.front.engine import Engine, External, Job
from clickhouse.front.errors import QueryError
from clickhouse.front.limits import PIECE_BYTES
from clickhouse.front.wire import Kind

OPEN_RETRY_S = 5.0
"""A front that was killed may hold the folder a moment longer."""

KILL_EVERY_S = 0.25
STATEMENT, CLOSE = b"s", b"c"
log = logging.getLogger("clickhouse.front.worker")


def encode(job: Job) -> bytes:
    """A job as it goes over the wire."""
    return json.dumps({**asdict(job), "role": job.role.value}).encode()


def decode(body: bytes) -> Job:
    told = json.loads(body)
    told["role"] = Role(told["role"])
    told["statement"] = statement.Statement(**told["statement"]) if told["statement"] else None
    told["externals"] = [External(**table) for table in told["externals"]]
    return Job(**told)


@click.command()
@click.option("--path", type=click.Path(path_type=Path, file_okay=False), required=True, help="The engine's folder.")
@click.option("--control", type=int, required=True, help="The control socket's descriptor.")
@click.option("--open-to-all-files", is_flag=True, help="For tests: do not confine this process.")
def main(path: Path, control: int, open_to_all_files: bool) -> None:
    """Serve the engine of one folder to the front that started this process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    confine.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the front hears it too, and says what to do
    front = socket.socket(fileno=control)
    engine = Engine(path)
    library.load()
    confined = not open_to_all_files and confine.confine(path)
    try:
        _open(engine)
    except QueryError as error:
        wire.send(front, Kind.ERROR, error.text("").encode())
        sys.exit(1)
    told = {"version": engine.version, "timezone": engine.timezone, "confined": confined}
    wire.send(front, Kind.END, json.dumps(told).encode())
    while True:
        what, descriptors, _, _ = socket.recv_fds(front, 1, 1)
        if what == CLOSE:
            engine.close()
            os._exit(0)
        if what != STATEMENT:
            os._exit(1)
        for descriptor in descriptors:
            threading.Thread(target=_serve, args=(engine, socket.socket(fileno=descriptor)), daemon=True).start()


def _open(engine: Engine) -> None:
    deadline = time.monotonic() + OPEN_RETRY_S
    while True:
        try:
            return engine.open()
        except QueryError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _serve(engine: Engine, connection: socket.socket) -> None:
    """Answer one statement, and stop it when the front shuts its side down."""
    with connection:
        try:
            answer(engine, connection)
            connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for the front's word
        except (OSError, EOFError) as error:
            log.info("the front took no more of an answer: %s", error)


def answer(engine: Engine, connection: socket.socket) -> None:
    _, body = wire.receive(connection)
    told = json.loads(body)
    try:
        if "parse" in told:
            parsed = engine.parse(**told["parse"])
            return wire.send(connection, Kind.END, json.dumps(asdict(parsed)).encode())
        _run(engine, decode(body), connection)
    except QueryError as error:
        wire.send(connection, Kind.ERROR, _error(error))
    except Exception as error:
        # Whatever it was, the front must hear of it; it is ours to mend, so the log has all of it.
        log.exception("a statement failed in the front's own code")
        wire.send(connection, Kind.ERROR, _error(QueryError(errors.UNEXPECTED, f"{type(error).__name__}: {error}")))
    return None


def _error(error: QueryError) -> bytes:
    return json.dumps({"code": error.code, "message": str(error)}).encode(errors="replace")


def _run(engine: Engine, job: Job, connection: socket.socket) -> None:
    stopping, done = threading.Event(), threading.Event()
    told = (engine, job.marker, connection, stopping, done)
    threading.Thread(target=_stop_when_asked, args=told, daemon=True).start()
    try:
        with engine.execute(job) as result:
            for chunk in result.chunks:
                rows = wire.ROWS.pack(result.rows())
                for start in range(0, len(chunk), PIECE_BYTES):  # the front holds no more than it sends
                    if stopping.is_set():
                        return
                    wire.send(connection, Kind.DATA, rows, memoryview(chunk)[start : start + PIECE_BYTES])
            summary: dict[str, Any] = result.summary()
        wire.send(connection, Kind.END, json.dumps(summary).encode())
    finally:
        done.set()


def _stop_when_asked(
    engine: Engine, marker: str, connection: socket.socket, stopping: threading.Event, done: threading.Event
) -> None:
    try:
        connection.recv(1)  # the front sends nothing more: this returns when it shuts its side down, or all is over
    except OSError as error:
        log.debug("the connection of %s ended: %s", marker, error)
    stopping.set()
    while not done.wait(KILL_EVERY_S):
        try:
            engine.kill(marker)
        except QueryError as error:
            log.warning("%s was not told to stop; trying again: %s", marker, error)


if __name__ == "__main__":
    main()
