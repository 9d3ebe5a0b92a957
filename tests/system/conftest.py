"""What the whole systems share: a zone of their own, a file of real readings, and no settings from outside."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.base.settings import Settings
from tests.system.csv_day import write_day

LONGEST_S = 2700
"""Of one test, on a machine where every core is busy ten times over."""
ELSEWHERE = "America/St_Johns"
"""The zone of commands, half an hour off every hour of the servers': nothing may depend on it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stands in this folder needs the real parts, and is marked so; a demo or a README takes minutes, or many."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)
            item.add_marker(pytest.mark.timeout(LONGEST_S))


@pytest.fixture(scope="session", autouse=True)
def surroundings() -> Iterator[None]:
    """No settings but those of each system's folder; Spark, whose JVM some tests share, keeps its memory small."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in (*(field.upper() for field in Settings.model_fields), "SMARTMETER_DATA_DIR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TZ", ELSEWHERE)
        monkeypatch.setenv("STREAM_DRIVER_MEMORY", "1g")
        monkeypatch.setenv("STREAM_TRIGGER_S", "2")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="session")
def csv_day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of one household in the form of UCI's file: the real one where it is at hand."""
    return write_day(tmp_path_factory.mktemp("csv") / "household day.csv")
