"""Waiting for what is down: longer after each failure, up to a limit, with a sentence now and then."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from infra.base.errors import first_line

Tell = Callable[[str], None]
"""Takes a sentence for people."""


@dataclass
class Backoff:
    """The pauses between attempts at one thing. The first lasts `first_s`, each one after it twice as long as the one
    before, up to `longest_s`. There may be any number of failures.

    `tell` gets a sentence once failures have gone on for `tell_after_s`, and again every `tell_every_s`; both are
    judged when a failure is counted. For use from one thread.
    """

    first_s: float
    longest_s: float
    tell: Tell = lambda _: None
    tell_after_s: float = 0.0
    tell_every_s: float = 0.0
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    """Failures since the last success."""
    _next_pause_s: float = field(default=0.0, init=False)
    _failing_since: float = field(default=0.0, init=False)
    _told_at: float | None = field(default=None, init=False)

    def failed(self, reason: BaseException | str) -> float:
        """Count a failure; return the seconds to pause before the next attempt. An error is told by its first line."""
        now = self.clock()
        if self.failures == 0:
            self._next_pause_s, self._failing_since, self._told_at = self.first_s, now, None
        self.failures += 1
        pause_s = min(self._next_pause_s, self.longest_s)
        self._next_pause_s = min(2 * pause_s, self.longest_s)
        self._tell(reason, now)
        return pause_s

    def wait(self, reason: BaseException | str, stop: Event) -> bool:
        """Count a failure and pause. True when it is time for the next attempt; False, at once, when `stop` is set."""
        return not stop.wait(self.failed(reason))

    def succeeded(self) -> None:
        """Forget the failures: the next one is the first again."""
        self.failures = 0

    def _tell(self, reason: BaseException | str, now: float) -> None:
        failing_s = now - self._failing_since
        is_due = failing_s >= self.tell_after_s if self._told_at is None else now - self._told_at >= self.tell_every_s
        if is_due:
            self._told_at = now
            sentence = reason if isinstance(reason, str) else first_line(reason)
            self.tell(f"waiting for {failing_s:.0f} s: {sentence}" if failing_s >= 1 else f"waiting: {sentence}")
