"""meter_stats_30s and its neighbours against plain Python, on readings in any order, repeated, and out of contract."""

from datetime import UTC
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pyspark.sql import DataFrame, SparkSession

from schemas.manifest import load_datasets
from stream_processing.framing import in_contract
from stream_processing.grain import load_grains
from tests.spark.readings import Reading, counted, expected_stats, frame, readings_lists

DATASETS = load_datasets()
GRAINS = load_grains()
few = settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(frame_: DataFrame, dataset: str, grain: str) -> list[dict[str, Any]]:
    fields = GRAINS[grain].emits[dataset](DATASETS[dataset])
    collected = frame_.select(*(column.alias(name) for name, column in fields.items())).collect()
    return [{name: _aware(value) for name, value in row.asDict().items()} for row in collected]


def _aware(value: Any) -> Any:
    return value.astimezone(UTC) if hasattr(value, "astimezone") else value


def first_grain(spark: SparkSession, readings: list[Reading]) -> DataFrame:
    grain = GRAINS["meter_30s"]
    events = frame(spark, readings).where(in_contract(DATASETS["raw_data"].latest))
    return grain.aggregate(grain.prepare(events, DATASETS), DATASETS)


@few
@given(readings=readings_lists())
def test_every_field_equals_plain_python(spark: SparkSession, readings: list[Reading]) -> None:
    actual = rows(first_grain(spark, readings), "meter_stats_30s", "meter_30s")
    by_window = {(row["meter_id"], row["window_start"]): row for row in actual}
    windows = counted(readings, 30)
    assert by_window.keys() == windows.keys()
    assert len(actual) == len(windows)
    for key, in_window in windows.items():
        expected = expected_stats(in_window)
        assert {name: by_window[key][name] for name in expected} == expected
        assert by_window[key]["building_id"] == 7
        assert (by_window[key]["window_end"] - by_window[key]["window_start"]).total_seconds() == 30


@few
@given(readings=readings_lists())
def test_order_and_repeats_change_nothing(spark: SparkSession, readings: list[Reading]) -> None:
    once = sorted(map(str, rows(first_grain(spark, readings), "meter_stats_30s", "meter_30s")))
    again = [*reversed(readings), *readings]
    assert sorted(map(str, rows(first_grain(spark, again), "meter_stats_30s", "meter_30s"))) == once


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({"power_kw": float("nan")}, False),
        ({"power_kw": float("inf")}, False),
        ({"power_kw": 1000.01}, False),
        ({"power_kw": 1000.0}, True),
        ({"voltage_v": -0.1}, False),
        ({"status": 16}, False),
        ({"meter_id": -1}, False),
        ({"sequence": -1}, False),
        ({"sequence": None}, True),
        ({"second": 7200}, True),
        ({"second": 7201}, False),
    ],
)
def test_only_usable_readings_count(spark: SparkSession, change: dict[str, Any], counts: bool) -> None:
    values = {"offset": 0, "meter_id": 1, "second": 0, "power_kw": 1.0, "voltage_v": 230.0, "sequence": 1, **change}
    assert len(first_grain(spark, [Reading(**values)]).collect()) == int(counts)


def test_flags_name_their_kind(spark: SparkSession) -> None:
    def window(meter_id: int, *values: tuple[float, float]) -> list[Reading]:
        return [Reading(meter_id * 10 + i, meter_id, i * 5, p, float(v)) for i, (p, v) in enumerate(values)]

    readings = [
        *window(1, (0.4, 230), (0.5, 231), (0.45, 230)),
        *window(2, (0.4, 230), (5.0, 229), (0.45, 230)),
        *window(3, (0.02, 230), (0.01, 231), (0.02, 230)),
        *window(4, (0.4, 209.9), (0.5, 231), (0.45, 230)),
        *window(5, (0.4, 230), (0.4, 230), (0.4, 230)),
        *window(6, (0.4, 230), (0.4, 230)),
        *window(7, (0.01, 230), (0.01, 230), (0.01, 230)),
    ]
    actual = rows(first_grain(spark, readings), "anomaly_detection_meter", "meter_30s")
    kinds = ("spike", "low_consumption", "voltage_anomaly", "failure")
    flags = {row["meter_id"]: {kind for kind in kinds if row[kind]} for row in actual}
    assert flags == {
        1: set(),
        2: {"spike"},
        3: {"low_consumption"},
        4: {"voltage_anomaly"},
        5: {"failure"},
        6: set(),
        7: {"failure"},
    }


@few
@given(readings=readings_lists())
def test_minute_trend_equals_plain_python(spark: SparkSession, readings: list[Reading]) -> None:
    first, second = GRAINS["meter_30s"], GRAINS["meter_1min"]
    fields = first.emits["meter_stats_30s"](DATASETS["meter_stats_30s"])
    stats = first_grain(spark, readings).selectExpr("*", "meter_id * 100L as offset")
    stats = stats.select("offset", *(column.alias(name) for name, column in fields.items()))
    # A row that is delivered twice, and one with fewer events, change nothing (law 3).
    stats = stats.union(stats).union(stats.selectExpr("*").withColumn("event_count", stats["event_count"] - 1))
    actual = rows(second.aggregate(second.prepare(stats, DATASETS), DATASETS), "meter_minute_trend", "meter_1min")
    windows = counted(readings, 60)
    assert {(row["meter_id"], row["window_start"]) for row in actual} == windows.keys()
    for row in actual:
        expected = expected_stats(windows[row["meter_id"], row["window_start"]])
        count = expected["event_count"]
        assert row["event_count"] == count
        assert row["power_avg_kw"] == expected["power_sum_mw"] / (count * 1e6)  # type: ignore[operator]
        assert row["power_min_kw"] == expected["power_min_mw"] / 1e6  # type: ignore[operator]
        assert row["power_max_kw"] == expected["power_max_mw"] / 1e6  # type: ignore[operator]
        assert row["voltage_avg_v"] == expected["voltage_sum_mv"] / (count * 1e3)  # type: ignore[operator]
        assert row["voltage_min_v"] == expected["voltage_min_mv"] / 1e3  # type: ignore[operator]
        assert row["voltage_max_v"] == expected["voltage_max_mv"] / 1e3  # type: ignore[operator]
