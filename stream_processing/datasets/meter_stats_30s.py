"""meter_stats_30s: the sufficient statistics of a meter's 30 s, from which every longer aggregate follows."""

from stream_processing.grains.meter_30s import METER_30S
from stream_processing.statistics import all_statistics

GRAIN = METER_30S
fields = all_statistics
