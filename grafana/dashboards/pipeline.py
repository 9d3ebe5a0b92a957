"""Pipeline: how the system itself is doing, from the figures that it writes about itself (dataset pipeline_metrics)."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from grafana.style import FULL, HALF, QUARTER, About, bars, chart, dashboard, legend_beside, rows, single, time_series
from schemas.manifest import RAW, load_datasets

RAW_TOPIC = load_datasets()[RAW].topic
NOT_MEASURED = "Nothing was measured in this time: does `smartmeter metrics` run?"


def of(metric: str) -> str:
    """The condition of one metric in this time, by the order key."""
    return f"metric = '{metric}' AND $__timeFilter(window_start)"


def over_time(metric: str, name: str, column: str, value: str = "value_max", label: str = "target") -> str:
    """One series per `label`."""
    return f"""SELECT $__timeInterval(window_start) AS time, {label} AS {name}, max({value}) AS {column}
FROM pipeline_metrics_latest
WHERE {of(metric)}
GROUP BY time, {name} ORDER BY time, {name}"""


def newest(metric: str, name: str, column: str, label: str = "target") -> str:
    """The last value of each `label`."""
    return f"""SELECT {label} AS {name}, argMax(value_last, window_start) AS {column}
FROM pipeline_metrics_latest
WHERE {of(metric)}
GROUP BY {name}"""


READINGS_PER_S = f"""SELECT $__timeInterval(window_start) AS time, sum(messages) / $__interval_s AS readings
FROM (
    SELECT window_start, greatest(0, value_last - lagInFrame(value_last, 1, value_last) OVER (
        ORDER BY window_start ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) AS messages
    FROM pipeline_metrics_latest
    WHERE {of("end_offset_messages")} AND target = '{RAW_TOPIC}'
)
GROUP BY time ORDER BY time"""

LAG_NOW = f"""SELECT max(lag) AS most_messages FROM (
    SELECT argMax(value_last, window_start) AS lag FROM pipeline_metrics_latest
    WHERE {of("lag_messages")} GROUP BY part, target
)
HAVING count() > 0"""
LATE = f"SELECT sum(value_sum) AS late_rows FROM pipeline_metrics_latest WHERE {of('late_rows')} HAVING count() > 0"
SET_ASIDE = f"""SELECT sum(messages) AS messages FROM (
    SELECT argMax(value_last, window_start) AS messages FROM pipeline_metrics_latest
    WHERE {of("set_aside_messages")} GROUP BY part
)
HAVING count() > 0"""
OLDEST = f"""SELECT min(age) AS age_s FROM (
    SELECT argMax(value_last, window_start) AS age FROM pipeline_metrics_latest
    WHERE {of("newest_row_age_s")} GROUP BY target
)
HAVING count() > 0"""
REASONS = newest(
    "set_aside_by_reason_messages", "reason", "messages", "concat(replaceOne(part, 'clickhouse-', ''), ': ', target)"
) + ("\nHAVING messages > 0 ORDER BY messages DESC, reason LIMIT 15")
PARTS = f"""SELECT part, argMax(value_last, window_start) AS resident_bytes, max(window_end) AS seen
FROM pipeline_metrics_latest
WHERE {of("resident_bytes")}
GROUP BY part ORDER BY part"""
SUBJECTS = newest("schema_versions", "subject", "versions") + " ORDER BY subject"
AGES = newest("newest_row_age_s", "dataset", "age_s") + " ORDER BY age_s DESC, dataset"


def build() -> Dashboard:
    """Numbers on top, their course below."""
    return (
        dashboard("pipeline", "Smart meters: pipeline", "How the system itself is doing.", span_hours=1)
        .with_panel(
            single(
                About(
                    "Lag of the consumer furthest behind", "short", "Messages that it has yet to read.", NOT_MEASURED, 0
                ),
                LAG_NOW,
                warn=10_000,
                alarm=100_000,
                width=QUARTER,
            )
        )
        .with_panel(
            single(
                About(
                    "Age of the newest row anywhere",
                    "s",
                    "Time since the last message that any table took in was written to the log.",
                    NOT_MEASURED,
                    0,
                ),
                OLDEST,
                warn=60,
                alarm=600,
                width=QUARTER,
            )
        )
        .with_panel(
            single(
                About(
                    "Late",
                    "short",
                    "Rows that came after the stream's watermark in this time; they are in raw_data, "
                    "and `smartmeter repair` "
                    "recomputes their windows.",
                    "The stream has not told in this time: do `smartmeter stream` and `smartmeter metrics` run?",
                    0,
                ),
                LATE,
                warn=1,
                width=QUARTER,
            )
        )
        .with_panel(
            single(
                About(
                    "Set aside", "short", "Messages that ClickHouse could not read, ever, all topics.", NOT_MEASURED, 0
                ),
                SET_ASIDE,
                warn=1,
                width=QUARTER,
            )
        )
        .with_panel(
            time_series(
                About(
                    "Readings per second",
                    "cps",
                    "Messages that came into the raw topic.",
                    NOT_MEASURED,
                    0,
                ),
                READINGS_PER_S,
                min_interval="30s",
            )
        )
        .with_panel(
            bars(
                About(
                    "Late rows",
                    "short",
                    "Rows that came after each grain's watermark, by time.",
                    "The stream has not told in this time: do `smartmeter stream` and `smartmeter metrics` run?",
                    0,
                ),
                f"""SELECT $__timeInterval(window_start) AS time, target AS grain, sum(value_sum) AS late_rows
FROM pipeline_metrics_latest
WHERE {of("late_rows")}
GROUP BY time, target ORDER BY time, target""",
                min_interval="15s",
                width=HALF,
            )
        )
        .with_panel(
            legend_beside(
                time_series(
                    About(
                        "Lag by consumer",
                        "short",
                        "Messages of its topic that each consumer has yet to read: ClickHouse's groups, "
                        "and the stream's grains.",
                        NOT_MEASURED,
                        0,
                    ),
                    over_time("lag_messages", "consumer", "messages", label="part"),
                    min_interval="15s",
                    width=FULL,
                )
            )
        )
        .with_panel(
            time_series(
                About(
                    "Spark batch duration",
                    "s",
                    "Longest batch of each grain; the trigger is every 5 s unless set otherwise.",
                    "The stream has not told in this time: do `smartmeter stream` and `smartmeter metrics` run?",
                    2,
                ),
                over_time("batch_duration_s", "grain", "seconds"),
                min_interval="15s",
                width=HALF,
            )
        )
        .with_panel(
            time_series(
                About(
                    "Spark state size",
                    "bytes",
                    "Memory of each grain's open windows.",
                    "The stream has not told in this time: do `smartmeter stream` and `smartmeter metrics` run?",
                    1,
                ),
                over_time("state_bytes", "grain", "bytes"),
                min_interval="15s",
                width=HALF,
            )
        )
        .with_panel(
            chart(
                About(
                    "Age of the newest row per table",
                    "s",
                    "Time since the newest message that each table holds was written to the log.",
                    NOT_MEASURED,
                    0,
                ),
                AGES,
                name="dataset",
            )
        )
        .with_panel(
            chart(
                About(
                    "Dead letters by reason",
                    "short",
                    "Messages that could not be read, by dataset and reason; digits are left out, so "
                    "that like reasons add up.",
                    "No message was set aside; that is as it should be. (Measured by `smartmeter metrics`.)",
                    0,
                ),
                REASONS,
                name="reason",
            )
        )
        .with_panel(
            rows(
                About("Registry versions", "none", "Versions of each subject's schema.", NOT_MEASURED, 0),
                SUBJECTS,
                width=HALF,
            )
        )
        .with_panel(
            rows(
                About(
                    "Parts",
                    "bytes",
                    "Resident memory of each part on this machine, and when it was seen last.",
                    NOT_MEASURED,
                    0,
                ),
                PARTS,
                units={"seen": "dateTimeAsIso"},
                width=HALF,
            )
        )
    )
