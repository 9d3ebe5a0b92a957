"""The stack's state as a table for people."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from infra.base.console import stdout_console
from infra.operations.status import Overview, age_s
from infra.stack.stack import PartStatus

STYLES = {"running": "green", "not ready": "yellow", "stopped": "red"}


def print_status(parts: Sequence[PartStatus]) -> None:
    """Print one row per part on stdout, and below the table where each part's log is."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("part", "state", "pid", "uptime", "memory", "version"):
        table.add_column(heading, no_wrap=True)
    table.add_column("address", overflow="fold")
    for part in parts:
        table.add_row(
            part.part,
            f"[{STYLES[part.state]}]{part.state}[/]",
            "" if part.pid is None else str(part.pid),
            "" if part.uptime_s is None else duration(part.uptime_s),
            "" if part.resident_bytes is None else f"{part.resident_bytes / 2**20:.0f} MiB",
            part.version,
            part.address,
        )
    console = stdout_console()
    console.print(table)
    for part in (part for part in parts if Path(part.log).exists()):
        console.print(f"[dim]{part.part} log[/] {part.log}", soft_wrap=True, highlight=False)


def print_overview(overview: Overview) -> None:
    """The parts, then consumers and tables by topic, then what needs a person's eye."""
    print_status(overview.parts)
    console = stdout_console()
    if overview.lag or overview.newest_row_age_s:
        console.print(_consumers(overview))
    for line in _lines(overview):
        console.print(line, soft_wrap=True, highlight=False)
    for sentence in overview.recreated:
        console.print(f"[red]✗[/] {escape(sentence)}", soft_wrap=True, highlight=False)
    for source, reason in overview.silent.items():
        console.print(f"[yellow]{source} does not answer:[/] {escape(reason)}", soft_wrap=True, highlight=False)


def _consumers(overview: Overview) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("topic", "consumer"):
        table.add_column(heading, no_wrap=True)
    for heading in ("lag", "newest row"):
        table.add_column(heading, no_wrap=True, justify="right")
    for consumer, topic, messages in sorted(overview.lag, key=lambda each: (each[1], each[0])):
        part, _, dataset = consumer.partition("-")
        age = overview.newest_row_age_s.get(dataset) if part == "clickhouse" else None
        shown = part if dataset == topic else consumer
        table.add_row(topic, shown, f"{messages:,}", "" if age is None else f"{duration(age)} ago")
    return table


def _lines(overview: Overview) -> list[str]:
    late = unreadable = letters = repeated = "not known"
    last = "never run here"
    if overview.late is not None:
        late = f"{overview.late.rows:,} rows met by the stream, {overview.late.readings:,} readings found by repairs"
    if overview.unreadable is not None:
        unreadable = ", ".join(f"{count:,} by {consumer}" for consumer, count in overview.unreadable.items()) or "none"
    if overview.dead_letters is not None:
        letters = ", ".join(f"{count:,} {state}" for state, count in overview.dead_letters.items())
    if overview.repeated_readings is not None:
        repeated = f"{overview.repeated_readings:,}, as of the last verify"
    if overview.verification is not None:
        failures = overview.verification["failures"]
        verdict = f"[red]NOT VERIFIED[/], {len(failures)} failures" if failures else "[green]VERIFIED[/]"
        last = f"{verdict}, {duration(age_s(overview.verification['at']))} ago"
    counted = [f"late: {late}", f"unreadable: {unreadable}", f"dead letters: {letters}"]
    return [*counted, f"repeated readings: {repeated}", f"last verify: {last}"]


def duration(seconds: float) -> str:
    """A time span for people: `42s`, `3m 05s`, `2h 07m`, `4d 03h`."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    if days:
        return f"{days}d {h:02}h"
    if hours:
        return f"{h}h {m:02}m"
    return f"{m}m {s:02}s" if minutes else f"{s}s"
