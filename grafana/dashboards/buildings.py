"""Buildings: load and energy of whole buildings, who uses most, and where anomalies gather."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import sql
from grafana.style import QUARTER, About, bars, chart, dashboard, heat_map, single, time_series, variable

STREAM = "No reading of these buildings in this time: choose a longer time, or see whether `smartmeter stream` runs."
BUILDING_QUERY = (
    f"SELECT DISTINCT building_id FROM building_hourly_power_consumption WHERE {sql.hours()} ORDER BY building_id"
)
TODAY = "toStartOfDay($__toTime, 'UTC')"
ANOMALIES = "failure_count + spike_count + low_consumption_count + voltage_anomaly_count"
TODAY_AND_WEEK_AGO = f"""((window_start >= {TODAY} AND window_start <= $__toTime)
        OR (window_start >= {TODAY} - INTERVAL 7 DAY AND window_start <= $__toTime - INTERVAL 7 DAY))
        AND {sql.BUILDINGS}"""

# One row per meter by law 3, without FINAL: docs/decisions/040-panel-queries.md.
LOAD_NOW = f"""SELECT sum(power_kw) AS load_kw, count() AS meters
FROM (
    SELECT argMax(power_avg_kw, (window_start, event_count, offset)) AS power_kw
    FROM meter_minute_trend
    WHERE window_start > $__toTime - INTERVAL 5 MINUTE AND window_start <= $__toTime AND {sql.BUILDINGS}
    GROUP BY meter_id
)
HAVING meters > 0"""

ENERGY = f"""SELECT sumIfOrNull(energy_kwh, window_start >= {TODAY}) AS today_kwh,
    sumIfOrNull(energy_kwh, window_start < {TODAY}) AS week_ago_kwh
FROM building_hourly_power_consumption_latest
WHERE {TODAY_AND_WEEK_AGO}
HAVING count() > 0"""

ENERGY_OVER_DAY = f"""SELECT time, day, sum(energy_kwh) OVER (PARTITION BY day ORDER BY time) AS energy_kwh
FROM (
    SELECT window_start + if(window_start < {TODAY}, INTERVAL 7 DAY, INTERVAL 0 DAY) AS time,
        if(window_start < {TODAY}, 'same day last week', 'today') AS day, sum(energy_kwh) AS energy_kwh
    FROM building_hourly_power_consumption_latest
    WHERE {TODAY_AND_WEEK_AGO}
    GROUP BY time, day
)
ORDER BY time, day"""

LOAD_BY_HOUR = f"""SELECT window_start AS time, toString(building_id) AS building,
    power_avg_kw * meter_count AS load_kw
FROM building_hourly_power_consumption_latest
WHERE {sql.hours()} AND building_id IN (
    SELECT building_id FROM building_hourly_power_consumption_latest WHERE {sql.hours()} AND {sql.BUILDINGS}
    GROUP BY building_id ORDER BY sum(energy_kwh) DESC, building_id LIMIT {sql.BUILDINGS_MAX}
)
ORDER BY time, building_id"""

TOP_CONSUMERS = f"""SELECT concat('meter ', toString(meter_id), ', building ', toString(any(building_id))) AS consumer,
    sum(energy_kwh) AS energy_kwh
FROM meter_hourly_power_consumption_latest
WHERE {sql.hours()} AND {sql.BUILDINGS}
GROUP BY meter_id ORDER BY energy_kwh DESC, meter_id LIMIT 10"""

ANOMALY_MAP = f"""SELECT window_start AS time, toString(building_id) AS building, {ANOMALIES} AS anomalies
FROM anomaly_count_hourly_per_building_latest
WHERE {sql.hours()} AND building_id IN (
    SELECT building_id FROM anomaly_count_hourly_per_building_latest WHERE {sql.hours()} AND {sql.BUILDINGS}
    GROUP BY building_id ORDER BY sum({ANOMALIES}) DESC, building_id LIMIT 50
)
ORDER BY time, building_id"""

ANOMALY_TOTALS = f"""SELECT sum(failure_count) AS failure, sum(spike_count) AS spike,
    sum(low_consumption_count) AS low_consumption, sum(voltage_anomaly_count) AS voltage
FROM anomaly_count_hourly_per_building_latest
WHERE {sql.hours()} AND {sql.BUILDINGS}
HAVING count() > 0"""


def build() -> Dashboard:
    """Numbers on top, their course below."""
    return (
        dashboard(
            "buildings", "Smart meters: buildings", "Load, energy and anomalies of whole buildings.", span_hours=24
        )
        .with_variable(variable("building_id", "building", "Buildings with readings in this time.", BUILDING_QUERY))
        .with_panel(
            single(
                About(
                    "Load now",
                    "kwatt",
                    "Sum over the meters of their newest minute's mean power, if it is at most "
                    "5 minutes old, and how "
                    "many meters that are.",
                    "No minute was closed in the last 5 minutes of this time: does `smartmeter "
                    "stream` run, and do meters send?",
                    1,
                ),
                LOAD_NOW,
                units={"meters": "short"},
                width=QUARTER,
            )
        )
        .with_panel(
            single(
                About(
                    "Energy today against the same day last week",
                    "kwatth",
                    "Energy since midnight UTC, and of the same day last week until the same hour.",
                    "No hour of today has a reading: does `smartmeter stream` run?",
                    1,
                ),
                ENERGY,
                width=QUARTER,
            )
        )
        .with_panel(
            single(
                About(
                    "Anomalies by kind",
                    "short",
                    "Readings whose status bits report an injected anomaly; one reading may have several kinds.",
                    STREAM,
                    0,
                ),
                ANOMALY_TOTALS,
                width=QUARTER * 2,
            )
        )
        .with_panel(
            bars(
                About(
                    "Load by hour",
                    "kwatt",
                    f"Mean load of each building by hour: mean power of its meters times their number. The "
                    f"{sql.BUILDINGS_MAX} buildings that used most energy.",
                    STREAM,
                    2,
                ),
                LOAD_BY_HOUR,
                min_interval="1h",
            )
        )
        .with_panel(
            time_series(
                About(
                    "Energy over the day",
                    "kwatth",
                    "Energy summed up since midnight UTC, today and on the same day last week, drawn at today's hours.",
                    "No hour of today has a reading: does `smartmeter stream` run?",
                    1,
                ),
                ENERGY_OVER_DAY,
                min_interval="1h",
            )
        )
        .with_panel(
            chart(
                About("Top consumers", "kwatth", "The ten meters with most energy in this time.", STREAM, 2),
                TOP_CONSUMERS,
                name="consumer",
            )
        )
        .with_panel(
            heat_map(
                About(
                    "Anomaly heat map",
                    "short",
                    "Readings with an injected anomaly, by building and hour; the 50 buildings with most.",
                    STREAM,
                    0,
                ),
                ANOMALY_MAP,
                label="building",
            )
        )
    )
