"""`smartmeter apply`"""

from contextlib import closing

import click

from infra.commands._options import Where, where_options


@click.command()
@where_options
@click.option("--print-roles", is_flag=True, help="Print the reader's role as SQL for a server; change nothing.")
def command(where: Where, print_roles: bool) -> None:
    """Make Kafka topics, registered schemas and ClickHouse tables as declared; what `smartmeter plan` shows, no more.

    Safe to repeat and to interrupt. A table of rows that is missing is created and filled from its topic again. A
    difference that cannot be mended in place is left, with what rests on it; the rest is applied, and it exits 1.

    On a ClickHouse server that keeps roles, the role smartmeter_reader is made as well: reading alone, with the same
    limits that the embedded front sets. Give it to Grafana's user: GRANT smartmeter_reader TO grafana.

    \b
    Example:
      smartmeter plan
      smartmeter apply
      smartmeter apply --print-roles
    """
    from rich.console import Console

    from clickhouse import roles
    from infra.base.clickhouse_client import connect
    from infra.base.errors import SmartmeterError
    from infra.deploy.apply import apply_plan
    from infra.deploy.plan import make_plan
    from infra.deploy.plan_table import print_plan
    from infra.deploy.roles import apply_roles
    from infra.deploy.services import Services
    from schemas.manifest import load_deployed

    progress = Console(stderr=True, highlight=False)
    settings = where.settings()
    database = settings.deployment.clickhouse.database
    if print_roles:
        click.echo(roles.render(database), nl=False)
        return
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
    try:
        with closing(connect(settings)) as client:
            if apply_roles(client, database):
                progress.print(f"the role {roles.role_of(database)} is as declared")
    except SmartmeterError as error:
        progress.print(str(error), style="yellow")
    click.echo(f"Applied {len(plan.changes)} changes." if plan.changes else "Nothing to apply: all is as declared.")
