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

from grafana import sql
from grafana.ask import asking
from grafana.data import Ask, ask_marks, ask_panel, choose
from grafana.macros import TimeRange, Value, expand, interval_s
from grafana.palette import KINDS as WORST_FIRST
from grafana.panels import ROW, Page, read_page
from grafana.render import load
from tests.integration import panel_world as world
from tests.integration.front_server import READER, FrontServer, running_front
from tests.integration.panel_world import BUILDING_OF, END, HALF, START, Row, merged, within
from tests.unit.test_front_native import Reader

PAGES = [read_page(raw) for raw in load()]
PANELS = {panel.title: (page, panel) for page in PAGES for panel in page.panels if panel.kind != ROW}
NOW_S, FIVE_MINUTES = timedelta(seconds=sql.SILENT_AFTER_S), timedelta(minutes=5)
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


def labels(of: str, number: int) -> list[Any]:
    return [f"{number:010}", str(number), f"{of} {number}"]


def of_meters(chosen: Chosen, name: str, field: str) -> list[list[Any]]:
    return [[row["window_start"], *labels("Meter", row["meter_id"]), row[field]] for row in chosen.of_meters(name)]


def expected_voltage(chosen: Chosen) -> list[list[Any]]:
    by_minute = defaultdict(list)
    for row in chosen.of_meters("meter_minute_trend"):
        by_minute[row["window_start"]].append(row)
    told = of_meters(chosen, "meter_minute_trend", "voltage_avg_v")
    for at, rows in by_minute.items():
        told.append([at, "~1", "", "Lowest reading", min(r["voltage_min_v"] for r in rows)])
        told.append([at, "~2", "", "Highest reading", max(r["voltage_max_v"] for r in rows)])
    return told


def worst(row: Row) -> int:
    """The gravest kind as a number, 4 for a failure."""
    flags = {name: row[field] for field, name in KINDS.items()}
    return max((len(WORST_FIRST) - at for at, kind in enumerate(WORST_FIRST) if flags[kind]), default=0)


