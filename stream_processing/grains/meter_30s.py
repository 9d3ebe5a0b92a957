"""The first grain, (meter, 30 s): the only query that reads raw readings; its rows are final."""

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.manifest import RAW
from stream_processing import anomaly_detection_meter, meter_stats_30s
from stream_processing.grain import Datasets, Grain
from stream_processing.readings import usable_readings

WINDOW_S = 30


def _prepare(events: DataFrame, datasets: Datasets) -> DataFrame:
    return usable_readings(events, datasets[RAW])


def _aggregate(readings: DataFrame, datasets: Datasets) -> DataFrame:
    window = F.window("timestamp", f"{WINDOW_S} seconds")
    collected = readings.groupBy(window, "meter_id").agg(F.collect_list(meter_stats_30s.reading()).alias("readings"))
    return meter_stats_30s.statistics(collected, datasets["meter_stats_30s"])


GRAIN = Grain(
    source=RAW,
    event_time="timestamp",
    window_s=WINDOW_S,
    output_mode="append",
    prepare=_prepare,
    aggregate=_aggregate,
    emits={
        "meter_stats_30s": meter_stats_30s.fields,
        "anomaly_detection_meter": anomaly_detection_meter.fields,
    },
)
