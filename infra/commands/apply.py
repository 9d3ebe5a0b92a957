"""`smartmeter apply`"""

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
def command(where: Where) -> None:
    """Make Kafka topics, registered schemas and ClickHouse tables as declared; what `smartmeter plan` shows, no more.

    Safe to repeat and to interrupt. A table of rows that is missing is created and filled from its topic again. A
    difference that cannot be mended in place is left, with what rests on it; the rest is applied, and it exits 1.

    \b
    Example:
      smartmeter plan
      smartmeter apply
    """
    from rich.console import Console

    from infra.deploy.apply import apply_plan
    from infra.deploy.plan import make_plan
    from infra.deploy.plan_table import print_plan
    from infra.deploy.services import Services
    from schemas.manifest import load_deployed

    progress = Console(stderr=True, highlight=False)
    settings = where.settings()
    datasets = load_deployed(settings)
    where.tell_deployment(settings)
    services = Services(settings)
    plan = make_plan(datasets, services.connection, services.read(datasets))
    if plan.left:
        print_plan(plan, progress)
    done = 0
    with progress.status("") as status:

        def started(change: object) -> None:
            nonlocal done
            done += 1
            status.update(f"{done}/{len(plan.applicable)} {getattr(change, 'kind', '')} {getattr(change, 'name', '')}")

        apply_plan(plan, datasets, services, started, lambda sentence: progress.print(sentence, style="yellow"))
    click.echo(f"Applied {len(plan.changes)} changes." if plan.changes else "Nothing to apply: all is as declared.")
