"""Options that several commands share, and settings from options."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from infra.base.settings import DEFAULT_DATA_DIR

M = TypeVar("M", bound=BaseModel)
UNIT = re.compile("_(ms|s|v)$")

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SMARTMETER_DATA_DIR",
    default=DEFAULT_DATA_DIR,
    show_default=True,
    show_envvar=True,
    help="Folder of the embedded stack: its data, logs, ports and passwords.",
)


class Instant(click.ParamType[int]):
    """ISO 8601 to ms since 1970; without an offset it is UTC."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            parsed = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time such as 2026-11-24T18:00", param, ctx)
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        return round(aware.timestamp() * 1000)


def from_options(make: Callable[..., M], **values: Any) -> M:
    """What `make` makes of the values of options; one that a model refuses is a usage error that names the option."""
    try:
        return make(**values)
    except ValidationError as error:
        sentences = []
        for fault in error.errors():
            option = _option(str(fault["loc"][0])) if fault["loc"] else ""
            sentences.append(f"{option}: {fault['msg']}" if option else fault["msg"].removeprefix("Value error, "))
        raise click.UsageError("; ".join(sentences)) from error


def _option(field: str) -> str:
    """The option that a model's field comes from: the parameter of its name, or of its name in another unit."""
    context = click.get_current_context(silent=True)
    options = (
        {parameter.name or "": max(parameter.opts, key=len) for parameter in context.command.params} if context else {}
    )
    in_any_unit = {UNIT.sub("", name): option for name, option in options.items()}
    return options.get(field) or in_any_unit.get(UNIT.sub("", field)) or "--" + field.replace("_", "-")
