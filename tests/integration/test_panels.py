"""Every panel's SQL on the real engine through the HTTP front, as Grafana's plugin sends it, on rows that are known.

What is expected is computed here from the rows, without SQL.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import clickhouse_connect
import pytest

from grafana import alerts
from grafana.ask import asking
from grafana.data import Ask, Frame, ask_marks, ask_panel, choose
from grafana.macros import TimeRange, Value, expand, interval_s
from grafana.panels import Page, read_page
from grafana.render import load
from tests.integration import panel_world as world
from tests.integration.front_server import READER, FrontServer, running_front
from tests.integration.panel_world import BUILDING_OF, END, HALF, START, Row, merged, within
from tests.unit.test_front_native import Reader

PAGES = [read_page(raw) for raw in load()]
PANELS = {panel.title: (page, panel) for page in PAGES for panel in page.panels}
TIME = TimeRange(START, END)
EMPTY = TimeRange(START - timedelta(days=300), END - timedelta(days=300))
CHOICES: dict[str, dict[str, list[str]]] = {
    "all": {},
    "one building": {"building_id": ["2"], "model_version": ["2026-02"]},
    "a meter": {"meter_id": ["12"], "building_id": ["1"]},
    "several": {"meter_id": ["11", "21"], "building_id": ["1", "2"], "model_version": ["2026-01", "2026-02"]},
}
KINDS = {"failure": "failure", "spike": "spike", "low_consumption": "low consumption", "voltage_anomaly": "voltage"}
COUNTS = ("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("panels") / "data") as front:
        world.create(front.run)
        world.insert(front.run)
        yield front


@pytest.fixture(scope="module")
def ask(front: FrontServer) -> Ask:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=front.port, username=READER[0], password=READER[1], autogenerate_session_id=False
    )
    return asking(client)


class Chosen:
    """The rows that a choice of variables leaves."""

    def __init__(self, chosen: dict[str, list[str]]) -> None:
        self.buildings = {int(each) for each in chosen.get("building_id", ["1", "2"])}
        wanted = {int(each) for each in chosen.get("meter_id", map(str, BUILDING_OF))}
        self.meters = {meter for meter, building in BUILDING_OF.items() if building in self.buildings} & wanted
        self.models = set(chosen.get("model_version", world.MODELS))

    def rows(self, name: str, start: datetime = START, end: datetime = END) -> list[Row]:
        return [
            row
            for row in within(merged(name), start, end)
            if row.get("building_id", 1) in self.buildings and row.get("model_version") in {None, *self.models}
        ]

    def of_meters(self, name: str) -> list[Row]:
        return [row for row in self.rows(name) if row["meter_id"] in self.meters]


def minute_means(chosen: Chosen, field: str) -> list[list[Any]]:
    return [[row["window_start"], str(row["meter_id"]), row[field]] for row in chosen.of_meters("meter_minute_trend")]


def expected_extremes(chosen: Chosen) -> list[list[Any]]:
    by_minute = defaultdict(list)
    for row in chosen.of_meters("meter_minute_trend"):
        by_minute[row["window_start"]].append(row)
    return [
        [at, min(r["voltage_min_v"] for r in rows), max(r["voltage_max_v"] for r in rows)]
        for at, rows in by_minute.items()
    ]


def expected_detections(chosen: Chosen) -> list[list[Any]]:
    counts: dict[tuple[datetime, str, str], int] = defaultdict(int)
    for row in chosen.of_meters("anomaly_detection_meter"):
        minute = row["window_start"].replace(second=0)
        for field, kind in KINDS.items():
            counts[minute, str(row["meter_id"]), kind] += row[field]
    return [[*key, count] for key, count in counts.items() if count]


def anomaly_sums(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.rows("anomaly_count_hourly_per_building")
    return [[row["window_start"], str(row["building_id"]), sum(row[name] for name in COUNTS)] for row in rows]


def expected_voltage_table(chosen: Chosen) -> list[list[Any]]:
    names = ("voltage_avg_v", "voltage_min_v", "voltage_max_v", "voltage_std_v", "voltage_outside_share")
    rows = chosen.of_meters("meter_hourly_voltage_monitoring")
    return [[row["window_start"], row["meter_id"], *(row[name] for name in names)] for row in rows]


def expected_load_now(chosen: Chosen) -> list[list[Any]]:
    last = [row for row in chosen.rows("meter_minute_trend") if row["window_start"] == END - timedelta(minutes=1)]
    return [[sum(row["power_avg_kw"] for row in last), len(last)]]


MIDNIGHT, WEEK = END.replace(hour=0), timedelta(days=7)


def energy_days(chosen: Chosen) -> tuple[list[Row], list[Row]]:
    return (
        chosen.rows("building_hourly_power_consumption", MIDNIGHT, END),
        chosen.rows("building_hourly_power_consumption", MIDNIGHT - WEEK, END - WEEK),
    )


def expected_energy(chosen: Chosen) -> list[list[Any]]:
    return [[sum(row["energy_kwh"] for row in day) for day in energy_days(chosen)]]


def expected_energy_over_day(chosen: Chosen) -> list[list[Any]]:
    told = []
    for name, shift, day in zip(("today", "same day last week"), (timedelta(), WEEK), energy_days(chosen), strict=True):
        for at in sorted({row["window_start"] for row in day}):
            told.append([at + shift, name, sum(row["energy_kwh"] for row in day if row["window_start"] <= at)])
    return told


def expected_load_by_hour(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.rows("building_hourly_power_consumption")
    return [[row["window_start"], str(row["building_id"]), row["power_avg_kw"] * 2] for row in rows]


def expected_top(chosen: Chosen) -> list[list[Any]]:
    energy: dict[int, float] = defaultdict(float)
    for row in chosen.rows("meter_hourly_power_consumption"):
        energy[row["meter_id"]] += row["energy_kwh"]
    return [[f"meter {meter}, building {BUILDING_OF[meter]}", kwh] for meter, kwh in energy.items()]


def expected_probability(chosen: Chosen) -> list[list[Any]]:
    groups = defaultdict(list)
    for row in chosen.rows("anomaly_prediction_results"):
        groups[row["window_start"], row["model_version"]].append(row["probability"])
    return [[at, model, max(found), sum(found) / len(found)] for (at, model), found in groups.items()]


def judged(chosen: Chosen) -> list[tuple[Row, Row]]:
    truth = {(row["meter_id"], row["window_start"]): row for row in merged("anomaly_prediction_features")}
    return [(row, truth[row["meter_id"], row["window_start"]]) for row in chosen.rows("anomaly_prediction_results")]


def outcome(said: Row, truth: Row) -> str:
    injected = any(truth[name] for name in COUNTS)
    if said["prediction"]:
        return "hit" if injected else "false alarm"
    return "miss" if injected else "calm"


def outcomes(pairs: Sequence[tuple[Row, Row]]) -> list[int]:
    found = [outcome(*pair) for pair in pairs]
    return [found.count(name) for name in ("hit", "miss", "false alarm")]


def expected_course(chosen: Chosen) -> list[list[Any]]:
    times = {said["window_start"] for said, _ in judged(chosen)}
    told = [[at, *outcomes([pair for pair in judged(chosen) if pair[0]["window_start"] == at])] for at in times]
    return [row for row in told if any(row[1:])]


def expected_score(chosen: Chosen) -> list[list[Any]]:
    told: list[list[Any]] = []
    for model in chosen.models:
        hits, misses, wrong = outcomes([pair for pair in judged(chosen) if pair[0]["model_version"] == model])
        rates = [hits / (hits + wrong) if hits + wrong else None, hits / (hits + misses) if hits + misses else None]
        told += [[model, hits, misses, wrong, *rates]] if hits + misses + wrong else []
    return told


def expected_recall(chosen: Chosen) -> list[list[Any]]:
    found = defaultdict(list)
    for said, truth in judged(chosen):
        for name, kind in zip(COUNTS, ("failure", "spike", "low consumption", "voltage"), strict=True):
            if truth[name]:
                found[f"{kind} · {said['model_version']}"].append(said["prediction"])
    return [[name, sum(alarms) / len(alarms)] for name, alarms in found.items()]


def expected_alarms(chosen: Chosen) -> list[list[Any]]:
    names = ("window_start", "meter_id", "building_id", "kind", "probability", "threshold", "model_version")
    return [[row[name] for name in names] for row in chosen.rows("anomaly_prediction_results") if row["prediction"]]


def figures(name: str, value: str = "value_max", label: str = "target") -> Callable[[Chosen], list[list[Any]]]:
    """One point per window of 15 s, as the step is 30 s: the greatest of two."""

    def expected(_: Chosen) -> list[list[Any]]:
        greatest: dict[tuple[datetime, str], float] = {}
        for row in last_hour(name):
            at = row["window_start"].replace(second=row["window_start"].second // STEP_S * STEP_S)
            key = (at, row[label])
            greatest[key] = max(greatest.get(key, row[value]), row[value])
        return [[*key, found] for key, found in greatest.items()]

    return expected


STEP_S = interval_s(TimeRange(START, END), 15)


def last_hour(name: str) -> list[Row]:
    return [row for row in merged("pipeline_metrics") if row["metric"] == name]


def last_of(name: str, *labels: str) -> dict[tuple[str, ...], float]:
    return {tuple(row[label] for label in labels): row["value_last"] for row in last_hour(name)}


def expected_rate(_: Chosen) -> list[list[Any]]:
    # 300 messages every 15 s; the first window has none before it to compare with.
    times = sorted(
        {row["window_start"].replace(second=row["window_start"].second // 30 * 30) for row in last_hour("lag_messages")}
    )
    return [[at, (300 if number == 0 else 600) / 30] for number, at in enumerate(times)]


def expected_late(_: Chosen) -> list[list[Any]]:
    sums: dict[tuple[datetime, str], float] = defaultdict(float)
    for row in last_hour("late_rows"):
        sums[row["window_start"].replace(second=row["window_start"].second // STEP_S * STEP_S), "meter_30s"] += 1
    return [[*key, late] for key, late in sums.items()]


EXPECTED: dict[str, list[Callable[[Chosen], list[list[Any]]]]] = {
    "Meter Minute-level Power Trend": [lambda chosen: minute_means(chosen, "power_avg_kw")],
    "Meter Hourly Power Consumption": [
        lambda chosen: [
            [row["window_start"], str(row["meter_id"]), row["energy_kwh"]]
            for row in chosen.of_meters("meter_hourly_power_consumption")
        ]
    ],
    "Voltage Trend Per Meter": [lambda chosen: minute_means(chosen, "voltage_avg_v"), expected_extremes],
    "Anomaly Detection Per Meter": [expected_detections],
    "Anomalies Count Per Building Per Hour": [anomaly_sums],
    "Voltage Monitoring Per Meter Per Hour": [expected_voltage_table],
    "Load now": [expected_load_now],
    "Energy today against the same day last week": [expected_energy],
    "Anomalies by kind": [
        lambda chosen: [[sum(row[name] for row in chosen.rows("anomaly_count_hourly_per_building")) for name in COUNTS]]
    ],
    "Load by hour": [expected_load_by_hour],
    "Energy over the day": [expected_energy_over_day],
    "Top consumers": [expected_top],
    "Anomaly heat map": [anomaly_sums],
    "Probability over time": [expected_probability],
    "Hits, misses and false alarms": [expected_course],
    "Score by model version": [expected_score],
    "Found by kind of anomaly": [expected_recall],
    "Latest alarms": [expected_alarms],
    "Lag of the consumer furthest behind": [lambda _: [[max(last_of("lag_messages", "part").values())]]],
    "Age of the newest row anywhere": [lambda _: [[min(last_of("newest_row_age_s", "target").values())]]],
    "Late": [lambda _: [[float(len(last_hour("late_rows")))]]],
    "Set aside": [lambda _: [[sum(last_of("set_aside_messages", "part").values())]]],
    "Readings per second": [expected_rate],
    "Lag by consumer": [figures("lag_messages", label="part")],
    "Spark batch duration": [figures("batch_duration_s")],
    "Spark state size": [figures("state_bytes")],
    "Late rows": [expected_late],
    "Age of the newest row per table": [
        lambda _: [[*key, age] for key, age in last_of("newest_row_age_s", "target").items()]
    ],
    "Dead letters by reason": [
        lambda _: [
            [f"{part.removeprefix('clickhouse-')}: {reason}", messages]
            for (part, reason), messages in last_of("set_aside_by_reason_messages", "part", "target").items()
        ]
    ],
    "Registry versions": [lambda _: [[*key, found] for key, found in last_of("schema_versions", "target").items()]],
    "Parts": [lambda _: [[part, size, END] for (part,), size in last_of("resident_bytes", "part").items()]],
}


def test_every_panel_is_expected_here() -> None:
    assert set(EXPECTED) == set(PANELS)
    assert all(len(EXPECTED[title]) == len(panel.targets) for title, (_, panel) in PANELS.items())


def values_of(page: Page, chosen: dict[str, list[str]], ask: Ask, time: TimeRange = TIME) -> dict[str, Value]:
    """What the dashboard's variables are set to; its options are asked for."""
    return {name: value for name, (value, _) in choose(page.variables, chosen, time, ask).items()}


