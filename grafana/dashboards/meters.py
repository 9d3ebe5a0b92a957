"""Meters: is everything all right, the course of power and voltage, and what was found in which meter."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import sql
from grafana.palette import NEUTRAL
from grafana.style import (
    BUILDING_CELL,
    COUNT,
    DASHED,
    FULL,
    INSTANT_CELL,
    KW,
    KWH,
    MEAN,
    METER_CELL,
    QUARTER,
    SHARE,
    VOLT,
    About,
    Look,
    bars,
    dashboard,
    good_above,
    good_below,
    numbers,
    row,
    rows,
    time_series,
    timeline,
    to_meters,
    to_readings,
    variable,
    with_limits,
)

STREAM = "Empty: no reading of these meters in this time; does `smartmeter stream` run, and do meters send?"
DRAWN = (
    f"Up to {sql.SERIES_MAX} meters are drawn: where more are chosen, those that used most energy in the last day of "
    "this time."
)
SELECTED = f"{sql.BUILDINGS} AND {sql.METERS}"
LIMITS = f"{sql.LOWER_V:g} and {sql.UPPER_V:g} V"
METER = to_readings("${__field.labels.id}")

NOW = f"""SELECT avg(seen) AS "Reporting", countIf(seen) AS "Meters", countIf(NOT seen) AS "Silent",
    countIf(outside) AS "Voltage out of limits", sum(power_kw) AS "Power now"
FROM {sql.now(SELECTED)}
HAVING count() > 0"""

SILENT = f"""SELECT meter_id AS "Meter", argMax(building_id, window_start) AS "Building",
    max(toDateTime(window_start)) AS "Last in the hour of"
FROM meter_hourly_power_consumption
WHERE {sql.KNOWN} AND {SELECTED} AND meter_id NOT IN (
    SELECT meter_id FROM meter_minute_trend WHERE {sql.RECENT} AND {SELECTED}
)
GROUP BY meter_id ORDER BY "Last in the hour of", meter_id LIMIT 20"""

POWER_TREND = f"""SELECT * FROM (
    SELECT $__timeInterval(window_start) AS time, {sql.labels("meter")},
        sum(power_avg_kw * event_count) / sum(event_count) AS "Power"
    FROM meter_minute_trend_latest
    WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
    GROUP BY time, meter_id
    UNION ALL
    SELECT {sql.HOUR}, '~', '', 'Mean of all meters', sum(energy_kwh) * 3600 / sum(covered_s)
    FROM building_hourly_power_consumption_latest
    WHERE {sql.hours()} AND {sql.BUILDINGS} AND $__conditionalAll(0, $meter_id) AND {sql.ARE_MANY}
        AND window_start >= $__fromTime
    GROUP BY 1 HAVING sum(covered_s) > 0
)
ORDER BY time, sort_key"""

HOURLY_POWER = f"""SELECT {sql.HOUR} AS time, {sql.labels("meter")}, energy_kwh AS "Energy"
FROM meter_hourly_power_consumption_latest
WHERE {sql.hours()} AND {sql.DRAWN_METERS}
ORDER BY time, sort_key"""

DETECTIONS = f"""SELECT $__timeInterval(window_start) AS time, {sql.labels("meter")}, max({sql.WORST}) AS "Anomaly"
FROM anomaly_detection_meter_latest
WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
GROUP BY time, meter_id ORDER BY time, sort_key"""

ANOMALIES_PER_BUILDING = f"""SELECT {sql.HOUR} AS time, {sql.labels("building")}, {sql.INJECTED} AS "Readings"
FROM anomaly_count_hourly_per_building_latest
WHERE {sql.hours()} AND building_id IN (
    SELECT building_id FROM anomaly_count_hourly_per_building_latest WHERE {sql.hours()} AND {sql.BUILDINGS}
    GROUP BY building_id ORDER BY sum({sql.INJECTED}) DESC, building_id LIMIT {sql.SERIES_MAX}
)
ORDER BY time, sort_key"""

VOLTAGE_TREND = f"""SELECT * FROM (
    SELECT $__timeInterval(window_start) AS time, {sql.labels("meter")},
        sum(voltage_avg_v * event_count) / sum(event_count) AS "Voltage"
    FROM meter_minute_trend_latest
    WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
    GROUP BY time, meter_id
    UNION ALL
    SELECT time, extreme.1, '', extreme.2, extreme.3
    FROM (
        SELECT $__timeInterval(window_start) AS time,
            [('~1', 'Lowest reading', min(voltage_min_v)), ('~2', 'Highest reading', max(voltage_max_v))] AS extremes
        FROM meter_minute_trend_latest
        WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
        GROUP BY time
    )
    ARRAY JOIN extremes AS extreme
)
ORDER BY time, sort_key"""

VOLTAGE_BY_HOUR = f"""SELECT toDateTime(window_start) AS "Hour", meter_id AS "Meter", voltage_avg_v AS "Average",
    voltage_min_v AS "Lowest", voltage_max_v AS "Highest", voltage_std_v AS "Deviation",
    voltage_outside_share AS "Outside limits"
