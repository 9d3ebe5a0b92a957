"""Clients of other languages, as they are: each a small program in tests/clients that says what went wrong.

A test is skipped where its language's tools are missing, and, but for CI, where its packages cannot be had. Downloads
and builds are kept beside the jars: only the first run pays for them, with a minute or two for all.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from infra.stack.cache import cache_dir
from infra.stack.ivy import Module, retrieve
from infra.stack.java import java_binary
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front

PROGRAMS = Path(__file__).parents[1] / "clients"
BUILD_S = 900
RUN_S = 300
UNREACHABLE = ("dial tcp", "ENOTFOUND", "ECONNREFUSED", "dns error", "error sending request", "Could not resolve host")
DBT = ("dbt-core==1.11.16", "dbt-clickhouse==1.10.3")  # dbt-core 1.12 fetches a part from elsewhere while it installs
JAVA_CLIENTS = [Module("com.clickhouse", "clickhouse-jdbc", "0.9.4"), Module("org.slf4j", "slf4j-nop", "2.0.17")]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data") as front:
        yield front


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Path:
    """Where a language's downloads and builds are kept."""
    folder = cache_dir() / "test-clients" / request.node.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def needs(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def build(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    output = f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
    if done.returncode != 0 and not os.environ.get("CI") and any(words in output for words in UNREACHABLE):
        pytest.skip(f"packages cannot be had: {output[-300:]}")
    assert done.returncode == 0, f"{command}: {output}"


def run(front: FrontServer, *command: str | Path) -> None:
    """Run a client's program, and show what it says when it fails."""
    told = {
        "URL_": front.url,
        "ADDRESS": f"127.0.0.1:{front.port}",
        "ADMIN": ADMIN[0],
        "ADMIN_PASSWORD": ADMIN[1],
        "READER": READER[0],
        "READER_PASSWORD": READER[1],
    }
    done = subprocess.run(
        command, env={**os.environ, **told}, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"


def test_go(front: FrontServer, kept: Path) -> None:
    needs("go")
    program = kept / "client"
    build(["go", "build", "-o", program, "."], PROGRAMS / "go")
    run(front, program)


def test_node(front: FrontServer, kept: Path) -> None:
    needs("node", "npm")
    for name in ("package.json", "package-lock.json", "client.mjs"):
        shutil.copy(PROGRAMS / "node" / name, kept)
    build(["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"], kept)
    run(front, "node", kept / "client.mjs")


def test_java(front: FrontServer, kept: Path) -> None:
    needs("javac")
    jars = kept / "jars"
    if not jars.exists():
        work = kept / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        retrieve(JAVA_CLIENTS, work, transitive=True, progress=lambda _: None).rename(jars)
        shutil.rmtree(work)
    class_path = os.pathsep.join(map(str, sorted(jars.rglob("*.jar"))))
    run(front, java_binary(17), "-cp", class_path, PROGRAMS / "java" / "Client.java")


def test_rust(front: FrontServer, kept: Path) -> None:
    needs("cargo")
    build(["cargo", "build", "--quiet", "--locked"], PROGRAMS / "rust", {"CARGO_TARGET_DIR": str(kept)})
    run(front, kept / "debug" / "client")


def test_dbt(front: FrontServer, kept: Path, tmp_path: Path) -> None:
    """In an environment of its own: it wants other versions of what this project pins."""
    if not (kept / "bin" / "dbt").exists():
        uv = (sys.executable, "-m", "uv")
        build([*uv, "venv", "--clear", "--python", sys.executable, kept], tmp_path)
        build([*uv, "pip", "install", "--python", kept / "bin" / "python", *DBT], tmp_path)
    shutil.copytree(PROGRAMS / "dbt", tmp_path / "project")
    environment = {"DBT_PROFILES_DIR": str(tmp_path / "project"), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    environment |= {"PORT": str(front.port), "USER_": ADMIN[0], "PASSWORD_": ADMIN[1]}
    for command in ("run", "test"):
        build([kept / "bin" / "dbt", "--quiet", command], tmp_path / "project", environment)
    assert front.run("SELECT sum(n), count() FROM dbt_models.doubled", READER) == "90\t10"
