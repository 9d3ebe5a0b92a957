"""Figures and status while a part falls silent in the middle of an answer, with whatever error its client raises."""

from pathlib import Path

import pytest
import requests
import urllib3

from infra.base.settings import Settings
from infra.operations import status
from infra.operations.metrics import sources
from infra.operations.metrics.sources import Gathered, Sources

NOBODY = "http://127.0.0.1:1"
FIELDS = {
    "KAFKA_BROKERS": "127.0.0.1:1",
    "SCHEMA_REGISTRY_URL": NOBODY,
    "CLICKHOUSE_URL": NOBODY,
    "CLICKHOUSE_USER": "a",
    "CLICKHOUSE_PASSWORD": "a",
    "CLICKHOUSE_READER_USER": "r",
    "CLICKHOUSE_READER_PASSWORD": "r",
}
ERRORS = [
    requests.exceptions.ChunkedEncodingError("cut off"),
    urllib3.exceptions.ProtocolError("cut off"),
    ConnectionResetError("cut off"),
]


class CutOff:
    """A ClickHouse client whose server goes away while it answers."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def query(self, _: str) -> None:
        raise self._error

    def close(self) -> None:
        pass


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in FIELDS.items():
        monkeypatch.setenv(name, value)
    return status.load_settings(tmp_path)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_answer_that_is_cut_off_costs_that_source_only(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sources, "connect", lambda *_, **__: CutOff(error))
    monkeypatch.setattr(sources, "KAFKA_TIMEOUT_S", 0.2)
    gathered = Sources(settings).gather()
    assert gathered.silent.keys() == {"kafka", "clickhouse", "registry"}
    assert gathered.silent["clickhouse"] == "cut off"


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_status_tells_what_it_knows_when_the_last_question_is_cut_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def late(_: Sources) -> None:
        raise error

    monkeypatch.setattr(Sources, "gather", lambda _: Gathered(sources=("clickhouse",)))
    monkeypatch.setattr(Sources, "late", late)
    told = status.overview(settings.data_dir)
    assert (told.late, told.silent) == (None, {"clickhouse": "cut off"})
