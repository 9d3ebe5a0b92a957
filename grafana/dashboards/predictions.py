"""Predictions: what the models say, how sure they are, and whether they were right about injected anomalies."""

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import VariableSort

from grafana import sql
from grafana.style import FULL, About, bars, chart, dashboard, rows, time_series, variable

NONE_YET = (
    "No prediction in this time: is a model trained (`smartmeter ml train`), and does `smartmeter ml predict` run?"
)
NO_TRUTH = f"{NONE_YET} Hits and misses also need the windows' features, which hold what was injected."
MODELS = "$__conditionalAll(model_version IN (${model_version:singlequote}), $model_version)"
BUILDING_QUERY = (
    f"SELECT DISTINCT building_id FROM building_hourly_power_consumption WHERE {sql.hours()} ORDER BY building_id"
)
MODEL_QUERY = (
    "SELECT DISTINCT model_version FROM anomaly_prediction_results WHERE $__timeFilter(window_start) "
    "ORDER BY model_version"
)

# Hits and misses live in the few windows that are alarms or hold an anomaly. Those are found first, in rows of any
# count, and only they are merged by law 3: the merged view of all windows costs far more, and a join of them would not
# fit the reader's memory. docs/decisions/040-panel-queries.md
HOLDS_ANOMALY = "(failure_count > 0 OR spike_count > 0 OR low_consumption_count > 0 OR voltage_anomaly_count > 0)"
INJECTED = f"""SELECT meter_id, window_start FROM anomaly_prediction_features
            WHERE $__timeFilter(window_start) AND {sql.BUILDINGS} AND {HOLDS_ANOMALY}"""
ALARMED = f"""SELECT meter_id, window_start FROM anomaly_prediction_results
            WHERE $__timeFilter(window_start) AND {sql.BUILDINGS} AND {MODELS} AND prediction"""
TRUTH = f"""(
        SELECT meter_id, window_start,
            argMax([failure_count, spike_count, low_consumption_count, voltage_anomaly_count],
                (event_count, offset)) AS counts
        FROM anomaly_prediction_features
        WHERE $__timeFilter(window_start) AND (meter_id, window_start) IN (
            {INJECTED}
        )
        GROUP BY meter_id, window_start
    )"""
JUDGED = f"""(
        SELECT meter_id, window_start, model_version, argMax(prediction, (event_count, offset)) AS alarm
        FROM anomaly_prediction_results
        WHERE $__timeFilter(window_start) AND {MODELS} AND (meter_id, window_start) IN (
            {INJECTED}
            UNION ALL
            {ALARMED}
        )
        GROUP BY meter_id, window_start, model_name, model_version
    )"""
AGAINST_TRUTH = f"""(
    SELECT window_start, model_version, alarm, arraySum(counts) > 0 AS injected, counts
    FROM {JUDGED} AS judged
    LEFT JOIN {TRUTH} AS truth USING (meter_id, window_start)
)"""
COUNTS = """countIf(alarm AND injected) AS hits, countIf(NOT alarm AND injected) AS misses,
    countIf(alarm AND NOT injected) AS false_alarms"""

PROBABILITY = f"""SELECT $__timeInterval(window_start) AS time, model_version AS model,
    max(probability) AS highest, avg(probability) AS mean
FROM anomaly_prediction_results_latest
WHERE $__timeFilter(window_start) AND {sql.BUILDINGS} AND {MODELS}
GROUP BY time, model_version ORDER BY time, model_version"""

ALARMS = f"""SELECT window_start AS time, meter_id AS meter, building_id AS building, ifNull(kind, 'not told') AS kind,
    probability, threshold, model_version AS model
FROM anomaly_prediction_results_latest
WHERE prediction AND {MODELS} AND (meter_id, window_start) IN (
    {ALARMED}
    ORDER BY window_start DESC LIMIT 1000
)
ORDER BY time DESC, probability DESC, meter LIMIT 100"""

SCORE = f"""SELECT model_version AS model, {COUNTS},
    hits / nullIf(hits + false_alarms, 0) AS precision, hits / nullIf(hits + misses, 0) AS recall
FROM {AGAINST_TRUTH}
GROUP BY model_version HAVING hits + misses + false_alarms > 0 ORDER BY model_version"""

COURSE = f"""SELECT $__timeInterval(window_start) AS time, {COUNTS}
FROM {AGAINST_TRUTH}
GROUP BY time HAVING hits + misses + false_alarms > 0 ORDER BY time"""

RECALL = f"""SELECT concat(kind, ' · ', model_version) AS kind_and_model, countIf(alarm) / count() AS found
FROM {AGAINST_TRUTH}
ARRAY JOIN counts AS count_of_kind, ['failure', 'spike', 'low consumption', 'voltage'] AS kind
WHERE injected AND count_of_kind > 0
GROUP BY kind, model_version ORDER BY kind_and_model"""


def build() -> Dashboard:
    """Several model versions side by side."""
    return (
        dashboard("predictions", "Smart meters: predictions", "What the models predict, and how often they are right.")
        .with_variable(variable("building_id", "building", "Buildings with readings in this time.", BUILDING_QUERY))
        .with_variable(
            variable("model_version", "model", "Model versions with predictions in this time.", MODEL_QUERY).sort(
                VariableSort.ALPHABETICAL_ASC
            )
        )
        .with_panel(
            time_series(
                About(
                    "Probability over time",
                    "percentunit",
                    "Highest and mean probability of an anomaly among all windows of 5 minutes, by model version.",
                    NONE_YET,
                    2,
                ),
                PROBABILITY,
                min_interval="5m",
            )
            .min(0)
            .max(1)
        )
        .with_panel(
            bars(
                About(
                    "Hits, misses and false alarms",
                    "short",
                    "Windows of 5 minutes: predicted and injected, injected and not predicted, "
                    "predicted and not injected. "
                    "Every chosen model version counts.",
                    NO_TRUTH,
                    0,
                ),
                COURSE,
                min_interval="5m",
            )
        )
        .with_panel(
            rows(
                About(
                    "Score by model version",
                    "none",
                    "Against injected truth, at the threshold in force. Precision: share of the "
                    "alarms that are right; recall: "
                    "share of the anomalies that are found.",
                    NO_TRUTH,
                    2,
                ),
                SCORE,
                units={"precision": "percentunit", "recall": "percentunit"},
            )
        )
        .with_panel(
            chart(
                About(
                    "Found by kind of anomaly",
                    "percentunit",
                    "Share of the windows with an injected anomaly of that kind in which the model raises the alarm.",
                    f"{NO_TRUTH} Or nothing was injected.",
                    2,
                ),
                RECALL,
                name="kind_and_model",
            )
        )
        .with_panel(
            rows(
                About("Latest alarms", "none", "Windows that the models call anomalous, newest first.", NONE_YET, 3),
                ALARMS,
                units={"time": "dateTimeAsIso", "probability": "percentunit", "threshold": "percentunit"},
                width=FULL,
            )
        )
    )
