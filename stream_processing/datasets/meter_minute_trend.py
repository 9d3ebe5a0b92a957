"""meter_minute_trend: power and voltage by the minute, from the statistics of 30 s."""

from pyspark.sql import Column

from schemas.manifest import Dataset
from stream_processing.grains.meter_1min import METER_1MIN
from stream_processing.statistics import key_and_window, power_and_voltage

GRAIN = METER_1MIN


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of `roll_up`."""
    return {**key_and_window("meter_id", "building_id"), **power_and_voltage()}
