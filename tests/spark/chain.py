"""Every grain in batch, one after another, with its rows in plain Python in between, so that a test may change them."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from schemas.manifest import RAW, Dataset, load_datasets
from stream_processing.framing import in_contract, spark_type
from stream_processing.grain import Grain, load_grains
from tests.spark.readings import Reading, frame

DATASETS = load_datasets()
GRAINS = load_grains()
Row = Mapping[str, Any]


def emitted(source: DataFrame, grain: Grain, datasets: Mapping[str, Dataset] = DATASETS) -> dict[str, list[Row]]:
    """The rows of each dataset that the grain makes of its source."""
    structs = []
    for name, fields in grain.emits.items():
        columns = fields(datasets[name])
        typed = (columns[f.name].cast(spark_type(f)).alias(f.name) for f in datasets[name].latest.fields)
        structs.append(F.struct(*typed).alias(name))
    collected = grain.rows(source, datasets).select(*structs).collect()
    return {
        name: [{key: _aware(value) for key, value in row[name].asDict().items()} for row in collected]
        for name in grain.emits
    }


def _aware(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def first_grain(
    spark: SparkSession, readings: list[Reading], datasets: Mapping[str, Dataset] = DATASETS
) -> dict[str, list[Row]]:
    """The rows that the raw readings give."""
    events = frame(spark, readings).where(in_contract(datasets[RAW].latest))
    return emitted(events, GRAINS["meter_30s"], datasets)


def table(spark: SparkSession, dataset: str, rows: Iterable[Row]) -> DataFrame:
    """Rows of a dataset as decoded messages; where a row has no `offset`, its place in `rows` is taken."""
    names = [field.name for field in DATASETS[dataset].latest.fields]
    ddl = ", ".join(f"{field.name} {spark_type(field)}" for field in DATASETS[dataset].latest.fields)
    tuples = [(*(row[name] for name in names), row.get("offset", place)) for place, row in enumerate(rows)]
    return spark.createDataFrame(tuples, f"{ddl}, offset bigint")


def grains_after_first(spark: SparkSession, stats: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of meter_stats_30s to those of every dataset that is made of them, each grain in its turn."""
    rows: dict[str, list[Row]] = {"meter_stats_30s": list(stats)}
    for grain in GRAINS.values():
        if grain.source in rows:
            rows |= emitted(table(spark, grain.source, rows[grain.source]), grain)
    return rows


def _order(row: Row) -> tuple[int, int]:
    return row["event_count"], row["content_version"] or 0


def by_key(dataset: str, rows: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
    """By the dataset's key the row that counts by law 3: the most events, then the newest readings, then the latest."""
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = tuple(row[name] for name in DATASETS[dataset].order_by)
        if key not in kept or _order(row) >= _order(kept[key]):
            kept[key] = row
    return kept
