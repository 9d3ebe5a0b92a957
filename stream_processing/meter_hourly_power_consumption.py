"""meter_hourly_power_consumption: one meter's power and energy by the hour."""

from pyspark.sql import Column

from schemas.manifest import Dataset
from stream_processing.derived import consumption, key_and_window


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over the rows of `hours.hourly`."""
    return {**key_and_window("meter_id", "building_id"), **consumption()}
