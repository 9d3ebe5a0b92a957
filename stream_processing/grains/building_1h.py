"""(building, 1 h) of meter_stats_5min; in update mode, so the running hour is visible, in steps of 5 min."""

from pyspark.sql import DataFrame

from stream_processing import anomaly_count_hourly_per_building, building_hourly_power_consumption
from stream_processing.grain import Datasets, Grain
from stream_processing.hours import HOUR_S, PART_S, hourly, require_hold

STATISTICS = (
    *("event_count", "power_sum_mw", "power_min_mw", "power_max_mw"),
    *("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count"),
)


def _prepare(stats: DataFrame, _datasets: Datasets) -> DataFrame:
    return stats


def _aggregate(stats: DataFrame, datasets: Datasets) -> DataFrame:
    require_hold(datasets["building_hourly_power_consumption"])
    return hourly(stats, "building_id", STATISTICS)


GRAIN = Grain(
    source="meter_stats_5min",
    event_time="window_start",
    window_s=HOUR_S,
    context_s=PART_S,
    lateness_s=HOUR_S,
    output_mode="update",
    prepare=_prepare,
    aggregate=_aggregate,
    emits={
        "building_hourly_power_consumption": building_hourly_power_consumption.fields,
        "anomaly_count_hourly_per_building": anomaly_count_hourly_per_building.fields,
    },
)
