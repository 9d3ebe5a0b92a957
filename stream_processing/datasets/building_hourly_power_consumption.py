"""building_hourly_power_consumption: one building's power and energy by the hour."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from stream_processing.grains.hours import BUILDING_1H
from stream_processing.statistics import consumption, key_and_window

GRAIN = BUILDING_1H


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of `hours.hourly`."""
    return {**key_and_window("building_id"), "meter_count": F.col("meter_count"), **consumption()}
