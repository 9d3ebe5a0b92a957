"""Which windows are closed: their rows are final, as nothing but a late reading can change them."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from infra.base.clock import EPOCH
from stream_processing.pace import Closing

NewestReading = Callable[[datetime | None], datetime | None]
"""The time of the newest reading of all, or of those before an instant; None where there is none."""


def closed_before(closings: Mapping[str, Closing], newest_reading: NewestReading) -> dict[str, datetime]:
    """By dataset: a window is closed if it ends by this instant; the epoch where none is. Sources come first.

    It is reckoned from the newest row that each source can have emitted, so a silence of the meters closes nothing.
    """
    found: dict[str, datetime] = {}
    asked: dict[Closing, datetime] = {}
    for name, closing in closings.items():
        if closing not in asked:
            newest = _newest_row(closing, newest_reading, found.get(closing.source))
            asked[closing] = EPOCH if newest is None else newest - timedelta(seconds=closing.lateness_s)
        found[name] = asked[closing]
    return found


def _newest_row(
    closing: Closing, newest_reading: NewestReading, source_closed_before: datetime | None
) -> datetime | None:
    """The time of the source's newest row; the readings themselves are never closed."""
    if source_closed_before is None:
        return newest_reading(None)
    window = timedelta(seconds=closing.source_window_s)
    newest = newest_reading(_start(source_closed_before, window))
    return None if newest is None else _start(newest, window)


def _start(instant: datetime, window: timedelta) -> datetime:
    """The start of the window that an instant is in."""
    return instant - (instant - EPOCH) % window
