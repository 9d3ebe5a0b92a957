"""Which windows are closed: only a late reading can still change their rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.base.clock import EPOCH
from stream_processing.grain import Grain
from stream_processing.pace import Closing

NewestReading = Callable[[datetime | None], datetime | None]
"""The newest time that a reading proves (`schemas.order.READING_TIME`), or the newest timestamp before an instant; None
where there is none."""


def closed_before(closings: Mapping[str, Closing], newest_reading: NewestReading) -> dict[str, datetime]:
    """By dataset the instant up to which its windows are closed: those that end by it are. The epoch: none is.

    `closings` lists sources before their dependants. The instants follow from the newest row that each source can have
    emitted, so meters that fall silent close nothing.
    """
    closed: dict[str, datetime] = {}
    answers: dict[Closing, datetime] = {}
    for name, closing in closings.items():
        if closing not in answers:
            newest = _newest_row(closing, newest_reading, closed.get(closing.source))
            answers[closing] = EPOCH if newest is None else newest - timedelta(seconds=closing.lateness_s)
        closed[name] = answers[closing]
    return closed


@dataclass(frozen=True)
class Reported:
    """What a grain's query has told: its watermark (None: none yet), and whether it has read all of its source."""

    watermark: datetime | None
    has_read_all: bool


def emitted_before(
    closed: Mapping[str, datetime], grains: Mapping[str, Grain], reported: Mapping[str, Reported]
) -> dict[str, datetime]:
    """`closed`, but no later than the windows that the stream has emitted: what it has yet to emit is behind, not late.

    In append mode a query has emitted what ends by its watermark. In update mode it has emitted what its source has, if
    it has read that, else what ends by its own watermark. A grain that never reported sets no limit.
    """
    emitted: dict[str, datetime] = dict(closed)
    for name, grain in grains.items():
        report = reported.get(name)
        if report is None:
            continue
        of_source = emitted.get(grain.source) if grain.output_mode == "update" and report.has_read_all else None
        limit = of_source or report.watermark or EPOCH
        for dataset in grain.emits:
            emitted[dataset] = min(closed[dataset], limit)
    return emitted


def _newest_row(
    closing: Closing, newest_reading: NewestReading, source_closed_before: datetime | None
) -> datetime | None:
    """The time of the newest row that the source can have emitted. Readings are a source without windows."""
    if source_closed_before is None:
        return newest_reading(None)
    window = timedelta(seconds=closing.source_window_s)
    newest = newest_reading(_start(source_closed_before, window))
    return None if newest is None else _start(newest, window)


def _start(instant: datetime, window: timedelta) -> datetime:
    """The start of the window that an instant is in."""
    return instant - (instant - EPOCH) % window
