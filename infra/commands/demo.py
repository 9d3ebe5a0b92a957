"""`smartmeter demo`"""

from pathlib import Path

import click


@click.command()
@click.option(
    "--csv", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Real readings instead; also .gz."
)
@click.option("--keep", is_flag=True, help="Leave everything running.")
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".smartmeter-demo"),
    show_default=True,
    help="Folder of the demo's stack; emptied first if it is a demo's.",
)
@click.pass_context
def command(ctx: click.Context, csv: Path | None, keep: bool, data_dir: Path) -> None:
    """Meters to Kafka to Spark to Kafka to ClickHouse, and the proof that the result is right.

    Starts a stack, applies the contracts, simulates two hours of 100 meters as fast as possible and one minute live (or
    reads a file in the form of the UCI household data), streams, verifies, and stops everything. Exits 0 only when
    verified.

    \b
    Example:
      smartmeter demo
      smartmeter demo --csv household_power.csv.gz --keep
    """
    from infra.base.console import stdout_console
    from infra.operations.demo import Demo, Source

    console = stdout_console()
    verified = Demo(data_dir.absolute(), console).run(Source(csv), keep)
    ctx.exit(0 if verified else 1)
