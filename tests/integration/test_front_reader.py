"""The reader cannot change anything, nor reach what is not in tables. Each attempt is made against the real engine."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from clickhouse.front.limits import READER_MAX_EXECUTION_TIME_S, READER_MAX_SPILL_BYTES, READER_MAX_THREADS
from clickhouse.front.reader import TABLE_FUNCTIONS
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front

REFUSALS = {36, 62, 164, 452, 497}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data") as front:
        front.run("CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a")
        front.run("INSERT INTO t VALUES (1)")
        front.run("CREATE VIEW v AS SELECT a FROM t")
        front.run(
            "CREATE TABLE queue (a Int64) ENGINE = Kafka SETTINGS kafka_broker_list = '127.0.0.1:1', "
            "kafka_topic_list = 't', kafka_group_name = 'g', kafka_format = 'JSONEachRow', kafka_sasl_password = 'hush'"
        )
        yield front


@pytest.fixture(scope="module")
def secret(front: FrontServer) -> Path:
    """Within the engine's own folder, where its second wall does not reach."""
    path = front.folder / "secret.csv"
    path.write_text("secret,1\n")
    return path


def test_what_the_reader_may_do(front: FrontServer) -> None:
    for sql in ("SELECT a FROM t", "SELECT a FROM v", "WITH 1 AS x SELECT x", "(SELECT 1) UNION ALL (SELECT 1)"):
        assert front.run(sql, READER).splitlines()[0] == "1"
    for sql in ("SHOW TABLES", "DESCRIBE t", "EXPLAIN SELECT a FROM t", "EXISTS TABLE t", "SHOW CREATE TABLE t"):
        assert front.run(sql, READER)
    assert front.run("SELECT max(number) FROM numbers(10) SETTINGS max_threads = 1", READER, max_block_size=5) == "9"


def test_limits_of_the_reader(front: FrontServer) -> None:
    assert (
        front.run("SELECT getSetting('max_execution_time'), getSetting('readonly')", READER)
        == f"{READER_MAX_EXECUTION_TIME_S}\t2"
    )
    for value in (0, READER_MAX_EXECUTION_TIME_S + 1, -1):
        assert front.code("SELECT 1", READER, max_execution_time=value) in {72, 452}
        assert front.code(f"SELECT 1 SETTINGS max_execution_time = {value}", READER) in {62, 72, 452}
    assert front.code("SELECT 1", READER, max_memory_usage=0) == 452
    assert (
        front.code("SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_block_size = 1", READER, max_execution_time=1)
        == 159
    )


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("max_threads", None, READER_MAX_THREADS),
        ("max_final_threads", None, READER_MAX_THREADS),
        ("max_streams_to_max_threads_ratio", None, 4),
        *[(f"max_bytes_before_external_{work}", 1 << 20, None) for work in ("group_by", "sort", "join", "distinct")],
    ],
)
def test_settings_of_the_reader_have_bounds(front: FrontServer, name: str, least: int | None, most: int | None) -> None:
    beyond = 2 * most if most else 1
    for sql, url in (("SELECT 1", f"?{name}={beyond}"), (f"SELECT 1 SETTINGS {name} = {beyond}", "")):
        refused = requests.post(front.url + url, sql, auth=READER, timeout=60)
        assert refused.headers["X-ClickHouse-Exception-Code"] == "452"
        assert requests.post(front.url + url, sql, auth=ADMIN, timeout=60).text == "1\n"
    # In a subquery the engine takes the bound in its place.
    inner = f"SELECT * FROM (SELECT getSetting('{name}') SETTINGS {name} = {beyond})"
    assert front.run(inner, READER) == str(most or least)
    assert front.run(inner) == str(beyond)
    assert front.run(f"SELECT getSetting('{name}') SETTINGS {name} = {most or least}", READER) == str(most or least)


