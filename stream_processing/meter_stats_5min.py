"""meter_stats_5min: the fields of meter_stats_30s over 5 min, joined across the parts."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.manifest import Dataset


def fields(dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of merged statistics."""
    made = {name: F.timestamp_millis(f"{name}_ms") for name in ("first_timestamp", "last_timestamp")}
    return {field.name: made.get(field.name, F.col(field.name)) for field in dataset.latest.fields}
