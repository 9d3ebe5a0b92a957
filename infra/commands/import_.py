"""`smartmeter import`"""

import re
from pathlib import Path
from typing import Any

import click

from infra.commands._options import Where, where_options

MISSING = ("?", "")
DURATION = re.compile(r"(\d+)(s|m|min|h)")
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}


class Duration(click.ParamType[int]):
    """A time such as 30m, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = DURATION.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no duration; 900s, 15m and 1h are some", param, ctx)
        return int(match[1]) * SECONDS[match[2]]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--separator", default=";", show_default=True, help="Between columns; `\\t` is a tab.")
@click.option("--encoding", help="For example latin-1.  [default: UTF-8, or what the file's first bytes say]")
@click.option("--header/--no-header", default=True, show_default=True, help="Without, columns are #1, #2, …")
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
@click.option(
    "--power-unit",
    type=click.Choice(["W", "kW", "MW", "Wh", "kWh", "MWh"]),
    default="kW",
    show_default=True,
    help="The last three are energy over the --interval.",
)
@click.option(
    "--interval",
    "interval_s",
    type=Duration(),
    metavar="15m",
    help="How long a line stands for: its power is the mean over that, and is sent every 5 minutes of it. Without it, "
    "the power is that of an instant.",
)
@click.option(
    "--stamp",
    type=click.Choice(["start", "end"]),
    default="start",
    show_default=True,
    help="Which end of its interval a line's time is.",
)
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
@click.option(
    "--max-lost",
    "max_lost_share",
    type=click.FloatRange(0, 0.5),
    default=0.1,
    show_default=True,
    help="With --on-error skip: which share of a meter's lines may be left out at most.",
)
@click.option(
    "--resume/--no-resume",
    default=True,
    show_default=True,
    help="Leave out what the topic holds with the same values; or send everything.",
)
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
    """Send real readings from a CSV FILE, plain, .gz or .zip.

    The defaults are the form of UCI's data set "Individual Household Electric Power Consumption". Columns are named as
    the header has them, or by number as #3; lines before the header are passed over. Each meter's lines are in the
    order of time. The file is checked from end to end before anything is sent, and read in constant memory. Sent again,
    corrected or after a stop, it sends what is new and what is changed. Readings for closed windows are told, with the
    command that recomputes these.

    \b
    Example:
      smartmeter import household_power_consumption.txt
      smartmeter import meters.csv.gz --separator , --date-column ts --date-format iso --time-column '' \\
        --meter-column meter --power-column watts --power-unit W --voltage 230
      smartmeter import quarters.csv --date-column from --date-format '%d.%m.%Y %H:%M' --time-column '' \\
        --timezone Europe/Vienna --power-column kWh --power-unit kWh --interval 15m --decimal , --voltage 230
    """
    from infra.base.signals import stopped_by_signals
    from infra.commands._options import from_options
    from infra.commands._producing import print_report, sink_settings
    from producers.progress import TerminalProgress
    from producers.run import import_csv
    from producers.settings import CsvOptions, Throttle
    from stream_processing.settings import stream_settings

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
        lateness_s = stream_settings(where.settings().deployment).lateness_s
        report = import_csv(file, options, settings, throttle, resume, stop, progress, lateness_s)
    print_report(report, settings.topic)
