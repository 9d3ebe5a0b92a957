"""`smartmeter plan`"""

import json
import sys

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines for people.")
def command(where: Where, as_json: bool) -> None:
    """Compare what is declared with what is: Kafka topics, registered schemas, ClickHouse tables. Changes nothing.

    Exits 0 without differences, 2 with some, 1 on an error or when a difference cannot be mended in place.

    \b
    Example:
      smartmeter plan
      smartmeter plan --json
    """
    from infra.base.console import stdout_console
    from infra.deploy import plan
    from infra.deploy.plan_table import print_plan
    from infra.deploy.services import Services
    from schemas.manifest import load_deployed

    settings = where.settings()
    datasets = load_deployed(settings)
    where.tell_deployment(settings)
    services = Services(settings)
    differences = plan.make_plan(datasets, services.connection, services.read(datasets))
    if as_json:
        click.echo(json.dumps(plan.as_json(differences), indent=2))
    else:
        print_plan(differences, stdout_console(highlight=False))
    sys.exit(differences.exit_code)
