"""When so many messages are unreadable that the reader or the producer is to blame: stop, instead of giving each up.

Pure. Kafka's Arroyo limits invalid messages likewise, by their ratio to valid ones.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from infra.base.errors import SmartmeterError


class TooManyUnreadable(SmartmeterError):  # noqa: N818
    """The share of unreadable messages passed its limit. A person must look: without a change, starting again ends the
    same way."""


@dataclass(frozen=True)
class ShareLimit:
    """At most `max_share` of the last `window` messages may be unreadable. Fewer than `minimum` messages count as
    `minimum`: a few unreadable messages at a topic's beginning prove nothing.
    """

    max_share: float = 0.05
    window: int = 10_000
    minimum: int = 1_000

    def exceeded(self, unreadable: int, messages: int) -> bool:
        """Whether so many unreadable messages are too many of these messages."""
        return unreadable > self.max_share * max(messages, self.minimum)

    def first_excess(self, unreadable: Sequence[int], new: Collection[int], begin: int) -> tuple[int, int, int] | None:
        """Where in a partition the limit is passed: the offset, the unreadable messages up to it, of how many messages.

        `unreadable` are the offsets of all unreadable messages, ascending, from `begin` on. Judged is the window that
        ends at each of `new`, as the share is greatest there. None if the limit is passed nowhere.
        """
        for offset in sorted(new):
            first = max(begin, offset - self.window + 1)
            count = bisect_left(unreadable, offset + 1) - bisect_left(unreadable, first)
            if self.exceeded(count, offset - first + 1):
                return offset, count, offset - first + 1
        return None
