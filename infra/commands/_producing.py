"""What the producers' commands share: where the readings go, and the summary."""

from rich import box
from rich.table import Table

from infra.base.clock import instant
from infra.base.console import stdout_console
from infra.commands._options import Where
from producers.run import SendReport
from producers.settings import SinkSettings


def sink_settings(where: Where, schema_version: int) -> SinkSettings:
    """Where the deployment wants the readings."""

    settings = where.settings()
    return SinkSettings(
        kafka=settings.kafka,
        topic=settings.kafka_topic,
        schema_registry_url=settings.schema_registry_url,
        schema_version=schema_version,
        fleet=settings.deployment.fleet,
    )


def print_report(report: SendReport, topic: str) -> None:
    """The summary on stdout."""
    table = Table(box=box.SIMPLE_HEAD, show_header=False)
    table.add_column("what", no_wrap=True)
    table.add_column("figure", justify="right")
    table.add_row("readings sent", f"{report.sent:,}")
    table.add_row("acknowledged", f"{report.acknowledged:,}")
    if report.file is not None:
        if report.file.compared:
            table.add_row("of these, new", f"{report.sent - report.file.changed:,}")
            table.add_row("of these, changed", f"{report.file.changed:,}")
            table.add_row("there already, the same", f"{report.already_there:,}")
        table.add_row("lines that repeat the one before", f"{report.file.repeated:,}")
    else:
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
    if report.file is not None:
        for sentence in report.file.losses.splitlines():
            console.print(sentence, soft_wrap=True, highlight=False, markup=False)
        if report.file.remedy is not None:
            console.print(
                f"{report.file.behind:,} readings, of {instant(report.file.behind_first_ms)} to "
                f"{instant(report.file.behind_last_ms)}, are behind the watermark: their windows were closed when they "
                "came, so no aggregate has them. When the stream has read them, recompute those windows: "
                f"{report.file.remedy}",
                soft_wrap=True,
                highlight=False,
                markup=False,
            )
