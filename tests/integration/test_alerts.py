"""Each alert rule fires and clears: its SQL on the engine, reduced and compared as Grafana does, its text by Go."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import clickhouse_connect
import pytest

from grafana import alerts
from grafana.alerts import AlertRule
from grafana.ask import asking
from grafana.data import Ask
from grafana.macros import TimeRange, expand
from tests.integration import go_programs
from tests.integration import panel_world as world
from tests.integration.front_server import READER, FrontServer, running_front
from tests.integration.panel_world import Row
from tests.unit.test_front_native import Reader

RULES = {rule.title: rule for rule in alerts.RULES}
WELL = world.END - timedelta(hours=6)
ILL, CLEARED = WELL + timedelta(hours=1), WELL + timedelta(hours=2)
MINUTE = timedelta(minutes=1)
SILENT_METERS = range(300, 450)
EMPTY = TimeRange(world.START - timedelta(days=300), world.END - timedelta(days=300))


def figures() -> Iterator[Row]:
    """Well until and after an hour in which everything is wrong that a figure can say."""
    for at in world.steps(15, WELL - timedelta(minutes=20), CLEARED + timedelta(minutes=20)):
        is_ill = ILL - timedelta(minutes=16) < at <= ILL
        part = "clickhouse-raw_data"
        yield world.metric("lag_messages", part, "smart-meter-data", at, 2_500_000.0 if is_ill else 3.0)
        yield world.metric("newest_row_age_s", "clickhouse", "raw_data", at, 5400.0 if is_ill else 4.0)
        yield world.metric("newest_row_age_s", "clickhouse", "pipeline_metrics", at, 3.0)
        yield world.metric("newest_row_age_s", "clickhouse", "late_readings", at, 9e6)
        minutes = max(0, min(15, int((at - ILL) / MINUTE) + 15))
        yield world.metric("unreadable_messages", part, "", at, 100.0 * minutes)


def meters() -> tuple[list[Row], list[Row]]:
    """Hours and minutes: meter 11 of building 1 sends throughout, 150 of building 3 are silent for an hour."""
    hours, minutes = [], []
    for meter, building in [(11, 1), *((meter, 3) for meter in SILENT_METERS)]:
        for at in world.steps(3600, WELL - timedelta(hours=2), WELL):
            hours.append(world.hourly_power(at, meter, meter_id=meter, building_id=building))
        for at in world.steps(60, WELL - timedelta(minutes=12), CLEARED + timedelta(minutes=1)):
            silent = building == 3 and ILL - timedelta(minutes=11) <= at < CLEARED - timedelta(minutes=5)
            if not silent and (building == 1 or at.minute % 5 == 0):
                minutes.append(world.trend(11, at) | {"meter_id": meter, "building_id": building})
    return hours, minutes


def predictions() -> list[Row]:
    """Meter 11 is anomalous for a while, and so is 21, but less surely; meter 12's alarm was replaced."""
    told = []
    for at in world.steps(300, WELL - timedelta(hours=1), CLEARED + timedelta(minutes=10)):
        is_ill = ILL - timedelta(minutes=10) <= at < ILL
        told += [world.result(11, at, world.MODELS[0], 0.97 if is_ill else 0.1)]
        told += [world.result(21, at, world.MODELS[0], 0.8 if is_ill else 0.1)]
        told += [world.result(12, at, world.MODELS[0], 0.1)]
    return [*told, world.result(12, ILL - timedelta(minutes=10), world.MODELS[0], 0.99, count=20)]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("alerts") / "data") as front:
        world.create(front.run)
        hours, minutes = meters()
        buildings = [
            world.hourly_power(at, building, building_id=building, meter_count=2)
            for building in (1, 2)
            for at in world.steps(3600, WELL - timedelta(hours=2), CLEARED)
        ]
        world.insert_rows(front.run, "pipeline_metrics", list(figures()))
        world.insert_rows(front.run, "meter_hourly_power_consumption", hours)
        world.insert_rows(front.run, "building_hourly_power_consumption", buildings)
        world.insert_rows(front.run, "meter_minute_trend", minutes)
        world.insert_rows(front.run, "anomaly_prediction_results", predictions())
        yield front


@pytest.fixture(scope="module")
def ask(front: FrontServer) -> Ask:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=front.port, username=READER[0], password=READER[1])
    return asking(client)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_programs.build("template", tmp_path_factory.mktemp("go"))


Series = dict[tuple[str, ...], float]


