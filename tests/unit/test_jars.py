import hashlib
import io
import tarfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import infra.stack.jars
from infra.base.errors import SmartmeterError
from infra.stack.ivy import Module, ivy_xml
from infra.stack.jars import LOCK_FILE, SETS, Locked, jars, read_lock, shipped_by_pyspark, write_lock

words = st.text("abcdefghijklmnopqrstuvwxyz0123456789._-", min_size=1)
modules = st.builds(Module, words, words, words) | st.builds(Module, words, words, words, words, st.just("tar.gz"))
files = st.builds(Locked, modules, st.integers(0, 2**40), st.text("0123456789abcdef", min_size=64, max_size=64))


def locked(module: Module, content: bytes) -> Locked:
    return Locked(module, len(content), hashlib.sha256(content).hexdigest())


@given(modules)
def test_a_module_is_read_as_it_is_written(module: Module) -> None:
    assert Module.parse(str(module)) == module


@given(st.dictionaries(words, st.lists(files, min_size=1)))
def test_a_lock_file_is_read_as_it_is_written(sets: dict[str, list[Locked]]) -> None:
    assert read_lock(write_lock(sets)) == {name: sorted(each) for name, each in sets.items()}


def test_the_committed_lock_covers_every_set_and_nothing_else() -> None:
    lock = read_lock(LOCK_FILE.read_text())

    assert lock.keys() == SETS.keys()
    for name, wanted in SETS.items():
        assert set(wanted) <= {file.module for file in lock[name]}


def test_spark_gets_no_second_version_of_what_pyspark_ships() -> None:
    ours = {file.module.name for file in read_lock(LOCK_FILE.read_text())["spark"]}

    assert "spark-sql-kafka-0-10_2.13" in ours
    assert "spark-sql_2.13" in shipped_by_pyspark()
    assert not ours & shipped_by_pyspark()


def test_the_request_names_an_artifact_only_for_a_classifier() -> None:
    plain, special = Module("org", "plain", "1"), Module("org", "special", "2", "all", "tar.gz")

    root = ET.fromstring(ivy_xml([plain, special], transitive=False))

    first, second = root.findall("dependencies/dependency")
    assert first.attrib == {"org": "org", "name": "plain", "rev": "1", "conf": "default", "transitive": "false"}
    assert list(first) == []
    [artifact] = second
    assert artifact.attrib == {
        "name": "special",
        "type": "tar.gz",
        "ext": "tar.gz",
        "{http://ant.apache.org/ivy/maven}classifier": "all",
    }


JAR, ARCHIVE = Module("org.one", "one", "1.0"), Module("org.two", "two", "2.0", "all", "tar.gz")


def archive_of(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Repository:
    """Stands in for the download: serves bytes by module and counts how often it was asked."""

    def __init__(self, served: dict[Module, bytes]) -> None:
        self.served = served
        self.calls = 0
        self.delay_s = 0.0

    def retrieve(
        self, modules: Iterable[Module], work: Path, transitive: bool, progress: Callable[[int], None]
    ) -> Path:
        assert not transitive
        self.calls += 1
        time.sleep(self.delay_s)
        for module in modules:
            path = work / "files" / module.retrieved_path
            path.parent.mkdir(parents=True)
            path.write_bytes(self.served[module])
            progress(len(self.served[module]))
        return work / "files"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A set `trial` of a jar and an archive, its lock, an empty cache in `tmp_path/cache`."""
    served = {JAR: b"jar", ARCHIVE: archive_of("lib/inside.txt", b"inside")}
    repository = Repository(served)
    lock_file = tmp_path / "trial.lock"
    lock_file.write_text(write_lock({"trial": [locked(module, content) for module, content in served.items()]}))
    monkeypatch.setattr(infra.stack.jars, "LOCK_FILE", lock_file)
    monkeypatch.setattr(infra.stack.jars, "retrieve", repository.retrieve)
    monkeypatch.setenv("SMARTMETER_CACHE_DIR", str(tmp_path / "cache"))
    return repository


def left_in_cache(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "jars").iterdir() if path.name != "trial.lock")


def test_a_set_is_fetched_once_and_its_archives_are_unpacked(repository: Repository, tmp_path: Path) -> None:
    folder = jars("trial")

    assert (folder / "one-1.0.jar").read_bytes() == b"jar"
    assert (folder / "lib" / "inside.txt").read_bytes() == b"inside"
    assert sorted(path.name for path in folder.iterdir()) == ["lib", "one-1.0.jar"]
    assert jars("trial") == folder
    assert repository.calls == 1
    assert left_in_cache(tmp_path) == [folder.name]


def test_another_lock_is_another_folder(repository: Repository, tmp_path: Path) -> None:
    first = jars("trial")
    repository.served[JAR] = b"newer jar"
    (tmp_path / "trial.lock").write_text(write_lock({"trial": [locked(JAR, b"newer jar")]}))

    assert (jars("trial") / "one-1.0.jar").read_bytes() == b"newer jar"
    assert (first / "one-1.0.jar").read_bytes() == b"jar"


def test_a_wrong_file_is_named_with_both_checksums_and_nothing_of_it_stays(
    repository: Repository, tmp_path: Path
) -> None:
    repository.served[JAR] = b"evil"

    with pytest.raises(SmartmeterError) as caught:
        jars("trial")

    expected, found = hashlib.sha256(b"jar").hexdigest(), hashlib.sha256(b"evil").hexdigest()
    assert f"one-1.0.jar is not the file that is locked: expected SHA-256 {expected}, found {found}" in str(
        caught.value
    )
    assert left_in_cache(tmp_path) == []
    repository.served[JAR] = b"jar"
    assert (jars("trial") / "one-1.0.jar").read_bytes() == b"jar"


@pytest.mark.usefixtures("repository")
def test_what_a_killed_download_left_is_not_believed(tmp_path: Path) -> None:
    abandoned = tmp_path / "cache" / "jars" / "trial.partial-abc" / "files"
    abandoned.mkdir(parents=True)
    (abandoned / "one-1.0.jar").write_bytes(b"half")

    folder = jars("trial")

    assert (folder / "one-1.0.jar").read_bytes() == b"jar"
    assert left_in_cache(tmp_path) == [folder.name]


def test_of_two_that_ask_at_once_one_fetches(repository: Repository) -> None:
    repository.delay_s = 0.2
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(jars("trial"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1
    assert repository.calls == 1
