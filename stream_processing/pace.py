"""How each grain's query is paced, and when its rows are final."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.base.errors import SmartmeterError
from schemas.manifest import RAW
from stream_processing.grain import Grain
from stream_processing.settings import GrainSettings, StreamSettings


@dataclass(frozen=True)
class Pace:
    """`lateness_s` is in event time, `trigger_s` by the clock."""

    lateness_s: int
    trigger_s: int
    max_messages_per_trigger: int


@dataclass(frozen=True)
class Closing:
    """What closes a dataset's windows: a row of `source` whose time is at least `lateness_s` after their end.

    A row's time is the start of its window of `source_window_s`. Where the source is the readings (0) it is the time
    that a reading proves, `schemas.order.READING_TIME`.
    Rows of the source come only when the source's own windows are closed.
    """

    source: str
    lateness_s: int
    source_window_s: int


def paces(grains: Mapping[str, Grain], settings: StreamSettings) -> dict[str, Pace]:
    """By grain: what its setting says, else what its file says, else what the application's settings say.

    Raises SmartmeterError where the settings name an unknown grain.
    """
    for name in settings.grains.keys() - grains.keys():
        raise SmartmeterError(f"STREAM_GRAINS names {name}, which is no grain: there are {', '.join(grains)}")
    return {name: _pace(grain, settings.grains.get(name, GrainSettings()), settings) for name, grain in grains.items()}


def _pace(grain: Grain, override: GrainSettings, settings: StreamSettings) -> Pace:
    latenesses = (override.lateness_s, grain.lateness_s, settings.lateness_s)
    return Pace(
        lateness_s=next(value for value in latenesses if value is not None),
        trigger_s=settings.trigger_s if override.trigger_s is None else override.trigger_s,
        max_messages_per_trigger=override.max_messages_per_trigger or settings.max_messages_per_trigger,
    )


def closings(grains: Mapping[str, Grain], paces: Mapping[str, Pace]) -> dict[str, Closing]:
    """By dataset what closes its windows; sources come first.

    In append mode Spark emits a row when the watermark (the newest `event_time` less the lateness) has passed the
    window's end. In update mode a row is final when its source's rows are.
    """
    closing_of: dict[str, Closing] = {}
    window_s = {RAW: 0}
    for name, grain in grains.items():
        by_watermark = Closing(grain.source, paces[name].lateness_s, window_s[grain.source])
        for dataset in grain.emits:
            closing_of[dataset] = by_watermark if grain.output_mode == "append" else closing_of[grain.source]
            window_s[dataset] = grain.window_s
    return closing_of
