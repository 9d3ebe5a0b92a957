"""`smartmeter verify`"""

import json
import time

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
@click.option("--wait", "wait_s", default=60.0, show_default=True, help="Seconds to wait while nothing changes.")
@click.option("--json", "as_json_", is_flag=True, help="The report as JSON; with --watch one object a line.")
@click.option("--watch", is_flag=True, help="Verify again and again, until stopped; a line for each time.")
@click.option("--every", "every_s", default=30.0, show_default=True, help="Seconds between two of --watch.")
@click.pass_context
def command(ctx: click.Context, where: Where, wait_s: float, as_json_: bool, watch: bool, every_s: float) -> None:
    """Prove that the tables hold what the log holds, and that every aggregate follows from the readings.

    Every offset of every topic must be a row, unreadable, empty, or superseded by a later row of the same
    key; every row of an aggregate must equal its recomputation from raw_data in SQL. Exits 1 and names the first
    differences otherwise. Windows that may still change are counted as open and not judged. With --watch the exit code
    is that of the last time.

    \b
    Example:
      smartmeter verify
      smartmeter verify --json | jq .verified
      smartmeter verify --watch --every 60
    """
    from clickhouse.verify.report import as_json, print_line, print_report
    from infra.base.console import progress_line, stdout_console
    from infra.operations.verify import verify

    settings = where.settings()
    if watch:
        failed = False
        console = stdout_console()
        try:
            while True:
                report = verify(settings, wait_s, progress=lambda _: None)
                failed = bool(report.failures)
                if as_json_:
                    click.echo(json.dumps(as_json(report)))
                else:
                    print_line(report, console)
                time.sleep(every_s)
        except KeyboardInterrupt:
            ctx.exit(1 if failed else 0)
    with progress_line() as line:
        report = verify(settings, wait_s, progress=line)
    if as_json_:
        click.echo(json.dumps(as_json(report), indent=2))
    else:
        print_report(report, stdout_console())
    ctx.exit(1 if report.failures else 0)
