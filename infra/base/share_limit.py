"""When so many messages are bad that the reader is to blame, or the producer: stop, rather than set everything aside.

Pure. Kafka's Arroyo limits invalid messages likewise, by their ratio to valid ones.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from infra.base.errors import SmartmeterError


class TooManyBadMessages(SmartmeterError):  # noqa: N818
    """The share of bad messages passed its limit. A person must look; starting again without a change ends the same."""


@dataclass(frozen=True)
class ShareLimit:
    """At most `max_share` of the last `window` messages may be bad. Of fewer than `minimum` as of `minimum`: a few bad
    messages at a topic's beginning prove nothing.
    """

    max_share: float = 0.05
    window: int = 10_000
    minimum: int = 1_000

    def exceeded(self, bad: int, messages: int) -> bool:
        """Whether `bad` of these messages are too many."""
        return bad > self.max_share * max(messages, self.minimum)

    def first_excess(self, bad: Sequence[int], new: Collection[int], begin: int) -> tuple[int, int, int] | None:
        """Where in a partition the limit is passed: the offset, the bad messages up to it, of how many messages.

        `bad` are the offsets of all bad messages, ascending, from `begin` on; judged is the stretch that ends at each
        of `new`, as the share is greatest there. None where nowhere is.
        """
        for offset in sorted(new):
            first = max(begin, offset - self.window + 1)
            count = bisect_left(bad, offset + 1) - bisect_left(bad, first)
            if self.exceeded(count, offset - first + 1):
                return offset, count, offset - first + 1
        return None
