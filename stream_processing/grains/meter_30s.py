"""(meter, 30 s) of the raw readings: the only query that reads them. Its rows are final.

A window's readings are collected and folded, not summed as they come: that is what lets a repeated reading count once
(law 5), and it costs less than a deduplication in front of the aggregation. All sums are of integers (law 4).
"""

from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.manifest import RAW, Dataset
from schemas.order import CONTENT_VERSION, LOG_TIME_FACTOR, PARTITION_FACTOR, READING_TIME
from schemas.status import STATUS_BITS
from stream_processing.grain import Datasets, Grain
from stream_processing.statistics import LONG

WINDOW_S = 30
LOW_16_BITS = 0xFFFF
RANK = ("produced_at_ms", "partition", "offset")


def usable_readings(events: DataFrame, datasets: Datasets) -> DataFrame:
    """Decoded MeterEvents to the readings that aggregates count, with `power_mw` and `voltage_mv` as integers.

    A reading whose timestamp is more than `future_tolerance_s` ahead of the log's time does not count, though it stays
    in the raw topic. The limit is relative to the message's own time, so a replay decides alike, and so does
    ClickHouse. `clock` is what the reading tells of time: a fast meter's window waits for its time to come, and closes
    no other meter's. Rounding is floor(x * 10^n + 0.5) in double, the same in every engine (law 4).
    """
    tolerance_ms = int(datasets[RAW].parameters["future_tolerance_s"] * 1000)
    ahead_ms = F.unix_millis("timestamp") - F.unix_millis("produced_at")
    return events.where(ahead_ms <= tolerance_ms).select(
        "meter_id",
        "building_id",
        "timestamp",
        F.expr(READING_TIME).alias("clock"),
        F.unix_millis("produced_at").alias("produced_at_ms"),
        "partition",
        "offset",
        F.floor(F.col("power_kw") * 1e6 + 0.5).cast("long").alias("power_mw"),
        F.floor(F.col("voltage_v") * 1e3 + 0.5).cast("long").alias("voltage_mv"),
        "status",
        "sequence",
    )


def statistics(readings: DataFrame, datasets: Datasets) -> DataFrame:
    """Usable readings, in any order and repeated, to one row of statistics per meter and window."""
    collected = readings.groupBy(F.window("timestamp", f"{WINDOW_S} seconds"), "meter_id").agg(
        F.collect_list(_reading()).alias("readings")
    )
    return fold_windows(collected, datasets["meter_stats_30s"])


def fold_windows(collected: DataFrame, dataset: Dataset) -> DataFrame:
    """Rows of `window, meter_id, readings` to as many rows of statistics; the voltage limits are the manifest's.

    `readings` is a list of readings as structs, in any order, repeats included.
    """
    lower_mv = int(dataset.parameters["voltage_lower_v"] * 1000)
    upper_mv = int(dataset.parameters["voltage_upper_v"] * 1000)
    # One projection a step, so that each array is computed once and then looked up.
    folded = (
        collected.withColumn("readings", F.sort_array("readings"))
        .withColumn("readings", counted_once(F.col("readings")))
        .withColumn("fold", fold_readings(F.col("readings"), lower_mv, upper_mv))
    )
    first, last = F.get("readings", F.lit(0)), F.element_at("readings", -1)
    sequences = F.filter(F.col("readings")["sequence"], lambda sequence: sequence.isNotNull())
    return folded.select(
        "meter_id",
        last["building_id"].alias("building_id"),
        F.col("window.start").alias("window_start"),
        F.col("window.end").alias("window_end"),
        "fold.*",
        _sum_of_squares(F.col("fold.squares_high"), F.col("fold.squares_low")).alias("power_sum_sq_mw2"),
        _content_version(F.col("fold")).alias(CONTENT_VERSION),
        first["timestamp_ms"].alias("first_timestamp_ms"),
        first["power_mw"].alias("first_power_mw"),
        first["voltage_mv"].alias("first_voltage_mv"),
        F.get(sequences, F.lit(0)).alias("first_sequence"),
        F.try_element_at(sequences, F.lit(-1)).alias("last_sequence"),
    )


def _reading() -> Column:
    """One reading as a struct whose natural order is the time at which it was taken, then its rank in the log."""
    return F.struct(
        F.unix_millis("timestamp").alias("timestamp_ms"),
        *("produced_at_ms", "partition", "offset"),
        *("power_mw", "voltage_mv", "status", "building_id", "sequence"),
    )


def counted_once(readings: Column) -> Column:
    """Sorted readings; of several at one instant only the one that came into the log last (law 5).

    `readings` must be a plain column: it is looked up once per element.
    """

    def is_last(item: Column, index: Column) -> Column:
        following = F.get(readings, index + 1)
        return following.isNull() | (following["timestamp_ms"] != item["timestamp_ms"])

    return F.filter(readings, is_last)


