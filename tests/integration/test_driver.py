"""What Grafana's plugin sends: its own driver, clickhouse-go, with the timeout of the provisioned data source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import yaml

from clickhouse.front.limits import READER_MAX_EXECUTION_TIME_S
from grafana import datasource
from grafana.ask import asking
from grafana.data import choose
from grafana.macros import TimeRange, expand, interval_s
from grafana.panels import Page, read_page
from grafana.render import load
from tests.integration import go_programs
from tests.integration import panel_world as world
from tests.integration.front_server import READER, FrontServer, running_front

TIME = TimeRange(world.START, world.END)
PAGES = [read_page(raw) for raw in load()]


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_programs.build("driver", tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def front(driver: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    assert driver
    with running_front(tmp_path_factory.mktemp("driver") / "data") as front:
        world.create(front.run)
        world.insert(front.run)
        yield front


def provisioned_timeout() -> str:
    (source,) = yaml.safe_load(datasource.FILE.read_text())["datasources"]
    return str(source["jsonData"]["queryTimeout"])


def asked(driver: Path, front: FrontServer, timeout: str, *statements: str) -> list[dict[str, Any]]:
    options = ["-address", front.url.removeprefix("http://"), "-user", READER[0]]
    options += ["-timeout", timeout, "-database", "default"]
    told: list[dict[str, Any]] = go_programs.run(driver, *options, asked=statements, CLICKHOUSE_PASSWORD=READER[1])
    return told


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)
def test_the_driver_gets_every_query_of_a_dashboard_answered(driver: Path, front: FrontServer, page: Page) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=front.port, username=READER[0], password=READER[1])
    ask = asking(client)
    values = {name: value for name, (value, _) in choose(page.variables, {}, TIME, ask).items()}
    named = [(variable.name, variable.sql, 60) for variable in page.variables]
    named += [(marks.name, marks.sql, 60) for marks in page.marks]
    named += [(p.title, t.sql, interval_s(TIME, p.least_step_s)) for p in page.panels for t in p.targets]
    statements = [expand(text, TIME, step_s, values) for _, text, step_s in named]
    answers = asked(driver, front, provisioned_timeout(), *statements)
    assert {name: told["error"] for (name, _, _), told in zip(named, answers, strict=True) if told["error"]} == {}
    rows = {name: told["rows"] for (name, _, _), told in zip(named, answers, strict=True)}
    assert rows == {n: len(ask(s).rows) for (n, _, _), s in zip(named, statements, strict=True)}


def test_a_longer_timeout_would_be_refused(driver: Path, front: FrontServer) -> None:
    """The driver asks for more than its own time: as long as the reader may take is too long; nothing worked (B1)."""
    ((refused),) = asked(driver, front, str(READER_MAX_EXECUTION_TIME_S), "SELECT 1 AS one")
    assert "max_execution_time" in refused["error"]


def test_what_save_and_test_asks(driver: Path, front: FrontServer) -> None:
    answers = asked(driver, front, provisioned_timeout(), "SELECT 1", "SELECT version()", "SHOW TABLES")
    assert [told["error"] for told in answers] == ["", "", ""]
    assert answers[0]["columns"] == ["1"]
