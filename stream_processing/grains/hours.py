"""(meter, 1 h) and (building, 1 h) of meter_stats_5min; in update mode, so the running hour grows by 5 min at a time.

Every reading's power holds until the meter's next reading, at most for HOLD_MAX_S, and an hour counts the time of that
which lies in it. So an hour needs the 5 min before it, as context only: windows slide by an hour and are 5 min longer.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.order import CONTENT_VERSION
from schemas.status import STATUS_BITS
from stream_processing.grain import Grain
from stream_processing.statistics import LONG, LONG_AS_DECIMAL, MAXIMA, MINIMA, merge, row_struct, winners

HOUR_S = 3600
CONTEXT_S = 300
"""The window of meter_stats_5min."""
HOLD_MAX_S = CONTEXT_S
"""Longer, and a reading before the context would count; shorter, and gaps inside 5 min would be too long already."""
HELD = ("energy_mw_ms", "first_timestamp_ms", "last_timestamp_ms", "last_power_mw")
METER_STATISTICS = (
    *("event_count", "power_sum_mw", "voltage_sum_mv", "voltage_sum_sq_mv2", "voltage_outside_count"),
    *(*MINIMA, *MAXIMA),
)
BUILDING_STATISTICS = ("event_count", "power_sum_mw", "power_min_mw", "power_max_mw", *STATUS_BITS)


def hourly(stats: DataFrame, key: str, statistics: Sequence[str]) -> DataFrame:
    """Rows of meter_stats_5min to one row per `key` (meter_id or building_id) and hour.

    It has the named statistics over the hour (sums, minima, maxima), `building_id`, and what `energy` gives; its
    `content_version` covers the context, too. An hour without readings has no row, though an earlier reading may hold
    into it. For each 5 min a meter belongs to the building of its last reading there: with `key` building_id its
    readings in other buildings do not exist.
    """
    length, step, offset = (f"{seconds} seconds" for seconds in (HOUR_S + CONTEXT_S, HOUR_S, HOUR_S - CONTEXT_S))
    collected = (
        stats.groupBy(F.window("window_start", length, step, offset), key)
        .agg(F.collect_list(row_struct(tuple(dict.fromkeys((*statistics, *HELD))))).alias("rows"))
        # One projection a step, so that each array is computed once and then looked up.
        .withColumn("rows", F.sort_array("rows"))
        .withColumn("rows", winners(F.col("rows")))
        .withColumn("window_start", F.col("window.start") + F.expr(f"INTERVAL {CONTEXT_S} SECONDS"))
        .withColumn("start_ms", F.unix_millis("window_start"))
        .withColumn("hour", F.filter("rows", lambda item: item["window_start_ms"] >= F.col("start_ms")))
        .where(F.size("hour") > 0)
    )
    key_columns = {"building_id": F.element_at("hour", -1)["building_id"], key: F.col(key)}
    return (
        collected.withColumn("merged", merge(F.col("hour"), statistics))
        .withColumn("held", energy(F.col("rows"), F.col("start_ms")))
        .select(
            *(column.alias(name) for name, column in key_columns.items()),
            "window_start",
            F.col("window.end").alias("window_end"),
            "merged.*",
            merge(F.col("rows"), (CONTENT_VERSION,))[CONTENT_VERSION].alias(CONTENT_VERSION),
            "held.energy_mw_ms",
            "held.covered_ms",
            "held.meter_count",
        )
    )


def energy(rows: Column, start_ms: Column) -> Column:
    """`energy_mw_ms` (decimal), `covered_ms` and `meter_count` of the hour that begins at `start_ms`, as a struct.

    `rows` are sorted by meter and time, context included. A meter counts only if it has a row in the hour; what its
    last reading in the context still holds then counts, too.
    """
    start = {
        "energy_mw_ms": F.lit(0),
        "covered_ms": F.lit(0),
        "meter_count": F.lit(0),
        "meter_id": F.lit(-1),
        "in_hour": F.lit(0),
        "last_timestamp_ms": F.lit(0),
        "last_power_mw": F.lit(0),
    }
    end_ms = start_ms + HOUR_S * 1000

    def step(so_far: Column, item: Column) -> Column:
        in_hour = item["window_start_ms"] >= start_ms
        goes_on = so_far["meter_id"] == item["meter_id"]
        until_ms = F.when(goes_on, item["first_timestamp_ms"]).otherwise(end_ms)
        counts = F.when(goes_on, in_hour).otherwise(so_far["in_hour"] == 1)
        held_ms = F.when(counts, _held_ms(so_far, start_ms, until_ms)).otherwise(0)
        within_ms = F.when(in_hour, item["last_timestamp_ms"] - item["first_timestamp_ms"]).otherwise(0)
        within = F.when(in_hour, item["energy_mw_ms"]).otherwise(0)
        begins = in_hour & ~(goes_on & (so_far["in_hour"] == 1))
        return _struct(
            {
                "energy_mw_ms": _plus(so_far["energy_mw_ms"], within + so_far["last_power_mw"] * held_ms),
                "covered_ms": so_far["covered_ms"] + within_ms + held_ms,
                "meter_count": so_far["meter_count"] + begins.cast(LONG),
                "meter_id": item["meter_id"],
                "in_hour": in_hour,
                "last_timestamp_ms": item["last_timestamp_ms"],
                "last_power_mw": item["last_power_mw"],
            }
        )

    def finish(so_far: Column) -> Column:
        held_ms = F.when(so_far["in_hour"] == 1, _held_ms(so_far, start_ms, end_ms)).otherwise(0)
        return _struct(
            {
                "energy_mw_ms": _plus(so_far["energy_mw_ms"], so_far["last_power_mw"] * held_ms),
                "covered_ms": so_far["covered_ms"] + held_ms,
                "meter_count": so_far["meter_count"],
            }
        )

    return F.aggregate(rows, _struct(start), step, finish)


def _held_ms(so_far: Column, start_ms: Column, until_ms: Column) -> Column:
    """For how long the last reading so far holds after `start_ms`, at most until `until_ms`."""
    end_ms = F.least(until_ms, so_far["last_timestamp_ms"] + HOLD_MAX_S * 1000)
    return F.greatest(F.lit(0), end_ms - F.greatest(so_far["last_timestamp_ms"], start_ms))


def _plus(total: Column, addend: Column) -> Column:
    """In decimal: 64 bits hold an hour of 2,562 meters at the contract's limit of 1000 kW, and no more of them."""
    return total + addend.cast(LONG_AS_DECIMAL)


def _struct(columns: Mapping[str, Column]) -> Column:
    def typed(name: str) -> str:
        return "decimal(38,0)" if name == "energy_mw_ms" else LONG

    return F.struct(*(column.cast(typed(name)).alias(name) for name, column in columns.items()))


METER_1H = Grain(
    name="meter_1h",
    source="meter_stats_5min",
    window_s=HOUR_S,
    output_mode="update",
    aggregate=lambda stats, _: hourly(stats, "meter_id", METER_STATISTICS),
    lateness_s=HOUR_S,
    context_s=CONTEXT_S,
    parameters={"hold_max_s": HOLD_MAX_S},
)
BUILDING_1H = Grain(
    name="building_1h",
    source="meter_stats_5min",
    window_s=HOUR_S,
    output_mode="update",
    aggregate=lambda stats, _: hourly(stats, "building_id", BUILDING_STATISTICS),
    lateness_s=HOUR_S,
    context_s=CONTEXT_S,
    parameters={"hold_max_s": HOLD_MAX_S},
)
