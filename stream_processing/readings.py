"""Decoded MeterEvents to readings that count: in contract, not from the future, in integers."""

from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.avro import Record
from schemas.manifest import Dataset


def in_contract(record: Record) -> Column:
    """True where every field lies within the bounds that the contract states; NaN lies within none."""
    bounds = [F.col(f.name) if f.type != "timestamp-millis" else F.unix_millis(f.name) for f in record.fields]
    conditions = []
    for field, value in zip(record.fields, bounds, strict=True):
        if field.minimum is not None:
            conditions.append(value >= field.minimum)
        if field.maximum is not None:
            conditions.append(value <= field.maximum)
    return F.coalesce(reduce(Column.__and__, [F.coalesce(c, F.lit(True)) for c in conditions]), F.lit(True))


def usable_readings(events: DataFrame, raw: Dataset) -> DataFrame:
    """Readings that the aggregates count, with `power_mw` and `voltage_mv` as integers.

    Left out, though kept in the raw topic and table: values out of contract, and readings further ahead of the time at
    which they were produced than `future_tolerance_s`: one fast clock would push the watermark past everyone else. The
    limit is relative to the log's own time, so a replay decides alike. Rounding is floor(x * 10^n + 0.5) in double, the
    same in every engine (law 4).
    """
    tolerance_ms = int(raw.parameters["future_tolerance_s"] * 1000)
    ahead_ms = F.unix_millis("timestamp") - F.unix_millis("produced_at")
    return events.where(in_contract(raw.latest) & (ahead_ms <= tolerance_ms)).select(
        "meter_id",
        "building_id",
        "timestamp",
        "offset",
        F.floor(F.col("power_kw") * 1e6 + 0.5).cast("long").alias("power_mw"),
        F.floor(F.col("voltage_v") * 1e3 + 0.5).cast("long").alias("voltage_mv"),
        "status",
        "sequence",
    )
