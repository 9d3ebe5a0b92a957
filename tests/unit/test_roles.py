"""The reader's role on a ClickHouse server, as SQL."""

import re
from pathlib import Path

from clickhouse import roles
from clickhouse.front.limits import READER_MAX_EXECUTION_TIME_S

COMMITTED = Path(roles.__file__).with_name("roles.sql")


def test_the_committed_sql_is_what_is_rendered() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == roles.render(), (
        "run `python -m clickhouse.roles > clickhouse/roles.sql`"
    )


def test_the_role_only_reads() -> None:
    granted = re.findall(r"^GRANT (.*) ON (\S+) TO", roles.render("meters"), re.MULTILINE)
    assert {verb for verbs, _ in granted for verb in verbs.split(", ")} == {"SELECT", "SHOW TABLES", "SHOW COLUMNS"}
    assert {name.split(".")[0] for _, name in granted} == {"`meters`", "system"}
    assert not {"system.processes", "system.errors", "system.query_log", "system.*"} & {name for _, name in granted}


def test_its_limits_are_the_fronts() -> None:
    text = roles.render()
    assert f"max_execution_time = {READER_MAX_EXECUTION_TIME_S} MIN 0.001 MAX {READER_MAX_EXECUTION_TIME_S}" in text
    assert "readonly = 2 CONST" in text


def test_on_a_cluster_every_statement_says_so() -> None:
    assert all("ON CLUSTER `all nodes`" in text for text in roles.statements("default", "all nodes"))


def test_two_databases_have_readers_of_their_own() -> None:
    first, second = (set(roles.statements(database)) for database in ("default", "other"))
    assert first & second == set()
    assert not any("`smartmeter_reader`" in statement for statement in second)
