"""ml's offline windows are those that the stream makes of the same readings, value by value."""

import numpy as np
from pyspark.sql import SparkSession

from ml.windows import windows_of
from producers.settings import Anomalies, Rate, Simulation
from producers.simulator import Simulator
from schemas.codec import to_millis
from tests.spark.chain import GRAINS, by_key, emitted, first_grain, table
from tests.spark.readings import START, Reading

DATASET = "anomaly_prediction_features"
START_MS = to_millis(START)
OFTEN = Anomalies(gap=Rate(per_day=8.0, shortest_s=30, longest_s=300)).scaled(2.0)


def test_windows_are_the_streams(spark: SparkSession) -> None:
    simulator = Simulator(Simulation(buildings=6, meters_per_building=1, interval_ms=10_000, seed=4, anomalies=OFTEN))
    first = simulator.tick_at(START_MS)
    columns = simulator.readings(first, first + 360)
    columns["sequence"] = np.ma.masked_array(columns["sequence"], mask=columns["meter_id"] == 2)
    names = ("meter_id", "timestamp", "power_kw", "voltage_v", "status", "building_id")
    rows = zip(*(columns[name].tolist() for name in names), columns["sequence"].tolist(), strict=True)
    readings = [
        Reading(offset, meter, (at - START_MS) // 1000, power, voltage, status, sequence, building)
        for offset, (meter, at, power, voltage, status, building, sequence) in enumerate(rows)
    ]
    stats = first_grain(spark, readings)["meter_stats_30s"]
    streamed = by_key(DATASET, emitted(table(spark, "meter_stats_30s", stats), GRAINS["meter_5min"])[DATASET])
    offline = windows_of(columns)
    assert len(streamed) == len(offline["meter_id"]) > 60
    for row, (meter, start) in enumerate(zip(offline["meter_id"], offline["window_start"], strict=True)):
        wanted = next(v for k, v in streamed.items() if (k[0], to_millis(k[1])) == (meter, start))
        for name, values in offline.items():
            got = values[row].item()
            value = to_millis(wanted[name]) if name.startswith("window_") else wanted[name]
            assert np.isnan(got) if value is None else got == value, (meter, start, name)
    assert sum(offline[name].sum() for name in ("failure_count", "spike_count", "voltage_anomaly_count")) > 0
    assert np.nansum(offline["gap_count"]) > 0
