"""`smartmeter rebuild`"""

import click

from infra.commands._options import Where, where_options


@click.command()
@click.argument("dataset", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Every dataset.")
@click.option("--allow-incomplete", is_flag=True, help="Also where retention has removed the topic's beginning.")
@where_options
def command(dataset: tuple[str, ...], every: bool, allow_incomplete: bool, where: Where) -> None:
    """Fill the ClickHouse tables of DATASET... anew from their topics, while the old ones serve.

    A shadow table reads the topic from its beginning with a consumer group of its own. When it accounts for every
    message, counts and checksums of both are shown, and they are exchanged. Up to four are rebuilt at a time.
    Interrupted, the old table is untouched, and it can be run again. A table that is missing is created and filled.

    \b
    Example:
      smartmeter rebuild meter_minute_trend
      smartmeter rebuild --all
    """
    from infra.base.console import progress_line
    from infra.base.errors import SmartmeterError
    from infra.operations.rebuild import rebuild_all
    from schemas.manifest import load_deployed

    if every == bool(dataset):
        raise click.UsageError("name datasets, or say --all")
    settings = where.settings()
    datasets = load_deployed(settings)
    if unknown := sorted(set(dataset) - datasets.keys()):
        raise SmartmeterError(f"no dataset is named {', '.join(unknown)}: there are {', '.join(datasets)}")
    chosen = [datasets[name] for name in (datasets if every else dataset)]
    with progress_line() as line:
        for each, rebuilt in rebuild_all(settings, chosen, line, allow_incomplete):
            before = "there was none" if rebuilt.before is None else f"before {rebuilt.before}"
            same = "" if rebuilt.before is None else (", equal" if rebuilt.before == rebuilt.after else ", DIFFERENT")
            line.close()
            click.echo(f"{each.name}: {before}; now {rebuilt.after}{same}")
