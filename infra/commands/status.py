"""`smartmeter status`"""

import json
import sys

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of tables.")
def command(where: Where, as_json: bool) -> None:
    """Show how everything is: parts, lag of each consumer, newest rows, what was late, unreadable or repeated.

    Each part with its version, uptime and memory; each consumer's lag behind its topic; the newest row of each table;
    late rows, messages that could not be read, repeated readings; the last verify. What does not answer is named.
    Exits 1 when a part does not run.

    \b
    Example:
      smartmeter status
      smartmeter status --json | jq '.lag[] | select(.messages > 1000)'
    """
    from infra.operations.status import overview
    from infra.operations.status_table import print_overview

    system = overview(where.data_dir, where.deployment)
    if as_json:
        click.echo(json.dumps(system.as_json(), indent=2))
    else:
        print_overview(system)
    sys.exit(0 if all(part.state == "running" for part in system.parts) else 1)
