"""Rows of statistics: those of longer windows from those of shorter ones, and what follows from them in kW, V and kWh.

Statistics are integers in mW, mV and ms, with the names of meter_stats_30s. Whatever comes twice counts once. What is
derived from them is the same in Spark, ClickHouse and numpy, bit for bit: every quotient is rounded once, and what
exceeds 2^53 is computed exactly and converted to double once, to the nearest.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from schemas.order import CONTENT_VERSION
from schemas.status import STATUS_BITS

LONG = "bigint"
LONG_AS_DECIMAL = "decimal(19,0)"
DECIMAL = "decimal(38,0)"
DECIMALS = ("power_sum_sq_mw2", CONTENT_VERSION)
MW_PER_KW = 1e6
MV_PER_V = 1e3
MW_MS_PER_KWH = 3.6e12

SUMS = (
    *("event_count", "power_sum_mw", "power_sum_sq_mw2", "voltage_sum_mv", "voltage_sum_sq_mv2"),
    *("voltage_outside_count", *STATUS_BITS, CONTENT_VERSION),
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
"""All statistics of a row of meter_stats_30s, with instants in milliseconds."""


def roll_up(stats: DataFrame, window_s: int, statistics: Sequence[str]) -> DataFrame:
    """Rows of statistics to one row per meter and window of `window_s`, with the named statistics over the window.

    Every row has its `content_version`. A meter's building is that of the last row in the window.
    """
    return (
        stats.groupBy(F.window("window_start", f"{window_s} seconds"), "meter_id")
        .agg(F.collect_list(row_struct(statistics)).alias("rows"))
        # One projection a step, so that each array is computed once and then looked up.
        .withColumn("rows", F.sort_array("rows"))
        .withColumn("rows", winners(F.col("rows")))
        .select(
            "meter_id",
            F.element_at("rows", -1)["building_id"].alias("building_id"),
            F.col("window.start").alias("window_start"),
            F.col("window.end").alias("window_end"),
            merge(F.col("rows"), tuple(dict.fromkeys((*statistics, CONTENT_VERSION)))).alias("merged"),
        )
        .select("meter_id", "building_id", "window_start", "window_end", "merged.*")
    )


def row_struct(statistics: Sequence[str]) -> Column:
    """A row as a struct that sorts by meter_id, window_start, and what ClickHouse's row_version is made of (law 3).

    It also holds the building and `statistics`, which are names of EVERYTHING, `event_count` among them.
    """

    def value(name: str) -> Column:
        if name.endswith("_timestamp_ms"):
            return F.unix_millis(name.removesuffix("_ms")).alias(name)
        return F.col(name)

    others = [value(name) for name in statistics if name not in ("event_count", CONTENT_VERSION)]
    start = F.unix_millis("window_start").alias("window_start_ms")
    version = F.coalesce(F.col(CONTENT_VERSION), F.lit(0)).cast(DECIMAL).alias(CONTENT_VERSION)
    return F.struct("meter_id", start, "event_count", version, "offset", "building_id", *others)


def winners(rows: Column) -> Column:
    """Of sorted rows, for each meter and window the one that counts (law 3): the last.

    `rows` must be a plain column: it is looked up once per element.
    """

    def is_last(item: Column, index: Column) -> Column:
        following = F.get(rows, index + 1)
        another = (following["window_start_ms"] != item["window_start_ms"]) | (
            following["meter_id"] != item["meter_id"]
        )
        return following.isNull() | another

    return F.filter(rows, is_last)


def merge(rows: Column, statistics: Sequence[str]) -> Column:
    """The named statistics over all of `rows`, as a struct; `rows` must not be empty.

    Steps, runs and energy join neighbouring rows. They need the rows of one meter in order of time, with all of
    EVERYTHING; sums, minima and maxima need neither.
    """
    first = F.get(rows, F.lit(0))
    following = F.slice(rows, 2, F.size(rows))

    def step(left: Column, right: Column) -> Column:
        columns = {**_folded(left, right), **_joined(left, right)}
        return _struct({name: columns[name] for name in statistics})

    return F.aggregate(following, _struct({name: first[name] for name in statistics}), step)


def _struct(columns: Mapping[str, Column]) -> Column:
    def typed(name: str) -> str:
        return DECIMAL if name in DECIMALS else LONG

    return F.struct(*(column.cast(typed(name)).alias(name) for name, column in columns.items()))


def _folded(left: Column, right: Column) -> dict[str, Column]:
    """Statistics for which it does not matter that the two rows are neighbours."""
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
    """Statistics that also depend on the last reading of `left` and the first one of `right`."""
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


def mean(total: Column, count: Column, units: float) -> Column:
    """total / (count * units) in double."""
    return total.cast("double") / (count.cast("double") * units)


def deviation(total: Column, squares: Column, count: Column, units: float) -> Column:
    """Population standard deviation, sqrt(max(0, n * squares - total^2)) / (n * units).

    The difference is exact: products of decimals are cut to 38 digits only beyond them, and an hour of a reading a
    millisecond at 1000 kW needs 32. (Subtracting doubles would lose everything where the deviation is small.)
    """
    exact_count, exact_total = count.cast(LONG_AS_DECIMAL), total.cast(LONG_AS_DECIMAL)
    difference = (exact_count * squares).cast("decimal(38,0)") - (exact_total * exact_total).cast("decimal(38,0)")
    return F.sqrt(F.greatest(F.lit(0.0), difference.cast("double"))) / (count.cast("double") * units)


def power() -> dict[str, Column]:
    """Mean, least and greatest power over columns named as in meter_stats_30s."""
    return {
        "power_avg_kw": mean(F.col("power_sum_mw"), F.col("event_count"), MW_PER_KW),
        "power_min_kw": F.col("power_min_mw") / MW_PER_KW,
        "power_max_kw": F.col("power_max_mw") / MW_PER_KW,
    }


def voltage() -> dict[str, Column]:
    """Mean, least and greatest voltage over columns named as in meter_stats_30s."""
    return {
        "voltage_avg_v": mean(F.col("voltage_sum_mv"), F.col("event_count"), MV_PER_V),
        "voltage_min_v": F.col("voltage_min_mv") / MV_PER_V,
        "voltage_max_v": F.col("voltage_max_mv") / MV_PER_V,
    }


def power_and_voltage() -> dict[str, Column]:
    """Mean, least and greatest power and voltage over columns named as in meter_stats_30s."""
    return {**power(), **voltage()}


def power_deviation() -> Column:
    """Standard deviation of power, kW."""
    return deviation(F.col("power_sum_mw"), F.col("power_sum_sq_mw2"), F.col("event_count"), MW_PER_KW)


def voltage_deviation() -> Column:
    """Standard deviation of voltage, V."""
    squares = F.col("voltage_sum_sq_mv2").cast(LONG_AS_DECIMAL)
    return deviation(F.col("voltage_sum_mv"), squares, F.col("event_count"), MV_PER_V)


def consumption() -> dict[str, Column]:
    """Power and energy over rows of hours (`grains/hours.py`)."""
    return {
        **power(),
        "readings_sum_kw": F.col("power_sum_mw") / MW_PER_KW,
        "energy_kwh": F.col("energy_mw_ms").cast("double") / MW_MS_PER_KWH,
        "covered_s": F.col("covered_ms") / 1e3,
    }


def key_and_window(*keys: str) -> dict[str, Column]:
    """The fields that name a row, its event_count and its content_version."""
    return {name: F.col(name) for name in (*keys, "window_start", "window_end", "event_count", CONTENT_VERSION)}


def status_counts() -> dict[str, Column]:
    """Readings per status bit."""
    return {name: F.col(name) for name in STATUS_BITS}


def all_statistics(dataset: Dataset) -> dict[str, Column]:
    """Each field of the contract as the statistic of its name, with instants as timestamps."""
    instants = {name: F.timestamp_millis(f"{name}_ms") for name in ("first_timestamp", "last_timestamp")}
    return {field.name: instants.get(field.name, F.col(field.name)) for field in dataset.latest.fields}
