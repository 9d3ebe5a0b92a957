"""Buildings: is everything all right, how much energy, who uses most, and where anomalies gather."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import sql
from grafana.palette import KINDS, NEUTRAL, VALUE
from grafana.style import (
    BUILDING_CELL,
    COUNT,
    FULL,
    HALF,
    KW,
    KWH,
    QUARTER,
    SHARE,
    About,
    Look,
    bars,
    chart,
    dashboard,
    good_above,
    good_below,
    heat_map,
    numbers,
    row,
    rows,
    time_series,
    to_meters,
    to_readings,
    variable,
)

STREAM = "Empty: no reading of these buildings in this time; does `smartmeter stream` run, and do meters send?"
DRAWN = f"The {sql.SERIES_MAX - 1} that used most energy, and all others as one where there are more."
TABLE_MAX = 20
MAP_MAX = 30
TODAY_AND_WEEK_AGO = f"""((window_start >= {sql.TODAY} AND window_start <= $__toTime)
        OR (window_start >= {sql.TODAY} - INTERVAL 7 DAY AND window_start <= $__toTime - INTERVAL 7 DAY))
        AND {sql.BUILDINGS}"""

NOW = f"""SELECT sum(power_kw) AS "Load now", avg(seen) AS "Reporting", countIf(seen) AS "Meters",
    countIf(NOT seen) AS "Silent"
FROM {sql.now(sql.BUILDINGS)}
HAVING count() > 0"""

ENERGY = f"""SELECT sumIfOrNull(energy_kwh, window_start >= {sql.TODAY}) AS "Today",
    sumIfOrNull(energy_kwh, window_start < {sql.TODAY}) AS "Last week by now",
    "Today" / nullIf("Last week by now", 0) - 1 AS "Change"
