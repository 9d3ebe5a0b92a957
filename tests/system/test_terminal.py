"""The test's own terminal is one."""

import os
import sys

from tests.system.terminal import COLUMNS, Terminal, shown


def test_what_is_wiped_or_written_over_is_not_shown() -> None:
    assert shown("one\r\n\x1b[1mtwo\x1b[0m\r\x1b[2Kthree\r\nfour\r\n\x1b[1A\x1b[2Kfive") == ["one", "three", "five", ""]
    assert shown("12 of 44 MB\r13") == ["13 of 44 MB"]


def test_a_command_finds_a_terminal_as_wide_as_it_says() -> None:
    code = (
        "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), os.get_terminal_size().columns); sys.exit(3)"
    )
    with Terminal([sys.executable, "-c", code], os.environ) as terminal:
        assert terminal.wait() == 3
        assert terminal.written == f"True True {COLUMNS}\r\n"


def test_ctrl_c_interrupts_a_command() -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    with Terminal([sys.executable, "-c", code], os.environ) as terminal:
        terminal.read_until("begun")
        terminal.press(b"\x03")
        assert terminal.wait() != 0
        assert "KeyboardInterrupt" in terminal.written
