"""A panel's answer to what the page draws, as plain values: plotly's data and layout, numbers, or a table."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from grafana.data import Answer, Frame
from grafana.macros import TimeRange
from grafana.palette import DIGITS
from grafana.panels import Field, Panel
from grafana.preview.series import Series, legend_of, link_of, series_of, step_color
from grafana.preview.units import text

Figure = dict[str, Any]
Mark = tuple[datetime, datetime, str]
TICKS = 5
NAMED_MAX = 40
"""Rows of a heat map that are still named one by one."""
ROOM_OF_A_CHARACTER = 0.045
"""Share of a bar chart's width that a character of a number takes on a phone."""
CELLS_APART_MAX = 60
"""Columns of a heat map with a line between them; of more, the lines leave nothing on a phone."""
POINTS_MAX = 60
"""Up to so many points each is drawn as a dot, too."""
SYMLOG_DECADES = 12


def is_empty(answer: Answer) -> bool:
    """Whether there is nothing to draw."""
    return not any(frame.rows for frame in answer.frames)


def figure(answer: Answer, time: TimeRange, marks: Sequence[Mark] = ()) -> Figure:
    """The panel drawn; `marks` are shaded where the panel has a time axis."""
    draw: dict[str, Callable[[Answer, TimeRange, Sequence[Mark]], Figure]] = {
        "timeseries": _time_series,
        "state-timeline": _timeline,
        "stat": _stat,
        "table": _table,
        "barchart": _bar_chart,
        "heatmap": _heat_map,
    }
    return draw[answer.panel.kind](answer, time, marks)


def zone_of(time: TimeRange) -> ZoneInfo:
    """The time zone in which the page shows times."""
    return ZoneInfo("UTC" if time.zone == "utc" else time.zone)


def with_gaps(
    times: Sequence[datetime], values: Sequence[float | None], longest_ms: float
) -> tuple[list[datetime], list[float | None]]:
    """Points with a hole where the next one is further away than `longest_ms`: a line over it would be made up."""
    drawn_at: list[datetime] = []
    drawn: list[float | None] = []
    for number, (at, value) in enumerate(zip(times, values, strict=True)):
        if number and (at - times[number - 1]).total_seconds() * 1000 > longest_ms:
            drawn_at.append(times[number - 1])
            drawn.append(None)
        drawn_at.append(at)
        drawn.append(value)
    return drawn_at, drawn


def _time_series(answer: Answer, time: TimeRange, marks: Sequence[Mark]) -> Figure:
    panel = answer.panel
    custom = panel.defaults.get("custom") or {}
    series = [each for frame in answer.frames for each in series_of(panel, frame)]
    as_bars, is_log = custom.get("drawStyle") == "bars", (custom.get("scaleDistribution") or {}).get("type") == "symlog"
    scale = _symlog if is_log else _linear
    zone = zone_of(time)
    draw = _bars if as_bars else _line
    traces = [draw(each, answer.step_s, scale, zone) for each in series]
    limits = [s for s in panel.field("").steps if s.value is not None] if _limits_are_drawn(custom) else []
    low, high = _range(panel, series, as_bars)
    layout = _layout(_time_axis(time), _axis(panel.field(""), low, high, is_log))
    if as_bars:
        layout |= {"barmode": "relative", "bargap": 0}
    layout["shapes"] = [_limit(step.value or 0, step.color) for step in limits]
    layout["hovermode"] = "x unified" if len(traces) <= 16 else "closest"
    layout["shapes"] += [_shade(mark, zone) for mark in marks]
    if marks:
        traces.append(_mark_points(marks, zone))
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    return {"plot": {"data": traces, "layout": layout}, "legend": legend_of(panel, series)}


def _limits_are_drawn(custom: Mapping[str, Any]) -> bool:
    return bool((custom.get("thresholdsStyle") or {}).get("mode", "off") != "off")


def _linear(value: float) -> float:
    return value


def _symlog(value: float) -> float:
    """Grafana's symlog axis with a threshold of 1, near enough: linear below, logarithmic above."""
    return math.copysign(math.log10(1 + abs(value)), value)


