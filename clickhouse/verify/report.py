"""A verification's report for people and for programs."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from clickhouse.verify.run import Report

COLUMNS = {
    "rows": "rows",
    "unreadable": "unreadable",
    "empty": "empty",
    "superseded": "replaced",
    "not_in_log": "not in log",
    "expired": "expired",
    "redelivered": "redelivered",
    "behind": "behind",
}
"""What a message can be, and how it is headed."""


def as_json(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "verified": not report.failures,
        "failures": report.failures,
        "newest": report.newest and report.newest.isoformat(),
        "closed_before": {name: instant.isoformat() for name, instant in report.closed_before.items()},
        "seconds": round(report.seconds, 3),
        "positions": {name: asdict(positions) for name, positions in report.positions.items()},
        "values": {name: asdict(comparison) for name, comparison in report.values.items()},
        "letters": {name: asdict(letters) for name, letters in report.letters.items()},
    }


def print_report(report: Report, console: Console) -> None:
    """A table of what was accounted for, then every failure, then the verdict."""
    # Columns without a single number are not shown: most systems have nothing unreadable, and terminals are narrow.
    columns = [name for name in COLUMNS if any(getattr(positions, name) for positions in report.positions.values())]
    table = Table(title="Every message accounted for, every row recomputed", box=box.SIMPLE_HEAD)
    table.add_column("dataset", no_wrap=True)
    for title in ("messages", *(COLUMNS[column] for column in columns), "equal", "open"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, positions in report.positions.items():
        counts = [f"{getattr(positions, column):,}" if getattr(positions, column) else "·" for column in columns]
        values = report.values.get(name)
        compared = [f"{values.equal:,}", f"{values.open:,}"] if values else ["·", "·"]
        table.add_row(name, f"{positions.messages:,}", *counts, *compared)
    console.print(table)
    for failure in report.failures:
        console.print(f"[red]✗[/red] {failure}", soft_wrap=True, highlight=False)
    if report.newest is not None:
        instants = sorted({report.closed_before[name] for name in report.values}, reverse=True)
        console.print(
            f"The newest reading is of {report.newest:%Y-%m-%d %H:%M:%S} UTC; windows that end after "
            f"{' or '.join(f'{instant:%H:%M:%S}' for instant in instants)} are open."
        )
    letters = sum(account.letters for account in report.letters.values())
    if letters:
        console.print(f"{letters:,} dead letters, one for each unreadable message.")
    verdict = "[red]NOT VERIFIED[/red]" if report.failures else "[green]VERIFIED[/green]"
    console.print(f"{verdict} in {report.seconds:.1f} s", highlight=False)


def print_line(report: Report, console: Console) -> None:
    """One line for a whole report, and one for each failure."""
    messages = sum(positions.messages for positions in report.positions.values())
    equal = sum(comparison.equal for comparison in report.values.values())
    still_open = sum(comparison.open for comparison in report.values.values())
    verdict = "[red]NOT VERIFIED[/red]" if report.failures else "[green]VERIFIED[/green]"
    console.print(
        f"{datetime.now(UTC):%H:%M:%S} {verdict}: {messages:,} messages, {equal:,} rows equal, {still_open:,} open, "
        f"{report.seconds:.1f} s",
        highlight=False,
    )
    for failure in report.failures:
        console.print(f"  [red]✗[/red] {failure}", soft_wrap=True, highlight=False)
