"""The parts of a data directory: which process is which, who is one, where it is found.

A part is one process. `run/<part>.json` says which: {"pid": …, "identity": …, "address": …}. The identity tells the
process from another one that later got the same id. Its output goes to `logs/<part>.log`.
"""

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from infra.base.errors import SmartmeterError
from infra.base.files import write_whole

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
STARTTIME = 22 - 3
"""Place of `starttime` among the fields of /proc/<pid>/stat that follow the name (see proc_pid_stat(5))."""

children: dict[int, subprocess.Popen[bytes]] = {}
"""Processes that this one started, by id: one that ends is reaped by `has_ended` instead of staying a zombie."""


def run_file(data_dir: Path, part: str) -> Path:
    return data_dir / "run" / f"{part}.json"


def log_file(data_dir: Path, part: str) -> Path:
    return data_dir / "logs" / f"{part}.log"


def record(data_dir: Path, part: str, process: psutil.Process, address: str = "") -> None:
    """Write down that `process` is `part`; `address` is where it is found, for parts whose settings do not say."""
    fields = {"pid": process.pid, "identity": identity(process), "address": address}
    write_whole(run_file(data_dir, part), json.dumps(fields) + "\n")


@contextlib.contextmanager
def this_process_is(data_dir: Path, part: str, name: str) -> Iterator[Callable[[str], None]]:
    """This process is `part` of the data directory while the context lasts; yields what records its address.

    Raises SmartmeterError, with `name` for people, when another process is that already. Of processes that begin at
    once one goes on: it holds a lock on `run/<part>.lock`, which the kernel takes back however the process ends.
    """
    with lock(data_dir, part) as is_free:
        running = find(data_dir, part)
        if running is not None and running.pid != os.getpid():  # `start` has recorded this one before it came here
            raise SmartmeterError(f"{name} runs already (process {running.pid}); stop it first")
        if not is_free:
            raise SmartmeterError(f"{name} is being started by another process; see `smartmeter status`")
        this = psutil.Process()
        record(data_dir, part, this)
        try:
            yield lambda address: record(data_dir, part, this, address)
        finally:
            forget(data_dir, part)


@contextlib.contextmanager
def lock(data_dir: Path, part: str) -> Iterator[bool]:
    """Hold the lock of `part` while the context lasts; yields whether it is ours."""
    path = run_file(data_dir, part).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


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
        recorded = json.loads(run_file(data_dir, part).read_text())
        process = psutil.Process(recorded["pid"])
        same = identity(process) == recorded.get("identity")
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
    child = children.get(process.pid)
    if child is not None and child.poll() is not None:
        children.pop(process.pid, None)
    try:
        if not process.is_running():
            return True
        return bool(process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1)
    except psutil.NoSuchProcess:
        return True
