"""Meters: the readings of chosen meters by the minute and the hour, their limits, and what was found in them."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import sql
from grafana.style import About, Annotation, bars, dashboard, rows, time_series, variable, with_limits
from schemas.manifest import load_datasets

LIMITS = load_datasets()["meter_hourly_voltage_monitoring"].parameters
STREAM = "No reading of these meters in this time: choose a longer time, or see whether `smartmeter stream` runs."
DRAWN = f"At most {sql.SERIES_MAX} meters of the selection are drawn, those with the lowest ids."

BUILDING_QUERY = (
    f"SELECT DISTINCT building_id FROM building_hourly_power_consumption WHERE {sql.hours()} ORDER BY building_id"
)
METER_QUERY = (
    "SELECT DISTINCT meter_id FROM meter_hourly_power_consumption "
    f"WHERE {sql.hours()} AND {sql.BUILDINGS} ORDER BY meter_id"
)

POWER_TREND = f"""SELECT $__timeInterval(window_start) AS time, toString(meter_id) AS meter,
    sum(power_avg_kw * event_count) / sum(event_count) AS power_kw
FROM meter_minute_trend_latest
WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
GROUP BY time, meter_id ORDER BY time, meter_id"""

HOURLY_POWER = f"""SELECT window_start AS time, toString(meter_id) AS meter, energy_kwh
FROM meter_hourly_power_consumption_latest
WHERE {sql.hours()} AND {sql.DRAWN_METERS}
ORDER BY time, meter_id"""

DETECTIONS = f"""SELECT $__timeInterval(window_start) AS time, toString(meter_id) AS meter, kind, count() AS windows
FROM anomaly_detection_meter_latest
ARRAY JOIN {sql.KINDS} AS kind
WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
GROUP BY time, meter_id, kind ORDER BY time, meter_id, kind"""

ANOMALIES_PER_BUILDING = f"""SELECT window_start AS time, toString(building_id) AS building,
    failure_count + spike_count + low_consumption_count + voltage_anomaly_count AS anomalies
FROM anomaly_count_hourly_per_building_latest
WHERE {sql.hours()} AND building_id IN (
    SELECT building_id FROM anomaly_count_hourly_per_building_latest WHERE {sql.hours()} AND {sql.BUILDINGS}
    GROUP BY building_id
    ORDER BY sum(failure_count + spike_count + low_consumption_count + voltage_anomaly_count) DESC, building_id
    LIMIT {sql.BUILDINGS_MAX}
)
ORDER BY time, building_id"""

VOLTAGE_TREND = f"""SELECT $__timeInterval(window_start) AS time, toString(meter_id) AS meter,
    sum(voltage_avg_v * event_count) / sum(event_count) AS voltage_v
FROM meter_minute_trend_latest
WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
GROUP BY time, meter_id ORDER BY time, meter_id"""

VOLTAGE_EXTREMES = f"""SELECT $__timeInterval(window_start) AS time,
    min(voltage_min_v) AS lowest_v, max(voltage_max_v) AS highest_v
FROM meter_minute_trend_latest
WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
GROUP BY time ORDER BY time"""

VOLTAGE_BY_HOUR = f"""SELECT window_start AS hour, meter_id AS meter, voltage_avg_v AS average, voltage_min_v AS lowest,
    voltage_max_v AS highest, voltage_std_v AS deviation, voltage_outside_share AS outside
FROM meter_hourly_voltage_monitoring_latest
WHERE {sql.hours()} AND {sql.DRAWN_METERS}
ORDER BY hour DESC, meter LIMIT 200"""

FOUND = f"""SELECT min(window_start) AS time, max(window_end) AS timeEnd,
    concat('meter ', toString(meter_id), ': ', arrayStringConcat(arraySort(groupUniqArrayArray(kinds)), ', ')) AS text
FROM (
    SELECT meter_id, window_start, window_end, kinds,
        sum(is_new) OVER (PARTITION BY meter_id ORDER BY window_start) AS episode
    FROM (
        SELECT meter_id, window_start, window_end, {sql.KINDS} AS kinds,
            window_start != lagInFrame(window_end) OVER (PARTITION BY meter_id ORDER BY window_start
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS is_new
        FROM anomaly_detection_meter_latest
        WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
            AND (spike OR low_consumption OR voltage_anomaly OR failure)
    )
)
GROUP BY meter_id, episode ORDER BY time DESC, meter_id LIMIT 100"""


def build() -> Dashboard:
    """The original's six panels."""
    lower, upper = LIMITS["voltage_lower_v"], LIMITS["voltage_upper_v"]
    voltage = time_series(
        About(
            "Voltage Trend Per Meter",
            "volt",
            f"Mean voltage of each meter, and the lowest and highest reading among them. Dashed: the limits, {lower:g} "
            f"and {upper:g} V. {DRAWN}",
            STREAM,
            decimals=1,
        ),
        VOLTAGE_TREND,
        VOLTAGE_EXTREMES,
    )
    return (
        dashboard("meters", "Smart meters: meters", "Chosen meters by the minute and the hour.")
        .with_variable(variable("building_id", "building", "Buildings with readings in this time.", BUILDING_QUERY))
        .with_variable(variable("meter_id", "meter", "Meters of the chosen buildings.", METER_QUERY))
        .annotation(Annotation("anomalies found", FOUND, "orange"))
        .with_panel(
            time_series(
                About("Meter Minute-level Power Trend", "kwatt", f"Mean power of each meter. {DRAWN}", STREAM, 2),
                POWER_TREND,
            )
        )
        .with_panel(
            bars(
                About(
                    "Meter Hourly Power Consumption",
                    "kwatth",
                    "Energy of each hour; every reading's power holds until the meter's next one, at "
                    "most for 5 minutes. "
                    f"The running hour grows. {DRAWN}",
                    STREAM,
                    2,
                ),
                HOURLY_POWER,
                min_interval="1h",
            )
        )
        .with_panel(with_limits(voltage, lower, upper))
        .with_panel(
            bars(
                About(
                    "Anomaly Detection Per Meter",
                    "short",
                    "Windows of 30 s in which the stated thresholds find something, by meter and "
                    "kind; a window may count "
                    f"under several kinds. {DRAWN}",
                    "Nothing was found in these meters in this time; that is as it should be.",
                    0,
                ),
                DETECTIONS,
            )
        )
        .with_panel(
            bars(
                About(
                    "Anomalies Count Per Building Per Hour",
                    "short",
                    "Readings whose status bits report an injected anomaly, of all kinds, by "
                    "building; ground truth in a "
                    f"simulation, 0 for real readings. The {sql.BUILDINGS_MAX} buildings with most.",
                    STREAM,
                    0,
                ),
                ANOMALIES_PER_BUILDING,
                min_interval="1h",
            )
        )
        .with_panel(
            rows(
                About(
                    "Voltage Monitoring Per Meter Per Hour",
                    "volt",
                    f"Voltage by hour, newest first; outside: share of readings below {lower:g} or "
                    f"above {upper:g} V. {DRAWN}",
                    STREAM,
                    1,
                ),
                VOLTAGE_BY_HOUR,
                units={"meter": "none", "hour": "dateTimeAsIso", "outside": "percentunit"},
            )
        )
    )
