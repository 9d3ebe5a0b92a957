"""Background processes of a data directory: started detached, found again, watched while they start, stopped.

Which process is which part is recorded by `infra.base.parts`.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from infra.base.errors import SmartmeterError
from infra.base.parts import children, has_ended, log_file, record
from infra.base.wait import until


@dataclass(frozen=True)
class Launch:
    """How a process is started: its command line, and variables on top of the inherited environment."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class Part(Protocol):
    """A server that a data directory runs as one process."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def address(self) -> str: ...

    def prepare(self) -> Launch:
        """Write what it needs before it starts; may be called again over existing data, which it keeps."""

    def ready(self) -> bool:
        """Whether it answers its clients now."""


def start(data_dir: Path, part: str, launch: Launch) -> psutil.Process:
    """Start a process in a session of its own, so that it outlives the terminal, and record it as `part`.

    It inherits this environment without the passwords in it: those go only to the process whose launch names them.
    The log of the run before is kept as `<part>.log.1`.
    """
    log = log_file(data_dir, part)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_PASSWORD")}
    with log.open("ab") as output:
        child = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=data_dir,
            env={**inherited, **launch.environment},
            start_new_session=True,
            umask=0o077,  # what it writes is its user's alone
        )
    children[child.pid] = child
    process = psutil.Process(child.pid)
    record(data_dir, part, process)
    return process


def stop(process: psutil.Process, name: str, deadline_s: float = 30.0) -> None:
    """End `process` and all that it started: asked first, killed after `deadline_s` seconds; then none is left."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    send(family[:1], psutil.Process.terminate)
    with contextlib.suppress(TimeoutError):  # what did not end when asked is killed
        until(lambda: has_ended(process), f"{name} to stop", deadline_s)
    send(family, psutil.Process.kill)
    until(lambda: all(has_ended(member) for member in family), f"the killed {name} to end", 10)


def send(processes: Sequence[psutil.Process], signal: Callable[[psutil.Process], None]) -> None:
    """Send a signal to those that still live."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            signal(process)


def wait_ready(
    data_dir: Path, part: str, process: psutil.Process, ready: Callable[[], bool], deadline_s: float
) -> None:
    """Return when `ready` answers true; raise SmartmeterError with the log's end when that comes too late."""
    try:
        until(lambda: ready() or has_ended(process), f"{part} to be ready", deadline_s)
    except TimeoutError as error:
        raise SmartmeterError(f"{error}\n{log_tail(data_dir, part)}") from error
    if has_ended(process):
        raise SmartmeterError(f"{part} ended while it started\n{log_tail(data_dir, part)}")


def log_tail(data_dir: Path, part: str, lines: int = 20) -> str:
    """The last lines of a part's log under a heading that names the file."""
    path = log_file(data_dir, part)
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 64 * 1024))
        text = log.read().decode(errors="replace")
    return "\n".join([f"the end of {path}:", *(f"  {line}" for line in text.splitlines()[-lines:])])
