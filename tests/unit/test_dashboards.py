"""Dashboards, alert rules and provisioning as files: what Grafana would load."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from clickhouse.ddl import names as table_names
from clickhouse.front.limits import READER_MAX_EXECUTION_TIME_S
from grafana import alerts, datasource, render
from grafana.dashboards.pipeline import GRAINS
from grafana.datasource import DRIVER_ADDS_S, QUERY_TIMEOUT_S
from grafana.macros import TimeRange
from grafana.palette import BAD, DIGITS
from grafana.palette import KINDS as ANOMALIES
from grafana.panels import ROW, Page, Panel, read_page
from grafana.preview.units import KNOWN
from schemas.manifest import load_datasets

PROVISIONING = Path(render.__file__).parent / "provisioning"
RAW_PAGES = render.load()
PAGES = [read_page(raw) for raw in RAW_PAGES]
PANELS = [(page, panel) for page in PAGES for panel in page.panels if panel.kind != ROW]
RAW_PANELS = [panel for raw in RAW_PAGES for panel in raw["panels"] if panel["type"] != ROW]
ORIGINAL = {
    *("Meter Minute-level Power Trend", "Meter Hourly Power Consumption", "Anomaly Detection Per Meter"),
    *("Anomalies Count Per Building Per Hour", "Voltage Trend Per Meter", "Voltage Monitoring Per Meter Per Hour"),
}
# Read without the merged view, each for the reason that stands beside its SQL.
UNMERGED = {"Meters now", "Silent meters", "Meters and load now"}
# What Grafana 11 to 13 draw by themselves; a type that is not here was removed, or is on its way out.
KINDS = {"timeseries", "stat", "table", "barchart", "heatmap", "state-timeline"}


def by_title(title: str) -> dict[str, Any]:
    panel: dict[str, Any]
    (panel,) = [panel for panel in RAW_PANELS if panel["title"] == title]
    return panel


def test_the_committed_files_are_what_the_modules_render() -> None:
    assert render.stale() == []


def test_a_file_that_differs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "FILE", tmp_path / "alerts.yaml")
    monkeypatch.setattr(datasource, "FILE", tmp_path / "source.yaml")
    for name in render.names():
        (tmp_path / f"{name}.py").touch()
    assert len(render.write(tmp_path)) == len(render.names()) + 2
    assert render.stale(tmp_path) == []
    changed = tmp_path / "meters.json"
    changed.write_text(changed.read_text().replace("suffix:kW", "kwatt", 1))
    (tmp_path / "gone.json").write_text("{}")
    assert [sentence.split()[0] for sentence in render.stale(tmp_path)] == ["gone.json", "meters.json"]
    assert {path.name for path in render.write(tmp_path)} == {"gone.json", "meters.json"}


def test_the_dashboards_and_the_originals_six_panels() -> None:
    assert [page.uid for page in PAGES] == [f"smartmeter-{name}" for name in render.ORDER]
    assert {panel.title for panel in PAGES[0].panels} >= ORIGINAL


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=lambda each: each.title)
def test_a_panel_says_what_it_shows(page: Page, panel: Panel) -> None:
    assert panel.title
    assert len(panel.title) <= 40, "longer ones are cut on a small screen"
    assert panel.description.endswith((".", ")", "?")), "a description is a sentence"
    assert "mpty" in panel.description, "why it may be empty is said in the description"
    assert panel.targets
    assert page.description


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=lambda each: each.title)
def test_an_empty_or_failed_panel_claims_nothing(page: Page, panel: Panel) -> None:
    """Grafana prints the same text for no rows, for a null in a stat, and for a query that failed (B6)."""
    assert page.panels
    assert panel.no_data == ("–" if panel.kind == "stat" else "No data in this time")


@pytest.mark.parametrize("panel", RAW_PANELS, ids=lambda panel: panel["title"])
def test_units_stay_and_colours_mean_something(panel: dict[str, Any]) -> None:
    properties = [each for override in panel["fieldConfig"]["overrides"] for each in override["properties"]]
    units = {panel["fieldConfig"]["defaults"]["unit"]} | {p["value"] for p in properties if p["id"] == "unit"}
    assert all(unit in KNOWN or unit.startswith("suffix:") for unit in units), "kwatt turns 0.5 kW into 500 W"
    mode = panel["fieldConfig"]["defaults"].get("color", {}).get("mode")
    assert mode in ({None} if panel["type"] == "heatmap" else {"fixed", "thresholds"}), (
        "palettes ignore thresholds (B4)"
    )
    assert panel["type"] in KINDS
    assert len(panel["targets"]) == 1, "with two, Grafana puts A and B before the names"


@pytest.mark.parametrize("panel", RAW_PANELS, ids=lambda panel: panel["title"])
def test_numbers_that_name_something_have_no_decimals(panel: dict[str, Any]) -> None:
    looks = {
        o["matcher"]["options"]: {p["id"]: p["value"] for p in o["properties"]}
        for o in panel["fieldConfig"]["overrides"]
    }
    for column in set(re.findall(r'AS "(Meter|Building|Partition|Offset)"', panel["targets"][0]["rawSql"])):
        assert looks[column]["unit"] == "none"
        assert looks[column].get("decimals", 0) == 0


@pytest.mark.parametrize(("page", "panel"), PANELS, ids=lambda each: each.title)
def test_counts_have_no_decimals(page: Page, panel: Panel) -> None:
    """There were 100.0 meters."""
    assert page.panels
    named = [o["matcher"]["options"] for o in panel.overrides if o["matcher"]["id"] == "byName"]
    looks = {name: panel.field(name) for name in ("any other", *named)}
    assert {name: look.decimals for name, look in looks.items() if look.unit == "locale" and look.decimals != 0} == {}


def test_a_backfill_leaves_the_live_course_in_sight() -> None:
    for title in ("Readings per second", "Lag by consumer"):
        scale = by_title(title)["fieldConfig"]["defaults"]["custom"]["scaleDistribution"]
        assert scale == {"type": "symlog", "log": 10, "linearThreshold": 1}, "a linear axis shows the peak alone"


def test_stats_are_coloured_by_their_steps() -> None:
    steps = {
        panel["title"]: [
            each["value"]["steps"]
            for o in panel["fieldConfig"]["overrides"]
            for each in o["properties"]
            if each["id"] == "thresholds"
        ]
        for panel in RAW_PANELS
        if panel["type"] == "stat"
    }
    assert len(steps) >= 10
    assert [step["value"] for step in steps["Unreadable messages"][0]] == [None, 1, 1000]
    assert [step["value"] for step in steps["Oldest table"][0]] == [None, 120, 600]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)
def test_a_first_row_of_numbers_says_if_all_is_right(page: Page) -> None:
    first, second = page.panels[:2]
    assert (first.kind, first.title, second.kind) == (ROW, "Is everything all right?", "stat")
    assert all(panel.title.endswith(("?", "themselves")) for panel in page.panels if panel.kind == ROW)


def test_bars_begin_at_their_time_and_at_zero() -> None:
    bars = [
        panel for panel in RAW_PANELS if panel["fieldConfig"]["defaults"].get("custom", {}).get("drawStyle") == "bars"
    ]
    assert {panel["title"] for panel in bars} >= {"Load by hour", "Meter Hourly Power Consumption"}
    for panel in bars:
        custom = panel["fieldConfig"]["defaults"]["custom"]
        assert (custom["barAlignment"], custom["axisSoftMin"]) == (1, 0)
        assert custom["barWidthFactor"] > 0.9


def test_lines_are_not_filled() -> None:
    """Twelve fills over each other made a brown block of the voltage."""
    lines = [p["fieldConfig"]["defaults"]["custom"] for p in RAW_PANELS if p["type"] == "timeseries"]
    assert {custom["fillOpacity"] for custom in lines if custom.get("drawStyle") != "bars"} == {0}


def test_a_heat_map_is_strongest_where_most_is_in_light_and_dark() -> None:
    """Schemes flip with the theme; a row's time is the end of its cell (B5)."""
    panel = by_title("Anomaly heat map")
    color = panel["options"]["color"]
    assert (color["mode"], color["reverse"]) == ("opacity", False)
    assert 0 < color["exponent"] <= 1
    assert "toDateTime(window_end) AS time" in panel["targets"][0]["rawSql"]


