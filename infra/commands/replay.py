"""`smartmeter replay`"""

import click

from infra.commands._options import Instant, Where, where_options


@click.command()
@where_options
@click.option("--from", "start", type=Instant(), help="From this time on (UTC unless it has an offset).")
@click.option("--to", "end", type=Instant(), help="Up to before this time.")
@click.option("--allow-incomplete", is_flag=True, help="Also where retention has removed readings.")
def command(where: Where, start: int | None, end: int | None, allow_incomplete: bool) -> None:
    """Recompute every aggregate from the raw topic, of all time or of a period.

    The rows come out equal to those that the stream emitted, whatever order the readings had; a window whose readings
    changed comes out with more of them, and wins. Refuses where retention has removed readings that belong to the
    period, unless --allow-incomplete is given. Needs no stream, and disturbs none.

    \b
    Example:
      smartmeter replay
      smartmeter replay --from 2026-01-05 --to 2026-02-01
    """
    from infra.base.console import progress_line
    from infra.operations.repair import Repairing, print_recomputed
    from stream_processing.repair import Span
    from stream_processing.settings import stream_settings

    settings = where.settings()
    with progress_line() as line:
        repairing = Repairing(settings, stream_settings(settings.deployment), line)
        recomputed = repairing.span(Span.of_ms(start, end), allow_incomplete)
    print_recomputed(recomputed)
