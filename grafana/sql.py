"""Conditions that several panels share. The macros are the plugin's, see `macros.py`."""

SERIES_MAX = 12
"""Meters drawn at most: more lines than that nobody tells apart, and each costs a read of its stretch of the table."""

BUILDINGS_MAX = 20

BUILDINGS = "$__conditionalAll(building_id IN (${building_id:csv}), $building_id)"
METERS = "$__conditionalAll(meter_id IN (${meter_id:csv}), $meter_id)"


def hours(column: str = "window_start") -> str:
    """Windows of an hour that overlap the time range, by the order key: $__timeFilter would drop the first one."""
    return f"{column} > $__fromTime - INTERVAL 1 HOUR AND {column} <= $__toTime"


DRAWN_METERS = f"""meter_id IN (
    SELECT DISTINCT meter_id FROM meter_hourly_power_consumption
    WHERE {hours()} AND {BUILDINGS} AND {METERS}
    ORDER BY meter_id LIMIT {SERIES_MAX}
)"""
"""The first meters of the selection that have readings; an IN of a small set, which the order key can use."""

KINDS = """arrayFilter(k -> k != '', [
    if(failure, 'failure', ''), if(spike, 'spike', ''), if(low_consumption, 'low consumption', ''),
    if(voltage_anomaly, 'voltage', '')
])"""
"""Names of the kinds of anomaly that a row of anomaly_detection_meter flags."""
