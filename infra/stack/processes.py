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

SILENCE_S = 180.0
"""A process that neither writes to its log nor works for so long will not get ready."""
STEP_CPU_S = 5.0
WORK_S = 900.0
"""Processor time; ten times what the slowest part needs to start."""
KILLED_ENDS_WITHIN_S = 120.0


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
    """End `process` and all that it started: asked first, killed after `deadline_s` seconds.

    When this returns, none is left. Raises SmartmeterError when the system does not take a killed process away.
    """
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    send(family[:1], psutil.Process.terminate)
    with contextlib.suppress(TimeoutError):  # what did not end when asked is killed
        until(lambda: has_ended(process), f"{name} to stop", deadline_s)
    send(family, psutil.Process.kill)
    try:
        until(lambda: all(has_ended(member) for member in family), f"the killed {name} to end", KILLED_ENDS_WITHIN_S)
    except TimeoutError as error:
        raise SmartmeterError(str(error)) from error


def send(processes: Sequence[psutil.Process], signal: Callable[[psutil.Process], None]) -> None:
    """Send a signal to those that still live."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            signal(process)


def wait_ready(
    data_dir: Path, part: str, process: psutil.Process, ready: Callable[[], bool], silence_s: float = SILENCE_S
) -> None:
    """Return when `ready` answers true, however long that takes while the process works on it.

    Raises SmartmeterError with the log's end when the process ends, when it neither writes to its log nor works for
    `silence_s` seconds, and when it has worked for more than WORK_S without being ready.
    """
    work = Work(process, log_file(data_dir, part))
    try:
        until(lambda: ready() or has_ended(process) or work.cpu_s > WORK_S, f"{part} to be ready", silence_s, 0.1, work)
    except TimeoutError as error:
        raise SmartmeterError(f"{error}\n{log_tail(data_dir, part)}") from error
    if has_ended(process):
        raise SmartmeterError(f"{part} ended while it started\n{log_tail(data_dir, part)}")
    if work.cpu_s > WORK_S:
        raise SmartmeterError(f"{part} worked {work.cpu_s:.0f} s and is not ready\n{log_tail(data_dir, part)}")


class Work:
    """What changes while a process works: the size of its log, and every few seconds of processor time that it uses.

    A process that only waits uses a little too, so less than STEP_CPU_S is none; on a machine that is busy ten times
    over, one that works gets that in a minute.
    """

    def __init__(self, process: psutil.Process, log: Path) -> None:
        self._process = process
        self._log = log
        self.cpu_s = 0.0

    def __call__(self) -> tuple[int, int]:
        """Bytes of the log, and steps of processor time, of the process and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            family = [self._process, *self._process.children(recursive=True)]
            self.cpu_s = max(self.cpu_s, sum(map(cpu_seconds, family)))
        size = self._log.stat().st_size if self._log.exists() else 0
        return size, int(self.cpu_s / STEP_CPU_S)


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used; 0 for one that has ended."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def log_tail(data_dir: Path, part: str, lines: int = 20) -> str:
    """The last lines of a part's log under a heading that names the file."""
    path = log_file(data_dir, part)
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 64 * 1024))
        text = log.read().decode(errors="replace")
    return "\n".join([f"the end of {path}:", *(f"  {line}" for line in text.splitlines()[-lines:])])
