"""One line an event, for people and for programs."""

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from infra.base.events import FORMAT_VARIABLE, configure, event


@pytest.fixture
def restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(monkeypatch: pytest.MonkeyPatch, form: str) -> list[str]:
    monkeypatch.setenv(FORMAT_VARIABLE, form)
    output = io.StringIO()
    configure("stream", output)
    log = logging.getLogger("stream_processing.run")
    event(log, "batch", grain="meter_30s", rows=5000, batch_s=1.23456789, **{"smart-meter-data/0": 48210})
    event(log, "unreadable", logging.WARNING, reason='no "magic"\nbyte', offset=7, topic="")
    logging.getLogger("py4j.clientserver").info("a library's chatter")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("failed")
    return output.getvalue().splitlines()


@pytest.mark.usefixtures("restored")
def test_lines_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = lines(monkeypatch, "")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO stream batch "
        r"grain=meter_30s rows=5000 batch_s=1\.23457 smart-meter-data/0=48210",
        first,
    )
    assert second.endswith(r'WARNING stream unreadable reason="no \"magic\"\nbyte" offset=7 topic=""')
    assert "ValueError: broken" in third, "a stack is one line too"


@pytest.mark.usefixtures("restored")
def test_json_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = map(json.loads, lines(monkeypatch, "json"))
    assert first["event"] == "batch"
    assert first | {"at": ""} == {
        **{"at": "", "level": "INFO", "part": "stream", "event": "batch", "grain": "meter_30s", "rows": 5000},
        **{"batch_s": 1.23456789, "smart-meter-data/0": 48210},
    }
    assert (second["reason"], second["level"]) == ('no "magic"\nbyte', "WARNING")
    assert third["error"].startswith("Traceback")
