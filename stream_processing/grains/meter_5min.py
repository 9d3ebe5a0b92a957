"""(meter, 5 min) of meter_stats_30s; in append mode: a window is judged once, when it is complete."""

from pyspark.sql import DataFrame

from stream_processing import anomaly_prediction_features, meter_stats_5min
from stream_processing.grain import Datasets, Grain
from stream_processing.hours import PART_S
from stream_processing.rollup import EVERYTHING, require_equal_parameters, roll_up

WINDOW_S = PART_S


def _prepare(stats: DataFrame, _datasets: Datasets) -> DataFrame:
    return stats


def _aggregate(stats: DataFrame, datasets: Datasets) -> DataFrame:
    require_equal_parameters(datasets["meter_stats_5min"], datasets["meter_stats_30s"])
    return roll_up(stats, WINDOW_S, EVERYTHING)


GRAIN = Grain(
    source="meter_stats_30s",
    event_time="window_start",
    window_s=WINDOW_S,
    output_mode="append",
    prepare=_prepare,
    aggregate=_aggregate,
    emits={
        "meter_stats_5min": meter_stats_5min.fields,
        "anomaly_prediction_features": anomaly_prediction_features.fields,
    },
)
