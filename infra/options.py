"""Options that several commands share."""

from pathlib import Path

import click

from infra.settings import DEFAULT_DATA_DIR

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SMARTMETER_DATA_DIR",
    default=DEFAULT_DATA_DIR,
    show_default=True,
    show_envvar=True,
    help="Folder of the embedded stack: its data, logs, ports and passwords.",
)
