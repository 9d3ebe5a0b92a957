"""meter_stats_5min: the fields of meter_stats_30s over 5 min."""

from stream_processing.grains.meter_5min import METER_5MIN
from stream_processing.statistics import all_statistics

GRAIN = METER_5MIN
fields = all_statistics
