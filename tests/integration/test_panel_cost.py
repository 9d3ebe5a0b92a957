"""What a panel costs follows from the question: rows to be read, as the engine plans them, stay within stated bounds.

Rows and not seconds, which a busy machine makes longer.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import clickhouse_connect
import pytest

from grafana import sql
from grafana.ask import asking
from grafana.dashboards.predictions import JUDGED_MAX
from grafana.data import Ask, choose
from grafana.macros import TimeRange, expand, interval_s
from grafana.panels import read_page
from grafana.render import load
from tests.integration import panel_scale, panel_world
from tests.integration.front_server import READER, FrontServer, running_front

SCALE = panel_scale.Scale(400, timedelta(days=10), panel_scale.newest_minute())
FRESH = timedelta(minutes=15)
METERS_WITH_HALF_MINUTES = 60
GRANULE = 8192
EDGES = 2 * GRANULE
"""A stretch of a key is read in whole granules: one more at each end."""
SHORT, LONG = timedelta(hours=6), SCALE.span
PANELS = {panel.title: (page, panel) for page in map(read_page, load()) for panel in page.panels}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("cost") / "data") as front:
        panel_world.create(front.run)
        # As it is after long: what is old lies in large parts, the last minutes in small ones.
        front.run("SYSTEM STOP MERGES")
        panel_scale.minutes(front.run, replace(SCALE, end=SCALE.end - FRESH, span=SCALE.span - FRESH))
        panel_scale.minutes(front.run, replace(SCALE, span=FRESH))
        panel_scale.hours(front.run)
        drawn = front.run(
            "SELECT meter_id FROM meter_hourly_power_consumption WHERE window_start > now() - INTERVAL 1 DAY "
            f"GROUP BY meter_id ORDER BY sum(energy_kwh) DESC LIMIT {METERS_WITH_HALF_MINUTES}"
        )
        ids = [int(line) for line in drawn.split()]
        panel_scale.half_minutes(front.run, SCALE, ids=ids)
        panel_scale.five_minutes(front.run, SCALE)
        panel_scale.figures(front.run, SCALE)
        yield front


@pytest.fixture(scope="module")
def ask(front: FrontServer) -> Ask:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=front.port, username=READER[0], password=READER[1])
    return asking(client)


def planned(front: FrontServer, ask: Ask, title: str, span: timedelta, judged: int = JUDGED_MAX) -> dict[str, int]:
    """Rows by table that a panel's query would read."""
    page, panel = PANELS[title]
    time = TimeRange(SCALE.end - span, SCALE.end)
    values = {name: value for name, (value, _) in choose(page.variables, {}, time, ask).items()}
    text = expand(panel.targets[0].sql, time, interval_s(time, panel.least_step_s), values)
    assert judged == JUDGED_MAX or f"intDiv({JUDGED_MAX} *" in text
    text = text.replace(f"intDiv({JUDGED_MAX} *", f"intDiv({judged} *")
    told = json.loads(front.run(f"EXPLAIN ESTIMATE {text}\nFORMAT JSONCompact", READER))
    rows: dict[str, int] = {}
    for _, table, _, count, _ in told["data"]:
        rows[table] = rows.get(table, 0) + int(count)
    return rows


def windows(span: timedelta, step_s: int) -> int:
    return int(span.total_seconds() // step_s) + 1


@pytest.mark.parametrize("span", [SHORT, LONG], ids=str)
@pytest.mark.parametrize(
    ("title", "table", "step_s", "reads"),
    [
        ("Meter Minute-level Power Trend", "meter_minute_trend", 60, 1),
        ("Voltage Trend Per Meter", "meter_minute_trend", 60, 2),
        ("Anomaly Detection Per Meter", "anomaly_detection_meter", 30, 1),
        ("The meters drawn", "meter_minute_trend", 60, 1),
    ],
)
def test_a_panel_of_meters_reads_ten_meters(
    front: FrontServer, ask: Ask, title: str, table: str, step_s: int, reads: int, span: timedelta
) -> None:
    rows = planned(front, ask, title, span)[table]
    assert 0 < rows <= reads * sql.SERIES_MAX * (windows(span, step_s) + EDGES)
    assert rows <= reads * METERS_WITH_HALF_MINUTES * SCALE.count(step_s) / 3, "the bound is one"


@pytest.mark.parametrize(
    ("title", "tables"),
    [
        ("Right or wrong in this time", 2),
        ("Probability over time", 1),
        ("Hits, misses and false alarms", 2),
        ("Score by model version", 2),
        ("Found by kind of anomaly", 2),
    ],
)
def test_predictions_are_judged_by_a_sample_of_meters(front: FrontServer, ask: Ask, title: str, tables: int) -> None:
    meters = 10
    rows = planned(front, ask, title, LONG, judged=meters * windows(LONG, 300))
    assert len(rows) == tables
    for count in rows.values():
        assert 0 < count <= (meters + 1) * (windows(LONG, 300) + EDGES)
        assert count < SCALE.meters * SCALE.count(300) / 4, "the bound is one"
    everything = planned(front, ask, title, LONG)
    assert min(everything.values()) == SCALE.meters * SCALE.count(300), "a million windows are judged in full"


@pytest.mark.parametrize(
    "title", ["Furthest behind", "Oldest table", "Age of the newest row per table", "Registry versions"]
)
def test_a_number_of_now_reads_minutes_of_a_month(front: FrontServer, ask: Ask, title: str) -> None:
    series = len(panel_scale.TABLES) + len(panel_scale.GRAINS)
    assert planned(front, ask, title, LONG)["pipeline_metrics"] <= series * EDGES
    assert series * EDGES < series * SCALE.count(15) / 3, "the bound is one"


@pytest.mark.parametrize("title", ["Meters now", "Meters and load now"])
def test_what_is_asked_about_now_reads_the_last_minutes_of_every_meter(
    front: FrontServer, ask: Ask, title: str
) -> None:
    """It used to read a granule of every meter in the largest part: 41 million rows at 5,000 meters and 30 days."""
    rows = planned(front, ask, title, LONG)["meter_minute_trend"]
    assert 0 < rows <= SCALE.meters * replace(SCALE, span=FRESH).count(60)
    assert rows < SCALE.meters * SCALE.count(60) / 100, "the bound is one"


@pytest.mark.parametrize(
    "title", ["Load by hour", "Energy over the day", "Energy today", "Anomaly heat map", "Buildings"]
)
def test_buildings_are_read_by_the_hour(front: FrontServer, ask: Ask, title: str) -> None:
    hours = SCALE.meters // panel_scale.PER_BUILDING * SCALE.count(3600)
    rows = planned(front, ask, title, LONG)
    assert set(rows) <= {"building_hourly_power_consumption", "anomaly_count_hourly_per_building"}
    assert sum(rows.values()) <= 2 * hours
