"""Every aggregate above 30 s against plain Python, at the edges of windows and of numbers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from pyspark.sql import SparkSession

from infra.base.errors import SmartmeterError
from stream_processing.grain import Grain
from tests.spark.chain import DATASETS, GRAINS, by_key, emitted, first_grain, grains_after_first, table
from tests.spark.hours import (
    FIVE_MIN_S,
    KNOWN,
    deviation,
    expected_features,
    expected_hours,
    meter,
    readings_of_hours,
)
from tests.spark.readings import (
    START,
    Reading,
    assert_equal_by_example,
    counted,
    drawn,
    expected_stats,
    milli,
    side_by_side,
)

COUNT = 100
"""Examples that are drawn."""


def everything(spark: SparkSession, readings: list[Reading]) -> dict[str, dict[tuple[Any, ...], Any]]:
    """By dataset and key, the rows that the readings give."""
    rows = grains_after_first(spark, first_grain(spark, readings)["meter_stats_30s"])
    keyed = {name: by_key(name, of_dataset) for name, of_dataset in rows.items()}
    assert {name: len(of_dataset) for name, of_dataset in rows.items()} == {name: len(k) for name, k in keyed.items()}
    return keyed


def expected_rows(readings: list[Reading]) -> dict[str, dict[tuple[int, datetime], dict[str, Any]]]:
    """By dataset and key, the fields of every row of 5 min and of an hour, the key apart."""
    windows = counted(readings, FIVE_MIN_S)
    buildings = {key: {"building_id": window[-1].building_id} for key, window in windows.items()}
    expected = {
        "meter_stats_5min": {key: {**buildings[key], **expected_stats(window)} for key, window in windows.items()},
        "anomaly_prediction_features": {
            key: {**buildings[key], **expected_features(window)} for key, window in windows.items()
        },
        **expected_hours(readings),
    }
    for name, rows in expected.items():
        length = timedelta(hours=1) if "hourly" in name else timedelta(seconds=FIVE_MIN_S)
        for (_, start), fields in rows.items():
            fields["window_end"] = start + length
    return expected


def test_every_dataset_equals_plain_python(spark: SparkSession) -> None:
    examples = side_by_side(drawn(readings_of_hours, COUNT, KNOWN))
    rows = everything(spark, list(chain(*examples)))
    expected = [expected_rows(example) for example in examples]
    for name in expected[0]:
        of_dataset = {key: fields for of_example in expected for key, fields in of_example[name].items()}
        key_fields = DATASETS[name].order_by
        actual = {
            key: {field: value for field, value in row.items() if field not in key_fields}
            for key, row in rows[name].items()
        }
        assert_equal_by_example(actual, of_dataset, examples)


def test_time_at_the_edges_is_shared_exactly(spark: SparkSession) -> None:
    first, second = START, START + timedelta(hours=1)
    meters = (
        meter(1, (3595, 7.2), (3605, 3.6)),
        meter(2, (3300, 1.0)),
        meter(3, (3299, 1.0), (3600, 2.0)),
        meter(4, (0, 1.0), (600, 1.0), building_id=8),
        meter(4, (610, 5.0), building_id=9),
    )
    rows = everything(spark, [reading for readings in meters for reading in readings])
    hours = {key: (row["covered_s"], row["energy_kwh"]) for key, row in rows["meter_hourly_power_consumption"].items()}
    assert hours == {
        (1, first): (5.0, 7.2 * 5 / 3600),
        (1, second): (305.0, (7.2 * 5 + 3.6 * 300) / 3600),
        (2, first): (300.0, 300 / 3600),  # to the hour's very end; the next hour has no reading, so no row
        (3, first): (300.0, 300 / 3600),  # and no longer: the second before the next reading is not covered
        (3, second): (300.0, 600 / 3600),
        (4, first): (300.0 + 10 + 300, (300 + 10 + 5 * 300) / 3600),
    }
    buildings = {
        key: (row["meter_count"], row["covered_s"]) for key, row in rows["building_hourly_power_consumption"].items()
    }
    assert buildings == {
        (7, first): (3, 605.0),
        (7, second): (2, 605.0),
        # Meter 4's last reading in [600, 900) was taken in building 9, so all of these 5 min count there; and in
        # building 8 its reading at 0 holds as if there were no other.
        (8, first): (1, 300.0),
        (9, first): (1, 310.0),
    }
    both = rows["building_hourly_power_consumption"][7, second]["energy_kwh"]
    assert both == pytest.approx(hours[1, second][1] + hours[3, second][1], rel=1e-15)


def an_hour(
    meter_id: int, count: int, powers: Callable[[int], float], voltages: Callable[[int], float]
) -> list[Reading]:
    return [Reading(i, meter_id, i, powers(i), voltages(i), produced_s=9000) for i in range(count)]


def test_deviations_are_exact_at_the_limits(spark: SparkSession) -> None:
    widest = an_hour(1, 3600, lambda i: 1000.0 if i % 2 else -1000.0, lambda i: 1000.0 if i % 2 else 0.0)
    narrowest = an_hour(2, 3600, lambda i: 1000.0 if i % 7 else 999.999999, lambda i: 1000.0 if i % 7 else 999.999)
    constant = an_hour(3, 3600, lambda _: 1000.0, lambda _: 1000.0)
    scattered = an_hour(4, 3600, lambda i: i * 7919 % 2000001 / 1000 - 1000, lambda i: i * 7919 % 1000001 / 1000)
    readings = [*widest, *narrowest, *constant, *scattered]
    rows = everything(spark, readings)
    for key, window in counted(readings, 3600).items():
        expected = deviation([milli(r.voltage_v, 1e3) for r in window], 1e3)
        assert rows["meter_hourly_voltage_monitoring"][key]["voltage_std_v"] == expected
    for key, window in counted(readings, FIVE_MIN_S).items():
        assert rows["anomaly_prediction_features"][key]["power_std_kw"] == expected_features(window)["power_std_kw"]


def test_a_row_with_fewer_events_loses_wherever_it_comes(spark: SparkSession) -> None:
    stats = first_grain(spark, an_hour(1, 600, lambda i: i % 5 / 10, lambda _: 230.0))["meter_stats_30s"]
    fewer = [{**row, "event_count": row["event_count"] - 1, "power_max_mw": 10**9} for row in stats]
    once = grains_after_first(spark, stats)
    rows = grains_after_first(spark, [*fewer, *stats, *stats, *fewer])
    for name in once.keys() - {"meter_stats_30s"}:
        assert by_key(name, rows[name]) == by_key(name, once[name])
    more = {**stats[0], "event_count": 31, "power_max_mw": 10**9}
    changed = emitted(table(spark, "meter_stats_30s", [more, *stats]), GRAINS["meter_1min"])
    assert max(row["power_max_kw"] for row in changed["meter_minute_trend"]) == 1000.0


@pytest.mark.parametrize("hold_max_s", [299, 301])
@pytest.mark.parametrize("grain", ["meter_1h", "building_1h"])
def test_a_hold_that_rows_of_5_min_do_not_allow_is_refused(spark: SparkSession, grain: str, hold_max_s: float) -> None:
    dataset = next(name for name in GRAINS[grain].emits if "power" in name)
    datasets = {**DATASETS, dataset: replace(DATASETS[dataset], parameters={"hold_max_s": hold_max_s})}
    with pytest.raises(SmartmeterError, match=f"{dataset}.yaml: hold_max_s is {hold_max_s}.*must be 300"):
        emitted(table(spark, "meter_stats_5min", []), GRAINS[grain], datasets)


def test_limits_that_differ_from_the_source_are_refused(spark: SparkSession) -> None:
    name = "meter_hourly_voltage_monitoring"
    datasets = {**DATASETS, name: replace(DATASETS[name], parameters={"voltage_lower_v": 207.0})}
    grain: Grain = GRAINS["meter_1h"]
    with pytest.raises(SmartmeterError, match=r"voltage_lower_v is 207.*meter_stats_5min counts with 210"):
        emitted(table(spark, "meter_stats_5min", []), grain, datasets)
