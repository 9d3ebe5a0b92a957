"""The console script `smartmeter`: each file in `infra/commands` is one command, found by its name.

A file defines `command`, a click command or group. Only the file of the invoked command is imported, so one command's
heavy imports never slow another.
"""

import importlib
from pathlib import Path

import click

from infra.base.errors import SmartmeterError

COMMANDS_PACKAGE = "infra.commands"
COMMANDS_FOLDER = Path(__file__).parent / "commands"


def command_name(stem: str) -> str:
    """The command of a module: `dead_letters` is `dead-letters`. One trailing underscore, which keeps a module's name
    apart from a keyword, a builtin or a package, is dropped: `import_` is `import`."""
    return stem.removesuffix("_").replace("_", "-")


def discover(folder: Path) -> dict[str, str]:
    """Command name → module name, sorted, for the Python files in `folder` that do not begin with an underscore."""
    stems = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))
    return {command_name(stem): stem for stem in stems}


class LazyGroup(click.Group):
    """Subcommands are the files of a folder; a SmartmeterError, or a wait that was in vain, ends one with its message
    on stderr and exit 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(discover(COMMANDS_FOLDER))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        stem = discover(COMMANDS_FOLDER).get(cmd_name)
        if stem is None:
            return None
        module = importlib.import_module(f"{COMMANDS_PACKAGE}.{stem}")
        command: click.Command = module.command
        command.name = cmd_name
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (SmartmeterError, TimeoutError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="smartmeter")
def cli() -> None:
    """An event-sourced smart-meter platform: Avro contracts, Kafka, Spark, ClickHouse, verified.

    \b
    Example:
      smartmeter up          start Kafka, the schema registry and ClickHouse here
      smartmeter status      what runs, where, since when
      smartmeter down        stop everything
    """


def main() -> None:
    """Entry point of the console script; exits 0 when all is well, 1 on an error, 2 on wrong usage."""
    cli(prog_name="smartmeter")
