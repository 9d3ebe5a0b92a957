"""The Java programs that the stack runs: fetched once, verified against `jars.lock`, cached for every stack.

`python -m infra.stack.jars` resolves the sets anew and writes `jars.lock`. Do that after a change in SETS or of
pyspark, and review the difference before it is committed: a sum in that file is what a download must have.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.base.console import progress_line
from infra.base.errors import SmartmeterError
from infra.stack.cache import cache_dir
from infra.stack.ivy import Module, pyspark_jars, retrieve

KAFKA_VERSION = "4.1.1"
REGISTRY_VERSION = "3.3.3"
SPARK_MODULES_VERSION = "4.1.1"

SETS = {
    "kafka": (
        Module("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        # Kafka logs through slf4j 1.7 and is silent without a backend; this is the one its own distribution carries.
        Module("org.apache.logging.log4j", "log4j-slf4j-impl", "2.24.3"),
    ),
    "spark": (
        Module("org.apache.spark", "spark-sql-kafka-0-10_2.13", SPARK_MODULES_VERSION),
        Module("org.apache.spark", "spark-avro_2.13", SPARK_MODULES_VERSION),
    ),
    "registry": (Module("io.apicurio", "apicurio-registry-app", REGISTRY_VERSION, "all", "tar.gz"),),
}
"""What each set is made of; its dependencies follow from these."""

LOCK_FILE = Path(__file__).with_name("jars.lock")


@dataclass(frozen=True, order=True)
class Locked:
    """A file of a set as `jars.lock` pins it."""

    module: Module
    size: int
    sha256: str


def jars(set_name: str) -> Path:
    """The folder with the verified files of a set of SETS; an archive is there unpacked. Fetched when not yet cached.

    The folder's name carries the digest of what the lock says, and it gets that name only after every file was
    verified: so its existence is the proof, and nothing is hashed again. Two processes may ask at once: one fetches,
    the other waits. Raises SmartmeterError when the download fails or a file is not the one that is locked.
    """
    locked = read_lock(LOCK_FILE.read_text())[set_name]
    folder = cache_dir() / "jars" / f"{set_name}-{digest(locked)}"
    if folder.exists():
        return folder
    with only_one_process(folder.parent / f"{set_name}.lock"):
        if not folder.exists():
            fetch(set_name, locked, folder)
    return folder


def digest(locked: list[Locked]) -> str:
    """A short name for exactly these files."""
    return hashlib.sha256(repr(sorted(locked)).encode()).hexdigest()[:16]


def read_lock(text: str) -> dict[str, list[Locked]]:
    """Set name → its files, from the lines `set module size sha256` of a lock file; `#` begins a comment."""
    sets: dict[str, list[Locked]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            set_name, module, size, sha256 = line.split()
            sets.setdefault(set_name, []).append(Locked(Module.parse(module), int(size), sha256))
    return sets


def write_lock(sets: dict[str, list[Locked]]) -> str:
    """The lock file's text, sorted; the inverse of `read_lock`."""
    head = "# set, module, bytes, SHA-256. Written by `python -m infra.stack.jars`.\n"
    lines = [
        f"{set_name} {file.module} {file.size} {file.sha256}\n"
        for set_name, files in sorted(sets.items())
        for file in sorted(files)
    ]
    return head + "".join(lines)


def fetch(set_name: str, locked: list[Locked], folder: Path) -> None:
    """Download, verify, and publish `folder` in one rename; what fails before that leaves nothing to be believed."""
    remove_partials(set_name, folder.parent)
    work = Path(tempfile.mkdtemp(prefix=f"{set_name}.partial-", dir=folder.parent))
    try:
        files = download(set_name, locked, work)
        ready = work / "ready"
        ready.mkdir()
        for file in locked:
            path = files / file.module.retrieved_path
            verify(path, file)
            if file.module.ext == "tar.gz":
                with tarfile.open(path) as archive:
                    archive.extractall(ready, filter="data")
            else:
                path.rename(ready / file.module.file_name)
        os.sync()
        ready.rename(folder)
    finally:
        remove_partials(set_name, folder.parent)


def download(set_name: str, locked: list[Locked], work: Path) -> Path:
    """The folder below `work` with the files of a set, which are not verified yet; tells on stderr how far it is."""
    total = sum(file.size for file in locked)
    started = time.monotonic()
    with progress_line() as line:

        def tell(size: int) -> None:
            line(f"fetching {set_name}: {min(size, total) / 1e6:.0f} of {total / 1e6:.0f} MB")

        files = retrieve([file.module for file in locked], work, transitive=False, progress=tell)
        line.note(f"fetched {set_name}: {total / 1e6:.0f} MB in {time.monotonic() - started:.0f} s")
    return files


def remove_partials(set_name: str, folder: Path) -> None:
    """Remove downloads under way: ours, and those of processes that were killed, for the lock is ours.

    Called before and after a download: the Ivy of a killed process may go on for a while and write again.
    """
    for partial in folder.glob(f"{set_name}.partial-*"):
        shutil.rmtree(partial, ignore_errors=True)


def verify(path: Path, file: Locked) -> None:
    """Raise SmartmeterError, and remove the file, unless its SHA-256 is the locked one."""
    if not path.exists():
        raise SmartmeterError(f"{file.module} was not delivered: run it again, or check the mirror that is in use")
    actual = sha256_of(path)
    if actual != file.sha256:
        path.unlink()
        raise SmartmeterError(
            f"{path.name} is not the file that is locked: expected SHA-256 {file.sha256}, found {actual}; it was "
            "removed. Run it again; if it happens again, do not trust the network or mirror that it came from"
        )


def sha256_of(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextlib.contextmanager
def only_one_process(lock: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `lock`, waiting for it; the system frees it when its holder dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def shipped_by_pyspark() -> set[str]:
    """Names (without version) of the jars that pyspark ships; its own versions are the ones that Spark runs with."""
    return {re.sub(r"-\d[^-]*.*$", "", path.stem) for path in pyspark_jars().glob("*.jar")}


def resolve_set(set_name: str) -> list[Locked]:
    """The set's modules with all that they need, as the repository serves them today."""
    left_out = shipped_by_pyspark() if set_name == "spark" else set()
    archive = any(module.classifier for module in SETS[set_name])
    with tempfile.TemporaryDirectory() as folder:
        files = retrieve(SETS[set_name], Path(folder), transitive=not archive, progress=lambda _: None)
        return [
            Locked(module, path.stat().st_size, sha256_of(path))
            for path in sorted(files.glob("*/*/*"))
            if (module := module_of(path)).name not in left_out
        ]


def module_of(path: Path) -> Module:
    """The module of a file that `retrieve` placed as organisation/name/name-revision[-classifier].ext."""
    organisation, name = path.parts[-3:-1]
    for wanted in (module for modules in SETS.values() for module in modules if module.classifier):
        if path.name == wanted.file_name:
            return wanted
    if not (path.name.startswith(f"{name}-") and path.suffix == ".jar"):
        raise SmartmeterError(f"{path.name} of {organisation}:{name} is no plain jar: name it in SETS by itself")
    return Module(organisation, name, path.stem.removeprefix(f"{name}-"))


if __name__ == "__main__":
    LOCK_FILE.write_text(write_lock({set_name: resolve_set(set_name) for set_name in SETS}))
