"""What a producer shows on stderr while it works: a moving line in a terminal, a line now and then in a pipe."""

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from infra.base.clock import instant

PLAIN_EVERY_S = 10.0


class ProgressDisplay(Protocol):
    """Where a producer reports how far it is."""

    def at(self, event_ms: int, acknowledged: int) -> None:
        """Readings up to this event time are handed to Kafka's client, and `acknowledged` so far are acknowledged."""

    def note(self, text: str) -> None:
        """Something happened, or the producer waits for something."""


class Silent:
    """Shows nothing."""

    def at(self, event_ms: int, acknowledged: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class TerminalProgress:
    """Shows progress on stderr. A context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=4)
        self._started = self._told = time.monotonic()

    def at(self, event_ms: int, acknowledged: int) -> None:
        now = time.monotonic()
        rate = acknowledged / max(now - self._started, 0.001)
        line = f"sent until {instant(event_ms)}: {acknowledged:,} readings, {rate:,.0f}/s"
        if self._console.is_terminal:
            self._live.update(Text(line))
        elif now - self._told >= PLAIN_EVERY_S:
            self._told = now
            self._print(line)

    def note(self, text: str) -> None:
        self._print(text)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
