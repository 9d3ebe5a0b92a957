"""What people see: tables on stdout, and on stderr one line that says what goes on."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

PIPE_WIDTH = 140
"""Columns where nobody says how many there are: the widest table fits, and none is folded for grep."""

PLAIN_EVERY_S = 30.0


def stdout_console(highlight: bool = True) -> Console:
    """A console as wide as the terminal; in a pipe or file PIPE_WIDTH, or what COLUMNS says."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS")
    return Console(width=None if known else PIPE_WIDTH, highlight=highlight)


class ProgressLine:
    """One line on stderr with what goes on now. Call it with each new state, as often as there is one.

    On a terminal the line is replaced in place, and wiped at the end. In a pipe or a file it is printed every
    PLAIN_EVERY_S seconds, so what is quicker prints nothing. May be called from several threads.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.text = ""
        self._console = console or Console(stderr=True)
        self._moves = self._console.is_interactive
        self._printed_at = time.monotonic()
        # Only stderr is led around the line: stdout may be a pipe to a program.
        self._line = Progress(
            SpinnerColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._line.add_task("", total=None)

    def __call__(self, text: str) -> None:
        """Show what goes on now."""
        self.text = text
        if self._moves:
            self._line.update(self._task, description=text)
            self._line.start()
        elif text and time.monotonic() - self._printed_at >= PLAIN_EVERY_S:
            self._print(text)

    def step(self, text: str) -> None:
        """Show what goes on now, in a pipe too: something that takes its time begins."""
        self(text)
        if not self._moves:
            self._print(text)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        self._print(text)

    def close(self) -> None:
        """Wipe the line."""
        if self._moves:
            self._line.stop()

    def _print(self, text: str) -> None:
        self._printed_at = time.monotonic()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


_shown: ContextVar[ProgressLine | None] = ContextVar("_shown", default=None)


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """The line of this context, wiped at the end.

    Inside of another it is that one, which then shows again what it did before.
    """
    outer = _shown.get()
    if outer is not None:
        before = outer.text
        try:
            yield outer
        finally:
            outer(before)
        return
    line = ProgressLine()
    token = _shown.set(line)
    try:
        yield line
    finally:
        _shown.reset(token)
        line.close()
