"""meter_stats_30s and its neighbours against plain Python, on readings in any order, repeated, and out of contract."""

from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from pyspark.sql import SparkSession

from infra.base.deployment import Fleet
from schemas.manifest import with_limits
from tests.spark.chain import DATASETS, GRAINS, Row, by_key, emitted, first_grain, table
from tests.spark.readings import (
    KNOWN,
    Reading,
    assert_equal_by_example,
    counted,
    drawn,
    expected_stats,
    readings_lists,
    side_by_side,
)

Rows = dict[str, list[Row]]
Key = tuple[int, datetime]
COUNT = 200
"""Examples that are drawn."""


@pytest.fixture(scope="module")
def examples() -> list[list[Reading]]:
    return side_by_side(drawn(readings_lists(), COUNT, KNOWN))


@pytest.fixture(scope="module")
def rows(spark: SparkSession, examples: list[list[Reading]]) -> Rows:
    """What all the examples give together."""
    return first_grain(spark, list(chain(*examples)))


def expected_by_key(
    examples: list[list[Reading]], window_s: int, expected: Callable[[list[Reading]], dict[str, Any]]
) -> dict[Key, dict[str, Any]]:
    """By meter and window the fields that `expected` gives for its readings, with those that name the window."""
    length = timedelta(seconds=window_s)
    return {
        key: {"building_id": window[-1].building_id, "window_end": key[1] + length, **expected(window)}
        for example in examples
        for key, window in counted(example, window_s).items()
    }


def test_every_field_equals_plain_python(rows: Rows, examples: list[list[Reading]]) -> None:
    expected = expected_by_key(examples, 30, expected_stats)
    stats = rows["meter_stats_30s"]
    actual = {(row["meter_id"], row["window_start"]): row for row in stats}
    assert len(actual) == len(stats)
    names = {"meter_id", "window_start"}
    fields = {key: {name: value for name, value in row.items() if name not in names} for key, row in actual.items()}
    assert_equal_by_example(fields, expected, examples)


def test_order_and_repeats_change_nothing(spark: SparkSession, rows: Rows, examples: list[list[Reading]]) -> None:
    readings = list(chain(*examples))
    again = first_grain(spark, [*reversed(readings), *readings])
    for name in rows:
        assert len(again[name]) == len(rows[name])
        assert_equal_by_example(by_key(name, again[name]), by_key(name, rows[name]), examples)


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
    assert len(first_grain(spark, [Reading(**values)])["meter_stats_30s"]) == int(counts)


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
        *window(8, (-2.5, 230), (-2.6, 231), (-2.4, 230)),
        *window(9, (-0.02, 230), (0.01, 231), (0.0, 230)),
    ]
    actual = first_grain(spark, readings)["anomaly_detection_meter"]
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
        8: set(),
        9: {"low_consumption"},
    }


def test_the_limits_are_the_fleets_and_sums_hold_the_largest(spark: SparkSession) -> None:
    fleet = Fleet(power_max_kw=100_000, voltage_lower_v=108, voltage_upper_v=132)
    powers = [99_999.999999, -100_000.0, 7_400.0, -3_037.000500, 0.000001, -0.000001, 100_000.001]
    readings = [Reading(i, 1, i, power, 120.0 if i else 132.5) for i, power in enumerate(powers)]
    limited = first_grain(spark, readings, with_limits(DATASETS, fleet))
    [stats] = limited["meter_stats_30s"]
    counted_mw = [round(power * 1e6) for power in powers[:-1]]
    assert stats["event_count"] == len(counted_mw)
    assert stats["power_sum_sq_mw2"] == sum(power * power for power in counted_mw)
    assert (stats["power_min_mw"], stats["power_max_mw"]) == (min(counted_mw), max(counted_mw))
    assert stats["voltage_outside_count"] == 1
    [stats] = first_grain(spark, readings)["meter_stats_30s"]
    assert (stats["event_count"], stats["voltage_outside_count"]) == (2, 2)


def expected_trend(window: list[Reading]) -> dict[str, Any]:
    """The fields of meter_minute_trend, save key and window, for one window's counted readings."""
    stats: dict[str, Any] = expected_stats(window)
    count = stats["event_count"]
    return {
        "event_count": count,
        "power_avg_kw": stats["power_sum_mw"] / (count * 1e6),
        "power_min_kw": stats["power_min_mw"] / 1e6,
        "power_max_kw": stats["power_max_mw"] / 1e6,
        "voltage_avg_v": stats["voltage_sum_mv"] / (count * 1e3),
        "voltage_min_v": stats["voltage_min_mv"] / 1e3,
        "voltage_max_v": stats["voltage_max_mv"] / 1e3,
        "content_version": stats["content_version"],
    }


def test_minute_trend_equals_plain_python(spark: SparkSession, rows: Rows, examples: list[list[Reading]]) -> None:
    stats = rows["meter_stats_30s"]
    # A row that is delivered twice, and one with fewer events, change nothing (law 3).
    fewer = [{**row, "event_count": row["event_count"] - 1} for row in stats]
    trend = emitted(table(spark, "meter_stats_30s", [*stats, *stats, *fewer]), GRAINS["meter_1min"])
    actual = {
        (row["meter_id"], row["window_start"]): {n: v for n, v in row.items() if n not in ("meter_id", "window_start")}
        for row in trend["meter_minute_trend"]
    }
    assert len(actual) == len(trend["meter_minute_trend"])
    assert_equal_by_example(actual, expected_by_key(examples, 60, expected_trend), examples)
