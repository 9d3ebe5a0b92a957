"""Which event time a simulation sends, given what was asked for, the clock, and what the topic holds."""

from dataclasses import dataclass

from infra.base.clock import instant
from infra.base.errors import SmartmeterError
from producers.resume import Resume
from producers.settings import Period

CLOCK_TOLERANCE_MS = 60_000
"""By how much the clocks of two machines may differ."""


@dataclass(frozen=True)
class Backlog:
    """Event time [first_ms, end_ms) to send as fast as possible. Live readings follow at `end_ms`."""

    first_ms: int
    end_ms: int


def backlog(period: Period, held: Resume, now_ms: int) -> Backlog:
    """The part of a period that is still to be sent when the topic holds `held`.

    Raises SmartmeterError for a period that reaches into the future. Also raises it where the topic's readings reach
    beyond the period: then it is unknown which of the period's readings the topic has.
    """
    end_ms = now_ms if period.to_ms is None else period.to_ms
    if end_ms > now_ms + CLOCK_TOLERANCE_MS:
        raise SmartmeterError(f"the period ends at {instant(end_ms)}, in the future: use --live to wait for it")
    if period.from_ms is not None and period.from_ms >= end_ms:
        raise SmartmeterError(f"the period from {instant(period.from_ms)} to {instant(end_ms)} is empty: swap its ends")
    if held.newest_ms is None or held.complete_ms is None:
        return Backlog(end_ms if period.from_ms is None else period.from_ms, end_ms)
    if held.newest_ms >= (now_ms + CLOCK_TOLERANCE_MS if period.live else end_ms):
        raise SmartmeterError(
            f"the topic holds readings of these meters until {instant(held.newest_ms)}, later than this period; so it "
            "cannot be told which of the period's are there. --no-resume sends all of them: those that are there then "
            "come twice, which changes no aggregate"
        )
    going_on_ms = held.complete_ms + 1
    if period.from_ms is not None:
        return Backlog(max(period.from_ms, going_on_ms), end_ms)
    if period.skip_missed:
        return Backlog(max(end_ms, going_on_ms), end_ms)
    # Nothing lies between what is complete and where the rest began, unless it is before the topic's first reading.
    return Backlog(going_on_ms if held.began_ms is None else held.began_ms, end_ms)
