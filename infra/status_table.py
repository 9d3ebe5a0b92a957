"""The stack's state as a table for people."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from infra.stack import PartStatus

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
    console = Console()
    console.print(table)
    for part in parts:
        console.print(f"[dim]{part.part} log[/] {part.log}", soft_wrap=True, highlight=False)


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
