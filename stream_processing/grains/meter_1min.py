"""(meter, 1 min) of meter_stats_30s; in update mode, so the running minute is visible."""

from pyspark.sql import DataFrame

from stream_processing import meter_minute_trend
from stream_processing.grain import Datasets, Grain
from stream_processing.rollup import MAXIMA, MINIMA, roll_up

WINDOW_S = 60
LATENESS_S = 600
"""Costs only state: a minute is visible before it is over, and rows of a backfill come a little out of order."""
STATISTICS = ("event_count", "power_sum_mw", "voltage_sum_mv", *MINIMA, *MAXIMA)


def _prepare(stats: DataFrame, _datasets: Datasets) -> DataFrame:
    return stats


def _aggregate(stats: DataFrame, _datasets: Datasets) -> DataFrame:
    return roll_up(stats, WINDOW_S, STATISTICS)


GRAIN = Grain(
    source="meter_stats_30s",
    event_time="window_start",
    window_s=WINDOW_S,
    output_mode="update",
    prepare=_prepare,
    aggregate=_aggregate,
    emits={"meter_minute_trend": meter_minute_trend.fields},
    lateness_s=LATENESS_S,
)
