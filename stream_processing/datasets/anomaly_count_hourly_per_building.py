"""anomaly_count_hourly_per_building: injected anomalies by kind, truly counted, per building and hour."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from stream_processing.grains.hours import BUILDING_1H
from stream_processing.statistics import key_and_window, status_counts

GRAIN = BUILDING_1H


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of `hours.hourly`."""
    return {**key_and_window("building_id"), "meter_count": F.col("meter_count"), **status_counts()}
