"""Figures, their windows and their format for Prometheus, without any part of the stack."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from infra.operations.metrics.exposition import Exposition
from infra.operations.metrics.figures import METRICS, PER_BATCH, Figure, of_batches, stream_lag
from infra.operations.metrics.sources import Gathered
from infra.operations.metrics.windows import WINDOW_MS, Windows
from schemas.codec import with_datetimes
from schemas.manifest import load_datasets
from schemas.models import model_of

FIGURES = st.builds(
    Figure,
    metric=st.sampled_from(["lag_messages", "state_bytes"]),
    part=st.sampled_from(["a", "b"]),
    target=st.sampled_from(["", "t"]),
    value=st.integers(-(10**9), 10**9).map(float),  # whole numbers add up exactly in any order
)
RECORD = load_datasets()["pipeline_metrics"].latest
MODEL = model_of(RECORD)
READINGS = st.lists(st.tuples(FIGURES, st.integers(0, 5 * WINDOW_MS)), max_size=60)


@given(READINGS)
def test_a_window_says_what_its_readings_say(readings: list[tuple[Figure, int]]) -> None:
    windows = Windows()
    for figure, at_ms in sorted(readings, key=lambda reading: reading[1]):
        windows.add([figure], at_ms)
    rows = windows.closed(None)
    for row in rows:
        start = row["window_start"]
        values = [
            figure.value
            for figure, at_ms in sorted(readings, key=lambda reading: reading[1])
            if (figure.metric, figure.part, figure.target) == (row["metric"], row["part"], row["target"])
            and start <= at_ms < row["window_end"]
        ]
        told = (row["event_count"], row["value_sum"], row["value_min"], row["value_max"], row["value_last"])
        assert told == (len(values), sum(values), min(values), max(values), values[-1])
        assert (start % WINDOW_MS, row["window_end"] - start) == (0, WINDOW_MS)
    assert sum(row["event_count"] for row in rows) == len(readings)
    assert windows.closed(None) == []


def test_a_window_is_given_out_once_and_only_when_it_is_over() -> None:
    windows = Windows()
    windows.add([Figure("lag_messages", "a", "t", 1)], 1000)
    assert windows.closed(WINDOW_MS - 1) == []
    assert [row["window_start"] for row in windows.closed(WINDOW_MS)] == [0]
    assert windows.closed(WINDOW_MS) == []


@given(READINGS)
def test_rows_keep_the_contract(readings: list[tuple[Figure, int]]) -> None:
    windows = Windows()
    for figure, at_ms in readings:
        windows.add([figure], at_ms)
    for row in windows.closed(None):
        MODEL.model_validate(with_datetimes(row, RECORD))


def progress(batch: int, **more: Any) -> dict[str, Any]:
    told = {"batch": batch, "batch_s": 1.5, "rows": 100, "late_rows": 3, "state_rows": 7, "state_bytes": 900}
    told |= {"end_offsets": {"smart-meter-data": {"0": 40, "1": 60}}}
    return {"grains": {"meter_30s": {"restarts": 0, "progress": told | more}}}


def test_a_batch_is_told_once_and_the_state_each_time() -> None:
    seen: dict[str, int] = {}
    first, again, next_one = (of_batches(progress(batch), seen) for batch in (4, 4, 5))
    assert {figure.metric for figure in first} == PER_BATCH | {"state_rows", "state_bytes", "restarts"}
    assert {figure.metric for figure in again} == {"state_rows", "state_bytes", "restarts"}
    assert sum(f.value for f in (*first, *again, *next_one) if f.metric == "late_rows") == 6


def test_a_stream_that_has_no_batch_yet_has_no_figures_of_batches() -> None:
    assert of_batches({}, {}) == []
    waiting = {"grains": {"meter_30s": {"restarts": 2, "progress": {}}}}
    assert of_batches(waiting, {}) == [Figure("restarts", "stream", "meter_30s", 2)]
    assert stream_lag(waiting, {"smart-meter-data": {0: 5}}) == []


def test_the_streams_lag_is_what_it_has_not_read() -> None:
    (lag,) = stream_lag(progress(1), {"smart-meter-data": {0: 45, 1: 60, 2: 10}})
    assert lag == Figure("lag_messages", "stream-meter_30s", "smart-meter-data", 5 + 0 + 10)


def test_prometheus_reads_what_is_shown() -> None:
    registry, exposition = CollectorRegistry(), Exposition()
    registry.register(exposition)
    awkward = 'it "says"\nno'
    figures = [
        Figure("lag_messages", "clickhouse-raw_data", "smart-meter-data", 12),
        Figure("restarts", awkward, "", 1),
    ]
    exposition.show(Gathered(figures, {"registry": "down"}, ("kafka", "registry")))
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    assert samples == {
        ("smartmeter_source_up", ("source", "kafka")): 1,
        ("smartmeter_source_up", ("source", "registry")): 0,
        ("smartmeter_lag_messages", ("part", "clickhouse-raw_data"), ("target", "smart-meter-data")): 12,
        ("smartmeter_restarts", ("part", awkward), ("target", "")): 1,
    }
    exposition.show(Gathered())
    assert "smart-meter-data" not in generate_latest(registry).decode(), "what is not known any more is not shown"


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_names_its_unit(metric: str) -> None:
    assert metric.rpartition("_")[2] in {"messages", "s", "versions", "bytes", "rows", "restarts"}
    assert METRICS[metric].endswith(".")
