"""How grains are paced, and when a window's row is final."""

from typing import Any

import pytest

from infra.base.errors import SmartmeterError
from stream_processing.grain import Grain
from stream_processing.pace import Closing, closings, paces
from stream_processing.settings import GrainSettings, StreamSettings


def grain(name: str, source: str, window_s: int, mode: Any, emits: str, lateness_s: int | None = None) -> Grain:
    return Grain(name, source, window_s, mode, lambda f, _: f, lateness_s=lateness_s, emits={emits: lambda _: {}})


GRAINS = {
    "first": grain("first", "raw_data", 30, "append", "stats"),
    "second": grain("second", "stats", 60, "update", "trend", lateness_s=600),
    "third": grain("third", "stats", 300, "append", "five", lateness_s=70),
    "fourth": grain("fourth", "five", 3600, "update", "hourly", lateness_s=3600),
}


def test_a_grains_own_setting_wins_over_its_file_and_that_over_the_application() -> None:
    of_third = {"third": GrainSettings(lateness_s=0, max_messages_per_trigger=7)}
    of_grains = paces(GRAINS, StreamSettings(lateness_s=45, trigger_s=3, grains=of_third)).values()
    assert [pace.lateness_s for pace in of_grains] == [45, 600, 0, 3600]
    assert [pace.trigger_s for pace in of_grains] == [3, 3, 3, 3]
    assert [pace.max_messages_per_trigger for pace in of_grains] == [1_000_000, 1_000_000, 7, 1_000_000]


def test_settings_of_an_unknown_grain_are_refused() -> None:
    with pytest.raises(SmartmeterError, match="STREAM_GRAINS names forth, which is no grain: there are first, second"):
        paces(GRAINS, StreamSettings(grains={"forth": GrainSettings()}))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_GRAINS", '{"third": {"trigger_s": 20}}')
    assert paces(GRAINS, StreamSettings())["third"].trigger_s == 20


def test_an_appended_row_waits_for_its_source_and_an_updated_one_is_final_with_it() -> None:
    assert closings(GRAINS, paces(GRAINS, StreamSettings(lateness_s=60))) == {
        "stats": Closing("raw_data", 60, 0),
        "trend": Closing("raw_data", 60, 0),
        "five": Closing("stats", 70, 30),
        "hourly": Closing("stats", 70, 30),
    }
