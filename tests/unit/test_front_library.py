"""The engine's library as the front loads it: it can make Kafka tables, and says when it is not whole."""

import subprocess
import sys
from pathlib import Path

import pytest

from clickhouse.front import library

KAFKA_TABLE = """
CREATE TABLE queue (a Int64) ENGINE = Kafka SETTINGS kafka_broker_list = '127.0.0.1:1', kafka_topic_list = 't',
kafka_group_name = 'g', kafka_format = 'JSONEachRow'
"""
MAKE_KAFKA_TABLES = f"""
import sys
from clickhouse.front import library

keeper = library.connect(sys.argv[1])
for _ in range(2):
    connection = library.connect(sys.argv[1])
    connection.query('''{KAFKA_TABLE}''', "TSV")
    connection.query("DROP TABLE queue", "TSV")
    connection.close()
keeper.close()
print("made")
"""


def run(code: str, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Code in an interpreter of its own: what is loaded there, nothing else here has loaded."""
    first = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    command = [sys.executable, "-c", first + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_kafka_tables_can_be_made_again_and_again(tmp_path: Path) -> None:
    """An engine whose registry of streaming tables was shut down refuses them: "Shutdown was called"."""
    ended = run(MAKE_KAFKA_TABLES, str(tmp_path / "data"))
    assert ended.stdout == "made\n", ended.stderr


def test_the_package_around_the_library_is_never_run() -> None:
    library.connect(":memory:").close()
    assert getattr(sys.modules[library.PACKAGE], "__file__", None) is None


@pytest.mark.parametrize("hints", [True, False])
def test_an_install_that_is_not_whole_says_what_to_do(tmp_path: Path, hints: bool) -> None:
    """pip leaves the folder so after an upgrade in place from chdb 4.0: no extension, but a folder of type hints."""
    (tmp_path / "chdb").mkdir()
    (tmp_path / "chdb" / "__init__.py").touch()
    if hints:
        (tmp_path / "chdb" / "_chdb").mkdir()
    ended = run("from clickhouse.front import library; library.connect(':memory:')", path=tmp_path)
    assert ended.returncode == 1
    assert "pip install --force-reinstall --no-deps chdb-core" in ended.stderr.splitlines()[-1]
