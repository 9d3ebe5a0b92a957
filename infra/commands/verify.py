"""`smartmeter verify`"""

import json
import sys
from pathlib import Path

import click

from infra.options import data_dir_option


@click.command()
@data_dir_option
@click.option("--wait", "wait_s", default=60.0, show_default=True, help="Seconds to wait for consumers still behind.")
@click.option("--json", "as_json_", is_flag=True, help="The report as JSON.")
@click.pass_context
def command(ctx: click.Context, data_dir: Path, wait_s: float, as_json_: bool) -> None:
    """Prove that the tables hold what the log holds, and that every aggregate follows from the readings.

    Every offset of every topic must be a row, set aside as unreadable, empty, or superseded by a later row of the same
    key; every row of an aggregate must equal its recomputation from raw_data in SQL. Exits 1 and names the first
    differences otherwise. Windows that may still change are counted as open and not judged.

    \b
    Example:
      smartmeter verify
      smartmeter verify --json | jq .verified
    """
    from rich.console import Console

    from clickhouse.verify.report import as_json, print_report
    from infra.settings import load_settings
    from infra.verification import verify

    report = verify(load_settings(data_dir), wait_s, progress=lambda line: click.echo(line, err=True))
    if as_json_:
        click.echo(json.dumps(as_json(report), indent=2))
    else:
        print_report(report, Console(width=None if sys.stdout.isatty() else 120))
    ctx.exit(1 if report.failures else 0)
