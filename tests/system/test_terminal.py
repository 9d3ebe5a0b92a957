"""The test's own terminal is one."""

import os
import sys

from tests.system.terminal import COLUMNS, run_in_terminal, shown


def test_what_is_wiped_or_written_over_is_not_shown() -> None:
    assert shown("one\r\n\x1b[1mtwo\x1b[0m\r\x1b[2Kthree\r\nfour\r\n\x1b[1A\x1b[2Kfive") == ["one", "three", "five", ""]
    assert shown("12 of 44 MB\r13") == ["13 of 44 MB"]


def test_a_command_finds_a_terminal_as_wide_as_it_says() -> None:
    code = (
        "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size().columns); sys.exit(3)"
    )
    assert run_in_terminal([sys.executable, "-c", code], os.environ) == (3, f"True True {COLUMNS}\r\n")
