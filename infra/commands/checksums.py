"""`smartmeter checksums`"""

import json
from contextlib import closing

import click

from infra.commands._options import Where, where_options


@click.command()
@click.argument("dataset", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="An object with rows and hash by dataset.")
@where_options
def command(dataset: tuple[str, ...], as_json: bool, where: Where) -> None:
    """Show how many rows each table holds once merged, and a hash of their fields; of DATASET..., or of all.

    Two tables with the same rows have the same numbers, whatever order the rows came in and however often: compare
    them before and after a rebuild or a replay, or between two systems that read the same topics.

    \b
    Example:
      smartmeter checksums
      smartmeter checksums raw_data --json
    """
    from clickhouse.checksum import checksum
    from infra.base.clickhouse_client import connect, query_with
    from schemas.manifest import load_deployed

    settings = where.settings()
    datasets = load_deployed(settings)
    if unknown := sorted(set(dataset) - datasets.keys()):
        raise click.UsageError(f"no dataset is named {', '.join(unknown)}: there are {', '.join(datasets)}")
    with closing(connect(settings, reader=True)) as client:
        checksums = {name: checksum(datasets[name], name, query_with(client)) for name in dataset or datasets}
    if as_json:
        numbers = {name: {"rows": merged.rows, "hash": f"{merged.hash:016x}"} for name, merged in checksums.items()}
        click.echo(json.dumps(numbers))
        return
    for name, merged in checksums.items():
        click.echo(f"{name}: {merged}")
