"""What `python3 run` says on a machine that lacks something; that it works is tested in tests/system."""

import ast
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

RUN = Path(__file__).parents[2] / "run"


@pytest.fixture
def launcher() -> SimpleNamespace:
    """What the file defines."""
    return SimpleNamespace(**runpy.run_path(str(RUN), run_name="launcher"))


def test_a_python_that_is_too_old_can_still_read_it() -> None:
    ast.parse(RUN.read_text(), feature_version=(3, 6))


def test_a_python_that_is_too_old_is_told_of_a_newer_one_that_is_there(launcher: SimpleNamespace) -> None:
    with pytest.raises(launcher.Missing) as caught:
        launcher.check_python((3, 6, 15), ["python3.13", "python3.11"])

    assert str(caught.value) == (
        "Python 3.6 is too old, 3.11 or later is needed; "
        "this machine has python3.13: give the same command with it, `python3.13 run demo`"
    )


def test_a_python_that_is_too_old_and_alone_is_told_to_be_joined(launcher: SimpleNamespace) -> None:
    with pytest.raises(launcher.Missing, match=r"^Python 3\.10 is too old, 3\.11 or later is needed; install one, "):
        launcher.check_python((3, 10, 0), [])


def test_a_python_that_is_new_enough_is_taken(launcher: SimpleNamespace) -> None:
    launcher.check_python((3, 11, 0), [])
    launcher.check_python((3, 14, 0), [])
    launcher.check_venv(sys.version_info)


def test_debian_without_its_venv_package_is_told_of_it_in_one_sentence(tmp_path: Path) -> None:
    """There the module ensurepip comes with the package and is not there without it."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError('no', name='ensurepip')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, RUN, "demo"], env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "this Python lacks ensurepip, which makes environments: on Debian and Ubuntu install it with "
        f"`sudo apt install python{version}-venv`, then give the same command again\n"
    )


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["rm"], 2), (["--help"], 0)])
def test_it_runs_nothing_but_demo_and_test(arguments: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, RUN, *arguments], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == code
    assert done.stderr == "usage: python3 run demo [OPTIONS] | python3 run test [PYTEST OPTIONS]\n"
