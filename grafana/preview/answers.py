"""One dashboard asked and drawn: what the page gets for a choice of variables and time."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from grafana.data import Ask, Frame, ask_marks, ask_panel, choose
from grafana.macros import TimeRange, Value
from grafana.panels import ROW, Page, Panel
from grafana.preview.figures import Mark, figure, is_empty, marks_of, zone_of
from infra.base.errors import SmartmeterError

NEWEST = "SELECT toUnixTimestamp(max(window_end)), count() FROM meter_minute_trend"
STALE_AFTER_S = 3600
SPAN_MAX_S = 366 * 86400
YEARS = range(1972, 2105)
"""What a ClickHouse DateTime holds, with a year for the span before it and room for a step after it."""

CONCURRENT = 4
"""Queries at once; the embedded front runs eight, and others want some."""
WALL_CLOCK = {"smartmeter-pipeline"}
"""Dashboards about the system itself: their newest figure is always of now."""


@dataclass(frozen=True)
class Wish:
    """What the page asks for; `until` is auto, now, newest, or an instant in `zone`, no span is the dashboard's own."""

    until: str = "auto"
    span_s: int | None = None
    chosen: Mapping[str, Sequence[str]] | None = None
    zone: str = "utc"
    """As Grafana names it: utc, or an IANA name."""


def answer(page: Page, wish: Wish, ask: Ask, now: datetime) -> dict[str, Any]:
    """The dashboard as plain values for JSON; a panel that fails says why, the others are drawn.

    Raises SmartmeterError where the time or a variable cannot be had.
    """
    time = _time(page, wish, ask, now)
    variables = choose(page.variables, wish.chosen or {}, time, ask)
    values = {name: value for name, (value, _) in variables.items()}
    marks = {
        panel: marks_of(ask_marks(each, time, values, ask)) for each in page.marks for panel in sorted(each.panels)
    }
    with ThreadPoolExecutor(CONCURRENT) as pool:
        drawn = list(pool.map(lambda panel: _drawn(panel, time, values, ask, marks.get(panel.id, [])), page.panels))
    zone = zone_of(time)
    return {
        "uid": page.uid,
        "title": page.title,
        "description": page.description,
        "start": f"{time.start.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "end": f"{time.end.astimezone(zone):%Y-%m-%d %H:%M:%S}",
        "zone": str(zone),
        "span": wish.span_s or page.span_s,
        "variables": [
            {
                "name": each.name,
                "label": each.label,
                "description": each.description,
                "multi": each.is_multi,
                "options": variables[each.name][1],
                "values": list(values[each.name].values),
                "all": values[each.name].is_all,
            }
            for each in page.variables
        ],
        "panels": drawn,
    }


def _drawn(panel: Panel, time: TimeRange, values: Mapping[str, Value], ask: Ask, marks: list[Mark]) -> dict[str, Any]:
    told = {
        "id": panel.id,
        "kind": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "position": panel.position,
        "empty": panel.no_data,
        "note": f"Last {panel.span_s // 3600} hours" if panel.span_s else "",
        "body": None,
        "error": "",
    }
    if panel.kind == ROW:
        return told
    try:
        found = ask_panel(panel, time, values, ask)
    except SmartmeterError as error:
        return told | {"error": str(error)}
    return told if is_empty(found) else told | {"body": figure(found, panel.time(time), marks)}


def _time(page: Page, wish: Wish, ask: Ask, now: datetime) -> TimeRange:
    span_s = min(wish.span_s or page.span_s, SPAN_MAX_S)
    end = now
    if wish.until not in {"auto", "now", "newest"}:
        end = _instant(wish.until, wish.zone)
    elif wish.until != "now" and page.uid not in WALL_CLOCK:
        newest = _newest(ask(NEWEST))
        if newest and (wish.until == "newest" or (now - newest).total_seconds() > STALE_AFTER_S):
            end = newest
    end = end.astimezone(UTC).replace(microsecond=0)
    return TimeRange(end - timedelta(seconds=span_s), end, wish.zone)


def _instant(text: str, zone: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("UTC" if zone == "utc" else zone))
    except ValueError as error:
        raise SmartmeterError(
            f"until {text[:100]!r}: write now, newest, or an instant such as 2026-01-31T12:00"
        ) from error
    if instant.year not in YEARS:
        raise SmartmeterError(f"until {text[:100]!r}: a year from {YEARS.start} to {YEARS.stop - 1}, please")
    return instant


def _newest(frame: Frame) -> datetime | None:
    [(seconds, count)] = frame.rows
    return datetime.fromtimestamp(seconds, UTC) if count else None
