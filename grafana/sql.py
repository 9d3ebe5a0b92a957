"""Conditions and columns that several panels share. The macros are the plugin's, see `macros.py`."""

from schemas.manifest import load_datasets

SERIES_MAX = 10
"""Lines that a panel draws at most, a colour each; beyond, the greatest are drawn and the rest is summed up."""
OPTIONS_MAX = 10_000
"""Meters that a variable offers; a building narrows them down."""
SILENT_AFTER_S = 600
KNOWN_DAYS = 30
"""A meter that has sent nothing for so long is no longer expected to."""

LIMITS = load_datasets()["meter_hourly_voltage_monitoring"].parameters
LOWER_V, UPPER_V = LIMITS["voltage_lower_v"], LIMITS["voltage_upper_v"]

BUILDINGS = "$__conditionalAll(building_id IN (${building_id:csv}), $building_id)"
METERS = "$__conditionalAll(meter_id IN (${meter_id:csv}), $meter_id)"

ZONE = "replaceOne('${__timezone}', 'utc', 'UTC')"
"""The dashboard's time zone by its name; Grafana says utc, which ClickHouse does not know."""
TODAY = f"toStartOfDay($__toTime, {ZONE})"


def hours(column: str = "window_start") -> str:
    """Windows of an hour that overlap the time range, by the order key: $__timeFilter would drop the first one."""
    return f"{column} > $__fromTime - INTERVAL 1 HOUR AND {column} <= $__toTime"


HOUR = (
    "if($__toTime <= $__fromTime + INTERVAL 1 HOUR, greatest(toDateTime(window_start), $__fromTime), "
    "toDateTime(window_start))"
)
"""Where an hour's bar begins. In a range below an hour it began before the range, where Grafana draws nothing."""


def labels(of: str) -> str:
    """Label columns of a series per `meter` or `building`.

    Grafana sorts series by the labels in this order, as text; `name` is what is shown, `id` what links hand on.
    """
    column = f"{of}_id"
    return (
        f"leftPad(toString({column}), 10, '0') AS sort_key, toString({column}) AS id, "
        f"concat('{of.capitalize()} ', toString({column})) AS name"
    )


def options(of: str, table: str, condition: str) -> str:
    """Options of a variable: value first and text second for the plugin below 4.19, by their names for those above."""
    column = f"{of}_id"
    return (
        f"SELECT DISTINCT toString({column}) AS value, concat('{of.capitalize()} ', toString({column})) AS text "
        f"FROM {table} WHERE {condition} ORDER BY {column} LIMIT {OPTIONS_MAX}"
    )


BUILDING_OPTIONS = options("building", "building_hourly_power_consumption", hours())
METER_OPTIONS = options("meter", "meter_hourly_power_consumption", f"{hours()} AND {BUILDINGS}")

LAST_DAY = (
    "window_start > greatest($__fromTime - INTERVAL 1 HOUR, $__toTime - INTERVAL 1 DAY) AND window_start <= $__toTime"
)
"""The newest day of the time range: what a choice of meters rests on, so that it costs the same over a month."""

DRAWN_METERS = f"""meter_id IN (
        SELECT meter_id FROM meter_hourly_power_consumption_latest
        WHERE {LAST_DAY} AND {BUILDINGS} AND {METERS}
        GROUP BY meter_id ORDER BY sum(energy_kwh) DESC, meter_id LIMIT {SERIES_MAX}
    )"""
"""The meters of the selection that used most energy of late; an IN of a small set, which the order key can use."""
ARE_MANY = f"""(
        SELECT uniqExact(meter_id) > {SERIES_MAX} FROM meter_hourly_power_consumption WHERE {LAST_DAY} AND {BUILDINGS}
    )"""
"""Whether not all meters of the buildings are drawn."""

KINDS = """arrayFilter(k -> k != '', [
    if(failure, 'failure', ''), if(voltage_anomaly, 'voltage', ''), if(spike, 'spike', ''),
    if(low_consumption, 'low consumption', '')
])"""
"""Names of the kinds of anomaly that a row of anomaly_detection_meter flags."""
WORST = "multiIf(failure, 4, voltage_anomaly, 3, spike, 2, low_consumption, 1, 0)"
"""The gravest of them as a number, for `style.timeline`."""
PREDICTED_KIND = "replaceOne(ifNull(kind, if(prediction, 'not told', '')), '_', ' ')"
"""What a row of anomaly_prediction_results says is wrong, as people say it."""
INJECTED = "failure_count + spike_count + low_consumption_count + voltage_anomaly_count"

RECENT = f"window_start > $__toTime - INTERVAL {SILENT_AFTER_S} SECOND AND window_start <= $__toTime"
KNOWN = f"window_start > $__toTime - INTERVAL {KNOWN_DAYS} DAY AND window_start <= $__toTime"


# One row per meter by law 3, without FINAL: docs/decisions/040-panel-queries.md.
def now(condition: str) -> str:
    """A row per known meter: if it sent of late (`seen`), its newest minute's power, if its voltage was outside."""
    return f"""(
    SELECT meter_id, max(recent) AS seen, sum(kw) AS power_kw, max(out) AS outside
    FROM (
        SELECT DISTINCT meter_id, 0 AS recent, 0. AS kw, 0 AS out
        FROM meter_hourly_power_consumption
        WHERE {KNOWN} AND {condition}
        UNION ALL
        SELECT meter_id, 1, last.1, last.2 < {LOWER_V:g} OR last.3 > {UPPER_V:g}
        FROM (
            SELECT meter_id, argMax((power_avg_kw, voltage_min_v, voltage_max_v),
                (window_start, row_version)) AS last
            FROM meter_minute_trend
            WHERE {RECENT} AND {condition}
            GROUP BY meter_id
        )
    )
    GROUP BY meter_id
)"""