def comparable(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """In a fixed order, numbers rounded to where different orders of summing agree."""
    plain = [
        [round(float(v), 9) if isinstance(v, int | float) and not isinstance(v, bool) else v for v in row]
        for row in rows
    ]
    return sorted(plain, key=lambda row: [str(value) for value in row])


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("title", PANELS)
def test_a_panel_shows_what_the_rows_say(ask: Ask, title: str, choice: str) -> None:
    page, panel = PANELS[title]
    chosen = CHOICES[choice]
    answer = ask_panel(panel, TIME, values_of(page, chosen, ask), ask)
    of_page = {name: values for name, values in chosen.items() if name in {v.name for v in page.variables}}
    for frame, expected in zip(answer.frames, EXPECTED[title], strict=True):
        assert comparable(frame.rows) == comparable(expected(Chosen(of_page)))


@pytest.mark.parametrize("title", PANELS)
def test_rows_of_series_come_in_order_of_time(ask: Ask, title: str) -> None:
    page, panel = PANELS[title]
    for frame in ask_panel(panel, TIME, values_of(page, {}, ask), ask).frames:
        if frame.is_series:
            assert frame.columns[0] == "time"
            assert frame.types[0].startswith("DateTime")
            assert frame.rows == sorted(frame.rows, key=lambda row: row[0])
            assert all("String" in kind or "Int" in kind or "Float" in kind for kind in frame.types[1:])


@pytest.mark.parametrize("title", PANELS)
def test_an_empty_time_gives_columns_and_no_error(front: FrontServer, ask: Ask, title: str) -> None:
    """Sent exactly as the plugin does: bare SQL, Native by default, and the revision of its driver."""
    page, panel = PANELS[title]
    variables = values_of(page, {}, ask, EMPTY)
    full = ask_panel(panel, TIME, values_of(page, {}, ask), ask)
    for target, frame in zip(panel.targets, full.frames, strict=True):
        sql = expand(target.sql, EMPTY, interval_s(EMPTY, panel.least_step_s), variables)
        response = front.post(
            sql,
            READER,
            client_protocol_version=54460,
            default_format="Native",
            database="default",
            max_execution_time=60,
        )
        assert response.status_code == 200, response.text
        rows, columns = Reader(response.content).block(0)
        assert (rows, tuple(name for name, _, _ in columns)) == (0, frame.columns)


def test_variables_have_the_values_there_are(ask: Ask) -> None:
    meters, predictions = PAGES[0], PAGES[2]
    everything = choose(meters.variables, {}, TIME, ask)
    assert {name: options for name, (_, options) in everything.items()} == {
        "building_id": ["1", "2"], "meter_id": ["11", "12", "21"],
    }  # fmt: skip
    of_one = choose(meters.variables, {"building_id": ["1"], "meter_id": ["21", "12"]}, TIME, ask)
    assert of_one["meter_id"] == (Value(["12"]), ["11", "12"]), "a meter of another building is chosen no longer"
    assert choose(predictions.variables, {}, TIME, ask)["model_version"][1] == list(world.MODELS)
    assert choose(meters.variables, {"building_id": ["1"]}, EMPTY, ask)["building_id"] == (Value([], is_all=True), [])


def test_no_more_meters_are_drawn_than_can_be_told_apart(ask: Ask) -> None:
    _, panel = PANELS["Meter Hourly Power Consumption"]
    sql = expand(panel.targets[0].sql, TIME, 60, values_of(PAGES[0], {}, ask))
    assert "LIMIT 12" in sql
    assert ask(sql.replace("LIMIT 12", "LIMIT 2")).column("meter") == ["11", "12"] * 6


def test_anomalies_are_marked_as_episodes(ask: Ask) -> None:
    page = PAGES[0]
    frame = ask_marks(page.marks[0], TIME, values_of(page, {}, ask), ask)
    assert [list(row) for row in frame.rows] == [
        [HALF + timedelta(minutes=4), HALF + timedelta(minutes=4, seconds=30), "meter 11: failure"],
        [HALF, HALF + timedelta(minutes=2), "meter 11: spike, voltage"],
        [HALF, HALF + timedelta(seconds=30), "meter 21: low consumption"],
    ]


@pytest.mark.parametrize(
    "title", ["Meter Minute-level Power Trend", "Voltage Trend Per Meter", "Anomaly Detection Per Meter"]
)
def test_time_and_meter_reach_the_order_key(ask: Ask, title: str) -> None:
    page, panel = PANELS[title]
    for target in panel.targets:
        sql = expand(target.sql, TIME, 60, values_of(page, {"meter_id": ["11"]}, ask))
        plan = "\n".join(row[0] for row in ask(f"EXPLAIN indexes = 1 {sql}").rows)
        condition = plan.split("Condition:")[1].splitlines()[0]
        assert "meter_id in" in condition, plan
        assert "window_start in" in condition, plan


def alert_rows(ask: Ask, title: str, end: datetime) -> Frame:
    (rule,) = [rule for rule in alerts.RULES if rule.title == title]
    time = TimeRange(end - timedelta(seconds=rule.span_s), end)
    return ask(expand(rule.sql, time, 60, {}))


def firing(title: str, frame: Frame) -> list[tuple[Any, ...]]:
    """The rows that the threshold lets through."""
    (rule,) = [rule for rule in alerts.RULES if rule.title == title]
    return [tuple(row) for row in frame.rows if row[-1] > rule.above]


def test_alerts_fire_for_what_they_name_and_for_nothing_else(ask: Ask) -> None:
    lag = alert_rows(ask, "A consumer lags behind", END)
    assert lag.columns == ("consumer", "topic", "messages")
    assert [row[-1] for row in lag.rows] == [361.0, 361.0]
    aside = alert_rows(ask, "Messages are set aside", END)
    assert firing("Messages are set aside", aside) == [("clickhouse-raw_data", 39.0)]
    assert alert_rows(ask, "A meter is silent", END).rows == []
    silent = alert_rows(ask, "A meter is silent", END + timedelta(minutes=11))
    assert firing("A meter is silent", silent) == [(str(meter), 660) for meter in BUILDING_OF]
    anomalous = alert_rows(ask, "A meter is probably anomalous", HALF + timedelta(hours=2, minutes=5))
    assert anomalous.rows == [], "the row with 0.95 was replaced"
    anomalous = alert_rows(ask, "A meter is probably anomalous", HALF + timedelta(minutes=10))
    assert [tuple(row) for row in anomalous.rows] == [
        ("11", "2026-01", 0.9),
        ("11", "2026-02", 0.9),
        ("21", "2026-02", 0.8),
    ]


@pytest.mark.parametrize("rule", alerts.RULES, ids=lambda rule: rule.uid)
def test_an_alert_without_data_has_columns(front: FrontServer, rule: alerts.AlertRule) -> None:
    sql = expand(rule.sql, EMPTY, 60, {})
    response = front.post(sql, READER, client_protocol_version=54460, default_format="Native")
    rows, columns = Reader(response.content).block(0)
    kinds = [kind for _, kind, _ in columns]
    assert rows == 0
    assert all("String" in kind for kind in kinds[:-1]), "labels are text"
    assert "Int" in kinds[-1] or "Float" in kinds[-1], "the number comes last"


def test_native_floats_are_read_as_the_plugin_reads_them(front: FrontServer) -> None:
    """So that the numbers above are not clickhouse-connect's doing alone."""
    _, panel = PANELS["Load now"]
    sql = expand(panel.targets[0].sql, TIME, 60, {"building_id": Value([], is_all=True)})
    body = front.post(sql, READER, client_protocol_version=54460, default_format="Native").content
    load = struct.unpack("<d", body[body.index(b"Float64") + 7 :][:8])[0]
    assert load == pytest.approx(expected_load_now(Chosen({}))[0][0])


def test_times_are_utc(ask: Ask) -> None:
    _, panel = PANELS["Meter Hourly Power Consumption"]
    frame = ask_panel(panel, TIME, values_of(PAGES[0], {}, ask), ask).frames[0]
    assert {row[0].tzinfo for row in frame.rows} == {UTC} or all(
        row[0].utcoffset() == timedelta() for row in frame.rows
    )