FROM meter_hourly_voltage_monitoring_latest
WHERE {sql.hours()} AND {sql.DRAWN_METERS}
ORDER BY "Hour" DESC, "Meter" LIMIT 200"""

DRAWN_TABLE = f"""SELECT meter_id AS "Meter", max(building) AS "Building", max(newest) AS "Newest minute",
    sum(power_kw) AS "Power", max(voltage_v) AS "Voltage", sum(energy_kwh) AS "Energy",
    sum(found) AS "Anomalies"
FROM (
    SELECT meter_id, argMax(building_id, window_start) AS building, max(toDateTime(window_start)) AS newest,
        argMax(power_avg_kw, window_start) AS power_kw, argMax(voltage_avg_v, window_start) AS voltage_v,
        0. AS energy_kwh, 0 AS found
    FROM meter_minute_trend_latest
    WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
    GROUP BY meter_id
    UNION ALL
    SELECT meter_id, 0, toDateTime(0), 0, 0, sum(energy_kwh), 0
    FROM meter_hourly_power_consumption_latest
    WHERE {sql.hours()} AND {sql.DRAWN_METERS}
    GROUP BY meter_id
    UNION ALL
    SELECT meter_id, 0, toDateTime(0), 0, 0, 0, countIf({sql.WORST} > 0)
    FROM anomaly_detection_meter_latest
    WHERE $__timeFilter(window_start) AND {sql.DRAWN_METERS}
    GROUP BY meter_id
)
GROUP BY meter_id ORDER BY meter_id"""


def build() -> Dashboard:
    """The original's six panels, after numbers that say whether they need a look."""
    voltage = time_series(
        About(
            "Voltage Trend Per Meter",
            f"Mean voltage of each meter, and the lowest and highest reading among them. Dashed red: the limits, "
            f"{LIMITS}. {DRAWN} {STREAM}",
            VOLT,
            1,
        ),
        VOLTAGE_TREND,
        {"Lowest reading": Look(color=NEUTRAL, custom=DASHED), "Highest reading": Look(color=NEUTRAL, custom=DASHED)},
        width=FULL,
        link=METER,
    )
    return (
        dashboard("meters", "Smart meters: meters", "Chosen meters by the minute and the hour.")
        .with_variable(
            variable("building_id", "Building", "Buildings with readings in this time.", sql.BUILDING_OPTIONS)
        )
        .with_variable(
            variable(
                "meter_id", "Meter", f"Meters of the chosen buildings, at most {sql.OPTIONS_MAX:,}.", sql.METER_OPTIONS
            )
        )
        .with_row(row("Is everything all right?"))
        .with_panel(
            numbers(
                About(
                    "Meters now",
                    f"Reporting: share of the meters that sent within {sql.SILENT_AFTER_S // 60} minutes among those "
                    "that "
                    f"sent within {sql.KNOWN_DAYS} days; silent: the others. Voltage out of limits: meters whose "
                    "newest "
                    f"minute has a reading beyond {LIMITS}. Power now: sum of the newest minutes' means. {STREAM}",
                    KW,
                    None,
                ),
                NOW,
                {
                    "Reporting": Look(SHARE, 1, steps=good_above(0.9, 0.99)),
                    "Meters": Look(COUNT, 0),
                    "Silent": Look(COUNT, 0, steps=good_below(1)),
                    "Voltage out of limits": Look(COUNT, 0, steps=good_below(1)),
                },
                width=FULL - QUARTER - 2,
            )
        )
        .with_panel(
            rows(
                About(
                    "Silent meters",
                    f"Known meters without a reading in the last {sql.SILENT_AFTER_S // 60} minutes, the longest "
                    "silent "
                    "first, at most 20. Empty is as it should be where meters report.",
                ),
                SILENT,
                {
                    "Meter": METER_CELL,
                    "Building": BUILDING_CELL,
                    "Last in the hour of": INSTANT_CELL,
                },
                width=QUARTER + 2,
                height=4,
            )
        )
        .with_row(row("How much power and energy?"))
        .with_panel(
            time_series(
                About(
                    "Meter Minute-level Power Trend",
                    f"Mean power of each meter. {DRAWN} Dashed: the mean of all meters by the hour, where more than "
                    f"{sql.SERIES_MAX} are there. {STREAM}",
                    KW,
                    2,
                ),
                POWER_TREND,
                {"Mean of all meters": MEAN},
                width=FULL,
                link=METER,
            )
        )
        .with_panel(
            bars(
                About(
                    "Meter Hourly Power Consumption",
                    "Energy of each hour; every reading's power holds until the meter's next one, at most for 5 "
                    "minutes. "
                    f"The running hour grows. {DRAWN} {STREAM}",
                    KWH,
                    2,
                ),
                HOURLY_POWER,
                min_interval="1h",
                width=FULL,
                link=METER,
            )
        )
        .with_panel(
            rows(
                About(
                    "The meters drawn",
                    f"{DRAWN} Power and voltage of the newest minute, energy and windows of 30 s with an anomaly "
                    f"in this time. A click on a meter leads to its readings. {STREAM}",
                ),
                DRAWN_TABLE,
                {
                    "Meter": METER_CELL,
                    "Building": BUILDING_CELL,
                    "Newest minute": INSTANT_CELL,
                    "Power": Look(KW, 2),
                    "Voltage": Look(VOLT, 1),
                    "Energy": Look(KWH, 2),
                    "Anomalies": Look(steps=good_below(1)),
                },
                height=10,
            )
        )
        .with_row(row("Is the voltage within its limits?"))
        .with_panel(with_limits(voltage, sql.LOWER_V, sql.UPPER_V))
        .with_panel(
            rows(
                About(
                    "Voltage Monitoring Per Meter Per Hour",
                    f"Voltage by hour, newest first. Outside limits: share of the readings beyond {LIMITS}. {DRAWN} "
                    f"{STREAM}",
                    VOLT,
                    1,
                ),
                VOLTAGE_BY_HOUR,
                {
                    "Hour": INSTANT_CELL,
                    "Meter": METER_CELL,
                    "Outside limits": Look(SHARE, 1, steps=good_below(0.0001, 0.05)),
                },
                width=FULL,
            )
        )
        .with_row(row("What was found?"))
        .with_panel(
            timeline(
                About(
                    "Anomaly Detection Per Meter",
                    "When the stated thresholds find something in windows of 30 s; of several kinds the gravest is "
                    f"shown: failure, voltage, spike, low consumption. {DRAWN} {STREAM}",
                ),
                DETECTIONS,
                link=METER,
            )
        )
        .with_panel(
            bars(
                About(
                    "Anomalies Count Per Building Per Hour",
                    "Readings whose status bits report an injected anomaly, of all kinds, by building; ground truth "
                    "in a "
                    f"simulation, 0 for real readings. The {sql.SERIES_MAX} buildings with most. {STREAM}",
                ),
                ANOMALIES_PER_BUILDING,
                min_interval="1h",
                link=to_meters("${__field.labels.id}"),
            )
        )
    )
