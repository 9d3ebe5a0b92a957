"""`smartmeter apply`"""

from pathlib import Path

import click

from infra.commands._options import data_dir_option


@click.command()
@data_dir_option
def command(data_dir: Path) -> None:
    """Make Kafka topics, registered schemas and ClickHouse tables as declared; what `smartmeter plan` shows, no more.

    Safe to repeat and to interrupt. Does nothing at all while a difference cannot be mended in place. A table of rows
    that is missing is created and filled from its topic again.

    \b
    Example:
      smartmeter plan
      smartmeter apply
    """
    from rich.console import Console

    from infra.base.settings import load_settings
    from infra.deploy.apply import apply_plan
    from infra.deploy.deployment import Deployment
    from infra.deploy.plan import make_plan
    from infra.deploy.plan_table import print_plan
    from schemas.manifest import load_datasets

    progress = Console(stderr=True, highlight=False)
    settings = load_settings(data_dir)
    datasets = load_datasets(raw_topic=settings.kafka_topic)
    deployment = Deployment(settings)
    plan = make_plan(datasets, deployment.connection, deployment.read(datasets))
    if plan.breaking:
        print_plan(plan, progress)
    done = 0
    with progress.status("") as status:

        def started(change: object) -> None:
            nonlocal done
            done += 1
            status.update(f"{done}/{len(plan.changes)} {getattr(change, 'kind', '')} {getattr(change, 'name', '')}")

        apply_plan(plan, datasets, deployment, started, lambda sentence: progress.print(sentence, style="yellow"))
    click.echo(f"Applied {len(plan.changes)} changes." if plan.changes else "Nothing to apply: all is as declared.")
