"""Adding datasets adds files and edits none (law 1): in a copy of the tree, they pass every test of a dataset."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import added_datasets
from tests.unit.test_tree import PACKAGES, REPOSITORY

COPIED = (*PACKAGES, "tests", "docs", "pyproject.toml", "README.md")
GENERATED = {Path("docs/contracts/README.md")}
"""Indexes that a command writes."""
README_STEPS = """
from clickhouse import ddl
from infra.cli import cli
from stream_processing.grain import load_grains

cli(["schemas", "check"], standalone_mode=False)
cli(["schemas", "docs"], standalone_mode=False)
ddl.main()
grains = load_grains()
assert "meter_hourly_peak" in grains["meter_1h"].emits
assert "meter_daily_peak" in grains["meter_1day"].emits
"""
CHECKS = ("test_tree", "test_grains", "test_examples", "test_ddl", "test_docs_pages", "test_expected_sql")


def contents(root: Path) -> dict[Path, bytes]:
    """By relative path, the bytes of every file below `root` that is in COPIED, caches apart."""
    paths = [
        path for name in COPIED for path in ((root / name).rglob("*") if (root / name).is_dir() else [root / name])
    ]
    return {
        path.relative_to(root): path.read_bytes()
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts and ".hypothesis" not in path.parts
    }


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's files."""
    root = tmp_path_factory.mktemp("tree")
    for relative, content in contents(REPOSITORY).items():
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        (root / relative).write_bytes(content)
    return root


def run(root: Path, *arguments: str) -> None:
    """Run Python in the copy, which comes before what is installed; it must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_adding_datasets_adds_files_and_edits_none(tree: Path) -> None:
    before = contents(tree)
    added = {path.relative_to(tree) for path in added_datasets.write(tree)}
    run(tree, "-c", README_STEPS)
    folders = {"docs/contracts": ".md", "clickhouse/sql": ".sql"}.items()
    rendered = {Path(folder, name + suffix) for name in added_datasets.WINDOW_S for folder, suffix in folders}
    after = contents(tree)
    assert after.keys() - before.keys() == added | rendered
    assert {path for path in before if before[path] != after.get(path)} <= GENERATED

    tests = [f"tests/unit/{check}.py" for check in CHECKS]
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "peak or test_grains or index", *tests)
