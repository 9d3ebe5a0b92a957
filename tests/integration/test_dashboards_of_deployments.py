"""One set of dashboards for every deployment: another database, and a prefix before topics and consumers."""

from collections.abc import Iterator
from string import Template

import clickhouse_connect
import pytest
import yaml

from clickhouse.ddl import EXAMPLE, consumer_group
from grafana import datasource
from grafana.ask import asking
from grafana.data import Ask, ask_panel
from grafana.macros import TimeRange
from grafana.panels import ROW, read_page
from grafana.render import load
from schemas.manifest import deployed, load_datasets
from tests.integration import go_programs
from tests.integration import panel_world as world
from tests.integration.front_server import READER, FrontServer, running_front
from tests.integration.panel_world import Row

DATABASE = "team_a"
DEPLOYMENT = EXAMPLE.deployment.model_copy(update={"prefix": "team-a."})
DATASETS = deployed(load_datasets(), DEPLOYMENT)
TIME = TimeRange(world.START, world.END)
(PIPELINE,) = [page for page in map(read_page, load()) if page.uid == "smartmeter-pipeline"]
PANELS = {panel.title: panel for panel in PIPELINE.panels if panel.kind != ROW}


def of_deployment(row: Row) -> Row:
    """A figure as the deployment's metrics would tell it: groups, topics and subjects have its prefix."""
    groups = {f"clickhouse-{name}": consumer_group(dataset) for name, dataset in DATASETS.items()}
    target = row["target"]
    has_topic = row["metric"] in {"end_offset_messages", "lag_messages", "schema_versions"}
    return row | {
        "part": groups.get(row["part"], row["part"]),
        "target": DEPLOYMENT.named(target) if has_topic else target,
    }


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("deployments") / "data") as front:
        front.run(f"CREATE DATABASE {DATABASE}")
        rows = list(world.ROWS["pipeline_metrics"]())
        for database, told in (("default", rows), (DATABASE, [of_deployment(row) for row in rows])):

            def run(statement: str, database: str = database) -> str:
                return front.run(statement, database=database)

            world.create(run)
            world.insert_rows(run, "pipeline_metrics", told)
        front.run("INSERT INTO raw_data (meter_id, produced_at) VALUES (1, now())", database=DATABASE)
        yield front


def asking_in(front: FrontServer, database: str) -> Ask:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=front.port, username=READER[0], password=READER[1], database=database
    )
    return asking(client)


@pytest.mark.parametrize("title", PANELS.keys() - {"Registry versions"})
def test_a_panel_shows_the_same_of_a_deployment_with_a_prefix(front: FrontServer, title: str) -> None:
    plain, prefixed = (
        ask_panel(PANELS[title], TIME, {}, asking_in(front, database)).frames[0].rows
        for database in ("default", DATABASE)
    )
    assert list(plain)
    assert prefixed == plain


def test_subjects_are_told_in_full(front: FrontServer) -> None:
    rows = ask_panel(PANELS["Registry versions"], TIME, {}, asking_in(front, DATABASE)).frames[0].rows
    assert {subject for subject, _ in rows} == {f"team-a.{topic}-value" for topic in world.TOPICS}


def provisioned(**environment: str) -> dict[str, str]:
    """What Grafana reads in the data source's file, with its own environment filled in; what is not set is empty."""
    names = ("CLICKHOUSE_HOST", "CLICKHOUSE_PORT", "CLICKHOUSE_READER_USER", "CLICKHOUSE_READER_PASSWORD")
    values = dict.fromkeys((*names, "CLICKHOUSE_DATABASE"), "") | environment
    (source,) = yaml.safe_load(Template(datasource.FILE.read_text()).substitute(values))["datasources"]
    settings: dict[str, str] = source["jsonData"]
    return settings


@pytest.mark.parametrize(
    ("environment", "count"), [({"CLICKHOUSE_DATABASE": DATABASE}, 1), ({}, 0)], ids=["team_a", "none named"]
)
def test_the_data_source_reads_the_deployments_database(
    front: FrontServer, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], count: int
) -> None:
    """By Grafana's own driver; where no database is named it is the server's own."""
    driver = go_programs.build("driver", tmp_path_factory.mktemp("go"))
    options = ["-address", front.url.removeprefix("http://"), "-user", READER[0], "-timeout", "50"]
    options += ["-database", provisioned(**environment)["defaultDatabase"] or ""]
    statement = f"SELECT 1 FROM raw_data LIMIT {count + 1}"
    (told,) = go_programs.run(driver, *options, asked=[statement], CLICKHOUSE_PASSWORD=READER[1])
    assert (told["error"], told["rows"]) == ("", count)