def test_shares_end_at_a_hundred_per_cent() -> None:
    drawn = [
        p
        for p in RAW_PANELS
        if p["fieldConfig"]["defaults"]["unit"] == "percentunit" and p["type"] in {"timeseries", "barchart"}
    ]
    assert {panel["title"] for panel in drawn} == {"Probability over time", "Found by kind of anomaly"}
    assert {(p["fieldConfig"]["defaults"]["min"], p["fieldConfig"]["defaults"]["max"]) for p in drawn} == {(0, 1)}


@pytest.mark.parametrize(
    "panel", [p for p in RAW_PANELS if p["type"] == "timeseries"], ids=lambda panel: panel["title"]
)
def test_legends_are_tables_with_last_and_greatest(panel: dict[str, Any]) -> None:
    legend = panel["options"]["legend"]
    assert (legend["displayMode"], legend["calcs"]) == ("table", ["lastNotNull", "max"])
    assert legend["placement"] == ("right" if panel["gridPos"]["w"] == 24 else "bottom")


def test_every_grain_has_a_colour() -> None:
    folder = Path(render.__file__).parents[1] / "stream_processing" / "grains"
    names = {name for path in folder.glob("*.py") for name in re.findall(r'\bname="(\w+)"', path.read_text())}
    assert names == set(GRAINS)
    (panel,) = [panel for _, panel in PANELS if panel.title == "Spark batch duration"]
    assert len({panel.field(grain).color for grain in GRAINS}) == len(GRAINS)


