"""What is still to be sent of a period."""

import numpy as np
import pytest

from infra.base.errors import SmartmeterError
from producers.period import Backlog, backlog
from producers.resume import NOTHING, Resume, resume
from producers.settings import Period

HOUR = 3_600_000
NOW = 500_000 * HOUR
MARGIN = 60_000
ALREADY = Resume(NOW - HOUR, NOW - HOUR - MARGIN, np.empty(0, dtype=np.int64))
AFTER_IT = NOW - HOUR - MARGIN + 1


@pytest.mark.parametrize(
    ("period", "found", "expected"),
    [
        (Period(from_ms=NOW - 2 * HOUR), NOTHING, Backlog(NOW - 2 * HOUR, NOW)),
        (Period(from_ms=5, to_ms=9), NOTHING, Backlog(5, 9)),
        (Period(live=True), NOTHING, Backlog(NOW, NOW)),
        (Period(from_ms=NOW - 2 * HOUR, live=True), NOTHING, Backlog(NOW - 2 * HOUR, NOW)),
        (Period(from_ms=NOW - 2 * HOUR), ALREADY, Backlog(AFTER_IT, NOW)),
        (Period(from_ms=NOW - HOUR // 2), ALREADY, Backlog(NOW - HOUR // 2, NOW)),
        (Period(live=True), ALREADY, Backlog(AFTER_IT, NOW)),
        (Period(live=True, skip_missed=True), ALREADY, Backlog(NOW, NOW)),
        (Period(from_ms=NOW - 2 * HOUR, live=True, skip_missed=True), ALREADY, Backlog(AFTER_IT, NOW)),
    ],
    ids=["past", "explicit", "live", "both", "goes on", "hole asked for", "catches up", "skips", "from wins"],
)
def test_backlogs(period: Period, found: Resume, expected: Backlog) -> None:
    assert backlog(period, found, NOW) == expected


def test_a_topic_that_began_a_moment_ago_gets_nothing_from_before_its_begin() -> None:
    meters, times = np.array([1, 2, 1]), np.array([NOW - 20_000, NOW - 20_000, NOW - 15_000])
    assert backlog(Period(live=True), resume(meters, times, MARGIN), NOW) == Backlog(NOW - 20_000, NOW)
    assert backlog(Period(live=True), resume(meters, times, 1), NOW) == Backlog(NOW - 15_000, NOW)


def test_the_last_moments_are_looked_at_again_even_when_what_was_missed_is_skipped() -> None:
    """Another machine's clock was ahead: the topic reaches beyond now."""
    ahead = Resume(NOW + 10_000, NOW + 10_000, np.empty(0, dtype=np.int64))
    assert backlog(Period(live=True, skip_missed=True), ahead, NOW) == Backlog(NOW + 10_001, NOW)


@pytest.mark.parametrize(
    ("period", "found", "message"),
    [
        (Period(from_ms=0, to_ms=NOW + HOUR), NOTHING, "ends at 2027.*in the future: use --live"),
        (Period(from_ms=9, to_ms=5), NOTHING, "is empty: swap its ends"),
        (Period(from_ms=5, to_ms=NOW - 2 * HOUR), ALREADY, "later than this period.*--no-resume"),
        (
            Period(live=True),
            Resume(NOW + HOUR, NOW + HOUR, np.empty(0, dtype=np.int64)),
            "later than this period.*--no-resume",
        ),
    ],
    ids=["future", "empty", "topic is further", "topic is in the future"],
)
def test_what_cannot_be_sent_is_said(period: Period, found: Resume, message: str) -> None:
    with pytest.raises(SmartmeterError, match=message):
        backlog(period, found, NOW)
