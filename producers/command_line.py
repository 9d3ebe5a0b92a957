"""What the producers' commands share: settings from options, stopping in order, the summary."""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError
from rich import box
from rich.table import Table

from infra.console import stdout_console
from producers.columns import instant
from producers.run import Report
from producers.settings import SinkSettings

M = TypeVar("M", bound=BaseModel)
SIGNALS = (signal.SIGINT, signal.SIGTERM)
UNIT = re.compile("_(ms|s|v)$")


def from_options(make: Callable[..., M], **values: Any) -> M:
    """What `make` makes of the values of options; one that a model refuses is a usage error that names the option."""
    try:
        return make(**values)
    except ValidationError as error:
        sentences = []
        for fault in error.errors():
            option = _option(str(fault["loc"][0])) if fault["loc"] else ""
            sentences.append(f"{option}: {fault['msg']}" if option else fault["msg"].removeprefix("Value error, "))
        raise click.UsageError("; ".join(sentences)) from error


def _option(field: str) -> str:
    """The option that a model's field comes from: the parameter of its name, or of its name in another unit."""
    context = click.get_current_context(silent=True)
    options = (
        {parameter.name or "": max(parameter.opts, key=len) for parameter in context.command.params} if context else {}
    )
    in_any_unit = {UNIT.sub("", name): option for name, option in options.items()}
    return options.get(field) or in_any_unit.get(UNIT.sub("", field)) or "--" + field.replace("_", "-")


def sink_settings(data_dir: Path, schema_version: int) -> SinkSettings:
    """Where the stack of this directory, or the environment, wants the readings."""
    from infra.settings import load_settings

    settings = load_settings(data_dir)
    return SinkSettings(
        kafka_brokers=settings.kafka_brokers,
        topic=settings.kafka_topic,
        schema_registry_url=settings.schema_registry_url,
        schema_version=schema_version,
    )


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGINT or SIGTERM sets. The second signal acts as if nobody had listened."""
    stop = threading.Event()

    def first(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, first) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def print_report(report: Report, topic: str) -> None:
    """The summary on stdout."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("figure", justify="right")
    table.add_row("readings sent", f"{report.sent:,}")
    table.add_row("acknowledged", f"{report.acknowledged:,}")
    table.add_row("there already", f"{report.already_there:,}")
    table.add_row("missing in the source", f"{report.missing:,}")
    table.add_row("unreadable lines", f"{report.unreadable:,}")
    if report.first_ms is not None and report.last_ms is not None:
        table.add_row("first", instant(report.first_ms))
        table.add_row("last", instant(report.last_ms))
    table.add_row("took", f"{report.elapsed_s:.1f} s")
    table.add_row("readings/s", f"{report.readings_per_s:,.0f}")
    console = stdout_console()
    console.print(f"[bold]{topic}[/]{', stopped before the end' if report.stopped else ''}")
    console.print(table)
