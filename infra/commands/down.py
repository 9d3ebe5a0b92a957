"""`smartmeter down`"""

from pathlib import Path

import click

from infra.commands._options import data_dir_option


@click.command()
@data_dir_option
def command(data_dir: Path) -> None:
    """Stop the stack and the stream; data and passwords stay for the next `up`.

    \b
    Example:
      smartmeter down
    """
    from infra.stack.stack import Stack

    stopped = Stack(data_dir).down()
    click.echo(f"stopped {', '.join(stopped)}" if stopped else f"nothing runs in {data_dir}", err=True)
