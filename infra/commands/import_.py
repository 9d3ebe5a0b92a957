"""`smartmeter import`"""

from pathlib import Path
from typing import Any

import click

from infra.commands._options import Where, where_options

MISSING = ("?", "")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--separator", default=";", show_default=True, help="Between columns; `\\t` is a tab.")
@click.option("--decimal", type=click.Choice([".", ","]), default=".", show_default=True)
@click.option(
    "--missing",
    multiple=True,
    default=MISSING,
    help="Text of a missing reading; may be repeated.  [default: ? and nothing]",
)
@click.option("--date-column", default="Date", show_default=True)
@click.option(
    "--date-format",
    default="%d/%m/%Y",
    show_default=True,
    help="As in strptime; or `iso`, `unix` (seconds), `unix-ms`. A time with an offset is taken as it says.",
)
@click.option("--time-column", default="Time", show_default=True, help="'' if the date column holds the time too.")
@click.option("--time-format", default="%H:%M:%S", show_default=True)
@click.option(
    "--timezone",
    default="UTC",
    show_default=True,
    help="Of times without an offset, as an IANA name. An hour that is there twice is taken in the order of the lines; "
    "a time that clocks jump over is unreadable.",
)
@click.option("--power-column", default="Global_active_power", show_default=True)
@click.option("--power-unit", type=click.Choice(["W", "kW", "MW"]), default="kW", show_default=True)
@click.option("--voltage-column", default="Voltage", show_default=True)
@click.option("--voltage", "voltage_v", type=float, metavar="V", help="Of all readings, where no column has it.")
@click.option("--meter-id", type=int, default=1_000_001, show_default=True, help="Of all readings.")
@click.option("--meter-column", help="Column of the meter's id.")
@click.option("--building-id", type=int, default=1_000_001, show_default=True, help="Of all readings.")
@click.option("--building-column", help="Column of the building's id.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="At an unreadable line: send nothing of the file, or leave out the line and count it.",
)
@click.option("--resume/--no-resume", default=True, show_default=True, help="Go on where the topic ends.")
@click.option("--schema-version", type=int, default=2, show_default=True, help="Version of the contract to send.")
@click.option("--rate-limit", type=float, metavar="N", help="Send at most N readings per second.")
@where_options
def command(
    file: Path,
    separator: str,
    time_column: str,
    voltage_column: str,
    voltage_v: float | None,
    resume: bool,
    schema_version: int,
    rate_limit: float | None,
    where: Where,
    **form: Any,
) -> None:
    """Send real readings from a CSV FILE with a header, plain or .gz.

    The defaults are the form of UCI's data set "Individual Household Electric Power Consumption". Lines are in the
    order of time. The file is checked from end to end before anything is sent, and read in constant memory. Sent again
    after a stop, it goes on where the topic ends; another file of the same meter with earlier readings needs
    --no-resume.

    \b
    Example:
      smartmeter import household_power_consumption.txt
      smartmeter import meters.csv.gz --separator , --date-column ts --date-format iso --time-column '' \\
        --meter-column meter --power-column watts --power-unit W --voltage 230
    """
    from infra.base.signals import stopped_by_signals
    from infra.commands._options import from_options
    from infra.commands._producing import print_report, sink_settings
    from producers.progress import TerminalProgress
    from producers.run import import_csv
    from producers.settings import CsvOptions, Throttle

    options = from_options(
        CsvOptions,
        separator=separator.replace("\\t", "\t"),
        time_column=time_column or None,
        voltage_column=None if voltage_v is not None else voltage_column,
        voltage_v=voltage_v,
        **form,
    )
    throttle = from_options(Throttle, rate_limit=rate_limit)
    settings = sink_settings(where, schema_version)
    with stopped_by_signals() as stop, TerminalProgress() as progress:
        report = import_csv(file, options, settings, throttle, resume, stop, progress)
    print_report(report, settings.topic)