def test_a_meter_has_one_colour_everywhere() -> None:
    names = [f"Meter {number}" for number in (1, 2, 11, 12, 100000)]
    panels = [panel for page, panel in PANELS if page.uid == "smartmeter-meters" and panel.kind == "timeseries"]
    for panel in panels:
        assert [panel.field(name).color for name in names] == [DIGITS[1], DIGITS[2], DIGITS[1], DIGITS[2], DIGITS[0]]
        # Without the display name, which Grafana may fill in later, the name is this.
        assert panel.field('Power {id="12", name="Meter 12", sort_key="0000000012"}').color == DIGITS[2]


def test_from_building_to_meter_to_readings_by_link() -> None:
    def links(title: str) -> set[str]:
        config = by_title(title)["fieldConfig"]
        told = [*config["defaults"].get("links", [])]
        told += [
            link for o in config["overrides"] for p in o["properties"] if p["id"] == "links" for link in p["value"]
        ]
        return {link["url"] for link in told}

    assert links("Buildings") == {
        '/d/smartmeter-meters?var-building_id=${__data.fields["Building"]}&${__url_time_range}'
    }
    for title in ("The meters drawn", "Silent meters", "Latest alarms"):
        assert '/d/smartmeter-readings?var-meter_id=${__data.fields["Meter"]}&${__url_time_range}' in links(title)
    assert links("Meter Minute-level Power Trend") == {
        "/d/smartmeter-readings?var-meter_id=${__field.labels.id}&${__url_time_range}"
    }


@pytest.mark.parametrize("raw", RAW_PAGES, ids=lambda raw: raw["uid"])
def test_every_query_names_the_provisioned_data_source(raw: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "clickhouse.yaml").read_text())["datasources"]
    wanted = {"type": source["type"], "uid": source["uid"]}
    queries = [target for panel in raw["panels"] for target in panel.get("targets", [])]
    queries += [each["target"] for each in raw["annotations"].get("list", [])]
    assert queries
    for query in queries:
        assert query["datasource"] == wanted
        assert (query["editorType"], query["format"] in {0, 1}) == ("sql", True)
    variables = raw["templating"].get("list", [])
    assert all(each["datasource"] == wanted and each["multi"] == each["includeAll"] for each in variables)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)
def test_panels_lie_side_by_side(page: Page) -> None:
    assert len({panel.id for panel in page.panels}) == len(page.panels)
    for panel in page.panels:
        x, _, w, h = panel.position
        assert x + w <= 24
        assert h >= 4 or panel.kind == ROW
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


def test_limits_are_drawn_in_one_colour_and_anomalies_are_marked() -> None:
    for title in ("Voltage Trend Per Meter", "Voltage"):
        (voltage,) = [panel for _, panel in PANELS if panel.title == title]
        assert [(step.value, step.color) for step in voltage.field("").steps] == [
            (None, "transparent"),
            (210, BAD),
            (250, BAD),
        ]
        assert voltage.defaults["custom"]["thresholdsStyle"]["mode"] == "dashed"


def test_marks_are_drawn_where_one_meter_is_shown_and_nowhere_else() -> None:
    """Bands of ten meters hid every panel that they were on."""
    assert {page.uid for page in PAGES if page.marks} == {"smartmeter-readings"}
    (page,) = [page for page in PAGES if page.marks]
    (marks,) = page.marks
    assert {panel.title for panel in page.panels if panel.id in marks.panels} == {"Power", "Voltage"}


def test_kinds_of_anomaly_have_their_colours() -> None:
    (totals,) = [panel for _, panel in PANELS if panel.title == "Anomalies by kind"]
    shown = {kind: [(s.value, s.color) for s in totals.field(kind.capitalize()).steps] for kind in ANOMALIES}
    assert shown == {kind: [(None, "text"), (1, color)] for kind, color in ANOMALIES.items()}, "none is no failure"
    (found,) = [panel for _, panel in PANELS if panel.title == "Anomaly Detection Per Meter"]
    assert dict(found.field("").texts.values()) == {"nothing": "transparent"} | ANOMALIES


