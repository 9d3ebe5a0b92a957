"""(meter, 1 h) of meter_stats_5min; in update mode, so the running hour is visible, in steps of 5 min."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stream_processing import meter_hourly_power_consumption, meter_hourly_voltage_monitoring
from stream_processing.grain import Datasets, Grain
from stream_processing.hours import HOUR_S, PART_S, hourly, require_hold
from stream_processing.rollup import MAXIMA, MINIMA, require_equal_parameters

STATISTICS = (
    *("event_count", "power_sum_mw", "voltage_sum_mv", "voltage_sum_sq_mv2", "voltage_outside_count"),
    *(*MINIMA, *MAXIMA),
)


def _prepare(stats: DataFrame, _datasets: Datasets) -> DataFrame:
    return stats


def _aggregate(stats: DataFrame, datasets: Datasets) -> DataFrame:
    require_hold(datasets["meter_hourly_power_consumption"])
    require_equal_parameters(datasets["meter_hourly_voltage_monitoring"], datasets["meter_stats_5min"])
    hours = hourly(stats, "meter_id", STATISTICS)
    return hours.withColumn("building_id", F.col("last_building_id"))


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
        "meter_hourly_power_consumption": meter_hourly_power_consumption.fields,
        "meter_hourly_voltage_monitoring": meter_hourly_voltage_monitoring.fields,
    },
)
