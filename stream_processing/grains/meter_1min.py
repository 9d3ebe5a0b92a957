"""(meter, 1 min) of meter_stats_30s; in update mode, so the running minute is visible."""

from stream_processing.grain import Grain
from stream_processing.statistics import MAXIMA, MINIMA, roll_up

WINDOW_S = 60
STATISTICS = ("event_count", "power_sum_mw", "voltage_sum_mv", *MINIMA, *MAXIMA)

METER_1MIN = Grain(
    name="meter_1min",
    source="meter_stats_30s",
    window_s=WINDOW_S,
    output_mode="update",
    aggregate=lambda stats, _: roll_up(stats, WINDOW_S, STATISTICS),
    # Costs only state: a minute is visible before it is over, and rows of a backfill come a little out of order.
    lateness_s=600,
)
