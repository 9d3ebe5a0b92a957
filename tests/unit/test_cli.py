import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import infra.cli
from infra.cli import cli, command_name, discover

COMMAND = """
import click
from infra.base.errors import SmartmeterError

@click.command()
def command() -> None:
    \"\"\"{help}\"\"\"
    {body}
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of commands in place of the real one."""
    package = tmp_path / "trial_commands"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(infra.cli, "COMMANDS_PACKAGE", package.name)
    monkeypatch.setattr(infra.cli, "COMMANDS_FOLDER", package)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("stem", "name"), [("up", "up"), ("dead_letters", "dead-letters"), ("import_", "import"), ("schemas_", "schemas")]
)
def test_command_name(stem: str, name: str) -> None:
    assert command_name(stem) == name


def test_discover_leaves_out_what_is_private(tmp_path: Path) -> None:
    for name in ("b_two.py", "a.py", "__init__.py", "_helper.py", "notes.txt"):
        (tmp_path / name).touch()

    assert discover(tmp_path) == {"a": "a", "b-two": "b_two"}


def test_a_file_is_a_command_and_help_lists_it(commands: Path) -> None:
    (commands / "dead_letters.py").write_text(COMMAND.format(help="Look at the dead.", body="click.echo('none')"))

    assert CliRunner().invoke(cli, ["dead-letters"]).output == "none\n"
    help_text = CliRunner().invoke(cli, ["--help"]).output
    assert "dead-letters  Look at the dead." in help_text


def test_a_file_may_hold_a_group(commands: Path) -> None:
    (commands / "schemas_.py").write_text(
        "import click\n\ncommand = click.Group()\n\n@command.command()\ndef check():\n    click.echo('checked')\n"
    )

    assert CliRunner().invoke(cli, ["schemas", "check"]).output == "checked\n"


def test_only_the_invoked_command_is_imported(commands: Path) -> None:
    (commands / "good.py").write_text(COMMAND.format(help="Good.", body="click.echo('good')"))
    (commands / "heavy.py").write_text("raise AssertionError('imported')\n")

    assert CliRunner().invoke(cli, ["good"]).output == "good\n"
    assert "trial_commands.heavy" not in sys.modules


def test_an_error_for_people_is_one_line_on_stderr_and_exit_1(commands: Path) -> None:
    (commands / "bad.py").write_text(COMMAND.format(help="Bad.", body="raise SmartmeterError('no stack in X: run up')"))

    result = CliRunner().invoke(cli, ["bad"])

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: no stack in X: run up\n")


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(cli, ["nonsense"])

    assert result.exit_code == 2
    assert "No such command 'nonsense'" in result.stderr


@pytest.mark.parametrize("name", sorted(discover(infra.cli.COMMANDS_FOLDER)))
def test_every_command_has_help_with_an_example(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]

    for leaf in leaves:
        assert leaf.help is not None
        assert "Example:" in leaf.help, f"{name} {leaf.name}"
