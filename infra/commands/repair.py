"""`smartmeter repair`"""

import click

from infra.commands._options import Instant, Where, where_options


@click.command()
@where_options
@click.option(
    "--late", "only_late", is_flag=True, help="The hours in which closed windows lack readings or corrections."
)
@click.option("--open", "only_open", is_flag=True, help="The windows that the stream still holds open.")
@click.option("--from", "start", type=Instant(), help="From this time on (UTC unless it has an offset).")
@click.option("--to", "end", type=Instant(), help="Up to before this time.")
@click.option("--allow-incomplete", is_flag=True, help="Also where retention has removed readings.")
def command(
    where: Where, only_late: bool, only_open: bool, start: int | None, end: int | None, allow_incomplete: bool
) -> None:
    """Recompute windows from the raw topic, and emit them anew.

    For windows that late or corrected readings belong to (--late finds them, and publishes to late_readings how many
    late ones each meter had; what the stream has yet to emit is not late), for a period (--from, --to), and to finish
    the last windows of a source that has ended (--open), which a stream keeps open until something newer comes. Between
    two rows for one window the one with more readings counts, then the one with newer ones, so this is harmless at any
    time, also beside a running stream. It works in batches; stopped and started again, --late goes on with what is
    left, and a period goes on from the last batch that was told.

    \b
    Example:
      smartmeter repair --late
      smartmeter repair --open
      smartmeter repair --from 2026-01-05 --to 2026-01-06
    """
    from infra.base.console import progress_line
    from infra.operations.repair import Repairing, print_recomputed
    from stream_processing.repair import Span
    from stream_processing.settings import stream_settings

    if [only_late, only_open, bool(start or end)].count(True) != 1:
        raise click.UsageError("say which windows: --late, or --open, or --from and --to (one of them suffices)")
    settings = where.settings()
    with progress_line() as line:
        repairing = Repairing(settings, stream_settings(settings.deployment), line)
        if only_late:
            recomputed = repairing.late()
        elif only_open:
            recomputed = repairing.open(allow_incomplete)
        else:
            recomputed = repairing.span(Span.of_ms(start, end), allow_incomplete)
    print_recomputed(recomputed)