@pytest.mark.parametrize(
    "work",
    [
        "SELECT sipHash64(number) AS a, count() FROM numbers(3000000) GROUP BY a",
        "SELECT DISTINCT sipHash64(number) AS a FROM numbers(3000000)",
    ],
    ids=["group by", "distinct"],
)
def test_what_a_reader_may_write_while_he_reads_is_bounded(tmp_path: Path, work: str) -> None:
    """Beyond a limit of a test's own: a front with the real one would have to write 4 GB."""
    command = [sys.executable, "-P", "-c", BARE_SPILL, str(tmp_path / "data"), f"{work} FORMAT Null"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "396 0\n"


@pytest.mark.parametrize("whose", ["query", "user"])
def test_nor_lifts_he_that_bound(front: FrontServer, whose: str) -> None:
    name = f"max_temporary_data_on_disk_size_for_{whose}"
    assert front.run(f"SELECT getSetting('{name}')", READER) == str(READER_MAX_SPILL_BYTES if whose == "query" else 0)
    assert requests.get(f"{front.url}/?query=SELECT+1&{name}=1", auth=READER, timeout=30).status_code == 403
    assert front.code(f"SELECT 1 SETTINGS {name} = 1", READER) == 497


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (2)",
        "INSERT INTO t FORMAT CSV\n2",
        "INSERT INTO t SELECT 2",
        "INSERT INTO FUNCTION file('evil.csv') SELECT 1",
        "CREATE TABLE evil (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE evil (a Int8)",
        "CREATE DATABASE evil",
        "CREATE FUNCTION evil AS x -> x",
        "CREATE USER evil",
        "DROP TABLE t",
        "DETACH TABLE t",
        "TRUNCATE TABLE t",
        "RENAME TABLE t TO evil",
        "EXCHANGE TABLES t AND v",
        "ALTER TABLE t DELETE WHERE 1",
        "DELETE FROM t WHERE 1",
        "OPTIMIZE TABLE t FINAL",
        "SYSTEM FLUSH LOGS",
        "SYSTEM STOP MERGES",
        "KILL QUERY WHERE 1",
        "KILL QUERY WHERE query_id = 'x' FORMAT Protobuf",
        "WITH (x -> x) AS FILE SELECT file('/etc/passwd')",
        "SELECT file('/etc/passwd') FROM (WITH (x -> x) AS file SELECT 1)",
        "WITH (x -> x) AS file SELECT file('/etc/passwd') SETTINGS enable_analyzer = 0",
        "SELECT arrayReduce('flameGraph', [1], [1], [1])",
        "SELECT initializeAggregation('flameGraph', 1)",
        "GRANT ALL ON *.* TO default",
        "SET readonly = 0",
        "SET ROLE admin",
        "SET ROLE ALL",
        "SET profile = 'default'",
        "USE system",
        "BACKUP TABLE t TO Disk('a', 'b')",
        "SELECT 1; DROP TABLE t",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 SETTINGS dialect = 'prql'",
        "SELECT * FROM queue SETTINGS stream_like_engine_allow_direct_select = 1",
        "SELECT * FROM (SELECT * FROM queue SETTINGS stream_like_engine_allow_direct_select = 1)",
        "SELECT * FROM (SELECT * FROM queue SETTINGS `stream_like_engine_allow_direct_selec\\x74` = 1)",
        "SELECT * FROM system.processes",
        "SELECT * FROM system.`process\\x65s`",
        "SHOW PROCESSLIST",
        "SELECT * FROM python(front)",
        "DESCRIBE TABLE python(front)",
        "DESCRIBE TABLE url('http://127.0.0.1:1/', 'CSV')",
        "SELECT * FROM remote('127.0.0.1', 'system', 'one')",
        "SELECT * FROM executable('cat', 'TSV', 'a String')",
        "SELECT * FROM merge('system', 'proc.*')",
        "SELECT 1 IN queue",
        "SELECT * FROM default.queue",
        "WITH x AS (SELECT a FROM queue) SELECT * FROM x",
        "SELECT * FROM system.errors",
        "SELECT `processes`.`query` FROM `system`.`processes`",
        "SELECT system.processes.query FROM system.processes",
        "SHOW GRANTS",
        "SHOW CREATE USER default",
    ],
)
def test_the_reader_may_not(front: FrontServer, sql: str) -> None:
    assert front.code(sql, READER) in REFUSALS
    assert front.run("SELECT groupArray(a) FROM t") == "[1]"
    assert "evil" not in front.run("SHOW TABLES") + front.run("SHOW DATABASES")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SHOW CLUSTERS", "clusters and caches"),
        ("SHOW CLUSTER 'x'", "clusters and caches"),
        ("SHOW FILESYSTEM CACHES", "clusters and caches"),
        ("SELECT CAST(unhex('00') AS AggregateFunction(flameGraph, UInt64))", "use the function flameGraph"),
        ("SELECT unhex('00')::AggregateFunction(1, flameGraphIf, UInt64)", "use the function flameGraphIf"),
        ("SELECT {x:AggregateFunction(flameGraph, UInt64)}", "use the function flameGraph"),
        ("SELECT defaultValueOfTypeName('AggregateFunction(aggThrow(0.1), UInt8)')", "use the function aggThrow"),
        (
            "SELECT JSONExtract('{}', 'a', 'Array(AggregateFunction(flameGraph, UInt64))')",
            "use the function flameGraph",
        ),
        ("SELECT CAST('', concat('AggregateFunction(flame', 'Graph, UInt64)'))", "names the type in CAST"),
        ("SELECT CAST('', {t:String})", "names the type in CAST"),
    ],
)
def test_the_reader_is_refused_with_a_reason(front: FrontServer, sql: str, reason: str) -> None:
    answer = front.post(sql, READER, None, param_t="Int8", param_x="")
    assert answer.headers["X-ClickHouse-Exception-Code"] == "497"
    assert "the reader" in answer.text
    assert reason in answer.text


