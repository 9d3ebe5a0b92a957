"""`python3 run` with each Python of this machine that a user may have: the system's, and the first on the PATH."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "run"
TOX_INI = """\
[testenv:demo]
skip_install = true
commands = python -c "import sys; print(sys.argv[1:]); sys.exit(len(sys.argv) - 1)" {posargs}
"""
PYTHONS = ("/usr/bin/python3", "python3")


def is_new_enough(python: str) -> bool:
    code = "import sys; sys.exit(sys.version_info < (3, 11))"
    return bool(shutil.which(python)) and subprocess.run([python, "-c", code], check=False).returncode == 0


def clean_environment() -> dict[str, str]:
    """This environment without the virtual environment that the tests run in."""
    here = os.environ.get("VIRTUAL_ENV", "")
    path = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if not here or not folder.startswith(here)
    )
    dropped = ("VIRTUAL_ENV", "PYTHONPATH", "PIP_USER")
    return {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("TOX")} | {
        "PATH": path
    }


@pytest.mark.parametrize("python", [python for python in PYTHONS if is_new_enough(python)])
def test_tox_is_installed_once_and_runs_what_is_named(python: str, tmp_path: Path) -> None:
    """In a copy of the launcher's surroundings; a system's own Python refuses `pip install` for everybody (PEP 668)."""
    shutil.copy(RUN, tmp_path / "run")
    (tmp_path / "tox.ini").write_text(TOX_INI)
    broken = tmp_path / ".tox" / "launcher" / "bin" / "python"  # of a Python that is gone
    broken.parent.mkdir(parents=True)
    broken.symlink_to(tmp_path / "gone")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [python, "run", "demo", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
        )

    first = run()
    assert (first.returncode, "[]" in first.stdout) == (0, True), first.stdout + first.stderr
    assert "installing tox into .tox/launcher" in first.stderr
    second = run("--keep", "a b")
    assert "['--keep', 'a b']" in second.stdout
    assert second.returncode == 2, "tox's exit code is not kept"
    assert "installing tox" not in second.stderr