def evaluated(rule: AlertRule, ask: Ask, minutes_after: int, since: str) -> Series:
    """Reduced to one number per combination of the text columns, as Grafana does with a table: labels and a value."""
    end = {"well": WELL, "ill": ILL, "cleared": CLEARED}[since] + minutes_after * MINUTE
    frame = ask(expand(rule.sql, TimeRange(end - timedelta(seconds=rule.span_s), end), 60, {}))
    series = {tuple(row[:-1]): float(row[-1]) for row in frame.rows}
    assert len(series) == len(frame.rows), "Grafana refuses two rows of the same labels"
    return series


def firing(rule: AlertRule, series: Series) -> Series:
    return {labels: value for labels, value in series.items() if value > rule.above}


CASES = {
    "A consumer lags behind": (
        ("clickhouse-raw_data", "smart-meter-data"),
        "clickhouse-raw_data has 2.5M messages of smart-meter-data yet to read",
    ),
    "A table gets nothing new": (("raw_data",), "Nothing new in table raw_data: the newest row is 1h30m0s old"),
    "Messages are unreadable": (
        ("clickhouse-raw_data",),
        "clickhouse-raw_data: 1.5k unreadable messages within 15 minutes",
    ),
    "Meters are silent": (("3",), "Building 3: 150 meters have sent nothing for 10 minutes or longer"),
    "Meters are probably anomalous": (("1",), "Building 1: 1 meters are anomalous with a probability above 90 %"),
}


@pytest.mark.parametrize("title", RULES)
def test_a_rule_fires_for_what_it_names_and_clears(ask: Ask, template: Path, title: str) -> None:
    rule = RULES[title]
    labels, words = CASES[title]
    well, ill, cleared = (evaluated(rule, ask, 0, since) for since in ("well", "ill", "cleared"))
    assert (firing(rule, well), firing(rule, cleared)) == ({}, {})
    assert list(firing(rule, ill)) == [labels]
    assert labels in cleared, "a series that is gone would leave its alert with [no value]"
    told = [
        summary(rule, labels, {"B": ill[labels]}),
        summary(rule, labels, {"B": cleared[labels]}),
        summary(rule, labels, {}),
    ]
    fired, resolved, gone = go_programs.run(template, asked=told)
    assert fired == words
    assert all("[no value]" not in text and "{{" not in text for text in (resolved, gone))


def summary(rule: AlertRule, labels: tuple[str, ...], values: dict[str, float]) -> dict[str, object]:
    names = [
        part.rsplit(" AS ", 1)[1]
        for part in rule.sql.split("\nFROM")[0].replace("SELECT ", "", 1).split(", ")
        if " AS " in part
    ]
    return {"text": rule.summary, "labels": dict(zip(names, labels, strict=False)), "values": values}


@pytest.mark.parametrize("hours", [2, 3, 24, 24 * 20])
def test_a_silent_building_stays_silent_for_weeks(ask: Ask, hours: int) -> None:
    """It used to look back two hours, and then resolve itself."""
    rule = RULES["Meters are silent"]
    assert firing(rule, evaluated(rule, ask, hours * 60, "cleared"))[("3",)] == len(SILENT_METERS)


def test_every_silent_meter_counts(ask: Ask) -> None:
    """It used to show a hundred at most."""
    rule = RULES["Meters are silent"]
    assert evaluated(rule, ask, 0, "ill") == {("1",): 0, ("3",): 150}


def test_a_doubled_dollar_would_stay_as_it_is(template: Path) -> None:
    """As Grafana's log said seventy times in two minutes (B2)."""
    with pytest.raises(AssertionError, match="template"):
        go_programs.run(template, asked=[{"text": "{{ $$labels.consumer }}", "labels": {}, "values": {}}])


def test_a_series_that_is_gone_would_say_no_value(template: Path) -> None:
    assert go_programs.run(template, asked=[{"text": "{{ $values.B.Value }} s", "labels": {}, "values": {}}]) == [
        "[no value] s"
    ]


@pytest.mark.parametrize("rule", alerts.RULES, ids=lambda rule: rule.uid)
def test_an_alert_without_data_has_columns(front: FrontServer, rule: AlertRule) -> None:
    sql = expand(rule.sql, EMPTY, 60, {})
    response = front.post(sql, READER, client_protocol_version=54460, default_format="Native")
    rows, columns = Reader(response.content).block(0)
    kinds = [kind for _, kind, _ in columns]
    assert rows == 0
    assert all("String" in kind for kind in kinds[:-1]), "labels are text"
    assert "Int" in kinds[-1] or "Float" in kinds[-1], "the number comes last"
