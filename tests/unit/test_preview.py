"""What the preview makes of answers, pinned to what Grafana makes of them; no query, no server, no browser."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grafana.data import Answer, Frame
from grafana.macros import TimeRange
from grafana.palette import BAD, GOOD, WATCH
from grafana.panels import Panel, seconds
from grafana.preview.figures import figure, is_empty, with_gaps
from grafana.preview.series import display_name, series_of
from grafana.preview.serve import html
from grafana.preview.units import text
from infra.base.errors import SmartmeterError

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)
TIME = TimeRange(AT, AT + timedelta(hours=1))


def panel(kind: str, *overrides: dict[str, Any], options: dict[str, Any] | None = None, **defaults: Any) -> Panel:
    return Panel(
        id=1, kind=kind, title="T", position=(0, 0, 12, 8), description="D.", no_data="–",
        display_name=defaults.pop("display_name", ""), options={"xField": "name"} | (options or {}),
        defaults={"unit": "suffix:kW", "decimals": 1} | defaults, overrides=overrides,
    )  # fmt: skip


def override(name: str, **properties: Any) -> dict[str, Any]:
    matcher = {"id": "byRegexp" if name.startswith("/") else "byName", "options": name}
    return {"matcher": matcher, "properties": [{"id": id_, "value": value} for id_, value in properties.items()]}


def frame(columns: dict[str, str], *rows: tuple[Any, ...]) -> Frame:
    return Frame(tuple(columns), tuple(columns.values()), rows, is_series=True)


def minutes(count: int) -> datetime:
    return AT + timedelta(minutes=count)


def plot(found: Frame, of: Panel, step_s: int = 60, time: TimeRange = TIME) -> dict[str, Any]:
    drawn: dict[str, Any] = figure(Answer(of, (found,), step_s), time)["plot"]
    return drawn


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "shown"),
    [
        (0.4567, "suffix:kW", 2, "0.46 kW"),
        (1234.5678, "suffix:kW", 2, "1234.57 kW"),
        (2.5, "none", 0, "3"),
        (0.0047, "none", None, "0.00470"),
        (60, "none", None, "60"),
        (9_999, "short", None, "10.00 K"),
        (1_500_000, "short", None, "1.50 Mil"),
        (1234567, "locale", 0, "1,234,567"),
        (1234.5, "locale", 1, "1,234.5"),
        (1234.0, "locale", 1, "1,234"),
        (0.0473, "percentunit", 1, "4.7%"),
        (1, "percentunit", 0, "100%"),
        (3 * 2**20, "bytes", 0, "3 MiB"),
        (90.0, "s", 0, "2 mins"),
        (7.25, "s", 1, "7.3 s"),
        (0, "s", 1, "0 s"),
        (7200, "s", 1, "2.0 hours"),
        (None, "suffix:V", 1, "–"),
        (float("nan"), "suffix:V", 1, "–"),
        ("spike", "suffix:V", 1, "spike"),
        (AT, "dateTimeAsIso", None, "2026-03-02 06:00:00"),
    ],
)
def test_values_as_grafana_prints_them(value: object, unit: str, decimals: int | None, shown: str) -> None:
    assert text(value, unit, decimals) == shown


@pytest.mark.parametrize(
    ("template", "column", "labels", "name"),
    [
        ("${__field.labels.name}", "Power", {"id": "12", "name": "Meter 12"}, "Meter 12"),
        ("", "Today", {}, "Today"),
        ("", "Value", {"building": "Building  9"}, "Building  9"),
        ("", "power_kw", {"meter": "12"}, "power_kw 12"),
        ("", "windows", {"meter": "12", "kind": "voltage"}, 'windows {kind="voltage", meter="12"}'),
        ("", "Value", {}, "Value"),
    ],
)
def test_series_are_named_as_grafana_names_them(template: str, column: str, labels: dict[str, str], name: str) -> None:
    assert display_name(template, column, labels) == name


def test_series_are_sorted_by_the_labels_in_the_order_of_their_columns() -> None:
    columns = {"time": "DateTime", "sort_key": "String", "name": "String", "Power": "Float64"}
    rows = [(AT, "0000000010", "Meter 10", 1.0), (AT, "0000000002", "Meter 2", 2.0)]
    found = series_of(panel("timeseries", display_name="${__field.labels.name}"), frame(columns, *rows))
    assert [each.name for each in found] == ["Meter 2", "Meter 10"]
    wide = frame({"time": "DateTime", "Today": "Float64", "Before": "Float64"}, (AT, 1.0, 2.0))
    assert [each.name for each in series_of(panel("timeseries"), wide)] == ["Today", "Before"]


def test_a_series_has_no_value_where_only_others_have_one() -> None:
    columns = {"time": "DateTime", "meter": "String", "Value": "Float64"}
    rows = [(minutes(0), "a", 1.0), (minutes(0), "b", 5.0), (minutes(1), "a", 2.0), (minutes(2), "b", 6.0)]
    a, b = series_of(panel("timeseries"), frame(columns, *rows))
    assert (a.values, b.values) == ([1.0, 2.0, None], [5.0, None, 6.0])
    assert (a.last(), b.greatest()) == (2.0, 6.0)


def test_a_line_is_broken_where_the_silence_is_too_long() -> None:
    times = [minutes(0), minutes(1), minutes(4), minutes(5)]
    at, drawn = with_gaps(times, [1.0, 2.0, 3.0, 4.0], 120_000)
    assert drawn == [1.0, 2.0, None, 3.0, 4.0]
    assert at[2] == at[1], "the hole has a time of its own within the gap"


def test_overrides_win_by_name_and_by_pattern() -> None:
    found = panel(
        "table",
        override("/Meter +\\d*2(?!\\d)/", color={"mode": "fixed", "fixedColor": "#111111"}),
        override("Age", unit="s", **{"custom.width": 90}),
    )
    assert found.field("Meter 12").color == "#111111"
    assert found.field("Meter 21").color == ""
    assert (found.field("Age").unit, found.field("Age").custom["width"]) == ("s", 90)
    assert (found.field("Other").unit, found.field("Other").custom) == ("suffix:kW", {})


def test_limits_stay_in_sight_and_marks_are_shaded() -> None:
    steps = [{"color": "transparent", "value": None}, {"color": BAD, "value": 210}, {"color": BAD, "value": 250}]
    custom = {"thresholdsStyle": {"mode": "dashed"}, "axisSoftMin": 205, "axisSoftMax": 255}
    of = panel("timeseries", unit="suffix:V", custom=custom, thresholds={"steps": steps})
    found = frame({"time": "DateTime", "Voltage": "Float64"}, (AT, 280.0))
    drawn = figure(Answer(of, (found,), 60), TIME, [(minutes(1), minutes(3), "spike")])["plot"]
    low, high = drawn["layout"]["yaxis"]["range"]
    assert (low <= 205, high >= 280) == (True, True)
    assert [shape.get("y0") for shape in drawn["layout"]["shapes"]] == [210, 250, 0]
    assert {shape["line"].get("color") for shape in drawn["layout"]["shapes"][:2]} == {BAD}
    assert drawn["data"][-1]["text"] == ["spike"]


def test_bars_begin_at_their_hour_and_stack_from_zero() -> None:
    of = panel("timeseries", custom={"drawStyle": "bars", "barWidthFactor": 0.94, "axisSoftMin": 0})
    columns = {"time": "DateTime", "name": "String", "Value": "Float64"}
    rows = [(AT, "a", 3.0), (AT, "b", 4.0), (minutes(60), "a", 1.0)]
    drawn = plot(frame(columns, *rows), of, 3600, TimeRange(AT, AT + timedelta(hours=2)))
    first = drawn["data"][0]
    assert (first["x"][0], first["offset"], first["width"]) == ("2026-03-02 06:00:00", 0, 3_600_000 * 0.94)
    assert drawn["layout"]["yaxis"]["range"][0] == 0
    assert drawn["layout"]["yaxis"]["range"][1] >= 7, "the sum of both"


def test_a_share_ends_at_a_hundred_per_cent() -> None:
    of = panel("timeseries", unit="percentunit", decimals=0, min=0, max=1)
    drawn = plot(frame({"time": "DateTime", "Probability": "Float64"}, (AT, 0.4)), of)
    assert drawn["layout"]["yaxis"]["range"] == [0, 1]
    assert drawn["layout"]["yaxis"]["ticktext"][-1] == "100%"


def test_a_backfills_peak_leaves_the_live_rate_in_sight() -> None:
    of = panel("timeseries", unit="suffix:/s", decimals=0, min=0, custom={"scaleDistribution": {"type": "symlog"}})
    drawn = plot(frame({"time": "DateTime", "Readings": "Float64"}, (AT, 100_000.0), (minutes(1), 20.0)), of)
    peak, live = drawn["data"][0]["y"]
    assert live / peak > 0.2
    assert drawn["layout"]["yaxis"]["ticktext"][:3] == ["0 /s", "1 /s", "10 /s"]
    assert drawn["data"][0]["customdata"] == ["100000 /s", "20 /s"]


def test_a_heat_maps_cell_ends_at_its_time_and_is_strong_where_much_is() -> None:
    of = panel("heatmap", options={"color": {"fill": "#d90b72", "exponent": 0.5}})
    columns = {"time": "DateTime", "building": "String", "Value": "Int64"}
    drawn = plot(frame(columns, (minutes(60), "Building 1", 5), (minutes(120), "Building 2", 7)), of, 3600)
    (trace,) = drawn["data"]
    assert (trace["y"], trace["z"], trace["zmax"]) == (["Building 1", "Building 2"], [[5, None], [None, 7]], 7)
    assert trace["x"][0] == "2026-03-02 06:30:00", "the cell from 6 to 7"
    assert trace["colorscale"][-1] == (1, "rgba(217,11,114,1.000)")


@pytest.mark.parametrize(("hours", "gap"), [(24, 1), (720, 0)])
def test_a_month_of_a_heat_map_is_more_than_its_gaps(hours: int, gap: int) -> None:
    """A pixel between cells that are less than a pixel wide left nothing of them on a phone."""
    of = panel("heatmap", options={"color": {"fill": "#d90b72", "exponent": 0.5}})
    cells = [(minutes(60 * hour), "Building 1", 5) for hour in range(hours)]
    found = frame({"time": "DateTime", "building": "String", "Value": "Int64"}, *cells)
    assert plot(found, of, 3600)["data"][0]["xgap"] == gap


@pytest.mark.parametrize("longest", [4, 9])
def test_numbers_beside_bars_have_room(longest: int) -> None:
    """Beside a bar of 555.0 kWh the last letters were cut on a phone."""
    value = 10.0 ** (longest - 6)
    found = frame({"name": "String", "Energy": "Float64"}, ("a", value))
    drawn = plot(found, panel("barchart", unit="suffix:kW", decimals=1))
    (shown,) = drawn["data"][0]["text"]
    share = 1 - value / drawn["layout"]["xaxis"]["range"][1]
    assert share > 0.03 * len(shown), "6 of 200 pixels a character"


def test_a_timeline_joins_equal_neighbours_and_hides_what_is_nothing() -> None:
    states = {"0": {"text": "nothing", "color": "transparent"}, "4": {"text": "failure", "color": BAD}}
    of = panel("state-timeline", display_name="${__field.labels.name}", mappings=[{"options": states}])
    columns = {"time": "DateTime", "name": "String", "Anomaly": "UInt8"}
    rows = [(minutes(at), "Meter 1", state) for at, state in enumerate((0, 4, 4, 0))]
    (trace,) = plot(frame(columns, *rows), of)["data"]
    assert (trace["name"], trace["y"], trace["x"]) == ("failure", ["Meter 1"], [120_000.0])
    assert trace["base"] == ["2026-03-02 06:01:00"]


def test_a_number_takes_the_colour_of_its_step() -> None:
    steps = [{"color": GOOD, "value": None}, {"color": WATCH, "value": 10}, {"color": BAD, "value": 100}]
    of = panel("stat", override("lag", thresholds={"steps": steps}))
    told = {
        value: figure(Answer(of, (frame({"lag": "Int64"}, (value,)),), 60), TIME)["stats"][0]["color"]
        for value in (9, 10, 100)
    }
    assert told == {9: GOOD, 10: WATCH, 100: BAD}


def test_a_number_that_is_not_there_is_a_dash_beside_the_others() -> None:
    found = frame({"Today": "Float64", "Last week": "Nullable(Float64)"}, (5.0, None))
    told = figure(Answer(panel("stat"), (found,), 60), TIME)["stats"]
    assert [(each["name"], each["text"]) for each in told] == [("Today", "5.0 kW"), ("Last week", "–")]


def test_tables_and_bars_show_every_row_and_lead_on() -> None:
    found = frame({"name": "String", "Meter": "Int32"}, ("a", 12), ("b", None))
    url = '/d/smartmeter-readings?var-meter_id=${__data.fields["Meter"]}&${__url_time_range}'
    of = panel("table", override("Meter", unit="none", decimals=0, links=[{"title": "Readings", "url": url}]))
    table = figure(Answer(of, (found,), 60), TIME)["table"]
    assert [[cell["text"] for cell in row] for row in table["rows"]] == [["a", "12"], ["b", "–"]]
    assert table["rows"][0][1]["link"] == {"title": "Readings", "url": "#smartmeter-readings?var-meter_id=12"}
    bars = plot(found, panel("barchart"))["data"][0]
    assert (bars["y"], bars["x"]) == (["a", "b"], [12, None])


def test_legends_tell_last_and_greatest() -> None:
    of = panel("timeseries", options={"legend": {"showLegend": True, "placement": "right"}})
    found = frame({"time": "DateTime", "Power": "Float64"}, (minutes(0), 3.0), (minutes(1), 2.0))
    legend = figure(Answer(of, (found,), 60), TIME)["legend"]
    assert legend["place"] == "right"
    assert [(row["name"], row["last"], row["max"]) for row in legend["rows"]] == [("Power", "2.0 kW", "3.0 kW")]


def test_times_are_those_of_the_dashboards_zone() -> None:
    found = frame({"time": "DateTime", "Power": "Float64"}, (AT, 3.0))
    drawn = plot(found, panel("timeseries"), time=TimeRange(AT, AT + timedelta(hours=1), "Europe/Paris"))
    assert drawn["data"][0]["x"] == ["2026-03-02 07:00:00"]
    assert drawn["layout"]["xaxis"]["range"][0] == "2026-03-02 07:00:00"


def test_empty_is_what_has_no_row_at_all() -> None:
    empty, full = frame({"a": "Int8"}), frame({"a": "Int8"}, (1,))
    assert is_empty(Answer(panel("stat"), (empty, empty), 60))
    assert not is_empty(Answer(panel("stat"), (empty, full), 60))


def test_the_page_is_closed_against_what_data_may_hold() -> None:
    page = html([], {"u": {"title": "</script><script>alert(1)</script>"}})
    assert "</script><script>alert" not in page
    assert "<\\/script>" in page


def test_a_span_that_is_none_is_named() -> None:
    assert (seconds("90s"), seconds("7d")) == (90, 604800)
    with pytest.raises(SmartmeterError, match="1w"):
        seconds("1w")
