"""`smartmeter plan`"""

import json
import sys
from pathlib import Path

import click

from infra.commands._options import data_dir_option


@click.command()
@data_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines for people.")
def command(data_dir: Path, as_json: bool) -> None:
    """Compare what is declared with what is: Kafka topics, registered schemas, ClickHouse tables. Changes nothing.

    Exits 0 without differences, 2 with some, 1 on an error or when a difference cannot be mended in place.

    \b
    Example:
      smartmeter plan
      smartmeter plan --json
    """
    from infra.base.console import stdout_console
    from infra.base.settings import load_settings
    from infra.deploy import plan
    from infra.deploy.deployment import Deployment
    from infra.deploy.plan_table import print_plan
    from schemas.manifest import load_datasets

    settings = load_settings(data_dir)
    datasets = load_datasets(raw_topic=settings.kafka_topic)
    deployment = Deployment(settings)
    found = plan.make_plan(datasets, deployment.connection, deployment.read(datasets))
    if as_json:
        click.echo(json.dumps(plan.as_json(found), indent=2))
    else:
        print_plan(found, stdout_console(highlight=False))
    sys.exit(found.exit_code)
