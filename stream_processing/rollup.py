"""Statistics of longer windows from rows of meter_stats_30s, each 30 s counted once whatever is delivered twice."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

LONG = "bigint"
SUMS = ("event_count", "power_sum_mw", "voltage_sum_mv")
MINIMA = ("power_min_mw", "voltage_min_mv")
MAXIMA = ("power_max_mw", "voltage_max_mv")
VALUES = (*SUMS, *MINIMA, *MAXIMA)


def part() -> Column:
    """A row of meter_stats_30s as a struct that sorts by (window_start, event_count, offset)."""
    return F.struct(
        F.unix_millis("window_start").alias("window_start_ms"), "event_count", "offset", "building_id", *VALUES[1:]
    )


def winners(parts: Column) -> Column:
    """Of sorted parts, for each window the row with the most events, and of several the latest offset (law 3)."""

    def is_last(item: Column, index: Column) -> Column:
        following = F.get(parts, index + 1)
        return following.isNull() | (following["window_start_ms"] != item["window_start_ms"])

    return F.filter(parts, is_last)


def merge(parts: Column) -> Column:
    """Sums, minima and maxima of parts, as a struct; `parts` must not be empty."""
    first = F.get(parts, F.lit(0))
    start = F.struct(*((F.lit(0) if name in SUMS else first[name]).cast(LONG).alias(name) for name in VALUES))

    def step(so_far: Column, item: Column) -> Column:
        sums = [so_far[name] + item[name] for name in SUMS]
        minima = [F.least(so_far[name], item[name]) for name in MINIMA]
        maxima = [F.greatest(so_far[name], item[name]) for name in MAXIMA]
        merged = zip(VALUES, [*sums, *minima, *maxima], strict=True)
        return F.struct(*(value.cast(LONG).alias(name) for name, value in merged))

    return F.aggregate(parts, start, step)


def roll_up(stats: DataFrame, window_s: int) -> DataFrame:
    """Rows of meter_stats_30s to one row per meter and window of `window_s`, with the names of meter_stats_30s."""
    window = F.window("window_start", f"{window_s} seconds")
    return (
        stats.groupBy(window, "meter_id")
        .agg(F.collect_list(part()).alias("parts"))
        .withColumn("parts", F.array_sort("parts"))
        .withColumn("parts", winners(F.col("parts")))
        .select(
            "meter_id",
            F.element_at("parts", -1)["building_id"].alias("building_id"),
            F.col("window.start").alias("window_start"),
            F.col("window.end").alias("window_end"),
            merge(F.col("parts")).alias("merged"),
        )
        .select("meter_id", "building_id", "window_start", "window_end", "merged.*")
    )
