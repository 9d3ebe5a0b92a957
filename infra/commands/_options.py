"""Options that several commands share, and settings from options."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from pydantic import BaseModel, ValidationError

from infra.base.settings import DEFAULT_DATA_DIR

if TYPE_CHECKING:
    from infra.base.settings import Settings

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


deployment_option = click.option(
    "--deployment",
    envvar="SMARTMETER_DEPLOYMENT",
    show_envvar=True,
    metavar="NAME|FILE",
    help="Its layout: a file of infra/deployments, or another. [default: as the stack was started, or embedded]",
)


@dataclass(frozen=True)
class Where:
    """The deployment that a command works on, as --data-dir and --deployment say."""

    data_dir: Path
    deployment: str | None

    def settings(self) -> "Settings":
        """Its settings; raises SmartmeterError as `load_settings` does."""
        from infra.base.settings import load_settings

        return load_settings(self.data_dir, self.deployment)

    def state_dir(self) -> Path:
        """What the deployment keeps on this machine, also where no stack is."""
        from infra.base.settings import chosen_deployment, stack_folder, state_dir

        folder = stack_folder(self.data_dir)
        return state_dir(folder, chosen_deployment(folder, self.deployment))

    def tell_deployment(self, settings: "Settings") -> None:
        """Say on stderr which deployment it is, where the stack was started with another one."""
        from infra.base.deployment import deployment_file
        from infra.base.settings import read_stack

        remembered = read_stack(settings.stack_dir).get("deployment")
        if remembered and deployment_file(remembered).stem != settings.deployment.name:
            click.echo(
                f"This is deployment {settings.deployment.name}; the stack was started with {remembered}.", err=True
            )


def where_options(command: Callable[..., object]) -> Callable[..., object]:
    """Give a command --data-dir and --deployment; it gets them as `where`."""

    @functools.wraps(command)
    def with_where(*arguments: object, data_dir: Path, deployment: str | None, **options: object) -> object:
        return command(*arguments, where=Where(data_dir, deployment), **options)

    return data_dir_option(deployment_option(with_where))


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
