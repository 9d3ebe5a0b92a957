"""The reader against the engine's own catalogue: 500 of its functions and settings, each in five positions.

Every statement is answered, or refused with error 497. One that fails otherwise must be an allowed one, with arguments
that its function does not take: then the fence has let it pass on purpose.
"""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clickhouse.front import catalogue
from clickhouse.front.reader import TABLE_FUNCTIONS, is_allowed_function
from tests.integration.front_server import READER, FrontServer, running_front

SECRET = "CLICKHOUSE_PASSWORD=hush-hush"
SEED = 13
FUNCTIONS, TABLE_FUNCTION_COUNT, SETTINGS = 250, 50, 200


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "clickhouse") as front:
        (front.folder.parent / "secrets.env").write_text(f"{SECRET}\n")
        (front.folder / "secrets.env").write_text(f"{SECRET}\n")
        yield front


def names(front: FrontServer, sql: str, count: int) -> list[str]:
    """A draw of the catalogue's names: the same for one engine, another for the next."""
    lines = front.run(f"{sql} ORDER BY name FORMAT JSONCompactEachRow").splitlines()
    every = [json.loads(line)[0] for line in lines]
    return sorted(random.Random(SEED).sample(every, min(count, len(every))))


def function_statements(name: str, secret: Path) -> list[str]:
    return [
        f"SELECT `{name}`('{secret}')",
        f"SELECT * APPLY(`{name}`) FROM (SELECT '{secret}' AS p)",
        f"SELECT 1 FROM (SELECT arrayMap(x -> `{name}`(x), ['{secret}']) AS a) WHERE a != []",
        f"DESCRIBE TABLE (WITH `{name}`('{secret}') AS x SELECT x)",
        f"EXPLAIN SELECT 1 WHERE 1 IN (SELECT `{name}`('{secret}', 'CSV'))",
    ]


def table_function_statements(name: str, secret: Path) -> list[str]:
    return [
        f"SELECT * FROM `{name}`('{secret}')",
        f"DESCRIBE TABLE `{name}`('{secret}', 'CSV')",
        f"WITH x AS (SELECT * FROM `{name}`('{secret}', 'CSV', 'a String')) SELECT * FROM x",
        f"SELECT 1 WHERE 1 IN (SELECT * FROM `{name}`('{secret}'))",
        f"EXPLAIN SELECT * FROM numbers(1) AS n JOIN `{name}`('{secret}') AS t ON 1",
        # Columns in a string bring expressions along, which no tree shows: no listed function may take them.
        f"SELECT * FROM `{name}`('a String DEFAULT file(''{secret}'')')",
    ]


def setting_statements(name: str, value: str) -> list[str]:
    return [
        f"SELECT 1 SETTINGS {name} = {value}",
        f"SELECT * FROM (SELECT 1 SETTINGS {name} = {value})",
        f"SELECT 1 UNION ALL SELECT 2 SETTINGS {name} = {value}",
        f"SELECT 1 FORMAT TSV SETTINGS {name} = {value}",
    ]


def codes(front: FrontServer, statements: list[str]) -> list[tuple[str, int]]:
    """Each statement with the code of its error, 0 where it was answered."""

    def ask(sql: str) -> tuple[str, int]:
        response = front.post(sql, READER, max_execution_time=5)
        assert "hush-hush" not in response.text, sql
        return sql, int(response.headers.get("X-ClickHouse-Exception-Code", 0))

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, statements))


def test_functions(front: FrontServer) -> None:
    secret = front.folder / "secrets.env"
    for name in names(front, "SELECT name FROM system.functions WHERE name NOT LIKE '%`%'", FUNCTIONS):
        for sql, code in codes(front, function_statements(name, secret)):
            assert code == 497 or is_allowed_function(name), sql


def test_table_functions(front: FrontServer) -> None:
    secret = front.folder / "secrets.env"
    for name in names(front, "SELECT name FROM system.table_functions", TABLE_FUNCTION_COUNT):
        for sql, code in codes(front, table_function_statements(name, secret)):
            # A few table functions have a grammar of their own, which these arguments are not.
            assert code in {497, 62} or name.lower() in TABLE_FUNCTIONS, sql
            assert code or "DEFAULT" not in sql, sql


def test_settings(front: FrontServer) -> None:
    allowed = catalogue.read("settings.txt")
    for name in names(front, "SELECT name FROM system.settings", SETTINGS):
        for sql, code in codes(front, setting_statements(name, f"'{front.folder / 'secrets.env'}'")):
            assert code == 497 or name in allowed, sql
        if name not in allowed | {"readonly", "profile", *URL_PARAMETERS}:
            assert front.code("SELECT 1", READER, **{name: "1"}) == 497, name


URL_PARAMETERS = frozenset(
    {"database", "default_format", "wait_end_of_query", "cancel_http_readonly_queries_on_client_close", "query"}
    | {"enable_http_compression", "send_progress_in_http_headers", "http_headers_progress_interval_ms"}
    | {"http_zlib_compression_level", "http_native_compression_disable_checksumming_on_decompress"}
)
"""Settings of the engine that are the interface's own in a URL."""


def test_the_lists_are_this_engines(tmp_path: Path) -> None:
    """A newer engine's names are refused until `python -m clickhouse.front.catalogue` was run and its change read."""
    for name, lines in catalogue.lists(tmp_path / "engine").items():
        committed = (catalogue.FOLDER / name).read_text(encoding="utf-8").split()
        assert committed == lines, f"{name}: run `python -m clickhouse.front.catalogue` and review what it changes"
