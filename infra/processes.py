"""Background processes of a data directory: started detached, found again, watched while they start, stopped.

A part is one process. `run/<part>.json` says which: {"pid": …, "identity": …}; the identity tells it from another
process that later got the same id. Its output goes to `logs/<part>.log`.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import psutil

from infra.errors import SmartmeterError
from infra.wait import until

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STARTTIME = 22 - 3
"""Place of `starttime` among the fields of /proc/<pid>/stat that follow the name (see proc_pid_stat(5))."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""By process id; kept so that a process of ours that ends is reaped rather than left a zombie while we live."""


def run_file(data_dir: Path, part: str) -> Path:
    return data_dir / "run" / f"{part}.json"


def log_file(data_dir: Path, part: str) -> Path:
    return data_dir / "logs" / f"{part}.log"


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
    log.parent.mkdir(parents=True, exist_ok=True)
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
        )
    _children[child.pid] = child
    process = psutil.Process(child.pid)
    record(data_dir, part, process)
    return process


def record(data_dir: Path, part: str, process: psutil.Process, address: str = "") -> None:
    """Write down that `process` is `part`; `address` is where it is found, for parts whose settings do not say."""
    path = run_file(data_dir, part)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    said = {"pid": process.pid, "identity": identity(process), "address": address}
    partial.write_text(json.dumps(said) + "\n")
    partial.replace(path)


@contextlib.contextmanager
def this_process_is(data_dir: Path, part: str, name: str) -> Iterator[Callable[[str], None]]:
    """This process is `part` of the data directory while the context lasts; yields what records its address.

    Raises SmartmeterError, with `name` for people, when another process is that already.
    """
    running = find(data_dir, part)
    if running is not None and running.pid != os.getpid():  # `start` has recorded this one before it came here
        raise SmartmeterError(f"{name} runs already (process {running.pid}); stop it first")
    this = psutil.Process()
    record(data_dir, part, this)
    try:
        yield lambda address: record(data_dir, part, this, address)
    finally:
        forget(data_dir, part)


def recorded_address(data_dir: Path, part: str) -> str:
    """Where a recorded part said that it is found; empty if it said nothing."""
    path = run_file(data_dir, part)
    return str(json.loads(path.read_text()).get("address", "")) if path.exists() else ""


def forget(data_dir: Path, part: str) -> None:
    """Remove the record of `part`."""
    run_file(data_dir, part).unlink(missing_ok=True)


def recorded_parts(data_dir: Path) -> list[str]:
    """Parts with a record, running or not."""
    return sorted(path.stem for path in (data_dir / "run").glob("*.json"))


def find(data_dir: Path, part: str) -> psutil.Process | None:
    """The running process of `part`; None when there is no record, it has ended, or its id now belongs to another."""
    try:
        said = json.loads(run_file(data_dir, part).read_text())
        process = psutil.Process(said["pid"])
        same = identity(process) == said.get("identity")
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None
    return process if same and not has_ended(process) else None


def identity(process: psutil.Process) -> str:
    """What no other process of this id has: the boot, and the clock ticks from it to the process's start.

    Where the kernel does not tell these, the creation time to the second. That is not used where it can be helped: it
    is reckoned back from the wall clock, and moves when that is corrected. Raises psutil.NoSuchProcess.
    """
    if not BOOT_ID.exists():
        return f"{process.create_time():.0f}"
    try:
        after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError) as error:
        raise psutil.NoSuchProcess(process.pid) from error
    return f"{BOOT_ID.read_text().strip()}/{after_name[STARTTIME]}"


def has_ended(process: psutil.Process) -> bool:
    """Whether it is gone, or a zombie that its parent has not yet reaped; its ports and files are free then.

    A killed process of many threads looks like a zombie while its last threads still hold them: that is not the end.
    """
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        _children.pop(process.pid, None)
    try:
        if not process.is_running():
            return True
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True


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
