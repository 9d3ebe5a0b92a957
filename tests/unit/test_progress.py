"""Progress in a pipe: plain lines now and then; in a terminal: one that moves."""

from io import StringIO

import pytest
from rich.console import Console

from producers import progress
from producers.progress import PLAIN_EVERY_S, TerminalProgress


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_a_pipe_gets_a_plain_line_now_and_then(clock: Clock) -> None:
    pipe = StringIO()
    with TerminalProgress(Console(file=pipe, width=40)) as told:
        for second in range(25):
            clock.now = 100.0 + second
            told.at(1_166_313_600_000 + 1000 * second, 5000 * second)
        told.note("waiting for [the broker] for 3 s: " + "x" * 40)
    assert PLAIN_EVERY_S == 10
    assert pipe.getvalue().splitlines() == [
        "sent until 2006-12-17T00:00:10Z: 50,000 readings, 5,000/s",
        "sent until 2006-12-17T00:00:20Z: 100,000 readings, 5,000/s",
        "waiting for [the broker] for 3 s: " + "x" * 40,
    ]


def test_a_terminal_gets_a_line_that_is_gone_at_the_end(clock: Clock) -> None:
    terminal = StringIO()
    with TerminalProgress(Console(file=terminal, force_terminal=True, width=80)) as told:
        clock.now += 1
        told.at(1_166_313_600_000, 5000)
        told.note("the broker is back")
    assert "the broker is back" in terminal.getvalue()
    assert "sent until 2006-12-17T00:00:00Z: 5,000 readings, 5,000/s" in terminal.getvalue()
    assert terminal.getvalue().rstrip().endswith("\x1b[2K"), "the line is not wiped"
