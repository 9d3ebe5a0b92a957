"""`smartmeter up`"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from infra.commands._options import data_dir_option, deployment_option

F = TypeVar("F", bound=Callable[..., object])


def port_option(name: str, what: str) -> Callable[[F], F]:
    """The option `--<name>-port`."""
    return click.option(
        f"--{name}-port",
        type=click.IntRange(0, 65535),
        envvar=f"SMARTMETER_{name.upper().replace('-', '_')}_PORT",
        show_envvar=True,
        help=f"Port of {what}; 0: any free one.",
    )


@click.command()
@data_dir_option
@deployment_option
@port_option("kafka", "Kafka (9092)")
@port_option("kafka-controller", "Kafka's controller (9093)")
@port_option("registry", "the schema registry (8081)")
@port_option("registry-management", "the schema registry's health (8082)")
@port_option("clickhouse", "ClickHouse over HTTP (8123)")
def command(data_dir: Path, deployment: str | None, **ports: int | None) -> None:
    """Start Kafka, the schema registry and ClickHouse on this machine.

    What already runs is left alone: after a crash this starts just what is missing. Ports are remembered for the next
    time, and only this machine can reach them; so is the deployment, for the commands that do not name one.

    \b
    Example:
      smartmeter up
      smartmeter up --data-dir /tmp/meters --kafka-port 0 --clickhouse-port 18123
    """
    from infra.base.console import progress_line
    from infra.operations.status_table import print_status
    from infra.stack.stack import Stack

    stack = Stack(data_dir)
    wanted = {name.removesuffix("_port").replace("_", "-"): port for name, port in ports.items() if port is not None}
    with progress_line() as line:
        line.step(f"starting the stack in {stack.data_dir}")
        started = stack.up(wanted, deployment)
    click.echo(f"started {', '.join(started)}; passwords are in {stack.data_dir / 'secrets.env'}", err=True)
    print_status(stack.status())
