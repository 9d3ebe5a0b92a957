"""Averages and extremes in kW and V, derived from integer sums in milliwatts and millivolts.

Every quotient has one rounding, so Spark, ClickHouse and numpy give the same bits while the sums are below 2^53.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

MW_PER_KW = 1e6
MV_PER_V = 1e3


def mean(total: Column, count: Column, units: float) -> Column:
    """total / (count * units) in double."""
    return total.cast("double") / (count.cast("double") * units)


def power_and_voltage() -> dict[str, Column]:
    """Mean, least and greatest power and voltage over columns named as in meter_stats_30s."""
    count = F.col("event_count")
    return {
        "power_avg_kw": mean(F.col("power_sum_mw"), count, MW_PER_KW),
        "power_min_kw": F.col("power_min_mw") / MW_PER_KW,
        "power_max_kw": F.col("power_max_mw") / MW_PER_KW,
        "voltage_avg_v": mean(F.col("voltage_sum_mv"), count, MV_PER_V),
        "voltage_min_v": F.col("voltage_min_mv") / MV_PER_V,
        "voltage_max_v": F.col("voltage_max_mv") / MV_PER_V,
    }


def key_and_window(*keys: str) -> dict[str, Column]:
    """The columns that name a row, and its event_count."""
    return {name: F.col(name) for name in (*keys, "window_start", "window_end", "event_count")}