def test_a_column_may_have_the_name_of_a_queue(front: FrontServer) -> None:
    front.run("CREATE OR REPLACE TABLE named (queue Int8) ENGINE = MergeTree ORDER BY queue AS SELECT 5")
    assert front.run("SELECT queue, named.queue FROM named WHERE queue IN (5)", READER) == "5\t5"
    assert front.run("SELECT toTypeName(CAST(queue AS Nullable(Int16))) FROM named", READER) == "Nullable(Int16)"
    assert front.code("SELECT queue FROM named WHERE queue IN queue", READER) == 497
    assert front.code("WITH queue AS q SELECT 5 IN q", READER) == 497


@pytest.mark.parametrize(
    "template",
    [
        "SELECT file('{}')",
        "SELECT `fil\\x65`('{}')",
        "SELECT \"file\"('{}')",
        "SELECT file/* */\n('{}')",
        "SELECT 1 AS `'`, file('{}') AS `'`",
        "SELECT arrayMap(x -> file(x), ['{}'])",
        "WITH (SELECT file('{}')) AS x SELECT x",
        "EXPLAIN SELECT file('{}')",
        "file('{}')",
        "SELECT * FROM file('{}')",
        "DESCRIBE file('{}')",
        "SELECT * FROM '{}'",
        "SELECT * FROM sqlite('{}', 't')",
        "SELECT 1 INTO OUTFILE '{}.out'",
        "SELECT 1 into/**/outfile '{}.out' FORMAT CSV",
    ],
)
def test_the_reader_reaches_no_file(front: FrontServer, secret: Path, template: str) -> None:
    response = front.post(template.format(secret), READER)
    assert response.status_code != 200
    assert "secret,1" not in response.text
    assert not Path(f"{secret}.out").exists()


def test_the_administrator_does_reach_it(front: FrontServer, secret: Path) -> None:
    """So the attempts above fail because of the reader, not because of the file."""
    assert front.run(f"SELECT file('{secret}')") == "secret,1\\n"


def test_no_table_function_of_the_engine_but_harmless_ones(front: FrontServer) -> None:
    """Also those that a newer engine adds: refused by default, in any spelling."""
    names = front.run("SELECT name FROM system.table_functions").split()
    refused = [name for name in names if front.post(f"DESCRIBE TABLE `{name}`()", READER).status_code == 403]
    assert {"file", "url", "s3", "remote", "mysql", "executable", "python", "merge", "dictionary", "format"} <= {
        n.lower() for n in refused
    }
    assert {name.lower() for name in set(names) - set(refused)} <= TABLE_FUNCTIONS | {"viewifpermitted"}  # not parsed


@pytest.mark.parametrize(
    "url",
    [
        {"dialect": "prql"},
        {"compatibility": "21.1"},
        {"database": "system"},
        {"stream_like_engine_allow_direct_select": 1},
        {"max_execution_time": 0},
        {"param_t": "processes", "query": "SELECT * FROM system.{t:Identifier}"},
    ],
)
def test_nor_by_url(front: FrontServer, url: dict[str, object]) -> None:
    assert front.code("SELECT * FROM queue" if "query" not in url else "", READER, **url) in REFUSALS


