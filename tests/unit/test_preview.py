"""Figures of the preview from answers made by hand; no query, no server, no browser."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from grafana.data import Answer, Frame
from grafana.macros import TimeRange
from grafana.panels import Panel, Step, seconds
from grafana.preview.figures import figure, is_empty, series_of, with_gaps
from grafana.preview.serve import html
from grafana.preview.units import text
from infra.base.errors import SmartmeterError

AT = datetime(2026, 3, 2, 6, tzinfo=UTC)
TIME = TimeRange(AT, AT + timedelta(hours=1))


def panel(kind: str, **more: Any) -> Panel:
    told: dict[str, Any] = {"title": "T", "description": "D.", "no_data": "N", "unit": "kwatt", "units": {}}
    told |= {"decimals": 1, "display_name": "", "least_step_s": 60, "steps": (), "targets": (), "custom": {}}
    told |= {"position": (0, 0, 12, 8), "options": {"xField": "name"}, "id": 1, "kind": kind}
    return Panel(**{**told, **more})


def frame(columns: dict[str, str], *rows: tuple[Any, ...]) -> Frame:
    return Frame(tuple(columns), tuple(columns.values()), rows, is_series=True)


def minutes(count: int) -> datetime:
    return AT + timedelta(minutes=count)


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "shown"),
    [
        (1234.5678, "kwatt", 2, "1,234.57 kW"),
        (12, "short", 2, "12"),
        (9_999, "short", None, "9,999"),
        (1_500_000, "short", None, "1.5 M"),
        (0.0473, "percentunit", 2, "4.7 %"),
        (3 * 2**20, "bytes", None, "3 MiB"),
        (90.0, "s", None, "1.50 min"),
        (7.25, "s", 1, "7.2 s"),
        (None, "volt", 1, "–"),
        ("spike", "volt", 1, "spike"),
        (AT, "dateTimeAsIso", None, "2026-03-02 06:00"),
        (AT.replace(second=30), "none", None, "2026-03-02 06:00:30"),
    ],
)
def test_values_as_people_read_them(value: object, unit: str, decimals: int | None, shown: str) -> None:
    assert text(value, unit, decimals) == shown


def test_text_columns_tell_series_apart() -> None:
    one = frame({"time": "DateTime", "meter": "String", "power_kw": "Float64"}, (AT, "11", 1.0), (AT, "12", 2.0))
    assert list(series_of(one)) == ["meter 11", "meter 12"]
    two = frame({"time": "DateTime", "lowest_v": "Float64", "highest_v": "Float64"}, (AT, 1.0, 2.0))
    assert series_of(two) == {"lowest": ([AT], [1.0]), "highest": ([AT], [2.0])}
    both = frame(
        {"time": "DateTime", "model": "LowCardinality(String)", "a": "Float64", "b": "UInt64"}, (AT, "m", 1.0, 2)
    )
    assert list(series_of(both)) == ["m · a", "m · b"]


def test_a_line_is_broken_where_points_are_missing() -> None:
    times = [minutes(0), minutes(1), minutes(4), minutes(5)]
    at, drawn = with_gaps(times, [1.0, 2.0, 3.0, 4.0], 60)
    assert drawn == [1.0, 2.0, None, 3.0, 4.0]
    assert at[2] == at[1], "the hole has a time of its own within the gap"


def test_limits_stay_in_sight_and_marks_are_shaded() -> None:
    custom = {"thresholdsStyle": {"mode": "dashed"}, "axisSoftMin": 205, "axisSoftMax": 255}
    steps = (Step("red", None), Step("green", 210), Step("red", 250))
    answer = Answer(
        panel("timeseries", unit="volt", custom=custom, steps=steps),
        (frame({"time": "DateTime", "meter": "String", "v": "Float64"}, (AT, "11", 280.0)),),
        60,
    )
    drawn = figure(answer, TIME, [(minutes(1), minutes(3), "meter 11: spike")])
    low, high = drawn["layout"]["yaxis"]["range"]
    assert (low < 210, high > 280) == (True, True)
    assert [shape.get("y0") for shape in drawn["layout"]["shapes"]] == [210, 250, 0]
    assert drawn["data"][-1]["text"] == ["meter 11: spike"]


def test_a_heat_map_has_a_cell_per_series_and_step() -> None:
    answer = Answer(
        panel("heatmap", unit="short"),
        (frame({"time": "DateTime", "building": "String", "n": "Int64"}, (AT, "1", 5), (minutes(60), "2", 7)),),
        3600,
    )
    (trace,) = figure(answer, TIME)["data"]
    assert (trace["y"], trace["z"], trace["zmax"]) == (["building 1", "building 2"], [[5, None], [None, 7]], 7)
    assert trace["x"][0] == "2026-03-02 06:30:00", "a cell is centred on its hour"


def test_a_number_takes_the_colour_of_its_step() -> None:
    steps = (Step("green", None), Step("yellow", 10), Step("red", 100))
    colors = {}
    for value in (9, 10, 100):
        answer = Answer(panel("stat", unit="short", steps=steps), (frame({"lag": "Int64"}, (value,)),), 60)
        (words,) = figure(answer, TIME)["layout"]["annotations"]
        colors[value] = words["font"]["color"]
    assert len(set(colors.values())) == 3


def test_tables_and_bars_show_every_row() -> None:
    found = frame({"name": "String", "power_kw": "Float64"}, ("a", 1.25), ("b", None))
    (table,) = figure(Answer(panel("table"), (found,), 60), TIME)["data"]
    assert table["cells"]["values"] == [["a", "b"], ["1.2 kW", "–"]]
    (bars,) = figure(Answer(panel("barchart"), (found,), 60), TIME)["data"]
    assert (bars["y"], bars["x"]) == (["a", "b"], [1.25, None])


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
