"""meter_hourly_power_consumption: one meter's power and energy by the hour."""

from pyspark.sql import Column

from schemas.manifest import Dataset
from stream_processing.grains.hours import METER_1H
from stream_processing.statistics import consumption, key_and_window

GRAIN = METER_1H


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of `hours.hourly`."""
    return {**key_and_window("meter_id", "building_id"), **consumption()}
