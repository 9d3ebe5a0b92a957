"""How long every query of the dashboards takes over a large world, by hand:

    python -m tests.integration.panel_times FOLDER [--meters 5000] [--days 30] [--only WORDS]

FOLDER gets 13 GB for 5,000 meters and 30 days, and is used again when it is there. Each query is asked three times as
Grafana's reader; the least is told by the clock, beside the least CPU seconds of the engine, which others' work
lengthens less.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import clickhouse_connect
import psutil
import requests

from grafana import alerts
from grafana.ask import asking
from grafana.data import Ask, choose
from grafana.macros import TimeRange, Value, expand, interval_s
from grafana.panels import Page, read_page
from grafana.preview.answers import NEWEST
from grafana.render import load
from infra.base.wait import until
from tests.integration import panel_scale, panel_world
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front

TIMES = 3
RECENT, FRESH = timedelta(hours=1), timedelta(minutes=15)
FILL_DEADLINE_S = 1800
NOT_ASKED_BEFORE = {"use_query_condition_cache": 0}
"""A dashboard asks for a new time whenever it refreshes: what the engine remembers of conditions helps it little."""


class Question(NamedTuple):
    """One query, as it reaches ClickHouse; `of`: what the variables are set to."""

    page: str
    title: str
    of: str
    text: str


def fill(front: FrontServer, scale: panel_scale.Scale) -> None:
    """Tables as they are after long: few large parts, the last minutes in small ones, and rows that were replaced."""

    def run(statement: str) -> str:
        sent = {"X-ClickHouse-User": ADMIN[0], "X-ClickHouse-Key": ADMIN[1]}
        response = requests.post(front.url, data=statement.encode(), headers=sent, timeout=FILL_DEADLINE_S)
        assert response.status_code == 200, response.text
        return response.text

    panel_world.create(run)
    fresh, whole = replace(scale, span=FRESH), scale
    scale = replace(scale, end=scale.end - FRESH, span=scale.span - FRESH)
    panel_scale.fill_windows(run, scale)
    panel_scale.readings(run, whole, hours=int(whole.span.total_seconds()) // 3600)
    panel_scale.figures(run, whole)
    drawn = run(
        "SELECT meter_id FROM meter_hourly_power_consumption WHERE window_start > now() - INTERVAL 1 DAY "
        "AND meter_id > 500 GROUP BY meter_id ORDER BY sum(energy_kwh) DESC LIMIT 10"
    )
    panel_scale.half_minutes(run, scale, ids=[int(line) for line in drawn.split()])
    panel_scale.minutes(run, fresh)
    panel_scale.five_minutes(run, fresh)
    since = int((scale.end - RECENT).timestamp())
    for table in ("meter_minute_trend", "anomaly_prediction_results", "anomaly_prediction_features"):
        run(
            f"INSERT INTO {table} SELECT * REPLACE (event_count - 1 AS event_count) FROM {table} "
            f"WHERE window_start >= toDateTime({since}) AND event_count > 1"
        )


def questions(ask: Ask, time_range: TimeRange, meter: str) -> Iterator[Question]:
    """Every variable, panel, annotation and alert: with all meters, with one building, with one meter."""
    building = str((int(meter) - 1) // panel_scale.PER_BUILDING + 1)
    for page in map(read_page, load()):
        chosen: dict[str, dict[str, list[str]]] = {"all": {}}
        names = {variable.name for variable in page.variables}
        if "building_id" in names:
            chosen["one building"] = {"building_id": [building]}
        if "meter_id" in names:
            chosen["one meter"] = {"meter_id": [meter]}
        for of, choice in chosen.items():
            values = {name: value for name, (value, _) in choose(page.variables, choice, time_range, ask).items()}
            yield from _of_page(page, of, values, time_range)
    yield Question("preview", "newest reading", "all", NEWEST)
    for rule in alerts.RULES:
        span = TimeRange(time_range.end - timedelta(seconds=rule.span_s), time_range.end)
        yield Question("alerts", rule.title, "all", expand(rule.sql, span, 60, {}))


def _of_page(page: Page, of: str, values: dict[str, Value], time_range: TimeRange) -> Iterator[Question]:
    name = page.uid.removeprefix("smartmeter-")
    for variable in page.variables:
        text = expand(variable.sql, time_range, interval_s(time_range), values)
        yield Question(name, f"variable {variable.label}", of, text)
    for panel in page.panels:
        for target in panel.targets:
            span = panel.time(time_range)
            text = expand(target.sql, span, interval_s(span, panel.least_step_s), values)
            yield Question(name, panel.title, of, text)
    for marks in page.marks:
        yield Question(name, f"marks {marks.name}", of, expand(marks.sql, time_range, interval_s(time_range), values))


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of the front and the engine's own process below it."""
    family = [process, *process.children(recursive=True)]
    return sum(sum(each.cpu_times()[:2]) for each in family)


def main() -> None:
    """Fill, ask and print a table, the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--meters", type=int, default=5000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--only", default="", help="Questions with these words in their title.")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    ended = given.folder / "end"
    with running_front(given.folder / "data") as front:
        assert front.process is not None
        if not ended.exists():
            scale = panel_scale.Scale(given.meters, timedelta(days=given.days), panel_scale.newest_minute())
            begun = time.monotonic()
            fill(front, scale)
            sys.stderr.write(f"filled in {time.monotonic() - begun:.0f} s\n")
            ended.write_text(scale.end.isoformat())
        # As in a table that is fed: what is old lies in large parts, the last minutes in small ones.
        front.run("SYSTEM STOP MERGES")
        end = datetime.fromisoformat(ended.read_text()).astimezone(UTC)
        until(lambda: front.run("SELECT count() FROM system.merges") == "0", "merges to end", 1800)
        sys.stderr.write(
            front.run(
                "SELECT table, sum(rows), count(), formatReadableSize(sum(bytes_on_disk)) FROM system.parts "
                "WHERE active AND database = 'default' AND rows > 0 GROUP BY table ORDER BY table"
            )
            + "\n"
        )
        client = clickhouse_connect.get_client(
            host="127.0.0.1", port=front.port, username=READER[0], password=READER[1], settings=NOT_ASKED_BEFORE
        )
        ask = asking(client)
        figures = []
        for question in questions(ask, TimeRange(end - timedelta(days=given.days), end), "7"):
            if given.only not in question.title:
                continue
            runs = []
            for _ in range(TIMES):
                begun, used = time.monotonic(), cpu_s(front.process)
                rows = len(ask(question.text).rows)
                runs.append((time.monotonic() - begun, cpu_s(front.process) - used, rows))
            clock_s, used_s, rows = min(each[0] for each in runs), min(each[1] for each in runs), runs[0][2]
            figures.append((clock_s, used_s, rows, question))
            sys.stderr.write(
                f"{clock_s:6.2f} {used_s:6.2f} {rows:7} {question.page}: {question.title}, {question.of}\n"
            )
        print("| by the clock, s | CPU, s | rows | dashboard | what | chosen |\n|---|---|---|---|---|---|")
        for clock_s, used_s, rows, asked in sorted(figures, key=lambda each: -each[0]):
            print(f"| {clock_s:.2f} | {used_s:.2f} | {rows:,} | {asked.page} | {asked.title} | {asked.of} |")


if __name__ == "__main__":
    main()
