"""The small Go programs of tests/go, built once: Grafana's driver, and Go's templates."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "go"
BUILD_DEADLINE_S = 600


def build(name: str, folder: Path) -> Path:
    """Build one program into a folder; without Go or its modules the test is skipped, and fails in CI."""
    go = shutil.which("go")
    if go is None:
        return _without("there is no Go on this machine")
    program = folder / name
    built = subprocess.run(
        [go, "build", "-o", str(program), f"./{name}"], cwd=FOLDER, capture_output=True, text=True,
        timeout=BUILD_DEADLINE_S, check=False,
    )  # fmt: skip
    if built.returncode != 0 and "dial tcp" in built.stderr:
        return _without(f"Go's modules cannot be had: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr
    return program


def run(program: Path, *options: str, asked: Any, **environment: str) -> Any:
    """Hand a value on as JSON, and return what comes back."""
    done = subprocess.run(
        [str(program), *options], input=json.dumps(asked), capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _without(reason: str) -> Path:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
