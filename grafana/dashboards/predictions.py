"""Predictions: what the models say, how sure they are, and whether they were right about injected anomalies."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import VariableSort

from grafana import sql
from grafana.palette import BAD, GOOD, KINDS, WATCH
from grafana.style import (
    BUILDING_CELL,
    COUNT,
    DASHED,
    FULL,
    HALF,
    INSTANT_CELL,
    METER_CELL,
    QUARTER,
    SHARE,
    About,
    Look,
    bars,
    chart,
    dashboard,
    good_above,
    good_below,
    numbers,
    row,
    rows,
    time_series,
    variable,
)

JUDGED_MAX = 1_000_000
"""Windows that a panel judges at most; beyond, whole meters are left out, picked by a hash of their number."""
NONE_YET = (
    "Empty: no prediction in this time; is a model trained (`smartmeter ml train`), and does `smartmeter ml predict` "
    "run?"
)
NO_TRUTH = f"{NONE_YET} Or nothing was injected; real readings have no such truth."
SAMPLE = (
    f"Up to {JUDGED_MAX:,} windows are judged, 5,000 meters' last {JUDGED_MAX // (5000 * 12)} hours; beyond, those "
    "of a "
    "sample of meters, the same one in every panel."
)
MODELS = "$__conditionalAll(model_version IN (${model_version:singlequote}), $model_version)"
MODEL_OPTIONS = (
    "SELECT DISTINCT toString(model_version) AS value, toString(model_version) AS text FROM anomaly_prediction_results "
    f"WHERE {sql.LAST_DAY} ORDER BY value"
)
SAMPLED = f"""meter_id IN (
            SELECT meter_id FROM meter_hourly_power_consumption WHERE {sql.LAST_DAY} AND {sql.BUILDINGS}
            GROUP BY meter_id ORDER BY cityHash64(meter_id), meter_id
            LIMIT greatest(1, intDiv({JUDGED_MAX} * 300, greatest(300, $__toTime - $__fromTime)))
        )"""
WITHIN = f"$__timeFilter(window_start) AND {sql.BUILDINGS} AND {SAMPLED}"

# Truth has few rows, those that hold an anomaly: it is the side of the join that is kept in memory.
AGAINST_TRUTH = f"""(
    SELECT window_start, model_version, prediction AS alarm, arraySum(counts) > 0 AS injected, counts
    FROM (
        SELECT meter_id, window_start, model_version, prediction
        FROM anomaly_prediction_results_latest
        WHERE {WITHIN} AND {MODELS}
    ) AS judged
    LEFT JOIN (
        SELECT meter_id, window_start,
            [failure_count, voltage_anomaly_count, spike_count, low_consumption_count] AS counts
        FROM anomaly_prediction_features_latest
        WHERE {WITHIN} AND {sql.INJECTED} > 0
    ) AS truth USING (meter_id, window_start)
)"""
HITS, MISSES, FALSE_ALARMS = (
    "countIf(alarm AND injected)",
    "countIf(NOT alarm AND injected)",
    "countIf(alarm AND NOT injected)",
)
COUNTS = f'{HITS} AS "Hits", {MISSES} AS "Misses", {FALSE_ALARMS} AS "False alarms"'
RATES = '"Hits" / nullIf("Hits" + "False alarms", 0) AS "Precision", "Hits" / nullIf("Hits" + "Misses", 0) AS "Recall"'
OF_LATE = "window_start > $__toTime - INTERVAL 15 MINUTE AND window_start <= $__toTime"


def alarmed(condition: str) -> str:
    """Keys of alarms in rows of any count: few, so that only they need merging."""
    return f"""(meter_id, window_start) IN (
    SELECT meter_id, window_start FROM anomaly_prediction_results
    WHERE {condition} AND {sql.BUILDINGS} AND {MODELS} AND prediction
    ORDER BY window_start DESC LIMIT 100000
)"""


NOW = f"""SELECT uniqExactIf(meter_id, prediction) AS "Meters in alarm now"
FROM anomaly_prediction_results_latest
WHERE {MODELS} AND {alarmed(OF_LATE)}
HAVING (SELECT count() FROM (SELECT 1 FROM anomaly_prediction_results WHERE {sql.LAST_DAY} LIMIT 1)) > 0"""

SCORE = f"""SELECT {RATES}, {COUNTS}
FROM {AGAINST_TRUTH}
HAVING count() > 0"""

PROBABILITY = f"""SELECT time, concat('Model ', model, what) AS name, value AS "Probability"
FROM (
    SELECT $__timeInterval(window_start) AS time, model_version AS model,
        quantileExact(0.99)(probability) AS high, avg(probability) AS mean
    FROM anomaly_prediction_results_latest
    WHERE {WITHIN} AND {MODELS}
    GROUP BY time, model_version
)
ARRAY JOIN [', mean', ', top 1 %'] AS what, [mean, high] AS value
ORDER BY time, name"""

MERGED_MAX = 300
"""Windows that are merged to show 100 alarms: each reads a stretch of its meter's key."""

