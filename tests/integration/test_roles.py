"""The reader's role as a real engine reads it, and that nothing of it is tried where no roles are kept."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from clickhouse_connect.driver.exceptions import DatabaseError

from clickhouse import roles
from clickhouse.front.engine import escape_parameter
from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from infra.cli import cli
from infra.deploy.roles import KEEPS_ROLES, apply_roles
from tests.integration.front_server import FrontServer, running_front

NOWHERE_TO_KEEP, NO_PROFILE, NO_ROLE = 514, 180, 511
"""What an engine says that has understood a statement, checked every name in it, and keeps no roles."""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("front") / "data") as front:
        yield front


@pytest.mark.parametrize(("database", "cluster"), [("default", None), ("back`tick", "all nodes")])
def test_the_engine_understands_every_statement(front: FrontServer, database: str, cluster: str | None) -> None:
    for statement in roles.statements(database, cluster):
        printed = json.loads(
            front.run("SELECT formatQuery({q:String}) FORMAT JSONCompactEachRow", param_q=escape_parameter(statement))
        )[0]
        assert printed.split(maxsplit=1)[0] == statement.split(maxsplit=1)[0]
        assert ("ON CLUSTER" in printed) == (cluster is not None)


def test_every_name_in_it_is_one_of_the_engines(front: FrontServer) -> None:
    codes = {front.code(statement) for statement in roles.statements()}
    assert codes == {NOWHERE_TO_KEEP, NO_PROFILE, NO_ROLE}
    assert front.code("CREATE SETTINGS PROFILE p SETTINGS no_such_setting CONST") == 115
    tables = set(front.run("SELECT name FROM system.tables WHERE database = 'system'").split())
    granted = {
        word.removeprefix("system.") for text in roles.statements() for word in text.split() if "system." in word
    }
    assert granted <= tables


class Server:
    """A client of a server that keeps roles, which takes down what it is told."""

    def __init__(self, keeps: int, refuses: bool = False) -> None:
        self.keeps, self.refuses = keeps, refuses
        self.told: list[str] = []

    def command(self, sql: str) -> Any:
        if sql == KEEPS_ROLES:
            return self.keeps
        if self.refuses:
            raise DatabaseError("Code: 497. DB::Exception: admin: Not enough privileges")
        self.told.append(sql)
        return ""


def test_a_server_that_keeps_roles_is_told_all_of_it() -> None:
    server = Server(keeps=1)
    assert apply_roles(server, "meters")  # type: ignore[arg-type]
    assert server.told == roles.statements("meters")


def test_who_may_not_manage_access_is_told_what_to_do() -> None:
    with pytest.raises(SmartmeterError, match="--print-roles"):
        apply_roles(Server(keeps=1, refuses=True), "meters")  # type: ignore[arg-type]


def test_the_embedded_engine_keeps_none(front: FrontServer, settings: Settings) -> None:
    assert front.run(KEEPS_ROLES) == "0"
    where = ["--data-dir", str(settings.data_dir)]
    printed = CliRunner().invoke(cli, ["apply", "--print-roles", *where])
    assert (printed.exit_code, printed.stdout) == (0, roles.render())
    done = CliRunner().invoke(cli, ["apply", *where])
    assert (done.exit_code, "role" in done.output) == (0, False)
