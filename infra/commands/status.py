"""`smartmeter status`"""

import dataclasses
import json
import sys
from pathlib import Path

import click

from infra.options import data_dir_option


@click.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
def command(data_dir: Path, as_json: bool) -> None:
    """Show what runs, where, since when and with how much memory. Exits 1 when a part does not run.

    \b
    Example:
      smartmeter status
      smartmeter status --json
    """
    from infra.stack import Stack
    from infra.status_table import print_status

    parts = Stack(data_dir).status()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(part) for part in parts], indent=2))
    else:
        print_status(parts)
    sys.exit(0 if all(part.state == "running" for part in parts) else 1)
