"""Averages, deviations, extremes and energy in kW, V and kWh, derived from integers in mW, mV and ms.

Every quotient has one rounding, so Spark, ClickHouse and numpy give the same bits; what exceeds 2^53 is computed
exactly and converted to double once, to the nearest.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

MW_PER_KW = 1e6
MV_PER_V = 1e3
MW_MS_PER_KWH = 3.6e12
LONG_AS_DECIMAL = "decimal(19,0)"


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
    """Power and energy over the rows of `hours.hourly`."""
    return {
        **power(),
        "readings_sum_kw": F.col("power_sum_mw") / MW_PER_KW,
        "energy_kwh": F.col("energy_mw_ms").cast("double") / MW_MS_PER_KWH,
        "covered_s": F.col("covered_ms") / 1e3,
    }


def key_and_window(*keys: str) -> dict[str, Column]:
    """The columns that name a row, and its event_count."""
    return {name: F.col(name) for name in (*keys, "window_start", "window_end", "event_count")}


def status_counts() -> dict[str, Column]:
    """Readings per status bit."""
    names = ("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count")
    return {name: F.col(name) for name in names}
