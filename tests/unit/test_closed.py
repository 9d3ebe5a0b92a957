"""Which windows are closed, by a simulation of watermarks that shares nothing with the code."""

from datetime import UTC, datetime, timedelta
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from infra.base.clock import EPOCH
from infra.operations.closed import Reported, closed_before, emitted_before
from stream_processing.grain import Grain
from stream_processing.pace import Closing

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CLOSINGS = {
    "stats": Closing("raw_data", 60, 0),
    "trend": Closing("raw_data", 60, 0),
    "five": Closing("stats", 70, 30),
}


def at(*seconds: float) -> dict[str, float]:
    """What is closed after readings at these seconds of the day, in seconds too."""
    readings = [NOON + timedelta(seconds=second) for second in seconds]

    def newest(before: datetime | None) -> datetime | None:
        return max((one for one in readings if before is None or one < before), default=None)

    return {name: (instant - NOON).total_seconds() for name, instant in closed_before(CLOSINGS, newest).items()}


def test_flowing_readings_close_a_dependant_by_the_rows_that_its_source_has_emitted() -> None:
    """At 600 s windows of 30 s that end by 540 s have rows, the newest of which starts at 510 s."""
    assert at(*range(0, 601, 10)) == {"stats": 540, "trend": 540, "five": 440}


def test_a_reading_after_a_silence_closes_the_windows_of_the_readings_before_it_and_no_more() -> None:
    assert at(0, 10, 20, 3600) == {"stats": 3540, "trend": 3540, "five": -70}


def test_without_readings_or_with_one_alone_nothing_is_closed_that_needs_a_row() -> None:
    nothing = (EPOCH - NOON).total_seconds()
    assert at() == {"stats": nothing, "trend": nothing, "five": nothing}
    assert at(0)["five"] == nothing


@given(st.lists(st.integers(0, 2000), min_size=1))
def test_five_minutes_are_closed_as_far_as_the_emitted_rows_push_their_watermark(seconds: list[int]) -> None:
    rows = {second // 30 * 30 for second in seconds}
    emitted = [start for start in rows if start + 30 <= max(seconds) - 60]
    expected = max(emitted) - 70 if emitted else (EPOCH - NOON).total_seconds()
    assert at(*seconds)["five"] == expected


def grain(name: str, source: str, mode: Literal["append", "update"], emits: str) -> Grain:
    return Grain(name, source, 30, mode, lambda frame, _: frame, emits={emits: lambda _: {}})


GRAINS = {
    "first": grain("first", "raw_data", "append", "stats"),
    "second": grain("second", "stats", "update", "trend"),
}
CLOSED = {"stats": NOON, "trend": NOON}


def minutes(**reported: Reported) -> dict[str, float]:
    """What counts as closed, in minutes after NOON, if all of it ends by then."""
    emitted = emitted_before(CLOSED, GRAINS, reported)
    return {name: (instant - NOON).total_seconds() / 60 for name, instant in emitted.items()}


def before(count: int) -> datetime:
    return NOON - timedelta(minutes=count)


def test_what_a_stream_has_yet_to_emit_is_not_closed() -> None:
    """It was stopped an hour ago, or has read all and emits at its next trigger."""
    stopped = Reported(before(60), has_read_all=False)
    assert minutes(first=stopped, second=Reported(before(70), has_read_all=True)) == {"stats": -60, "trend": -60}
    assert minutes(first=Reported(before(1), True), second=Reported(before(70), False)) == {"stats": -1, "trend": -70}


def test_without_a_report_the_readings_alone_say_what_is_closed_and_without_a_watermark_nothing_is() -> None:
    assert minutes() == {"stats": 0, "trend": 0}
    never = Reported(None, has_read_all=False)
    assert emitted_before(CLOSED, GRAINS, {"first": never})["stats"] == EPOCH
    ahead = NOON + timedelta(hours=1)
    assert minutes(first=Reported(ahead, True), second=Reported(ahead, True)) == {"stats": 0, "trend": 0}
