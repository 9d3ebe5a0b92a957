"""Dashboards read from the JSON that Grafana loads: what the preview draws and the tests run, nothing else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.base.errors import SmartmeterError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Target:
    """One query of a panel. `is_series`: text columns tell series apart, the first column is their time."""

    ref_id: str
    sql: str
    is_series: bool


@dataclass(frozen=True)
class Step:
    """A colour from a value on; the first step has no value."""

    color: str
    value: float | None


@dataclass(frozen=True)
class Panel:
    """One panel; `options` and `custom` as Grafana has them, `units` by column where a column has its own."""

    id: int
    kind: str
    title: str
    description: str
    no_data: str
    unit: str
    units: Mapping[str, str]
    decimals: int | None
    display_name: str
    least_step_s: int
    steps: tuple[Step, ...]
    targets: tuple[Target, ...]
    position: tuple[int, int, int, int]
    options: Mapping[str, Any]
    custom: Mapping[str, Any]


@dataclass(frozen=True)
class Variable:
    name: str
    label: str
    description: str
    sql: str


@dataclass(frozen=True)
class Marks:
    """An annotation query: rows of `time`, `timeEnd`, `text`."""

    name: str
    sql: str
    color: str


@dataclass(frozen=True)
class Page:
    """One dashboard."""

    uid: str
    title: str
    description: str
    span_s: int
    variables: tuple[Variable, ...]
    marks: tuple[Marks, ...]
    panels: tuple[Panel, ...]


def read_page(dashboard: Mapping[str, Any]) -> Page:
    """A dashboard of Grafana's JSON; raises KeyError where it lacks what every dashboard of ours has."""
    return Page(
        uid=dashboard["uid"],
        title=dashboard["title"],
        description=dashboard["description"],
        span_s=seconds(dashboard["time"]["from"].removeprefix("now-")),
        variables=tuple(
            Variable(each["name"], each["label"], each["description"], each["query"])
            for each in dashboard["templating"].get("list", [])
        ),
        marks=tuple(
            Marks(each["name"], each["target"]["rawSql"], each["iconColor"])
            for each in dashboard["annotations"].get("list", [])
        ),
        panels=tuple(_panel(each) for each in dashboard["panels"]),
    )


def seconds(text: str) -> int:
    """A span as Grafana writes it: 30s, 5m, 6h, 7d."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise SmartmeterError(f"{text!r} is not a span of time; write it like 30s, 5m, 6h or 7d")
    return int(match[1]) * UNITS_S[match[2]]


def _panel(raw: Mapping[str, Any]) -> Panel:
    defaults = raw["fieldConfig"]["defaults"]
    place = raw["gridPos"]
    units = {
        override["matcher"]["options"]: each["value"]
        for override in raw["fieldConfig"]["overrides"]
        for each in override["properties"]
        if override["matcher"]["id"] == "byName" and each["id"] == "unit"
    }
    return Panel(
        id=raw["id"],
        kind=raw["type"],
        title=raw["title"],
        description=raw["description"],
        no_data=defaults["noValue"],
        unit=defaults["unit"],
        units=units,
        decimals=defaults.get("decimals"),
        display_name=defaults.get("displayName", ""),
        least_step_s=seconds(raw["interval"]) if raw.get("interval") else 1,
        steps=tuple(Step(s["color"], s["value"]) for s in defaults.get("thresholds", {}).get("steps", [])),
        targets=tuple(Target(t["refId"], t["rawSql"], t["format"] == 0) for t in raw["targets"]),
        position=(place["x"], place["y"], place["w"], place["h"]),
        options=raw.get("options") or {},
        custom=defaults.get("custom") or {},
    )