def _line(series: Series, _step_s: int, scale: Callable[[float], float], zone: ZoneInfo) -> Figure:
    custom = series.look.custom
    times, values = with_gaps(series.times, series.values, custom.get("insertNulls") or math.inf)
    shown = [value for value in series.values if value is not None]
    dash = "dash" if (custom.get("lineStyle") or {}).get("fill") == "dash" else "solid"
    return {
        "type": "scatter", "mode": "lines+markers" if len(shown) <= POINTS_MAX else "lines", "name": series.name,
        "x": [_stamp(at, zone) for at in times], "y": [None if v is None else scale(v) for v in values],
        "line": {"color": series.color, "width": custom.get("lineWidth", 1) + 0.4, "dash": dash},
        "marker": {"size": 4}, "connectgaps": bool(custom.get("spanNulls")), **_hover(series, values),
    }  # fmt: skip


def _bars(series: Series, step_s: int, _scale: Callable[[float], float], zone: ZoneInfo) -> Figure:
    """Bars that begin at their time, in Grafana's share of the least distance between two."""
    distances = [(b - a).total_seconds() for a, b in zip(series.times, series.times[1:], strict=False)]
    width_s = min(distances, default=step_s)
    return {
        "type": "bar", "name": series.name, "x": [_stamp(at, zone) for at in series.times], "y": list(series.values),
        "marker": {"color": series.color, "opacity": 0.85}, "offset": 0,
        "width": width_s * 1000 * series.look.custom.get("barWidthFactor", 0.6), **_hover(series, series.values),
    }  # fmt: skip


def _hover(series: Series, values: Sequence[float | None]) -> Figure:
    shown = [text(value, series.look.unit, series.look.decimals) for value in values]
    return {"customdata": shown, "hovertemplate": "%{customdata}<extra>" + series.name + "</extra>"}


def _range(panel: Panel, series: Sequence[Series], stacked: bool) -> tuple[float, float]:
    """Least and greatest of the value axis: the data's, soft bounds that only widen, hard ones that win."""
    if stacked:
        totals: dict[datetime, float] = {}
        for each in series:
            for at, value in zip(each.times, each.values, strict=True):
                totals[at] = totals.get(at, 0) + (value or 0)
        drawn = list(totals.values())
    else:
        drawn = [value for each in series for value in each.values if value is not None]
    look = panel.field("")
    soft = [look.custom[name] for name in ("axisSoftMin", "axisSoftMax") if look.custom.get(name) is not None]
    low, high = min([*drawn, *soft], default=0), max([*drawn, *soft], default=1)
    low = low if look.least is None else look.least
    high = high if look.greatest is None else look.greatest
    return (low, high) if high > low else (low, low + 1)


def _axis(look: Field, low: float, high: float, is_log: bool = False) -> Figure:
    """A value axis with round ticks, printed as the values are."""
    if is_log:
        ticks = [0.0] + [10.0**n for n in range(SYMLOG_DECADES) if 10.0 ** (n - 1) < high]
        return {
            "range": [_symlog(low), _symlog(ticks[-1])], "tickvals": [_symlog(tick) for tick in ticks],
            "ticktext": [text(tick, look.unit, look.decimals) for tick in ticks], "automargin": True,
        }  # fmt: skip
    step = _round_step((high - low) / TICKS, look.unit)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    ticks = [n * step for n in range(first, last + 1)]
    least = low if look.least is not None else ticks[0]
    greatest = high if look.greatest is not None else ticks[-1]
    decimals = look.decimals
    if decimals is not None and look.unit not in {"s", "bytes"}:
        shown = step * 100 if look.unit == "percentunit" else step
        decimals = max(0, min(decimals, -math.floor(math.log10(shown) + 1e-9)))
    return {
        "range": [least, greatest], "tickvals": ticks, "ticktext": [text(t, look.unit, decimals) for t in ticks],
        "automargin": True,
    }  # fmt: skip


def _round_step(least: float, unit: str) -> float:
    if unit == "bytes" and least >= 1:
        return float(2 ** math.ceil(math.log2(least)))
    if unit == "s" and least > 10:
        return float(
            next((s for s in (15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400) if s >= least), 604800)
        )
    if unit == "locale" and least < 1:
        return 1.0
    exponent = math.floor(math.log10(least))
    return float(next(m for m in (1, 2, 5, 10) if m * 10.0**exponent >= least * 0.999) * 10.0**exponent)


