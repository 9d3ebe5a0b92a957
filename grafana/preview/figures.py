"""A panel's answer to a plotly figure, as plain values (`data`, `layout`); nothing here asks or serves."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from grafana.data import Answer, Frame
from grafana.macros import TimeRange
from grafana.panels import Panel
from grafana.preview.units import SUFFIXES, text

Figure = dict[str, Any]
COLORS = {"green": "#3f8f4f", "yellow": "#b58900", "red": "#c4314b", "orange": "#d9822b"}
SERIES = (
    *("#3b6fb6", "#e08a3c", "#4c9a5b", "#b4545e", "#7e63b8", "#8a6d4f", "#c86fb1", "#6b7280", "#9a9a2f", "#2fa3b3"),
    *("#1f4e8c", "#b3611d", "#2f6b3d", "#873a44", "#58449a", "#5f4a34"),
)
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
GRID = "#e6e8eb"
NAMED_MAX = 40
"""Rows of a heat map that are still named one by one."""
Mark = tuple[datetime, datetime, str]


def is_empty(answer: Answer) -> bool:
    """Whether there is nothing to draw."""
    return not any(frame.rows for frame in answer.frames)


def figure(answer: Answer, time: TimeRange, marks: Sequence[Mark] = ()) -> Figure:
    """The panel drawn; `marks` are shaded where the panel has a time axis."""
    draw = {
        "timeseries": _time_series,
        "stat": _stat,
        "table": _table,
        "barchart": _bar_chart,
        "heatmap": _heat_map,
    }[answer.panel.kind]
    return draw(answer, time, marks)


def series_of(frame: Frame) -> dict[str, tuple[list[datetime], list[float | None]]]:
    """The series of long rows, as the plugin makes them: the first column is time, text columns are labels.

    A series is named by its labels, and by its column's name where the frame has several columns of numbers.
    """
    labels = [at for at, kind in enumerate(frame.types) if "String" in kind]
    numbers = [at for at in range(1, len(frame.columns)) if at not in labels]
    found: dict[str, tuple[list[datetime], list[float | None]]] = {}
    for row in frame.rows:
        named = " · ".join(_label(frame.columns[at], row[at]) for at in labels)
        for at in numbers:
            parts = [named] if named else []
            if len(numbers) > 1 or not named:
                parts.append(_column(frame.columns[at]))
            times, values = found.setdefault(" · ".join(parts), ([], []))
            times.append(row[0])
            values.append(row[at])
    return found


def with_gaps(
    times: Sequence[datetime], values: Sequence[float | None], step_s: float
) -> tuple[list[str], list[float | None]]:
    """Points with a hole wherever the next one is more than one step away, so that no line hides what is missing."""
    drawn_at: list[str] = []
    drawn: list[float | None] = []
    for number, (at, value) in enumerate(zip(times, values, strict=True)):
        if number and (at - times[number - 1]).total_seconds() > 1.5 * step_s:
            drawn_at.append(_stamp(times[number - 1]))
            drawn.append(None)
        drawn_at.append(_stamp(at))
        drawn.append(value)
    return drawn_at, drawn


def _time_series(answer: Answer, time: TimeRange, marks: Sequence[Mark]) -> Figure:
    panel = answer.panel
    as_bars = panel.custom.get("drawStyle") == "bars"
    traces: list[Figure] = []
    for frame in answer.frames:
        for name, (times, values) in series_of(frame).items():
            color = SERIES[len(traces) % len(SERIES)]
            traces.append(
                _bars(name, times, values, answer.step_s, color)
                if as_bars
                else _line(name, times, values, answer.step_s, color)
            )
    layout = _layout(panel)
    layout["xaxis"] = {"type": "date", "range": [_stamp(time.start), _stamp(time.end)], "gridcolor": GRID}
    if as_bars:
        layout["barmode"] = "stack"
        layout["yaxis"] |= {"rangemode": "tozero"}
        if not any(value for trace in traces for value in trace["y"]):
            layout["yaxis"]["range"] = [0, 1]
    layout["hovermode"] = "x unified" if len(traces) <= 16 else "closest"
    layout["showlegend"] = True
    limits = [(step.value, step.color) for step in panel.steps if step.value is not None]
    if panel.custom.get("thresholdsStyle", {}).get("mode", "off") != "off":
        layout["shapes"] = [_limit(value) for value, _ in limits]
        layout["annotations"] = [_limit_label(value, panel.unit) for value, _ in limits]
        low, high = panel.custom.get("axisSoftMin"), panel.custom.get("axisSoftMax")
        drawn = [v for trace in traces for v in trace["y"] if v is not None]
        layout["yaxis"]["range"] = [min([low, *drawn]) - 1, max([high, *drawn]) + 1]
    layout.setdefault("shapes", []).extend(_shade(mark) for mark in marks)
    if marks:
        traces.append(_mark_points(marks))
        layout["yaxis2"] = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    return {"data": traces, "layout": layout}


def _line(name: str, times: Sequence[datetime], values: Sequence[float | None], step_s: float, color: str) -> Figure:
    x, y = with_gaps(times, values, step_s)
    mode = "lines+markers" if len(times) <= 60 else "lines"
    line = {"color": color, "width": 1.5}
    return {"type": "scatter", "mode": mode, "name": name, "x": x, "y": y, "line": line, "marker": {"size": 4}}


def _bars(name: str, times: Sequence[datetime], values: Sequence[float | None], step_s: float, color: str) -> Figure:
    width = {"width": step_s * 1000 * 0.9, "offset": step_s * 1000 * 0.05}
    return {
        "type": "bar", "name": name, "x": [_stamp(at) for at in times], "y": list(values),
        "marker": {"color": color}, **width,
    }  # fmt: skip


def _stat(answer: Answer, _time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame = answer.panel, answer.frames[0]
    row = frame.rows[-1]
    width = 1 / len(row)
    annotations: list[Figure] = []
    for at, (column, value) in enumerate(zip(frame.columns, row, strict=True)):
        middle = (at + 0.5) * width
        color = _step_color(panel, value)
        shown = text(value, panel.units.get(column, panel.unit), panel.decimals)
        annotations.append(_words(shown, middle, 0.58, 28 if len(row) == 1 else 19, color))
        if len(row) > 1:
            annotations.append(_words(_column(column), middle, 0.08, 11, "#5b6470"))
    layout = _layout(panel) | {"annotations": annotations, "margin": {"l": 4, "r": 4, "t": 4, "b": 4}}
    layout["xaxis"] = layout["yaxis"] = {"visible": False, "range": [0, 1]}
    return {"data": [], "layout": layout}


def _table(answer: Answer, _time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame = answer.panel, answer.frames[0]
    cells = []
    for at, column in enumerate(frame.columns):
        unit = panel.units.get(column, panel.unit)
        # Numbers that name something are no quantities; text() leaves text alone.
        cells.append(
            [text(row[at], unit, panel.decimals if isinstance(row[at], float) else None) for row in frame.rows]
        )
    align = ["right" if _is_number(kind) else "left" for kind in frame.types]
    head = {"values": [f"<b>{_column(c)}</b>" for c in frame.columns], "align": align, "fill": {"color": "#eef1f4"}}
    body = {"values": cells, "align": align, "height": 22, "fill": {"color": "#ffffff"}, "line": {"color": GRID}}
    widths = [
        max([len(_column(c)), *(len(cell) for cell in column[:50])]) + 3
        for c, column in zip(frame.columns, cells, strict=True)
    ]
    layout = _layout(panel) | {"margin": {"l": 4, "r": 4, "t": 4, "b": 4}}
    return {"data": [{"type": "table", "header": head, "cells": body, "columnwidth": widths}], "layout": layout}


def _bar_chart(answer: Answer, _time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame = answer.panel, answer.frames[0]
    names = [_short(str(value)) for value in frame.column(panel.options["xField"])]
    numbers = next(at for at, kind in enumerate(frame.types) if _is_number(kind))
    values = [row[numbers] for row in frame.rows]
    trace = {
        "type": "bar", "orientation": "h", "x": values, "y": names, "marker": {"color": SERIES[0]},
        "text": [text(value, panel.unit, panel.decimals) for value in values], "textposition": "auto",
        "hovertext": [str(value) for value in frame.column(panel.options["xField"])], "hoverinfo": "text+x",
    }  # fmt: skip
    layout = _layout(panel)
    layout["xaxis"] = layout.pop("yaxis") | {"rangemode": "tozero"}
    layout["yaxis"] = {"autorange": "reversed", "automargin": True, "type": "category"}
    return {"data": [trace], "layout": layout}


def _heat_map(answer: Answer, time: TimeRange, _marks: Sequence[Mark]) -> Figure:
    panel, frame = answer.panel, answer.frames[0]
    series = series_of(frame)
    times = sorted({at for found, _ in series.values() for at in found})
    cells = [[dict(zip(*found, strict=True)).get(at) for at in times] for found in series.values()]
    # Each cell stands for the step that begins at its time; plotly centres cells.
    centres = [_stamp(datetime.fromtimestamp(at.timestamp() + answer.step_s / 2, UTC)) for at in times]
    trace = {
        "type": "heatmap", "x": centres, "y": list(series), "z": cells, "colorscale": "YlOrRd", "reversescale": True,
        "zmin": 0, "zmax": max([value for row in cells for value in row if value is not None], default=1) or 1,
        "colorbar": {"thickness": 12}, "xgap": 1, "ygap": 1,
    }  # fmt: skip
    layout = _layout(panel)
    layout["xaxis"] = {"type": "date", "range": [_stamp(time.start), _stamp(time.end)]}
    layout["yaxis"] = {"type": "category", "automargin": True, "showticklabels": len(series) <= NAMED_MAX}
    return {"data": [trace], "layout": layout}


def _layout(panel: Panel) -> Figure:
    suffix = SUFFIXES[panel.unit]
    axis: Figure = {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True}
    if panel.unit == "percentunit":
        axis |= {"tickformat": ".0%", "rangemode": "tozero"}
    elif suffix:
        axis["ticksuffix"] = suffix if panel.unit == "bytes" else f" {suffix}"
    legend = {"orientation": "h", "y": -0.14, "yanchor": "top", "font": {"size": 10}, "traceorder": "normal"}
    if panel.options.get("legend", {}).get("placement") == "right":
        legend = {"orientation": "v", "x": 1.01, "y": 1, "font": {"size": 10}, "traceorder": "normal"}
    return {
        "font": {"family": FONT, "size": 11, "color": "#2b3138"},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 10, "r": 12, "t": 8, "b": 36},
        "legend": legend,
        "showlegend": False, "yaxis": axis, "colorway": list(SERIES),
    }  # fmt: skip


def _limit(value: float) -> Figure:
    line = {"color": COLORS["red"], "width": 1.2, "dash": "dash"}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value, "line": line}


def _limit_label(value: float, unit: str) -> Figure:
    return {
        "xref": "paper", "x": 1, "y": value, "text": text(value, unit, 0), "showarrow": False, "xanchor": "right",
        "yanchor": "bottom", "font": {"color": COLORS["red"], "size": 10},
    }  # fmt: skip


def _shade(mark: Mark) -> Figure:
    start, end, _ = mark
    return {
        "type": "rect", "xref": "x", "yref": "paper", "x0": _stamp(start), "x1": _stamp(end), "y0": 0, "y1": 1,
        "fillcolor": COLORS["orange"], "opacity": 0.18, "line": {"width": 0}, "layer": "below",
    }  # fmt: skip


def _mark_points(marks: Sequence[Mark]) -> Figure:
    """Small triangles on the time axis whose hover tells what the shading is."""
    return {
        "type": "scatter", "mode": "markers", "name": "anomalies found", "x": [_stamp(start) for start, _, _ in marks],
        "y": [0] * len(marks), "yaxis": "y2", "text": [words for _, _, words in marks],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"symbol": "triangle-up", "size": 7, "color": COLORS["orange"]}, "cliponaxis": False,
    }  # fmt: skip


def _words(words: str, x: float, y: float, size: int, color: str) -> Figure:
    font = {"size": size, "color": color}
    place = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "center"}
    return {"text": words, **place, "showarrow": False, "font": font}


def _step_color(panel: Panel, value: object) -> str:
    color = "green"
    for step in panel.steps:
        if step.value is None or (isinstance(value, int | float) and value >= step.value):
            color = step.color
    return COLORS.get(color, color)


def _label(column: str, value: object) -> str:
    """Ids are named; other labels speak for themselves."""
    return f"{column} {value}" if column in {"meter", "building"} else str(value)


def _column(name: str) -> str:
    """A column for people: the unit at its end is the axis's, words are apart."""
    stem, _, last = name.rpartition("_")
    plain = stem if stem and last in {"kw", "kwh", "v"} else name
    return plain.replace("_", " ")


def _short(name: str, longest: int = 60) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _is_number(kind: str) -> bool:
    return any(word in kind for word in ("Int", "Float", "Decimal"))


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def marks_of(frame: Frame) -> list[Mark]:
    """The rows of an annotation query."""
    columns: Mapping[str, int] = {name: at for at, name in enumerate(frame.columns)}
    return [(row[columns["time"]], row[columns["timeEnd"]], row[columns["text"]]) for row in frame.rows]
