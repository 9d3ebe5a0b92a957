"""anomaly_detection_meter: which of the stated thresholds a window of 30 s passes, from the readings alone."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from stream_processing.grains.meter_30s import METER_30S
from stream_processing.statistics import key_and_window, power_and_voltage

GRAIN = METER_30S


def fields(dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of statistics; the thresholds are the manifest's parameters."""
    limit = dataset.parameters
    values = power_and_voltage()
    identical = F.col("run_max_count") == F.col("event_count")
    failure = identical & (F.col("event_count") >= int(limit["failure_min_readings"]))
    return {
        **key_and_window("meter_id", "building_id"),
        **values,
        "spike": values["power_max_kw"] >= limit["spike_power_kw"],
        "low_consumption": (values["power_max_kw"] <= limit["low_power_kw"])
        & (values["power_min_kw"] >= -limit["low_power_kw"])
        & ~failure,
        "voltage_anomaly": (values["voltage_min_v"] < limit["voltage_lower_v"])
        | (values["voltage_max_v"] > limit["voltage_upper_v"]),
        "failure": failure,
    }