def _time_axis(time: TimeRange) -> Figure:
    zone = zone_of(time)
    words = "%H:%M:%S" if time.seconds <= 300 else "%H:%M" if time.seconds <= 86_400 else "%m/%d %H:%M"
    words = words if time.seconds <= 3 * 86_400 else "%m/%d"
    return {
        "type": "date",
        "range": [_stamp(time.start, zone), _stamp(time.end, zone)],
        "nticks": 7,
        "tickformat": words,
    }


def _timeline(answer: Answer, time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    """A row per series; equal neighbours are one piece, which lasts until the next value."""
    panel, zone = answer.panel, zone_of(time)
    series = [each for frame in answer.frames for each in series_of(panel, frame)]
    pieces: dict[str, list[tuple[str, datetime, datetime]]] = {}
    for each in series:
        for value, start, end in _pieces(each, answer.step_s):
            pieces.setdefault(value, []).append((each.name, start, end))
    texts = panel.field("").texts
    shown = [value for value in texts if texts[value][1] != "transparent"]
    traces = [
        {
            "type": "bar", "orientation": "h", "name": texts[value][0], "marker": {"color": texts[value][1]},
            "y": [name for name, _, _ in pieces.get(value, [])],
            "x": [(end - start).total_seconds() * 1000 for _, start, end in pieces.get(value, [])],
            "base": [_stamp(start, zone) for _, start, _ in pieces.get(value, [])], "width": 0.8,
            "hovertemplate": "%{base|%H:%M:%S}<extra>%{y}: " + texts[value][0] + "</extra>",
        }
        for value in shown
    ]  # fmt: skip
    names = [each.name for each in series]
    axis = {"type": "category", "categoryorder": "array", "categoryarray": names[::-1], "automargin": True}
    layout = _layout(_time_axis(time), axis | {"range": [-0.5, len(names) - 0.5]}) | {"barmode": "overlay"}
    rows = [{"name": texts[value][0], "color": texts[value][1]} for value in shown]
    return {"plot": {"data": traces, "layout": layout}, "legend": {"place": "list", "rows": rows}}


def _pieces(series: Series, step_s: int) -> list[tuple[str, datetime, datetime]]:
    pieces: list[tuple[str, datetime, datetime]] = []
    ends = [*series.times[1:], series.times[-1] + timedelta(seconds=step_s)]
    for at, until, value in zip(series.times, ends, series.values, strict=True):
        if value is None:
            continue
        state = f"{value:g}"
        if pieces and pieces[-1][0] == state and pieces[-1][2] == at:
            pieces[-1] = (state, pieces[-1][1], until)
        else:
            pieces.append((state, at, until))
    return pieces


def _stat(answer: Answer, time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame = answer.panel, answer.frames[0]
    told = []
    for column, value in zip(frame.columns, frame.rows[-1], strict=True):
        look = panel.field(column)
        shown = panel.no_data if value is None else text(value, look.unit, look.decimals, zone_of(time))
        told.append({"name": column, "text": shown, "color": "text" if value is None else step_color(look, value)})
    return {"stats": told}


def _table(answer: Answer, time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame, zone = answer.panel, answer.frames[0], zone_of(time)
    looks = [panel.field(column) for column in frame.columns]
    columns = [
        {"name": column, "right": _is_number(kind), "width": look.custom.get("width")}
        for column, kind, look in zip(frame.columns, frame.types, looks, strict=True)
    ]
    cells = [
        [
            {
                "text": text(value, look.unit, look.decimals, zone),
                "color": step_color(look, value) if value is not None else "text",
                "link": link_of(look.links, dict(zip(frame.columns, row, strict=True))),
            }
            for value, look in zip(row, looks, strict=True)
        ]
        for row in frame.rows
    ]
    return {"table": {"columns": columns, "rows": cells}}


def _bar_chart(answer: Answer, _time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame = answer.panel, answer.frames[0]
    names = [_short(str(value)) for value in frame.column(panel.options["xField"])]
    numbers = next(at for at, kind in enumerate(frame.types) if _is_number(kind))
    values = [row[numbers] for row in frame.rows]
    look = panel.field(frame.columns[numbers])
    shown = [text(value, look.unit, look.decimals) for value in values]
    trace = {
        "type": "bar", "orientation": "h", "x": values, "y": names,
        "marker": {"color": look.color or DIGITS[0], "opacity": 0.85},
        "text": shown, "textposition": "outside", "cliponaxis": False,
        "width": 0.8,
        "hovertext": [f"{name}: {value}" for name, value in zip(names, shown, strict=True)], "hoverinfo": "text",
    }  # fmt: skip
    high = max([value for value in values if value is not None], default=1) or 1
    axis = _axis(look, 0, high if look.greatest is None else look.greatest)
    # Room for the numbers beside the bars, in a narrow panel too.
    room = 1.06 + ROOM_OF_A_CHARACTER * max(map(len, shown), default=0)
    axis["range"] = [0, (high if look.greatest is None else look.greatest) * room]
    axis["nticks"] = TICKS
    category = {"autorange": "reversed", "automargin": True, "type": "category"}
    return {"plot": {"data": [trace], "layout": _layout(axis, category)}, "legend": None}


def _heat_map(answer: Answer, time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    """Cells that end at their row's time, the stronger the more; an exponent of less than 1 lifts the small ones."""
    panel, zone = answer.panel, zone_of(time)
    series = [each for frame in answer.frames for each in series_of(panel, frame)]
    times = series[0].times
    centres = [_stamp(at - timedelta(seconds=answer.step_s / 2), zone) for at in times]
    names = [each.name for each in series]
    cells = [list(each.values) for each in series]
    greatest = max([value for row in cells for value in row if value is not None], default=1) or 1
    color, exponent = panel.options["color"]["fill"], panel.options["color"]["exponent"]
    step = _round_step(greatest / TICKS, panel.field("").unit)
    trace = {
        "type": "heatmap", "x": centres, "y": names, "z": cells, "colorscale": _opacities(color, exponent),
        "zmin": 0, "zmax": greatest, "xgap": int(len(times) <= CELLS_APART_MAX), "ygap": 1,
        "colorbar": {"thickness": 10, "len": 0.9, "outlinewidth": 0, "tickformat": ",d", "dtick": step},
        "hovertemplate": "%{y}: %{z:,}<extra></extra>",
    }  # fmt: skip
    axis = {"type": "category", "automargin": True, "showticklabels": len(series) <= NAMED_MAX, "showgrid": False}
    time_axis = _time_axis(time)
    return {"plot": {"data": [trace], "layout": _layout(time_axis, axis)}, "legend": None}


def _opacities(color: str, exponent: float, steps: int = 16) -> list[tuple[float, str]]:
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    shares = [step / steps for step in range(steps + 1)]
    return [(share, f"rgba({red},{green},{blue},{share**exponent:.3f})") for share in shares]


def _layout(x: Figure, y: Figure) -> Figure:
    """The page adds the theme's colours."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "margin": {"l": 8, "r": 12, "t": 8, "b": 24},
        "showlegend": False, "xaxis": x, "yaxis": y,
    }  # fmt: skip


def _limit(value: float, color: str) -> Figure:
    line = {"color": color, "width": 1.2, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}


def _shade(mark: Mark, zone: ZoneInfo) -> Figure:
    start, end, _ = mark
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": _stamp(start, zone), "x1": _stamp(end, zone),
        "y0": 0, "y1": 1,
        "fillcolor": "#808893", "opacity": 0.15, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip


def _mark_points(marks: Sequence[Mark], zone: ZoneInfo) -> Figure:
    """Small triangles on the time axis whose hover tells what the shading is."""
    return {
        "type": "scatter", "mode": "markers", "name": "anomalies found",
        "x": [_stamp(start, zone) for start, _, _ in marks],
        "y": [0] * len(marks), "yaxis": "y2", "text": [words for _, _, words in marks],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "triangle-up", "size": 7, "color": "#808893"}, "cliponaxis": False,
    }  # fmt: skip


def _short(name: str, longest: int = 40) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _is_number(kind: str) -> bool:
    return any(word in kind for word in ("Int", "Float", "Decimal"))


def _stamp(at: datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def marks_of(frame: Frame) -> list[Mark]:
    """The rows of an annotation query."""
    columns: Mapping[str, int] = {name: at for at, name in enumerate(frame.columns)}
    return [(row[columns["time"]], row[columns["timeEnd"]], row[columns["text"]]) for row in frame.rows]
