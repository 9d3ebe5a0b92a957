"""Tables in a pipe, and the line that says what goes on."""

from io import StringIO

import pytest
from rich.console import Console

from infra.base import console
from infra.base.console import PIPE_WIDTH, PLAIN_EVERY_S, ProgressLine, progress_line, stdout_console


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_a_pipe_has_lines_that_are_not_folded_unless_columns_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout_console().width == PIPE_WIDTH
    monkeypatch.setenv("COLUMNS", "60")
    assert stdout_console().width == 60


def test_a_pipe_gets_a_line_now_and_then_and_what_is_quick_prints_nothing(clock: Clock) -> None:
    pipe = StringIO()
    line = ProgressLine(Console(file=pipe, width=40))
    for second in range(70):
        clock.now = 100.0 + second
        line(f"{second} of [70] MB, " + "x" * 40)
    line.note("fetched")
    line.close()

    assert PLAIN_EVERY_S == 30
    assert pipe.getvalue().splitlines() == [
        "30 of [70] MB, " + "x" * 40,
        "60 of [70] MB, " + "x" * 40,
        "fetched",
    ]


def test_a_step_is_printed_in_a_pipe_at_once() -> None:
    pipe = StringIO()
    line = ProgressLine(Console(file=pipe))
    line.step("fitting 30 trees")

    assert pipe.getvalue() == "fitting 30 trees\n"


def test_a_terminal_gets_one_line_that_is_replaced_and_gone_at_the_end() -> None:
    terminal = StringIO()
    line = ProgressLine(Console(file=terminal, force_terminal=True, width=40))
    for done in range(5):
        line(f"{done} of [5] MB, " + "x" * 40)
    line.note("fetched 5 MB")
    line.close()

    text = terminal.getvalue()
    assert "4 of [5] MB" in text
    assert "fetched 5 MB\n" in text
    assert text.count("\n") <= 3, "the line is not replaced in place"
    assert text.endswith("\x1b[1A\x1b[2K") or text.endswith("\r\x1b[2K"), "the line is not wiped"


def test_without_colour_a_terminal_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = StringIO()
    line = ProgressLine(Console(file=terminal, force_terminal=True, width=40))
    line("waiting")
    line.close()

    assert "waiting" in terminal.getvalue()
    assert "\x1b[3" not in terminal.getvalue()


def test_a_line_within_another_is_the_same_and_leaves_it_as_it_was() -> None:
    with progress_line() as outer:
        outer("starting")
        with progress_line() as inner:
            inner("fetching")
            assert inner is outer
        assert outer.text == "starting"
    with progress_line() as another:
        assert another is not outer
