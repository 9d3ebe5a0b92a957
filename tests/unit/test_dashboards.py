"""Dashboards, alert rules and provisioning as files: what Grafana would load."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from clickhouse.ddl import names as table_names
from grafana import alerts, render
from grafana.panels import Page, Panel, read_page
from grafana.preview.units import SUFFIXES
from schemas.manifest import load_datasets

PROVISIONING = Path(render.__file__).parent / "provisioning"
RAW_PAGES = render.load()
PAGES = [read_page(raw) for raw in RAW_PAGES]
PANELS = [(page, panel) for page in PAGES for panel in page.panels]
ORIGINAL = {
    *("Meter Minute-level Power Trend", "Meter Hourly Power Consumption", "Anomaly Detection Per Meter"),
    *("Anomalies Count Per Building Per Hour", "Voltage Trend Per Meter", "Voltage Monitoring Per Meter Per Hour"),
}
# Read without the merged view, each for the reason that stands beside its SQL.
UNMERGED = {
    *("Load now", "Score by model version", "Hits, misses and false alarms", "Found by kind of anomaly"),
}


def test_the_committed_files_are_what_the_modules_render() -> None:
    assert render.stale() == []


def test_a_file_that_differs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "FILE", tmp_path / "alerts.yaml")
    for name in render.names():
        (tmp_path / f"{name}.py").touch()
    assert len(render.write(tmp_path)) == len(render.names()) + 1
    assert render.stale(tmp_path) == []
    changed = tmp_path / "meters.json"
    changed.write_text(changed.read_text().replace("kwatt", "watt", 1))
    (tmp_path / "gone.json").write_text("{}")
    assert [sentence.split()[0] for sentence in render.stale(tmp_path)] == ["gone.json", "meters.json"]
    assert {path.name for path in render.write(tmp_path)} == {"gone.json", "meters.json"}


def test_four_dashboards_and_the_originals_six_panels() -> None:
    assert [page.uid for page in PAGES] == [f"smartmeter-{name}" for name in render.ORDER]
    assert {panel.title for panel in PAGES[0].panels} == ORIGINAL


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=lambda each: each.title)
def test_a_panel_says_what_it_shows_and_why_it_may_be_empty(page: Page, panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith((".", ")")), "a description is a sentence"
    assert len(panel.no_data) > 20
    assert panel.unit in SUFFIXES
    assert set(panel.units.values()) <= set(SUFFIXES)
    assert panel.targets
    assert page.description


@pytest.mark.parametrize("raw", RAW_PAGES, ids=lambda raw: raw["uid"])
def test_every_query_names_the_provisioned_data_source(raw: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "clickhouse.yaml").read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    queries = [target for panel in raw["panels"] for target in panel["targets"]]
    queries += [each["target"] for each in raw["annotations"].get("list", [])]
    assert queries
    for query in queries:
        assert query["datasource"] == wanted
        assert (query["editorType"], query["format"] in {0, 1}) == ("sql", True)
    variables = raw["templating"].get("list", [])
    assert all(each["datasource"] == wanted and each["multi"] and each["includeAll"] for each in variables)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)
def test_panels_lie_side_by_side(page: Page) -> None:
    assert len({panel.id for panel in page.panels}) == len(page.panels)
    for panel in page.panels:
        x, _, w, h = panel.position
        assert x + w <= 24
        assert h >= 4
    for one, other in combinations(page.panels, 2):
        (ax, ay, aw, ah), (bx, by, bw, bh) = one.position, other.position
        assert ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay, f"{one.title} covers {other.title}"


def statements() -> Iterator[tuple[str, str]]:
    for page, panel in PANELS:
        yield from ((f"{page.uid}: {panel.title}", target.sql) for target in panel.targets)
    for page in PAGES:
        yield from ((f"{page.uid}: {marks.name}", marks.sql) for marks in page.marks)


@pytest.mark.parametrize(("where", "sql"), list(statements()), ids=lambda text: text if ":" in text else "")
def test_a_query_reads_the_merged_view_and_filters_by_time(where: str, sql: str) -> None:
    tables = set(re.findall(r"(?:FROM|JOIN) (\w+)", sql))
    merged = {table_names(name).latest for name in load_datasets()}
    outer = tables & merged
    if where.split(": ")[1] not in UNMERGED:
        assert outer, f"{where} reads {tables}"
    assert re.search(r"\$__timeFilter|\$__toTime", sql)
    assert "FINAL" not in sql, "that is the view's to say"


def test_limits_are_drawn_and_anomalies_are_marked() -> None:
    (voltage,) = [panel for panel in PAGES[0].panels if panel.title == "Voltage Trend Per Meter"]
    assert [step.value for step in voltage.steps] == [None, 210, 250]
    assert voltage.custom["thresholdsStyle"]["mode"] == "dashed"
    assert [marks.name for marks in PAGES[0].marks] == ["anomalies found"]


def test_variables_and_how_they_depend() -> None:
    building, meter = PAGES[0].variables
    assert (building.name, meter.name) == ("building_id", "meter_id")
    assert "$building_id" in meter.sql


def test_data_source_by_http_as_the_reader_from_the_environment() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "clickhouse.yaml").read_text())["datasources"]
    assert (source["type"], source["jsonData"]["protocol"]) == ("grafana-clickhouse-datasource", "http")
    assert source["jsonData"]["username"] == "${CLICKHOUSE_READER_USER}"
    assert source["secureJsonData"] == {"password": "${CLICKHOUSE_READER_PASSWORD}"}
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "smartmeter.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "${SMARTMETER_DASHBOARDS}"


def test_alert_rules_ask_reduce_and_compare() -> None:
    document = yaml.safe_load(alerts.FILE.read_text())
    (group,) = document["groups"]
    assert [rule["title"] for rule in group["rules"]] == [
        *("A consumer lags behind", "Messages are set aside", "A meter is silent", "A meter is probably anomalous"),
    ]
    for rule in group["rules"]:
        query, reduce, threshold = rule["data"]
        assert query["datasourceUid"] == "smartmeter-clickhouse"
        assert query["model"]["rawSql"].startswith("SELECT")
        assert (reduce["model"]["expression"], threshold["model"]["expression"]) == (query["refId"], reduce["refId"])
        assert rule["condition"] == threshold["refId"]
        assert threshold["model"]["conditions"][0]["evaluator"]["type"] == "gt"
        # In a text of a provisioning file, Grafana would put its own environment in place of a single $.
        assert not re.search(r"(?<!\$)\$(?!\$)", rule["annotations"]["summary"])


def test_json_is_what_grafana_11_and_12_load() -> None:
    for raw in RAW_PAGES:
        assert raw["schemaVersion"] <= 41, "Grafana 11.6 knows no newer one, and 12 migrates older ones"
        assert raw["timezone"] == "utc"
        assert json.loads(json.dumps(raw)) == raw
