"""Readings: one meter as it was read, what was found in it, and what the models say of it."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana import sql
from grafana.palette import MARK, NEUTRAL, VALUE
from grafana.style import (
    COUNT,
    DASHED,
    FULL,
    HALF,
    ID,
    INSTANT_CELL,
    KW,
    SECONDS,
    SHARE,
    VOLT,
    About,
    Annotation,
    Look,
    dashboard,
    good_below,
    numbers,
    row,
    rows,
    single_variable,
    time_series,
    with_limits,
)

STREAM = "Empty: no reading of this meter in this time; raw readings are kept for 35 days."
METER = "meter_id = toInt32OrZero('${meter_id}')"
"""Where there is no meter to choose, the variable is empty, and the panels are too."""
WITHIN = f"$__timeFilter(timestamp) AND {METER}"

NEWEST = f"""SELECT argMax(power_kw, timestamp) AS "Power", argMax(voltage_v, timestamp) AS "Voltage",
    dateDiff('second', max(timestamp), $__toTime) AS "Age", count() AS "Readings",
    greatest(0, max(sequence) - min(sequence) + 1 - count(sequence)) AS "Missing"
FROM raw_data_latest
WHERE {WITHIN}
HAVING count() > 0"""


def course(column: str) -> str:
    """Mean, lowest and highest per step; each reading by itself where the step is shorter than they are apart.

    A row of nulls follows where the meter fell silent, so that the line breaks there. Grafana's own limit for gaps is
    fixed: one of ten minutes hides a line of hours.
    """
    return f"""SELECT if(is_gap, at + toIntervalSecond($__interval_s), at) AS time, if(is_gap, NULL, high) AS "Highest",
    if(is_gap, NULL, mean) AS "Mean", if(is_gap, NULL, low) AS "Lowest"
