"""Statistics of longer windows, collected from rows of shorter ones, each part counted once whatever comes twice."""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from infra.base.errors import SmartmeterError
from schemas.manifest import Dataset

LONG = "bigint"
SQUARES = "decimal(38,0)"
SUMS = (
    *("event_count", "power_sum_mw", "power_sum_sq_mw2", "voltage_sum_mv", "voltage_sum_sq_mv2"),
    *("voltage_outside_count", "failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count"),
)
MINIMA = ("power_min_mw", "voltage_min_mv")
MAXIMA = ("power_max_mw", "voltage_max_mv")
FIRST = ("first_timestamp_ms", "first_power_mw", "first_voltage_mv")
LAST = ("last_timestamp_ms", "last_power_mw", "last_voltage_mv")
JOINED = (
    *("power_step_max_mw", "voltage_step_max_mv", "repeat_count", "run_first_count", "run_max_count"),
    *("run_last_count", "energy_mw_ms"),
)
EVERYTHING = (*SUMS, *MINIMA, *MAXIMA, *FIRST, *LAST, *JOINED, "first_sequence", "last_sequence")
"""All statistics of a part, as in meter_stats_30s, with instants in milliseconds."""


def part(statistics: Sequence[str]) -> Column:
    """A row of statistics as a struct that sorts by (meter_id, window_start, event_count, offset).

    `statistics` are those of EVERYTHING that the struct is to hold besides, `event_count` among them.
    """

    def value(name: str) -> Column:
        if name.endswith("_timestamp_ms"):
            return F.unix_millis(name.removesuffix("_ms")).alias(name)
        return F.col(name)

    others = [value(name) for name in statistics if name != "event_count"]
    start = F.unix_millis("window_start").alias("window_start_ms")
    return F.struct("meter_id", start, "event_count", "offset", "building_id", *others)


def winners(parts: Column) -> Column:
    """Of sorted parts, for each meter and window the row with the most events, of several the latest offset (law 3).

    `parts` must be a plain column: it is looked up once per element.
    """

    def is_last(item: Column, index: Column) -> Column:
        following = F.get(parts, index + 1)
        another = (following["window_start_ms"] != item["window_start_ms"]) | (
            following["meter_id"] != item["meter_id"]
        )
        return following.isNull() | another

    return F.filter(parts, is_last)


def merge(parts: Column, statistics: Sequence[str]) -> Column:
    """The named statistics over the parts together, as a struct; `parts` must not be empty.

    Steps, runs and energy join neighbouring parts, so they need one meter's parts in order of time, and all of
    EVERYTHING; sums, minima and maxima need neither.
    """
    first = F.get(parts, F.lit(0))
    following = F.slice(parts, 2, F.size(parts))

    def step(left: Column, right: Column) -> Column:
        made = {**_folded(left, right), **_joined(left, right)}
        return _struct({name: made[name] for name in statistics})

    return F.aggregate(following, _struct({name: first[name] for name in statistics}), step)


def _struct(columns: Mapping[str, Column]) -> Column:
    def typed(name: str) -> str:
        return SQUARES if name == "power_sum_sq_mw2" else LONG

    return F.struct(*(column.cast(typed(name)).alias(name) for name, column in columns.items()))


def _folded(left: Column, right: Column) -> dict[str, Column]:
    """What each part has by itself."""
    return {
        **{name: left[name] + right[name] for name in SUMS},
        **{name: F.least(left[name], right[name]) for name in MINIMA},
        **{name: F.greatest(left[name], right[name]) for name in MAXIMA},
        **{name: left[name] for name in FIRST},
        **{name: right[name] for name in LAST},
        "first_sequence": F.coalesce(left["first_sequence"], right["first_sequence"]),
        "last_sequence": F.coalesce(right["last_sequence"], left["last_sequence"]),
    }


def _joined(left: Column, right: Column) -> dict[str, Column]:
    """What also depends on the two readings on both sides of the border between the parts."""
    power_step = F.abs(right["first_power_mw"] - left["last_power_mw"])
    voltage_step = F.abs(right["first_voltage_mv"] - left["last_voltage_mv"])
    same = (power_step == 0) & (voltage_step == 0)
    across = left["run_last_count"] + right["run_first_count"]
    left_whole = left["run_first_count"] == left["event_count"]
    right_whole = right["run_last_count"] == right["event_count"]
    held_ms = right["first_timestamp_ms"] - left["last_timestamp_ms"]
    return {
        "power_step_max_mw": F.greatest(left["power_step_max_mw"], right["power_step_max_mw"], power_step),
        "voltage_step_max_mv": F.greatest(left["voltage_step_max_mv"], right["voltage_step_max_mv"], voltage_step),
        "repeat_count": left["repeat_count"] + right["repeat_count"] + same.cast(LONG),
        "run_first_count": F.when(same & left_whole, left["event_count"] + right["run_first_count"]).otherwise(
            left["run_first_count"]
        ),
        "run_max_count": F.greatest(left["run_max_count"], right["run_max_count"], F.when(same, across).otherwise(0)),
        "run_last_count": F.when(same & right_whole, left["run_last_count"] + right["event_count"]).otherwise(
            right["run_last_count"]
        ),
        "energy_mw_ms": left["energy_mw_ms"] + right["energy_mw_ms"] + left["last_power_mw"] * held_ms,
    }


def roll_up(stats: DataFrame, window_s: int, statistics: Sequence[str]) -> DataFrame:
    """Rows of statistics to one row per meter and window of `window_s`, with the named statistics over all its parts.

    A meter's building is that of its last part.
    """
    window = F.window("window_start", f"{window_s} seconds")
    return (
        stats.groupBy(window, "meter_id")
        .agg(F.collect_list(part(statistics)).alias("parts"))
        # One projection a step, so that each array is computed once and then looked up.
        .withColumn("parts", F.sort_array("parts"))
        .withColumn("parts", winners(F.col("parts")))
        .select(
            "meter_id",
            F.element_at("parts", -1)["building_id"].alias("building_id"),
            F.col("window.start").alias("window_start"),
            F.col("window.end").alias("window_end"),
            merge(F.col("parts"), statistics).alias("merged"),
        )
        .select("meter_id", "building_id", "window_start", "window_end", "merged.*")
    )


def require_equal_parameters(dataset: Dataset, source: Dataset) -> None:
    """Raise SmartmeterError where two manifests state one parameter differently: the parts are counted by the source's.

    Checked for the parameters that both have.
    """
    for name, value in dataset.parameters.items():
        stated = source.parameters.get(name, value)
        if stated != value:
            raise SmartmeterError(
                f"{dataset.name}.yaml: {name} is {value:g}, and its source {source.name} counts with {stated:g}; "
                "state the same in both manifests, and replay"
            )