def fold_readings(readings: Column, voltage_lower_mv: int, voltage_upper_mv: int) -> Column:
    """Statistics of time-ordered distinct readings as a struct; the names are those of meter_stats_30s.

    Besides them, since 64 bits hold neither and a decimal per reading is slow, the sum of squared milliwatts in two
    parts, squares_high * 2^32 + squares_low, and the sum of ranks (`schemas.order`) in three, produced_at_ms,
    partition and offset. `readings` must not be empty.
    """
    first = F.get(readings, F.lit(0))
    start = {
        "event_count": F.lit(0),
        **{name: F.lit(0) for name in ("power_sum_mw", "squares_high", "squares_low", "voltage_sum_mv")},
        "voltage_sum_sq_mv2": F.lit(0),
        **{name: F.lit(0) for name in RANK},
        "power_min_mw": first["power_mw"],
        "power_max_mw": first["power_mw"],
        "voltage_min_mv": first["voltage_mv"],
        "voltage_max_mv": first["voltage_mv"],
        "voltage_outside_count": F.lit(0),
        **{name: F.lit(0) for name in STATUS_BITS},
        **{name: F.lit(0) for name in ("power_step_max_mw", "voltage_step_max_mv", "repeat_count", "run_first_count")},
        **{name: F.lit(0) for name in ("run_max_count", "run_last_count", "energy_mw_ms")},
        "last_timestamp_ms": first["timestamp_ms"],
        "last_power_mw": first["power_mw"],
        "last_voltage_mv": first["voltage_mv"],
    }
    return F.aggregate(
        readings,
        _struct(start),
        lambda so_far, item: _struct(_step(so_far, item, voltage_lower_mv, voltage_upper_mv)),
    )


def _struct(columns: Mapping[str, Column]) -> Column:
    return F.struct(*(column.cast(LONG).alias(name) for name, column in columns.items()))


def _step(so_far: Column, item: Column, voltage_lower_mv: int, voltage_upper_mv: int) -> dict[str, Column]:
    power, voltage = item["power_mw"], item["voltage_mv"]
    # With power = upper * 2^16 + lower no product leaves 64 bits up to 100 MW; the square itself would from 3 MW on.
    upper, lower = F.shiftright(power, 16), power.bitwiseAND(F.lit(LOW_16_BITS))
    twice = 2 * upper * lower
    outside = (voltage < voltage_lower_mv) | (voltage > voltage_upper_mv)
    same = (power == so_far["last_power_mw"]) & (voltage == so_far["last_voltage_mv"])
    repeats = (so_far["event_count"] > 0) & same
    run_last = F.when(repeats, so_far["run_last_count"] + 1).otherwise(1)
    unbroken = so_far["run_first_count"] == so_far["event_count"]
    held_ms = item["timestamp_ms"] - so_far["last_timestamp_ms"]
    return {
        "event_count": so_far["event_count"] + 1,
        "power_sum_mw": so_far["power_sum_mw"] + power,
        "squares_high": so_far["squares_high"] + upper * upper + F.shiftright(twice, 16),
        "squares_low": so_far["squares_low"] + F.shiftleft(twice.bitwiseAND(F.lit(LOW_16_BITS)), 16) + lower * lower,
        "voltage_sum_mv": so_far["voltage_sum_mv"] + voltage,
        "voltage_sum_sq_mv2": so_far["voltage_sum_sq_mv2"] + voltage * voltage,
        **{name: so_far[name] + item[name] for name in RANK},
        "power_min_mw": F.least(so_far["power_min_mw"], power),
        "power_max_mw": F.greatest(so_far["power_max_mw"], power),
        "voltage_min_mv": F.least(so_far["voltage_min_mv"], voltage),
        "voltage_max_mv": F.greatest(so_far["voltage_max_mv"], voltage),
        "voltage_outside_count": so_far["voltage_outside_count"] + outside.cast(LONG),
        **{
            name: so_far[name] + F.when(item["status"].bitwiseAND(bit) != 0, 1).otherwise(0)
            for name, bit in STATUS_BITS.items()
        },
        "power_step_max_mw": F.greatest(so_far["power_step_max_mw"], F.abs(power - so_far["last_power_mw"])),
        "voltage_step_max_mv": F.greatest(so_far["voltage_step_max_mv"], F.abs(voltage - so_far["last_voltage_mv"])),
        "repeat_count": so_far["repeat_count"] + repeats.cast(LONG),
        "run_first_count": so_far["run_first_count"]
        + F.when((so_far["event_count"] == 0) | (unbroken & repeats), 1).otherwise(0),
        "run_max_count": F.greatest(so_far["run_max_count"], run_last),
        "run_last_count": run_last,
        "energy_mw_ms": so_far["energy_mw_ms"] + so_far["last_power_mw"] * held_ms,
        "last_timestamp_ms": item["timestamp_ms"],
        "last_power_mw": power,
        "last_voltage_mv": voltage,
    }


def _sum_of_squares(high: Column, low: Column) -> Column:
    """high * 2^32 + low as decimal(38,0)."""
    return (high.cast("decimal(27,0)") * F.lit(1 << 32).cast("decimal(10,0)") + low.cast("decimal(19,0)")).cast(
        "decimal(38,0)"
    )


def _content_version(sums: Column) -> Column:
    """The sum of the readings' ranks as decimal(38,0)."""
    at, partition, offset = (sums[name].cast("decimal(19,0)") for name in RANK)
    of_time = (at * F.lit(LOG_TIME_FACTOR).cast("decimal(18,0)")).cast("decimal(38,0)")
    of_partition = (partition * F.lit(PARTITION_FACTOR).cast("decimal(18,0)")).cast("decimal(38,0)")
    return (of_time + of_partition + offset).cast("decimal(38,0)")


METER_30S = Grain(
    name="meter_30s",
    source=RAW,
    window_s=WINDOW_S,
    output_mode="append",
    prepare=usable_readings,
    aggregate=statistics,
    event_time="timestamp",
    clock="clock",
)