def expected_detections(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.of_meters("anomaly_detection_meter")
    return [[row["window_start"], *labels("Meter", row["meter_id"]), worst(row)] for row in rows]


def anomaly_sums(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.rows("anomaly_count_hourly_per_building")
    return [
        [row["window_start"], *labels("Building", row["building_id"]), sum(row[name] for name in COUNTS)]
        for row in rows
    ]


def expected_map(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.rows("anomaly_count_hourly_per_building")
    return [[row["window_end"], f"Building {row['building_id']}", sum(row[name] for name in COUNTS)] for row in rows]


def expected_kinds(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.rows("anomaly_count_hourly_per_building")
    names = ("failure_count", "voltage_anomaly_count", "spike_count", "low_consumption_count")
    return [[sum(row[name] for row in rows) for name in names]]


def expected_voltage_table(chosen: Chosen) -> list[list[Any]]:
    names = ("voltage_avg_v", "voltage_min_v", "voltage_max_v", "voltage_std_v", "voltage_outside_share")
    rows = chosen.of_meters("meter_hourly_voltage_monitoring")
    return [[row["window_start"], row["meter_id"], *(row[name] for name in names)] for row in rows]


def newest_minutes(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["window_start"] == END - timedelta(minutes=1)]


def expected_meters_now(chosen: Chosen) -> list[list[Any]]:
    last = newest_minutes(chosen.of_meters("meter_minute_trend"))
    return [[1, len(last), 0, 0, sum(row["power_avg_kw"] for row in last)]]


def expected_load_now(chosen: Chosen) -> list[list[Any]]:
    last = newest_minutes(chosen.rows("meter_minute_trend"))
    return [[sum(row["power_avg_kw"] for row in last), 1, len(last), 0]]


def expected_drawn(chosen: Chosen) -> list[list[Any]]:
    told = []
    for row in newest_minutes(chosen.of_meters("meter_minute_trend")):
        meter = row["meter_id"]
        energy = [r["energy_kwh"] for r in chosen.of_meters("meter_hourly_power_consumption") if r["meter_id"] == meter]
        found = [r for r in chosen.of_meters("anomaly_detection_meter") if r["meter_id"] == meter and worst(r)]
        said = [row["window_start"], row["power_avg_kw"], row["voltage_avg_v"], sum(energy), len(found)]
        told.append([meter, row["building_id"], *said])
    return told


MIDNIGHT, WEEK = END.replace(hour=0), timedelta(days=7)


def energy_days(chosen: Chosen) -> tuple[list[Row], list[Row]]:
    return (
        chosen.rows("building_hourly_power_consumption", MIDNIGHT, END),
        chosen.rows("building_hourly_power_consumption", MIDNIGHT - WEEK, END - WEEK),
    )


def expected_energy(chosen: Chosen) -> list[list[Any]]:
    today, week_ago = (sum(row["energy_kwh"] for row in day) for day in energy_days(chosen))
    return [[today, week_ago, today / week_ago - 1]]


def expected_energy_over_day(chosen: Chosen) -> list[list[Any]]:
    today, week_ago = energy_days(chosen)
    times = sorted({row["window_start"] for row in today} | {row["window_start"] + WEEK for row in week_ago})
    return [
        [
            at,
            sum(row["energy_kwh"] for row in today if row["window_start"] <= at),
            sum(row["energy_kwh"] for row in week_ago if row["window_start"] + WEEK <= at),
        ]
        for at in times
    ]


def expected_load_by_hour(chosen: Chosen) -> list[list[Any]]:
    rows = chosen.rows("building_hourly_power_consumption")
    return [[row["window_start"], *labels("Building", row["building_id"]), row["power_avg_kw"] * 2] for row in rows]


def expected_buildings(chosen: Chosen) -> list[list[Any]]:
    told = []
    for building in sorted(chosen.buildings):
        rows = [r for r in chosen.rows("building_hourly_power_consumption") if r["building_id"] == building]
        found = [r for r in chosen.rows("anomaly_count_hourly_per_building") if r["building_id"] == building]
        anomalous = sum(row[name] for row in found for name in COUNTS)
        peak = max(row["power_avg_kw"] * 2 for row in rows)
        told.append([building, 2, sum(row["energy_kwh"] for row in rows), peak, 0.5, anomalous])
    return told


def test_the_running_hour_is_covered_as_far_as_it_has_come(ask: Ask) -> None:
    """It counted in full, so that a building was never covered; here each hour has half of what two meters send."""
    page, panel = PANELS["Buildings"]
    quarter = TimeRange(START, END - timedelta(minutes=45))
    for row in ask_panel(panel, quarter, values_of(page, {}, ask, quarter), ask).frames[0].rows:
        assert row[4] == pytest.approx(6 * 3600 / (2 * (5 * 3600 + 900)))


def expected_top(chosen: Chosen) -> list[list[Any]]:
    energy: dict[int, float] = defaultdict(float)
    for row in chosen.rows("meter_hourly_power_consumption"):
        energy[row["meter_id"]] += row["energy_kwh"]
    return [[f"Meter {meter}, Building {BUILDING_OF[meter]}", kwh, str(meter)] for meter, kwh in energy.items()]


def one_meter(chosen: Chosen, name: str) -> list[Row]:
    """Rows of the first chosen meter: a dashboard of one meter takes no more."""
    return [row for row in chosen.of_meters(name) if row["meter_id"] == min(chosen.meters)]


def expected_newest(chosen: Chosen) -> list[list[Any]]:
    rows = one_meter(chosen, "raw_data")
    last, numbers = rows[-1], [row["sequence"] for row in rows]
    age_s = (END - last["timestamp"]).total_seconds()
    missing = max(numbers) - min(numbers) + 1 - len(rows)
    return [[last["power_kw"], last["voltage_v"], age_s, len(rows), missing]]


def expected_course(field: str) -> Callable[[Chosen], list[list[Any]]]:
    def expected(chosen: Chosen) -> list[list[Any]]:
        # One reading a step: highest and lowest would hide it.
        rows = one_meter(chosen, "raw_data")
        return [[row["timestamp"].replace(second=0), None, row[field], None] for row in rows]

    return expected


def expected_readings(chosen: Chosen) -> list[list[Any]]:
    offsets = {(r["meter_id"], r["timestamp"]): at // 2 for at, r in enumerate(world.ROWS["raw_data"]())}
    return [
        [row["timestamp"], str(row["sequence"]), "spike" if row["status"] else "", row["power_kw"], row["voltage_v"], 0,
         offsets[row["meter_id"], row["timestamp"]]]
        for row in one_meter(chosen, "raw_data")[-200:]
    ]  # fmt: skip


EPISODES = {
    11: [
        (HALF + timedelta(minutes=4), timedelta(seconds=30), "failure"),
        (HALF, timedelta(minutes=2), "spike, voltage"),
    ],
    21: [(HALF, timedelta(seconds=30), "low consumption")],
}


def expected_found(chosen: Chosen) -> list[list[Any]]:
    return [[at, span.total_seconds(), kinds] for at, span, kinds in EPISODES.get(min(chosen.meters), [])]


def expected_judged(chosen: Chosen) -> list[list[Any]]:
    rows = one_meter(chosen, "anomaly_prediction_results")
    return [
        [r["window_start"], KINDS[r["kind"]] if r["kind"] else "", r["model_version"], r["probability"], r["threshold"]]
        for r in rows
        if r["probability"] >= r["threshold"] / 2
    ]


def expected_probability(chosen: Chosen) -> list[list[Any]]:
    groups = defaultdict(list)
    for row in chosen.rows("anomaly_prediction_results"):
        groups[row["window_start"], row["model_version"]].append(row["probability"])
    told = []
    for (at, model), found in groups.items():
        told.append([at, f"Model {model}, mean", sum(found) / len(found)])
        told.append([at, f"Model {model}, top 1 %", max(found)])
    return told


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


def rates(hits: int, misses: int, wrong: int) -> list[Any]:
    return [hits / (hits + wrong) if hits + wrong else None, hits / (hits + misses) if hits + misses else None]


def expected_course_of_hits(chosen: Chosen) -> list[list[Any]]:
    times = {said["window_start"] for said, _ in judged(chosen)}
    told = [[at, *outcomes([pair for pair in judged(chosen) if pair[0]["window_start"] == at])] for at in times]
    return [row for row in told if any(row[1:])]


def expected_score(chosen: Chosen) -> list[list[Any]]:
    counts = outcomes(judged(chosen))
    return [[*rates(*counts), *counts]]


def expected_by_model(chosen: Chosen) -> list[list[Any]]:
    told: list[list[Any]] = []
    for model in chosen.models:
        counts = outcomes([pair for pair in judged(chosen) if pair[0]["model_version"] == model])
        told += [[model, *rates(*counts), *counts]] if any(counts) else []
    return told


def expected_recall(chosen: Chosen) -> list[list[Any]]:
    found = defaultdict(list)
    for said, truth in judged(chosen):
        for name, kind in zip(COUNTS, ("failure", "spike", "low consumption", "voltage"), strict=True):
            if truth[name]:
                found[f"{kind}, {said['model_version']}"].append(said["prediction"])
    return [[name, sum(alarms) / len(alarms)] for name, alarms in found.items()]


def expected_alarms(chosen: Chosen) -> list[list[Any]]:
    names = ("model_version", "meter_id", "building_id", "probability", "threshold")
    rows = [row for row in chosen.rows("anomaly_prediction_results") if row["prediction"]]
    return [[row["window_start"], KINDS[row["kind"]], *(row[name] for name in names)] for row in rows]


STEP_S = interval_s(TimeRange(START, END), 15)


def figures_of(name: str) -> list[Row]:
    return [row for row in merged("pipeline_metrics") if row["metric"] == name]


def step(row: Row) -> datetime:
    at: datetime = row["window_start"]
    return at.replace(second=at.second // STEP_S * STEP_S)


def figures(name: str, label: str = "target") -> Callable[[Chosen], list[list[Any]]]:
    """One point per window of 15 s, as the step is 30 s: the greatest of two."""

    def expected(_: Chosen) -> list[list[Any]]:
        greatest: dict[tuple[datetime, str], float] = {}
        for row in figures_of(name):
            key = (step(row), row[label].replace("clickhouse-", ""))
            greatest[key] = max(greatest.get(key, row["value_max"]), row["value_max"])
        return [[*key, found] for key, found in greatest.items()]

    return expected


def last_of(name: str, *names: str) -> dict[tuple[str, ...], float]:
    return {tuple(row[each] for each in names): row["value_last"] for row in figures_of(name)}


def expected_rate(_: Chosen) -> list[list[Any]]:
    # 300 messages every 15 s; the first window has none before it to compare with.
    times = sorted({step(row) for row in figures_of("lag_messages")})
    return [[at, (300 if number == 0 else 600) / 30] for number, at in enumerate(times)]


def expected_late(_: Chosen) -> list[list[Any]]:
    sums: dict[tuple[datetime, str], float] = defaultdict(float)
    for row in figures_of("late_rows"):
        sums[step(row), "meter_30s"] += 1
    return [[*key, late] for key, late in sums.items()]


EXPECTED: dict[str, Callable[[Chosen], list[list[Any]]]] = {
    "Meters now": expected_meters_now,
    "Silent meters": lambda _: [],
    "Meter Minute-level Power Trend": lambda chosen: of_meters(chosen, "meter_minute_trend", "power_avg_kw"),
    "Meter Hourly Power Consumption": lambda chosen: of_meters(chosen, "meter_hourly_power_consumption", "energy_kwh"),
    "The meters drawn": expected_drawn,
    "Voltage Trend Per Meter": expected_voltage,
    "Voltage Monitoring Per Meter Per Hour": expected_voltage_table,
    "Anomaly Detection Per Meter": expected_detections,
    "Anomalies Count Per Building Per Hour": anomaly_sums,
    "Meters and load now": expected_load_now,
    "Energy today": expected_energy,
    "Load by hour": expected_load_by_hour,
    "Energy over the day": expected_energy_over_day,
    "Buildings": expected_buildings,
    "Top consumers": expected_top,
    "Anomalies by kind": expected_kinds,
    "Anomaly heat map": expected_map,
    "Newest reading": expected_newest,
    "Power": expected_course("power_kw"),
    "Voltage": expected_course("voltage_v"),
    "Anomalies found": expected_found,
    "What the models say": expected_judged,
    "Readings": expected_readings,
    "Alarms now": lambda _: [[0]],
    "Right or wrong in this time": expected_score,
    "Probability over time": expected_probability,
    "Hits, misses and false alarms": expected_course_of_hits,
    "Score by model version": expected_by_model,
    "Found by kind of anomaly": expected_recall,
    "Latest alarms": expected_alarms,
    "Furthest behind": lambda _: [[max(last_of("lag_messages", "part").values())]],
    "Oldest table": lambda _: [[last_of("newest_row_age_s", "target")[("meter_minute_trend",)]]],
    "Late rows": lambda _: [[float(len(figures_of("late_rows")))]],
    "Unreadable messages": lambda _: [[sum(last_of("unreadable_messages", "part").values())]],
    "Readings per second": expected_rate,
    "Lag by consumer": figures("lag_messages", label="part"),
    "Spark batch duration": figures("batch_duration_s"),
    "Spark state size": figures("state_bytes"),
    "Late rows by grain": expected_late,
    "Age of the newest row per table": lambda _: [
        [*k, age] for k, age in last_of("newest_row_age_s", "target").items()
    ],
    "Unreadable messages by reason": lambda _: [
        [f"{part.removeprefix('clickhouse-')}: {reason}", messages]
        for (part, reason), messages in last_of("unreadable_by_reason_messages", "part", "target").items()
    ],
    "Registry versions": lambda _: [[*key, found] for key, found in last_of("schema_versions", "target").items()],
    "Parts": lambda _: [[part, size, END] for (part,), size in last_of("resident_bytes", "part").items()],
}


def test_every_panel_is_expected_here() -> None:
    assert set(EXPECTED) == set(PANELS)


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
    (frame,) = answer.frames
    assert comparable(frame.rows) == comparable(EXPECTED[title](Chosen(of_page)))


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
        text = expand(target.sql, EMPTY, interval_s(EMPTY, panel.least_step_s), variables)
        response = front.post(
            text,
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
    meters, readings, predictions = PAGES[0], PAGES[2], PAGES[3]
    everything = choose(meters.variables, {}, TIME, ask)
    assert {name: options for name, (_, options) in everything.items()} == {
        "building_id": [("1", "Building 1"), ("2", "Building 2")],
        "meter_id": [("11", "Meter 11"), ("12", "Meter 12"), ("21", "Meter 21")],
    }
    of_one = choose(meters.variables, {"building_id": ["1"], "meter_id": ["21", "12"]}, TIME, ask)
    assert of_one["meter_id"] == (Value(["12"]), [("11", "Meter 11"), ("12", "Meter 12")]), (
        "a meter of another building is chosen no longer"
    )
    assert choose(predictions.variables, {}, TIME, ask)["model_version"][1] == [(each, each) for each in world.MODELS]
    assert choose(readings.variables, {}, TIME, ask)["meter_id"][0] == Value(["11"]), "exactly one"
    assert choose(readings.variables, {}, EMPTY, ask)["meter_id"][0] == Value([""]), "or none"
    assert choose(meters.variables, {"building_id": ["1"]}, EMPTY, ask)["building_id"] == (Value([], is_all=True), [])


@pytest.fixture
def many_meters(front: FrontServer) -> Iterator[list[int]]:
    """Eleven meters more, with less energy the higher their number."""
    meters = list(range(101, 112))
    rows = [
        world.hourly_power(at, 1, meter_id=meter, building_id=2, energy_kwh=50 / meter)
        for meter in meters
        for at in world.steps(3600)
    ]
    world.insert_rows(front.run, "meter_hourly_power_consumption", rows)
    yield meters
    front.run("ALTER TABLE meter_hourly_power_consumption DELETE WHERE meter_id > 100 SETTINGS mutations_sync = 1")


def test_beyond_ten_meters_the_greatest_are_drawn_and_the_mean_of_all(ask: Ask, many_meters: list[int]) -> None:
    page, energy = PANELS["Meter Hourly Power Consumption"]
    values = values_of(page, {}, ask)
    drawn = set(ask_panel(energy, TIME, values, ask).frames[0].column("id"))
    assert len(drawn) == sql.SERIES_MAX
    assert drawn == {"11", "12", "21", *(str(meter) for meter in many_meters[:7])}
    trend = ask_panel(PANELS["Meter Minute-level Power Trend"][1], TIME, values, ask).frames[0]
    mean = [row for row in trend.rows if row[3] == "Mean of all meters"]
    assert [row[0] for row in mean] == list(world.steps(3600))
    rows = [row for row in Chosen({}).rows("building_hourly_power_consumption") if row["window_start"] == START]
    assert mean[0][-1] == pytest.approx(sum(r["energy_kwh"] for r in rows) / sum(r["covered_s"] / 3600 for r in rows))
    chosen = values_of(page, {"meter_id": ["11", "101"]}, ask)
    trend = ask_panel(PANELS["Meter Minute-level Power Trend"][1], TIME, chosen, ask).frames[0]
    assert "Mean of all meters" not in trend.column("name"), "of chosen meters, each is drawn"


def test_the_hour_is_drawn_in_a_quarter_of_an_hour(ask: Ask) -> None:
    """The hour began before the range, where Grafana draws no bar."""
    page, panel = PANELS["Meter Hourly Power Consumption"]
    short = TimeRange(START + timedelta(minutes=20), START + timedelta(minutes=35))
    frame = ask_panel(panel, short, values_of(page, {}, ask, short), ask).frames[0]
    assert {row[0] for row in frame.rows} == {short.start}
    assert frame.column("name") == ["Meter 11", "Meter 12", "Meter 21"]


def test_a_silent_meter_is_named_with_its_last_hour(ask: Ask) -> None:
    page, panel = PANELS["Silent meters"]
    later = TimeRange(START, END + timedelta(minutes=11))
    rows = ask_panel(panel, later, values_of(page, {}, ask, later), ask).frames[0].rows
    assert [list(row) for row in rows] == [
        [meter, BUILDING_OF[meter], END - timedelta(hours=1)] for meter in BUILDING_OF
    ]
    _, now = PANELS["Meters now"]
    ((reporting, count, silent, *_),) = ask_panel(now, later, values_of(page, {}, ask, later), ask).frames[0].rows
    assert (reporting, count, silent) == (0, 0, 3)


def test_today_begins_at_the_sites_midnight(ask: Ask) -> None:
    page, panel = PANELS["Energy today"]
    values = values_of(page, {}, ask)
    ((utc, _, _),) = ask_panel(panel, TIME, values, ask).frames[0].rows
    ((ahead, _, _),) = ask_panel(panel, TimeRange(START, END, "Etc/GMT-3"), values, ask).frames[0].rows
    ((behind, _, _),) = ask_panel(panel, TimeRange(START, END, "Etc/GMT+3"), values, ask).frames[0].rows
    assert behind < utc <= ahead, "three hours fewer, and as many as there are rows for"


def test_many_readings_in_a_step_have_their_bounds_drawn(ask: Ask) -> None:
    page, panel = PANELS["Power"]
    text = expand(panel.targets[0].sql, TIME, 600, values_of(page, {"meter_id": ["12"]}, ask))
    rows = [row["power_kw"] for row in merged("raw_data") if row["meter_id"] == 12]
    steps = [rows[at : at + 10] for at in range(0, len(rows), 10)]
    expected = [(max(step), pytest.approx(sum(step) / len(step)), min(step)) for step in steps]
    assert [tuple(row[1:]) for row in ask(text).rows] == expected


@pytest.fixture
def meter_with_silences(front: FrontServer) -> Iterator[int]:
    """Readings in these minutes only."""
    meter = 999
    rows = [
        world.reading(11, world.START + timedelta(minutes=minute), minute) | {"meter_id": meter}
        for minute in (0, 1, 12, 21, 60, 240)
    ]
    world.insert_rows(front.run, "raw_data", rows)
    yield meter
    front.run(f"ALTER TABLE raw_data DELETE WHERE meter_id = {meter} SETTINGS mutations_sync = 1")


@pytest.mark.parametrize(("step_s", "broken_at"), [(60, [2, 22, 61]), (3600, [120])])
def test_a_line_breaks_where_the_meter_was_silent(
    ask: Ask, meter_with_silences: int, step_s: int, broken_at: list[int]
) -> None:
    """At steps of an hour, as over 30 days, each of them was a silence by itself: nothing was drawn."""
    text = expand(PANELS["Power"][1].targets[0].sql, TIME, step_s, {"meter_id": Value([str(meter_with_silences)])})
    rows = ask(text).rows
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    breaks = [(row[0] - world.START) / timedelta(minutes=1) for row in rows if row[2] is None]
    assert breaks == broken_at


def test_anomalies_are_marked_as_episodes(ask: Ask) -> None:
    page = PAGES[2]
    for meter, expected in EPISODES.items():
        frame = ask_marks(page.marks[0], TIME, values_of(page, {"meter_id": [str(meter)]}, ask), ask)
        assert frame.columns == ("time", "timeEnd", "text")
        assert [tuple(row) for row in frame.rows] == [(at, at + span, kinds) for at, span, kinds in expected]


@pytest.mark.parametrize(
    "title", ["Meter Minute-level Power Trend", "Voltage Trend Per Meter", "Anomaly Detection Per Meter", "Power"]
)
def test_time_and_meter_reach_the_order_key(ask: Ask, title: str) -> None:
    page, panel = PANELS[title]
    text = expand(panel.targets[0].sql, TIME, 60, values_of(page, {"meter_id": ["11"]}, ask))
    plan = "\n".join(row[0] for row in ask(f"EXPLAIN indexes = 1 {text}").rows)
    condition = plan.split("Condition:")[1].splitlines()[0]
    assert "meter_id in" in condition, plan
    assert ("timestamp in" if title == "Power" else "window_start in") in condition, plan


def test_native_floats_are_read_as_the_plugin_reads_them(front: FrontServer) -> None:
    """So that the numbers above are not clickhouse-connect's doing alone."""
    _, panel = PANELS["Meters and load now"]
    text = expand(panel.targets[0].sql, TIME, 60, {"building_id": Value([], is_all=True)})
    body = front.post(text, READER, client_protocol_version=54460, default_format="Native").content
    load = struct.unpack("<d", body[body.index(b"Float64") + 7 :][:8])[0]
    assert load == pytest.approx(expected_load_now(Chosen({}))[0][0])


def test_times_are_utc(ask: Ask) -> None:
    _, panel = PANELS["Meter Hourly Power Consumption"]
    frame = ask_panel(panel, TIME, values_of(PAGES[0], {}, ask), ask).frames[0]
    assert {row[0].tzinfo for row in frame.rows} == {UTC} or all(
        row[0].utcoffset() == timedelta() for row in frame.rows
    )
