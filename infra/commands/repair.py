"""`smartmeter repair`"""

from datetime import UTC, datetime
from pathlib import Path

import click

from infra.options import data_dir_option

INSTANT = click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d"])


@click.command()
@data_dir_option
@click.option("--open", "only_open", is_flag=True, help="The windows that the stream still holds open.")
@click.option("--from", "start", type=INSTANT, help="From this instant on, UTC.")
@click.option("--to", "end", type=INSTANT, help="Up to this instant, UTC.")
def command(data_dir: Path, only_open: bool, start: datetime | None, end: datetime | None) -> None:
    """Recompute windows from the raw topic, and emit them anew.

    For windows that late readings have changed (--from, --to), and to finish the last windows of a source that has
    ended (--open), which a stream keeps open until something newer comes. Between two rows for one window the one with
    more readings counts, so this is harmless at any time, also beside a running stream.

    \b
    Example:
      smartmeter repair --open
      smartmeter repair --from 2026-01-05 --to 2026-01-06
    """
    from infra.settings import load_settings
    from stream_processing.repair import Span
    from stream_processing.run import open_windows, run_repair
    from stream_processing.settings import StreamSettings

    if only_open == bool(start or end):
        raise click.UsageError("say which windows: --open, or --from and --to (one of them suffices)")
    settings = load_settings(data_dir)
    span = open_windows(settings.data_dir) if only_open else Span(_utc(start), _utc(end))
    click.echo("recomputing from the raw topic", err=True)
    for topic, rows in sorted(run_repair(settings, StreamSettings(), span).items()):
        click.echo(f"{topic}: {rows} rows emitted")


def _utc(instant: datetime | None) -> datetime | None:
    return instant and instant.replace(tzinfo=UTC)