def test_variables_and_how_they_depend() -> None:
    building, meter = PAGES[0].variables
    assert (building.name, meter.name) == ("building_id", "meter_id")
    assert "$building_id" in meter.sql


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.uid)
def test_variables_give_texts_with_the_value_first(page: Page) -> None:
    """Plugins before 4.19 take the first column for the value; 4.19 wants texts; later ones go by the names."""
    for variable in page.variables:
        columns = re.search(r"SELECT DISTINCT (.*?) FROM", variable.sql)
        assert columns
        assert re.fullmatch(
            r"toString\(\w+\) AS value, (concat\('.*'\)|concat\(.*\)|toString\(\w+\)) AS text", columns[1]
        )


def test_data_source_by_http_as_the_reader_from_the_environment() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources" / "clickhouse.yaml").read_text())["datasources"]
    assert (source["type"], source["jsonData"]["protocol"]) == ("grafana-clickhouse-datasource", "http")
    assert source["jsonData"]["username"] == "${CLICKHOUSE_READER_USER}"
    assert source["secureJsonData"] == {"password": "${CLICKHOUSE_READER_PASSWORD}"}
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "smartmeter.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "${SMARTMETER_DASHBOARDS}"


def test_what_the_driver_makes_of_the_timeout_is_within_the_readers_limit() -> None:
    (source,) = yaml.safe_load(datasource.FILE.read_text())["datasources"]
    assert source["jsonData"]["queryTimeout"] == str(QUERY_TIMEOUT_S)
    assert QUERY_TIMEOUT_S + DRIVER_ADDS_S < READER_MAX_EXECUTION_TIME_S
    assert QUERY_TIMEOUT_S >= 30, "an evaluation of alerts may take as long"


def test_dashboards_and_alerts_share_one_folder() -> None:
    """Grafana finds an alert group's folder by title, and makes a second one of that title for a folderUid (B3)."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards" / "smartmeter.yaml").read_text())["providers"]
    (group,) = yaml.safe_load(alerts.FILE.read_text())["groups"]
    assert provider["folder"] == group["folder"]
    assert "folderUid" not in provider


def test_no_folder_that_grafana_looks_for_is_missing() -> None:
    assert {path.name for path in PROVISIONING.iterdir()} >= {"alerting", "dashboards", "datasources", "plugins"}
    assert not list((PROVISIONING / "plugins").glob("*.y*ml"))


def test_alert_rules_ask_reduce_and_compare() -> None:
    document = yaml.safe_load(alerts.FILE.read_text())
    (group,) = document["groups"]
    assert [rule["title"] for rule in group["rules"]] == [
        *("A consumer lags behind", "A table gets nothing new", "Messages are unreadable"),
        *("Meters are silent", "Meters are probably anomalous"),
    ]
    for rule in group["rules"]:
        query, reduce, threshold = rule["data"]
        assert query["datasourceUid"] == "smartmeter-clickhouse"
        assert query["model"]["rawSql"].startswith("SELECT")
        assert (reduce["model"]["expression"], threshold["model"]["expression"]) == (query["refId"], reduce["refId"])
        assert rule["condition"] == threshold["refId"]
        assert threshold["model"]["conditions"][0]["evaluator"]["type"] == "gt"
        # Grafana takes annotations as they are written: a doubled $ is no variable of its templates (B2).
        assert "$$" not in rule["annotations"]["summary"]
        assert "$values.B" in rule["annotations"]["summary"]
        assert rule["annotations"]["look"].removeprefix("/d/") in {page.uid for page in PAGES}


def test_json_is_what_grafana_11_to_13_load() -> None:
    for raw in RAW_PAGES:
        assert 36 <= raw["schemaVersion"] <= 41, "Grafana 11.6 knows no newer one, 12 and 13 migrate older ones"
        assert raw["timezone"] == "", "that of the user, else that which Grafana is set to: the site's"
        assert raw["graphTooltip"] == 1, "one crosshair over all panels"
        assert all("panels" not in panel or panel["panels"] == [] for panel in raw["panels"])
        assert json.loads(json.dumps(raw)) == raw


def test_a_panel_of_today_shows_a_day_however_long_the_time() -> None:
    """In 30 days, today was a stroke at the edge."""
    assert {panel.title: panel.span_s for _, panel in PANELS if panel.span_s} == {"Energy over the day": 86400}
    (panel,) = [panel for _, panel in PANELS if panel.title == "Energy over the day"]
    end = datetime(2026, 11, 25, 12, tzinfo=UTC)
    month = TimeRange(end - timedelta(days=30), end, "Europe/Paris")
    assert panel.time(month) == TimeRange(end - timedelta(days=1), end, "Europe/Paris")
    assert PANELS[0][1].time(month) == month


def test_days_begin_at_the_sites_midnight() -> None:
    for title in ("Energy today", "Energy over the day"):
        assert "${__timezone}" in by_title(title)["targets"][0]["rawSql"]