FROM building_hourly_power_consumption_latest
WHERE {TODAY_AND_WEEK_AGO}
HAVING count() > 0"""

ENERGY_OVER_DAY = f"""SELECT time, sum(today) OVER w AS "Today", sum(week_ago) OVER w AS "Same day last week"
FROM (
    SELECT toDateTime(window_start) + if(window_start < {sql.TODAY}, INTERVAL 7 DAY, INTERVAL 0 DAY) AS time,
        sumIfOrNull(energy_kwh, window_start >= {sql.TODAY}) AS today,
        sumIfOrNull(energy_kwh, window_start < {sql.TODAY}) AS week_ago
    FROM building_hourly_power_consumption_latest
    WHERE {TODAY_AND_WEEK_AGO}
    GROUP BY time
)
WINDOW w AS (ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
ORDER BY time"""

GREATEST = f"""(
        SELECT building_id FROM building_hourly_power_consumption_latest WHERE {sql.hours()} AND {sql.BUILDINGS}
        GROUP BY building_id ORDER BY sum(energy_kwh) DESC, building_id LIMIT {sql.SERIES_MAX - 1}
    )"""

LOAD_BY_HOUR = f"""SELECT {sql.HOUR} AS time,
    if(shown, leftPad(toString(building_id), 10, '0'), '~') AS sort_key, if(shown, toString(building_id), '') AS id,
    if(shown, concat('Building ', toString(building_id)), 'All others') AS name,
    sum(power_avg_kw * meter_count) AS "Load"
FROM (
    SELECT window_start, building_id, power_avg_kw, meter_count, building_id IN {GREATEST} AS shown
    FROM building_hourly_power_consumption_latest
    WHERE {sql.hours()} AND {sql.BUILDINGS}
)
GROUP BY time, sort_key, id, name ORDER BY time, sort_key"""

TABLE = f"""SELECT building_id AS "Building", max(meters) AS "Meters", sum(energy) AS "Energy",
    max(peak) AS "Peak hour", sum(covered) / nullIf(sum(expected), 0) AS "Covered",
    sum(anomalous) AS "Anomalous readings"
FROM (
    SELECT building_id, meter_count AS meters, energy_kwh AS energy, power_avg_kw * meter_count AS peak,
        covered_s AS covered, 0 AS anomalous,
        least(3600, greatest(0, dateDiff('second', window_start, $__toTime))) * meter_count AS expected
    FROM building_hourly_power_consumption_latest
    WHERE {sql.hours()} AND {sql.BUILDINGS}
    UNION ALL
    SELECT building_id, 0, 0, 0, 0, {sql.INJECTED}, 0
    FROM anomaly_count_hourly_per_building_latest
    WHERE {sql.hours()} AND {sql.BUILDINGS}
)
GROUP BY building_id ORDER BY "Energy" DESC, building_id LIMIT {TABLE_MAX}"""

TOP_CONSUMERS = f"""SELECT concat('Meter ', toString(meter_id), ', Building ', toString(any(building_id)))
        AS "Consumer",
    sum(energy_kwh) AS "Energy", toString(meter_id) AS "id"
FROM meter_hourly_power_consumption_latest
WHERE {sql.hours()} AND {sql.BUILDINGS}
GROUP BY meter_id ORDER BY "Energy" DESC, meter_id LIMIT 10"""

ANOMALY_MAP = f"""SELECT toDateTime(window_end) AS time,
    concat('Building ', leftPad(toString(building_id), max(length(toString(building_id))) OVER (), ' ')) AS building,
    {sql.INJECTED} AS "Value"
FROM anomaly_count_hourly_per_building_latest
WHERE {sql.hours()} AND building_id IN (
    SELECT building_id FROM anomaly_count_hourly_per_building_latest WHERE {sql.hours()} AND {sql.BUILDINGS}
    GROUP BY building_id ORDER BY sum({sql.INJECTED}) DESC, building_id LIMIT {MAP_MAX}
)
ORDER BY time, building_id"""

ANOMALY_TOTALS = f"""SELECT sum(failure_count) AS "Failure", sum(voltage_anomaly_count) AS "Voltage",
    sum(spike_count) AS "Spike", sum(low_consumption_count) AS "Low consumption"
FROM anomaly_count_hourly_per_building_latest
WHERE {sql.hours()} AND {sql.BUILDINGS}
HAVING count() > 0"""


def build() -> Dashboard:
    """Numbers first, then where the energy goes, then where anomalies are."""
    return (
        dashboard("buildings", "Smart meters: buildings", "Load, energy and anomalies of whole buildings.", 24)
        .with_variable(
            variable("building_id", "Building", "Buildings with readings in this time.", sql.BUILDING_OPTIONS)
        )
        .with_row(row("Is everything all right?"))
        .with_panel(
            numbers(
                About(
                    "Meters and load now",
                    f"Load: sum of the newest minute's mean power of each meter that sent within "
                    f"{sql.SILENT_AFTER_S // 60} minutes. Reporting: their share of the meters that sent within "
                    f"{sql.KNOWN_DAYS} days; silent: the others. {STREAM}",
                    KW,
                    None,
                ),
                NOW,
                {
                    "Reporting": Look(SHARE, 1, steps=good_above(0.9, 0.99)),
                    "Meters": Look(COUNT, 0),
                    "Silent": Look(COUNT, 0, steps=good_below(1)),
                },
                width=HALF,
            )
        )
        .with_panel(
            numbers(
                About(
                    "Energy today",
                    "Energy since midnight, and of the same day last week until the same hour, in the dashboard's time "
                    f"zone. A dash: nothing is known of that day. {STREAM}",
                    KWH,
                    None,
                ),
                ENERGY,
                {"Change": Look(SHARE, 1)},
                width=HALF,
            )
        )
        .with_row(row("How much energy, and when?"))
        .with_panel(
            bars(
                About(
                    "Load by hour",
                    f"Mean load by hour: mean power of a building's meters times their number. {DRAWN} {STREAM}",
                    KW,
                    1,
                ),
                LOAD_BY_HOUR,
                {"All others": Look(color=NEUTRAL)},
                min_interval="1h",
                link=to_meters("${__field.labels.id}"),
            )
        )
        .with_panel(
            time_series(
                About(
                    "Energy over the day",
                    "Energy summed up since midnight, today and on the same day last week, drawn at today's hours; the "
                    f"point of an hour counts the whole hour. Always the last day of this time. {STREAM}",
                    KWH,
                    1,
                ),
                ENERGY_OVER_DAY,
                {"Today": Look(color=VALUE, custom={"lineWidth": 2}), "Same day last week": Look(color=NEUTRAL)},
                min_interval="1h",
            )
            .axis_soft_min(0)
            .time_from("24h")
        )
        .with_row(row("Who uses most?"))
        .with_panel(
            rows(
                About(
                    "Buildings",
                    f"The {TABLE_MAX} buildings with most energy in this time. Peak hour: the greatest mean load of an "
                    "hour. Covered: share of the time for which readings are there; below 100 % energy is missing. "
                    f"Anomalous readings: as in Anomalies by kind. A click on a building leads to its meters. {STREAM}",
                ),
                TABLE,
                {
                    "Building": BUILDING_CELL,
                    "Meters": Look(COUNT, 0),
                    "Energy": Look(KWH, 1),
                    "Peak hour": Look(KW, 1),
                    "Covered": Look(SHARE, 1, steps=good_above(0.9, 0.99)),
                },
                width=HALF + QUARTER - 2,
                height=9,
            )
        )
        .with_panel(
            chart(
                About(
                    "Top consumers",
                    f"The ten meters with most energy in this time; a click leads to a meter's readings. {STREAM}",
                    KWH,
                    1,
                ),
                TOP_CONSUMERS,
                "Consumer",
                width=QUARTER + 2,
                link=to_readings('${__data.fields["id"]}'),
            ).height(9)
        )
        .with_row(row("Where are anomalies?"))
        .with_panel(
            numbers(
                About(
                    "Anomalies by kind",
                    "Readings whose status bits report an injected anomaly; one reading may have several kinds. Ground "
                    f"truth in a simulation, 0 for real meters. {STREAM}",
                ),
                ANOMALY_TOTALS,
                {kind.capitalize(): Look(steps=((None, "text"), (1, color))) for kind, color in KINDS.items()},
                width=FULL,
            )
        )
        .with_panel(
            heat_map(
                About(
                    "Anomaly heat map",
                    f"Readings with an injected anomaly, by building and hour; the {MAP_MAX} buildings with most. "
                    f"{STREAM}",
                ),
                ANOMALY_MAP,
                KINDS["failure"],
                width=FULL,
            ).height(10)
        )
    )
