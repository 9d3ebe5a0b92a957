"""How each grain's query is paced, and when its rows are final."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.base.errors import SmartmeterError
from schemas.manifest import RAW
from stream_processing.grain import Grain
from stream_processing.settings import GrainSettings, StreamSettings


@dataclass(frozen=True)
class Pace:
    """`lateness_s` is of event time, `trigger_s` of the clock."""

    lateness_s: int
    trigger_s: int
    max_messages_per_trigger: int


@dataclass(frozen=True)
class Closing:
    """What closes a dataset's windows: a row of `source` whose time is `lateness_s` after their end, or newer.

    The time of a row is the start of its window of `source_window_s`; where that is 0 the source is the readings. Rows
    of the source do not come before its own windows are closed.
    """

    source: str
    lateness_s: int
    source_window_s: int


def paces(grains: Mapping[str, Grain], settings: StreamSettings) -> dict[str, Pace]:
    """By grain: its own setting, else its file's lateness, else the application's; raises for an unknown grain."""
    for name in settings.grains.keys() - grains.keys():
        raise SmartmeterError(f"STREAM_GRAINS names {name}, which is no grain: there are {', '.join(grains)}")
    found = {}
    for name, grain in grains.items():
        own = settings.grains.get(name, GrainSettings())
        chosen = (own.lateness_s, grain.lateness_s, settings.lateness_s)
        found[name] = Pace(
            lateness_s=next(value for value in chosen if value is not None),
            trigger_s=settings.trigger_s if own.trigger_s is None else own.trigger_s,
            max_messages_per_trigger=own.max_messages_per_trigger or settings.max_messages_per_trigger,
        )
    return found


def closings(grains: Mapping[str, Grain], paces: Mapping[str, Pace]) -> dict[str, Closing]:
    """By dataset what closes its windows; sources come first.

    In append mode a row comes when the watermark, which is the newest `event_time` less the lateness, has passed the
    window's end. In update mode it is final with its source's rows.
    """
    found: dict[str, Closing] = {}
    window_s = {RAW: 0}
    for name, grain in grains.items():
        own = Closing(grain.source, paces[name].lateness_s, window_s[grain.source])
        for dataset in grain.emits:
            found[dataset] = own if grain.output_mode == "append" else found[grain.source]
            window_s[dataset] = grain.window_s
    return found
