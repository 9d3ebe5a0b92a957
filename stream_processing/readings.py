"""Decoded MeterEvents to readings that count: not from the future, and in integers."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.manifest import Dataset


def usable_readings(events: DataFrame, raw: Dataset) -> DataFrame:
    """Readings that the aggregates count, with `power_mw` and `voltage_mv` as integers.

    Left out, though kept in the raw topic, are readings further ahead of the time at which they were produced than
    `future_tolerance_s`: one fast clock would push the watermark past everyone else. The limit is relative to the
    log's own time, so a replay decides alike, and so does ClickHouse, which sets them aside. Rounding is floor(x *
    10^n + 0.5) in double, the same in every engine (law 4).
    """
    tolerance_ms = int(raw.parameters["future_tolerance_s"] * 1000)
    ahead_ms = F.unix_millis("timestamp") - F.unix_millis("produced_at")
    return events.where(ahead_ms <= tolerance_ms).select(
        "meter_id",
        "building_id",
        "timestamp",
        "offset",
        F.floor(F.col("power_kw") * 1e6 + 0.5).cast("long").alias("power_mw"),
        F.floor(F.col("voltage_v") * 1e3 + 0.5).cast("long").alias("voltage_mv"),
        "status",
        "sequence",
    )
