"""Hours from parts of 5 min: sums, and energy whose readings hold across the edges of parts and hours.

Every reading's power holds until the meter's next reading, at most HOLD_MAX_S, and an hour counts what falls into it.
So an hour needs one part before it, as context only: windows slide by an hour and are 5 min longer.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from infra.base.errors import SmartmeterError
from schemas.manifest import Dataset
from stream_processing.rollup import LONG, merge, part, winners

HOUR_S = 3600
PART_S = 300
HOLD_MAX_S = PART_S
"""Longer, and a reading before the context would count; shorter, and gaps inside a part would be too long already."""
HELD = ("energy_mw_ms", "first_timestamp_ms", "last_timestamp_ms", "last_power_mw")


def require_hold(dataset: Dataset) -> None:
    """Raise SmartmeterError where the manifest's hold_max_s is one that parts of 5 min do not allow."""
    stated = dataset.parameters["hold_max_s"]
    if stated != HOLD_MAX_S:
        raise SmartmeterError(
            f"{dataset.name}.yaml: hold_max_s is {stated:g}; hours are made of parts of {PART_S} s, inside which "
            f"readings hold until the next one, with one part before the hour: it must be {HOLD_MAX_S}"
        )


def hourly(stats: DataFrame, key: str, statistics: Sequence[str]) -> DataFrame:
    """Rows of meter_stats_5min to one row per `key` (meter_id or building_id) and hour.

    It has the named statistics over the hour's parts (sums, minima, maxima), and of `Held` `energy_mw_ms`, `covered_ms`
    and `meter_count`. An hour without a part of its own has no row, though something may hold into it. A meter belongs,
    for each 5 min, to the building of its last reading there; with `key` building_id what it measures in another
    building is as if it did not exist.
    """
    window = F.window("window_start", f"{HOUR_S + PART_S} seconds", f"{HOUR_S} seconds", f"{HOUR_S - PART_S} seconds")
    hold = dict.fromkeys((*statistics, *HELD))
    collected = (
        stats.groupBy(window, key)
        .agg(F.collect_list(part(list(hold))).alias("parts"))
        # One projection a step, so that each array is computed once and then looked up.
        .withColumn("parts", F.sort_array("parts"))
        .withColumn("parts", winners(F.col("parts")))
        .withColumn("window_start", F.col("window.start") + F.expr(f"INTERVAL {PART_S} SECONDS"))
        .withColumn("start_ms", F.unix_millis("window_start"))
        .withColumn("own", F.filter("parts", lambda item: item["window_start_ms"] >= F.col("start_ms")))
        .where(F.size("own") > 0)
    )
    return (
        collected.withColumn("merged", merge(F.col("own"), statistics))
        .withColumn("held", energy(F.col("parts"), F.col("start_ms")))
        .select(
            key,
            F.element_at("own", -1)["building_id"].alias("last_building_id"),
            "window_start",
            F.col("window.end").alias("window_end"),
            "merged.*",
            "held.energy_mw_ms",
            "held.covered_ms",
            "held.meter_count",
        )
    )


def energy(parts: Column, start_ms: Column) -> Column:
    """`energy_mw_ms` (decimal), `covered_ms` and `meter_count` of the hour that begins at `start_ms`.

    `parts` are sorted by meter and time, with the context. A meter counts from its context on, and only if it has a
    part in the hour.
    """
    start = {
        "energy_mw_ms": F.lit(0),
        "covered_ms": F.lit(0),
        "meter_count": F.lit(0),
        "meter_id": F.lit(-1),
        "is_own": F.lit(0),
        "last_timestamp_ms": F.lit(0),
        "last_power_mw": F.lit(0),
    }
    end_ms = start_ms + HOUR_S * 1000

    def step(so_far: Column, item: Column) -> Column:
        is_own = item["window_start_ms"] >= start_ms
        goes_on = so_far["meter_id"] == item["meter_id"]
        until_ms = F.when(goes_on, item["first_timestamp_ms"]).otherwise(end_ms)
        counts = F.when(goes_on, is_own).otherwise(so_far["is_own"] == 1)
        held_ms = F.when(counts, _held_ms(so_far, start_ms, until_ms)).otherwise(0)
        within_ms = F.when(is_own, item["last_timestamp_ms"] - item["first_timestamp_ms"]).otherwise(0)
        within = F.when(is_own, item["energy_mw_ms"]).otherwise(0)
        begins = is_own & ~(goes_on & (so_far["is_own"] == 1))
        return _struct(
            {
                "energy_mw_ms": _plus(so_far["energy_mw_ms"], within + so_far["last_power_mw"] * held_ms),
                "covered_ms": so_far["covered_ms"] + within_ms + held_ms,
                "meter_count": so_far["meter_count"] + begins.cast(LONG),
                "meter_id": item["meter_id"],
                "is_own": is_own,
                "last_timestamp_ms": item["last_timestamp_ms"],
                "last_power_mw": item["last_power_mw"],
            }
        )

    def finish(so_far: Column) -> Column:
        held_ms = F.when(so_far["is_own"] == 1, _held_ms(so_far, start_ms, end_ms)).otherwise(0)
        return _struct(
            {
                "energy_mw_ms": _plus(so_far["energy_mw_ms"], so_far["last_power_mw"] * held_ms),
                "covered_ms": so_far["covered_ms"] + held_ms,
                "meter_count": so_far["meter_count"],
            }
        )

    return F.aggregate(parts, _struct(start), step, finish)


def _held_ms(so_far: Column, start_ms: Column, until_ms: Column) -> Column:
    """How long the last reading so far holds after `start_ms`, until `until_ms` at most."""
    end_ms = F.least(until_ms, so_far["last_timestamp_ms"] + HOLD_MAX_S * 1000)
    return F.greatest(F.lit(0), end_ms - F.greatest(so_far["last_timestamp_ms"], start_ms))


def _plus(total: Column, one: Column) -> Column:
    """In decimal: 64 bits hold an hour of 2,562 meters at the contract's limit of 1000 kW, and no more of them."""
    return total + one.cast("decimal(19,0)")


def _struct(columns: Mapping[str, Column]) -> Column:
    def typed(name: str) -> str:
        return "decimal(38,0)" if name == "energy_mw_ms" else LONG

    return F.struct(*(column.cast(typed(name)).alias(name) for name, column in columns.items()))
