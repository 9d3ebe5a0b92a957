"""anomaly_prediction_features: windows of 5 min as the model sees them, with the injected anomalies as labels."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from stream_processing.grains.meter_5min import METER_5MIN
from stream_processing.statistics import (
    MV_PER_V,
    MW_PER_KW,
    key_and_window,
    power_and_voltage,
    power_deviation,
    status_counts,
    voltage_deviation,
)

GRAIN = METER_5MIN


def fields(_dataset: Dataset) -> dict[str, Column]:
    """The contract's fields over rows of `roll_up`."""
    # Of a pair that counts backwards 0, so that no difference leaves 64 bits: Spark would fail, for ever.
    steps = F.greatest(F.lit(0), F.col("last_sequence") - F.col("first_sequence"))
    return {
        **key_and_window("meter_id", "building_id"),
        **power_and_voltage(),
        "power_std_kw": power_deviation(),
        "voltage_std_v": voltage_deviation(),
        "power_step_max_kw": F.col("power_step_max_mw") / MW_PER_KW,
        "voltage_step_max_v": F.col("voltage_step_max_mv") / MV_PER_V,
        "repeat_count": F.col("repeat_count"),
        "run_max_count": F.col("run_max_count"),
        # `greatest` passes over nulls, and without a sequence there is no count.
        "gap_count": F.when(
            F.col("first_sequence").isNotNull(), F.greatest(F.lit(0), steps - (F.col("event_count") - 1))
        ),
        **status_counts(),
    }