FROM (
    SELECT $__timeInterval(timestamp) AS at, avg({column}) AS mean,
        if(count() > 1, max({column}), NULL) AS high, if(count() > 1, min({column}), NULL) AS low,
        leadInFrame(at) OVER (ORDER BY at ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS next
    FROM raw_data_latest
    WHERE {WITHIN}
    GROUP BY at
)
ARRAY JOIN if(next > at + toIntervalSecond(greatest({sql.SILENT_AFTER_S}, 2 * $__interval_s)), [0, 1], [0]) AS is_gap
ORDER BY time"""


EPISODES = f"""SELECT min(window_start) AS start, max(window_end) AS until,
    arrayStringConcat(arraySort(groupUniqArrayArray(kinds)), ', ') AS found
FROM (
    SELECT window_start, window_end, kinds, sum(is_new) OVER (ORDER BY window_start) AS episode
    FROM (
        SELECT window_start, window_end, {sql.KINDS} AS kinds,
            window_start != lagInFrame(window_end) OVER (ORDER BY window_start
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS is_new
        FROM anomaly_detection_meter_latest
        WHERE $__timeFilter(window_start) AND {METER} AND {sql.WORST} > 0
    )
)
GROUP BY episode ORDER BY start DESC LIMIT 100"""

FOUND = f"SELECT start AS time, until AS timeEnd, found AS text FROM (\n{EPISODES}\n)"

FOUND_TABLE = f"""SELECT toDateTime(start) AS "From", dateDiff('second', start, until) AS "Lasting", found AS "Found"
FROM (
{EPISODES}
)"""

JUDGED = f"""SELECT toDateTime(window_start) AS "Window", {sql.PREDICTED_KIND} AS "Kind",
    model_version AS "Model", probability AS "Probability", threshold AS "Threshold"
FROM anomaly_prediction_results_latest
WHERE $__timeFilter(window_start) AND {METER} AND probability >= threshold / 2
ORDER BY window_start DESC, probability DESC LIMIT 100"""

READINGS = f"""SELECT timestamp AS "Time", toString(sequence) AS "Sequence",
    arrayStringConcat(arrayFilter(k -> k != '', [
        if(bitTest(status, 0), 'failure', ''), if(bitTest(status, 1), 'spike', ''),
        if(bitTest(status, 2), 'low consumption', ''), if(bitTest(status, 3), 'voltage', '')]), ', ') AS "Status",
    power_kw AS "Power", voltage_v AS "Voltage", partition AS "Partition", offset AS "Offset"
FROM raw_data_latest
WHERE {WITHIN}
ORDER BY timestamp DESC LIMIT 200"""

LOOKS = {
    "Mean": Look(color=VALUE),
    "Highest": Look(color=NEUTRAL, custom=DASHED),
    "Lowest": Look(color=NEUTRAL, custom=DASHED),
}


def build() -> Dashboard:
    """From the newest reading to all of them."""
    power = time_series(
        About("Power", f"Each reading, or mean, lowest and highest per step where there are many. {STREAM}", KW, 3),
        course("power_kw"),
        LOOKS,
        min_interval="1s",
        width=FULL,
    )
    voltage = time_series(
        About(
            "Voltage",
            f"As the power. Dashed red: the limits, {sql.LOWER_V:g} and {sql.UPPER_V:g} V. {STREAM}",
            VOLT,
            1,
        ),
        course("voltage_v"),
        LOOKS,
        min_interval="1s",
        width=FULL,
    )
    return (
        dashboard("readings", "Smart meters: readings", "One meter as it was read, and what was found in it.", 1)
        .with_variable(
            single_variable(
                "meter_id",
                "Meter",
                "Meters with readings in this time.",
                sql.options("meter", "meter_hourly_power_consumption", sql.hours()),
            )
        )
        .annotation(Annotation("anomalies found", FOUND, MARK, "Power", "Voltage"))
        .with_row(row("Is everything all right?"))
        .with_panel(
            numbers(
                About(
                    "Newest reading",
                    "Of the readings in this time. Age: from the newest one to the end of this time. Missing: numbers "
                    f"that the meter's own count leaves out; a dash where it counts nothing. {STREAM}",
                ),
                NEWEST,
                {
                    "Power": Look(KW, 3),
                    "Voltage": Look(VOLT, 1),
                    "Age": Look(SECONDS, 0, steps=good_below(60, sql.SILENT_AFTER_S)),
                    "Missing": Look(COUNT, 0, steps=good_below(1)),
                },
                width=FULL,
            )
        )
        .with_row(row("What was read?"))
        .with_panel(power)
        .with_panel(with_limits(voltage, sql.LOWER_V, sql.UPPER_V))
        .with_row(row("What was found?"))
        .with_panel(
            rows(
                About(
                    "Anomalies found",
                    "Windows of 30 s in which the stated thresholds find something, put together where they follow one "
                    "another. Empty is as it should be.",
                ),
                FOUND_TABLE,
                {"From": INSTANT_CELL, "Lasting": Look(SECONDS, 0)},
                width=HALF,
            )
        )
        .with_panel(
            rows(
                About(
                    "What the models say",
                    "Windows of 5 minutes with at least half the probability that is needed for an alarm, newest "
                    "first. "
                    "Empty: nothing suspicious, or no model predicts (`smartmeter ml predict`).",
                ),
                JUDGED,
                {"Window": INSTANT_CELL, "Probability": Look(SHARE, 1), "Threshold": Look(SHARE, 1)},
                width=HALF,
            )
        )
        .with_row(row("The readings themselves"))
        .with_panel(
            rows(
                About(
                    "Readings",
                    "The newest 200 readings, with their place in the log. Status: what a simulation injected. "
                    f"{STREAM}",
                ),
                READINGS,
                {
                    "Time": INSTANT_CELL,
                    "Power": Look(KW, 3),
                    "Voltage": Look(VOLT, 1),
                    "Sequence": Look(ID),
                    "Partition": Look(ID),
                    "Offset": Look(ID),
                },
                height=10,
            )
        )
    )
