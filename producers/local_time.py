"""Text to instants: dates and times of a file, read in its time zone, as ms since 1970 in UTC.

Where clocks go back, an hour occurs twice; where they go forward, an hour does not occur. `to_utc` shows both.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from infra.base.columns import I64

QUARTER_MS = 900_000
WALL_EPOCH = datetime(1970, 1, 1)
MS = timedelta(milliseconds=1)
FARTHEST_MS = 2**53
"""Numbers beyond this are no times in ms since 1970: it is the year 287,396."""


END_OF_DAY = re.compile(r"(?<!\d)24(?=:?00(:?00(\.0+)?)?(?!\d|:))")
"""The hour of 24:00, 24:00:00, 2400 and the like."""


class Moment(NamedTuple):
    """A parsed text: ms since 1970 by the clock that it names, and whether that clock is UTC already."""

    ms: int
    is_utc: bool


def parser(form: str) -> Callable[[str], Moment]:
    """What parses one text in this form: `iso`, `unix`, `unix-ms`, or a pattern of strptime.

    The parser raises ValueError or OverflowError for a text that is not in the form.
    """
    match form:
        case "iso":
            return lambda text: _moment(*_with_midnight(text.strip(), datetime.fromisoformat))
        case "unix":
            return lambda text: _since_1970(text, lambda digits: round(float(digits) * 1000))
        case "unix-ms":
            return lambda text: _since_1970(text, int)
        case pattern:
            return lambda text: _moment(*_with_midnight(text.strip(), lambda given: datetime.strptime(given, pattern)))


def time_parser(form: str) -> Callable[[str], int]:
    """What parses a time of day to ms since midnight."""
    midnight = datetime(1900, 1, 1)

    def parse(text: str) -> int:
        time, days = _with_midnight(text.strip(), lambda given: datetime.strptime(given, form))
        return (time - midnight + days) // MS

    return parse


def _with_midnight(text: str, parse: Callable[[str], datetime]) -> tuple[datetime, timedelta]:
    """The text as parsed, and what to add: a day where it says 24:00, the end of its day."""
    try:
        return parse(text), timedelta(0)
    except ValueError:
        at_start = END_OF_DAY.sub("00", text, count=1)
        if at_start == text:
            raise
        return parse(at_start), timedelta(days=1)


def _since_1970(text: str, to_ms: Callable[[str], int]) -> Moment:
    ms = to_ms(text)
    if "_" in text or abs(ms) > FARTHEST_MS:  # Python's grouping, which no clock writes; or no time at all
        raise ValueError(text)
    return Moment(ms, True)


def _moment(parsed: datetime, more: timedelta) -> Moment:
    parsed += more
    if parsed.tzinfo is not None:
        return Moment((parsed.astimezone(UTC).replace(tzinfo=None) - WALL_EPOCH) // MS, True)
    return Moment((parsed - WALL_EPOCH) // MS, False)


class Utc(NamedTuple):
    """Local times in UTC, twice: as the first and as the second of two possible instants. They differ only there.

    Where the first is later than the second, clocks jumped over that time: there is no such instant.
    """

    first: I64
    second: I64


def to_utc(local_ms: I64, zone: str) -> Utc:
    """Local times in UTC, as the first and as the second of two possible instants, which mostly are the same.

    Where the first is later than the second, clocks jumped over that time, and there is no such instant.
    """
    if zone == "UTC":
        return Utc(local_ms, local_ms)
    quarters, which = np.unique(local_ms // QUARTER_MS, return_inverse=True)
    info = ZoneInfo(zone)
    offsets = np.array([_offsets(WALL_EPOCH + timedelta(milliseconds=int(q) * QUARTER_MS), info) for q in quarters])
    first, second = (offsets.reshape(-1, 2)[which, fold] for fold in (0, 1))
    return Utc(local_ms - first, local_ms - second)


def _offsets(local: datetime, info: ZoneInfo) -> Sequence[int]:
    """The zone's offset in ms at both folds of a local time."""
    return [(local.replace(tzinfo=info, fold=fold).utcoffset() or timedelta()) // MS for fold in (0, 1)]
