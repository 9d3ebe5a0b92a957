"""(meter, 5 min) of meter_stats_30s; in append mode: a window is judged once, when it is complete."""

from stream_processing.grain import Grain
from stream_processing.statistics import EVERYTHING, roll_up

WINDOW_S = 300

METER_5MIN = Grain(
    name="meter_5min",
    source="meter_stats_30s",
    window_s=WINDOW_S,
    output_mode="append",
    aggregate=lambda stats, _: roll_up(stats, WINDOW_S, EVERYTHING),
)
