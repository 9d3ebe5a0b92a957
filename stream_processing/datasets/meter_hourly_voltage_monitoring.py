"""meter_hourly_voltage_monitoring: one meter's voltage by the hour, and the share outside the limits."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from stream_processing.grains.hours import METER_1H
from stream_processing.statistics import key_and_window, voltage, voltage_deviation

GRAIN = METER_1H


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of `hours.hourly`."""
    return {
        **key_and_window("meter_id", "building_id"),
        **voltage(),
        "voltage_std_v": voltage_deviation(),
        "voltage_outside_count": F.col("voltage_outside_count"),
        "voltage_outside_share": F.col("voltage_outside_count") / F.col("event_count"),
    }
