"""meter_minute_trend: power and voltage by the minute, from the statistics of 30 s."""

from pyspark.sql import Column

from schemas.manifest import Dataset
from stream_processing.derived import key_and_window, power_and_voltage


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over a row of sums by the minute."""
    return {**key_and_window("meter_id", "building_id"), **power_and_voltage()}
