"""Dashboards read from the JSON that Grafana loads: what the preview draws and the tests run, nothing else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from grafana.macros import TimeRange
from infra.base.errors import SmartmeterError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
ROW = "row"


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
class Link:
    title: str
    url: str


@dataclass(frozen=True)
class Field:
    """How one column or series is shown: the panel's defaults with the overrides that match its name."""

    unit: str
    decimals: int | None
    color: str
    """The fixed colour; empty where steps or mappings decide."""
    steps: tuple[Step, ...]
    links: tuple[Link, ...]
    texts: Mapping[str, tuple[str, str]]
    """Value → text and colour."""
    least: float | None
    greatest: float | None
    custom: Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One panel or heading; `options`, `defaults` and `overrides` as Grafana has them."""

    id: int
    kind: str
    title: str
    position: tuple[int, int, int, int]
    description: str = ""
    no_data: str = ""
    display_name: str = ""
    least_step_s: int = 1
    span_s: int | None = None
    """Where the panel shows so much of the newest time, however long the dashboard's is."""
    targets: tuple[Target, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[Mapping[str, Any], ...] = ()

    def time(self, of_page: TimeRange) -> TimeRange:
        """The panel's time: the dashboard's, or its own until the same end."""
        start = of_page.start if self.span_s is None else of_page.end - timedelta(seconds=self.span_s)
        return replace(of_page, start=start)

    def field(self, name: str) -> Field:
        """How the column or series of this name looks; later overrides win, as in Grafana."""
        values: dict[str, Any] = {**self.defaults, "custom": {**(self.defaults.get("custom") or {})}}
        for override in self.overrides:
            if not _matches(override["matcher"], name):
                continue
            for each in override["properties"]:
                place, _, key = each["id"].rpartition(".")
                (values["custom"] if place == "custom" else values)[key] = each["value"]
        color = values.get("color") or {}
        return Field(
            unit=values.get("unit", ""),
            decimals=values.get("decimals"),
            color=color.get("fixedColor", "") if color.get("mode") == "fixed" else "",
            steps=tuple(Step(s["color"], s["value"]) for s in (values.get("thresholds") or {}).get("steps", [])),
            links=tuple(Link(each["title"], each["url"]) for each in values.get("links") or []),
            texts={
                value: (told.get("text", value), told.get("color", ""))
                for mapping in values.get("mappings") or []
                for value, told in mapping["options"].items()
            },
            least=values.get("min"),
            greatest=values.get("max"),
            custom=values["custom"],
        )


@dataclass(frozen=True)
class Variable:
    """`is_multi`: several values and All may be chosen, else exactly one."""

    name: str
    label: str
    description: str
    sql: str
    is_multi: bool = True


@dataclass(frozen=True)
class Marks:
    """An annotation query: rows of `time`, `timeEnd`, `text`, drawn on the panels with these ids."""

    name: str
    sql: str
    color: str
    panels: frozenset[int] = frozenset()


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
            Variable(each["name"], each["label"], each["description"], each["query"], each["multi"])
            for each in dashboard["templating"].get("list", [])
        ),
        marks=tuple(
            Marks(each["name"], each["target"]["rawSql"], each["iconColor"], frozenset(each["filter"]["ids"]))
            for each in dashboard["annotations"].get("list", [])
        ),
        panels=tuple(_heading(each) if each["type"] == ROW else _panel(each) for each in dashboard["panels"]),
    )


def seconds(text: str) -> int:
    """A span as Grafana writes it: 30s, 5m, 6h, 7d."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise SmartmeterError(f"{text!r} is not a span of time; write it like 30s, 5m, 6h or 7d")
    return int(match[1]) * UNITS_S[match[2]]


def _matches(matcher: Mapping[str, Any], name: str) -> bool:
    if matcher["id"] == "byRegexp":
        return re.search(str(matcher["options"]).strip("/"), name) is not None
    return bool(matcher["id"] == "byName" and matcher["options"] == name)


def _heading(raw: Mapping[str, Any]) -> Panel:
    return Panel(raw["id"], ROW, raw["title"], _position(raw))


def _panel(raw: Mapping[str, Any]) -> Panel:
    defaults = raw["fieldConfig"]["defaults"]
    return Panel(
        id=raw["id"],
        kind=raw["type"],
        title=raw["title"],
        position=_position(raw),
        description=raw["description"],
        no_data=defaults["noValue"],
        display_name=defaults.get("displayName", ""),
        least_step_s=seconds(raw["interval"]) if raw.get("interval") else 1,
        span_s=seconds(raw["timeFrom"]) if raw.get("timeFrom") else None,
        targets=tuple(Target(t["refId"], t["rawSql"], t["format"] == 0) for t in raw["targets"]),
        options=raw.get("options") or {},
        defaults=defaults,
        overrides=tuple(raw["fieldConfig"]["overrides"]),
    )


def _position(raw: Mapping[str, Any]) -> tuple[int, int, int, int]:
    place = raw["gridPos"]
    return place["x"], place["y"], place["w"], place["h"]
