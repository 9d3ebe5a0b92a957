"""What the streaming application keeps of its queries' reports, and how it starts a query again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.manifest import load_datasets
from stream_processing import application
from stream_processing.application import HEALTHY_AFTER_S, Application, Run, after
from stream_processing.grain import load_grains
from stream_processing.settings import StreamSettings

BATCH = {"batch": 2, "rows": 120, "watermark": "2026-01-05T18:00:00.000Z", "end_offsets": {"t": {"0": 120}}}
IDLE = {"batch": 4, "rows": 0, "watermark": None, "end_offsets": {"t": {"0": 180}}}


def test_an_idle_query_reports_only_its_offsets() -> None:
    assert after(BATCH, IDLE) == {**BATCH, "end_offsets": {"t": {"0": 180}}}


def test_a_batch_reports_everything() -> None:
    assert after(BATCH, {**BATCH, "batch": 3, "rows": 7}) == {**BATCH, "batch": 3, "rows": 7}
    assert after({}, IDLE) == IDLE


class Clock:
    """Time in which a week of waiting takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 30.0)


class Query:
    """A streaming query that runs and has nothing to report."""

    isActive = True  # noqa: N815 - Spark's name
    lastProgress = None  # noqa: N815

    def stop(self) -> None:
        self.isActive = False


class Registry:
    """Down until `up`; counts how often it was asked."""

    def __init__(self) -> None:
        self.up = False
        self.asked = 0

    def ids_of(self, subject: str) -> dict[int, str]:
        self.asked += 1
        if not self.up:
            raise ConnectionError(f"registry does not answer\nabout {subject}")
        return {1: "a schema"}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(application, "time", clock)
    monkeypatch.setattr("infra.base.backoff.time", clock)
    return clock


def test_a_registry_that_is_down_for_days_ends_no_grain(clock: Clock, tmp_path: Path) -> None:
    registry = Registry()
    context: Any = SimpleNamespace(datasets=load_datasets(), grains=load_grains(), registry=registry)
    sentences: list[str] = []
    streaming = Application(context, StreamSettings(), str(tmp_path), sentences.append)
    per_grain = 2000  # the power of two that was once the pause overflows at 1024

    def failed_often() -> bool:
        return registry.asked >= per_grain * len(context.grains)

    started = clock.now
    streaming.run(failed_often, lambda _: None)
    assert clock.now - started >= (per_grain - 10) * 60
    assert {state["error"] for state in streaming.state().values()} == {"registry does not answer"}
    assert all(state["restarts"] >= per_grain - 1 for state in streaming.state().values())
    assert sentences[0].endswith("registry does not answer; trying again in 1 s")
    assert sentences[-1].endswith("registry does not answer; trying again in 60 s")


def test_a_query_that_runs_for_a_while_has_no_failures_left(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    context: Any = SimpleNamespace(datasets=load_datasets(), grains=load_grains(), registry=registry)
    streaming = Application(context, StreamSettings(), str(tmp_path), lambda _: None)

    def start(_streaming: Application, _name: str, run: Run) -> None:
        """As `Application._start`, with a query that needs no Spark."""
        run.ids.refresh()
        run.query, run.started_at = Query(), clock.now  # type: ignore[assignment]

    monkeypatch.setattr(Application, "_start", start)
    until = clock.now + 600
    streaming.run(lambda: clock.now > until, lambda _: None)
    assert min(state["restarts"] for state in streaming.state().values()) > 3
    registry.up = True
    until = clock.now + 60 + HEALTHY_AFTER_S + 60
    reports: list[dict[str, Any]] = []
    streaming.run(lambda: clock.now > until, reports.append)
    assert {(s["state"], s["restarts"], s["error"]) for s in reports[-1].values()} == {("running", 0, None)}