ALARMS = f"""SELECT toDateTime(window_start) AS "Window",
    {sql.PREDICTED_KIND} AS "Kind", model_version AS "Model",
    meter_id AS "Meter", building_id AS "Building", probability AS "Probability", threshold AS "Threshold"
FROM anomaly_prediction_results_latest
WHERE prediction AND {MODELS} AND (meter_id, window_start) IN (
    SELECT meter_id, window_start FROM anomaly_prediction_results
    WHERE {sql.LAST_DAY} AND {sql.BUILDINGS} AND {MODELS} AND prediction
    GROUP BY meter_id, window_start ORDER BY window_start DESC LIMIT {MERGED_MAX}
)
ORDER BY "Window" DESC, "Probability" DESC, "Meter" LIMIT 100"""

BY_MODEL = f"""SELECT model_version AS "Model", {RATES}, {COUNTS}
FROM {AGAINST_TRUTH}
GROUP BY model_version HAVING "Hits" + "Misses" + "False alarms" > 0 ORDER BY model_version"""

COURSE = f"""SELECT $__timeInterval(window_start) AS time, {COUNTS}
FROM {AGAINST_TRUTH}
GROUP BY time HAVING "Hits" + "Misses" + "False alarms" > 0 ORDER BY time"""

KIND_NAMES = ", ".join(f"'{kind}'" for kind in KINDS)
RECALL = f"""SELECT concat(kind, ', ', model_version) AS "Kind", countIf(alarm) / count() AS "Found"
FROM {AGAINST_TRUTH}
ARRAY JOIN counts AS count_of_kind, [{KIND_NAMES}] AS kind
WHERE injected AND count_of_kind > 0
GROUP BY kind, model_version ORDER BY indexOf([{KIND_NAMES}], kind), model_version"""


def build() -> Dashboard:
    """How many alarms and how right, then their course, then each of them."""
    return (
        dashboard("predictions", "Smart meters: predictions", "What the models predict, and how often they are right.")
        .with_variable(
            variable("building_id", "Building", "Buildings with readings in this time.", sql.BUILDING_OPTIONS)
        )
        .with_variable(
            variable(
                "model_version", "Model", "Models with predictions in the last day of this time.", MODEL_OPTIONS
            ).sort(VariableSort.ALPHABETICAL_ASC)
        )
        .with_row(row("Is everything all right?"))
        .with_panel(
            numbers(
                About(
                    "Alarms now",
                    f"Meters that a chosen model calls anomalous in a window of the last 15 minutes. {NONE_YET}",
                ),
                NOW,
                {"Meters in alarm now": Look(steps=good_below(1))},
                width=QUARTER,
            )
        )
        .with_panel(
            numbers(
                About(
                    "Right or wrong in this time",
                    "Windows of 5 minutes against injected truth, all chosen models together. Precision: share of the "
                    f"alarms that are right; recall: share of the anomalies that are found. {SAMPLE} {NO_TRUTH}",
                ),
                SCORE,
                {
                    "Precision": Look(SHARE, 1, steps=good_above(0.5, 0.8)),
                    "Recall": Look(SHARE, 1, steps=good_above(0.5, 0.8)),
                },
                width=FULL - QUARTER,
            )
        )
        .with_row(row("How sure, and how often right?"))
        .with_panel(
            time_series(
                About(
                    "Probability over time",
                    "Probability of an anomaly in windows of 5 minutes, by model: the mean, and the value that one "
                    f"window in a hundred exceeds. {SAMPLE} {NONE_YET}",
                    SHARE,
                    0,
                ),
                PROBABILITY,
                {"/top 1 %/": Look(custom=DASHED)},
                min_interval="5m",
            )
            .min(0)
            .max(1)
        )
        .with_panel(
            bars(
                About(
                    "Hits, misses and false alarms",
                    "Windows of 5 minutes: predicted and injected, injected and not predicted, predicted and not "
                    "injected. "
                    f"Every chosen model counts. {SAMPLE} {NO_TRUTH}",
                ),
                COURSE,
                {"Hits": Look(color=GOOD), "Misses": Look(color=BAD), "False alarms": Look(color=WATCH)},
                min_interval="5m",
            )
        )
        .with_panel(
            rows(
                About(
                    "Score by model version",
                    f"As above, by model, at the threshold in force. {SAMPLE} {NO_TRUTH}",
                    COUNT,
                ),
                BY_MODEL,
                {
                    "Model": Look(width=130),
                    "Precision": Look(SHARE, 1, steps=good_above(0.5, 0.8)),
                    "Recall": Look(SHARE, 1, steps=good_above(0.5, 0.8)),
                },
                width=HALF,
            )
        )
        .with_panel(
            chart(
                About(
                    "Found by kind of anomaly",
                    "Share of the windows with an injected anomaly of that kind in which the model raises the alarm. "
                    f"{SAMPLE} {NO_TRUTH}",
                    SHARE,
                    0,
                ),
                RECALL,
                "Kind",
                color=GOOD,
            )
            .min(0)
            .max(1)
        )
        .with_row(row("Which meters?"))
        .with_panel(
            rows(
                About(
                    "Latest alarms",
                    "Windows of the last day of this time that the models call anomalous, newest first, at most 100. A "
                    f"click on a meter leads to its readings. {NONE_YET}",
                ),
                ALARMS,
                {
                    "Window": INSTANT_CELL,
                    "Meter": METER_CELL,
                    "Building": BUILDING_CELL,
                    "Probability": Look(SHARE, 1),
                    "Threshold": Look(SHARE, 1),
                },
                height=10,
            )
        )
    )
