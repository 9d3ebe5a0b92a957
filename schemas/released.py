"""What was released: the contracts as they stand in a commit, read from git without touching the working tree.

Released means on main. So a branch is compared with the commit where it left main, and main itself with its last commit
(which shows what is not committed yet) and with the one before (which shows, in CI, what the last commit broke).
"""

import io
import os
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.base.errors import SmartmeterError
from schemas.avro import ContractError
from schemas.manifest import CONTRACTS, Dataset, load_datasets

MAIN = ("main", "origin/main")


class NoHistory(Exception):  # noqa: N818
    """There is nothing to compare with here; the text says why (no git, not a repository, no commit)."""


@dataclass(frozen=True)
class Base:
    """A commit to compare with, and the branch, tag or commit by which sentences name it."""

    commit: str
    label: str


def bases(folder: Path = CONTRACTS, ref: str | None = None) -> list[Base]:
    """The commits to compare with: `ref` alone if given, else as the module says. Raises NoHistory.

    Raises SmartmeterError when `ref` is unknown, or git fails for another reason than that there is no history.
    """
    _require_repository(folder)
    if ref is not None:
        commit = _commit(folder, ref)
        if commit is None:
            raise SmartmeterError(f"git knows no commit {ref}; name a branch, tag or commit that is fetched here")
        return [Base(commit, ref)]
    head = _commit(folder, "HEAD")
    if head is None:
        raise NoHistory("nothing is committed yet")
    main = next((name for name in MAIN if _commit(folder, name)), "HEAD")
    left_main = _git(folder, "merge-base", main, "HEAD").stdout.decode().strip() or _commit(folder, main) or head
    if left_main != head:
        return [Base(left_main, main)]
    before = _commit(folder, "HEAD~1")
    return [Base(head, main)] + ([Base(before, main)] if before else [])


def released_datasets(base: Base, folder: Path = CONTRACTS) -> dict[str, Dataset]:
    """The datasets of that commit; none if it has no contracts folder."""
    prefix = _git(folder, "rev-parse", "--show-prefix").stdout.decode().strip()
    tree = f"{base.commit}:{prefix}".rstrip("/")
    if _git(folder, "cat-file", "-e", tree).returncode:
        return {}
    root = Path(_git(folder, "rev-parse", "--show-toplevel").stdout.decode().rstrip("\n"))
    archive = _git(root, "archive", "--format=tar", tree)
    if archive.returncode:
        raise SmartmeterError(f"git archive {tree} failed: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as unpacked:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(unpacked, filter="data")
        if not any(Path(unpacked).glob("*.yaml")):
            return {}
        try:
            return load_datasets(Path(unpacked), released=True)
        except ContractError as error:
            raise SmartmeterError(
                f"the contracts of {base.label} ({base.commit[:10]}) cannot be read by today's loader: {error}; "
                "let the loader still take what was released"
            ) from error


def _require_repository(folder: Path) -> None:
    try:
        probe = _git(folder, "rev-parse", "--is-inside-work-tree")
    except FileNotFoundError as error:
        raise NoHistory("git is not installed") from error
    if probe.returncode:
        reason = probe.stderr.decode().strip()
        if "not a git repository" in reason:
            raise NoHistory("this is not a git repository")
        raise SmartmeterError(f"git cannot be asked about {folder}: {reason}")


def _commit(folder: Path, ref: str) -> str | None:
    completed = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    return completed.stdout.decode().strip() or None


def _git(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, env=environment)