def test_url_settings_cannot_lift_readonly(front: FrontServer) -> None:
    for url in ({"readonly": 0}, {"readonly": 1}, {"profile": "default"}, {"session_id": "s"}, {"role": "admin"}):
        assert front.run("SELECT getSetting('readonly')", READER, **url) == "2"
        assert front.code("INSERT INTO t VALUES (2)", READER, **url) == 497


def test_a_readers_session_is_not_anothers(front: FrontServer) -> None:
    front.run("CREATE TEMPORARY TABLE private (a Int8)", session_id="shared")
    assert front.code("SELECT * FROM private", READER, session_id="shared") == 60


def test_kafka_passwords_are_hidden(front: FrontServer) -> None:
    for sql in (
        "SHOW CREATE TABLE queue",
        "SELECT create_table_query, engine_full FROM system.tables WHERE name = 'queue'",
    ):
        assert front.code(sql, READER, format_display_secrets_in_show_and_select=1) == 497
        text = front.run(sql, READER)
        assert "kafka_sasl_password" in text
        assert "hush" not in text


BARE_SPILL = """
import sys
from pathlib import Path
from clickhouse.front import access
from clickhouse.front.access import Role
from clickhouse.front.engine import Engine, Job
from clickhouse.front.errors import QueryError

access.READER_MAX_SPILL_BYTES = 2_000_000
path = Path(sys.argv[1])
path.mkdir()
engine = Engine(path)
engine.open()

def attempt(role):
    try:
        names = ("group_by", "distinct")
        settings = {f"max_bytes_before_external_{name}": "1048576" for name in names}
        with engine.execute(Job(role, sys.argv[2], "Null", settings=settings)) as result:
            list(result.chunks)
    except QueryError as error:
        return error.code
    return 0

print(attempt(Role.READER), attempt(Role.ADMIN))
engine.close()
"""

BARE = """
import sys
from pathlib import Path
from clickhouse.front.access import Role
from clickhouse.front.engine import Engine, Job
from clickhouse.front.errors import QueryError

path = Path(sys.argv[1])
path.mkdir()
engine = Engine(path)
engine.open()

def attempt(role, sql):
    try:
        with engine.execute(Job(role, sql, "TSV")) as result:
            list(result.chunks)
    except QueryError as error:
        return error.code
    return 0

assert attempt(Role.ADMIN, "CREATE TABLE t (a Int32) ENGINE = MergeTree ORDER BY a") == 0
assert attempt(Role.READER, "SELECT * FROM t") == 0
for sql in sys.argv[2:]:
    print(attempt(Role.READER, sql), attempt(Role.ADMIN, sql), sql)
engine.close()
"""


def test_the_engines_grants_alone_refuse_changes(tmp_path: Path) -> None:
    """Without the front's own check of verbs and words, which is only for what grants do not cover."""
    statements = [
        "INSERT INTO t VALUES (1)",
        "ALTER TABLE t DELETE WHERE 1",
        "INSERT INTO FUNCTION file('evil.csv') SELECT 1",
        "SELECT * FROM file('evil.csv')",
        "CREATE TABLE u AS t",
        "CREATE FUNCTION f AS x -> x",
        "DROP TABLE t",
    ]
    command = [sys.executable, "-P", "-c", BARE, str(tmp_path / "data"), *statements]
    lines = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.splitlines()
    # The engine has one answer for a file that it may not read and for a table that does not exist: the front says 60.
    codes = {"SELECT * FROM file('evil.csv')": 60}
    assert lines == [f"{codes.get(sql, 497)} {0} {sql}" for sql in statements]


def test_a_long_statement_may_be_longer_when_it_is_printed(front: FrontServer) -> None:
    """As verify's look-ups are: 240 KB as sent, and more where the engine indents it."""
    numbers = ",".join(str(1_800_000_000_000 + number) for number in range(8_000))
    sql = (
        "SELECT count() FROM (SELECT arrayJoin(arrayZip("
        f"arrayMap(ms -> fromUnixTimestamp64Milli(ms, 'UTC'), [{numbers}]), [{numbers}])) AS wanted)"
    )
    assert 200_000 < len(sql) < 256 << 10
    assert front.run(sql, READER) == "8000"
