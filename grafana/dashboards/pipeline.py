"""Pipeline: how the system itself is doing, from the figures that it writes about itself (dataset pipeline_metrics)."""

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from grafana.palette import DIGITS, VALUE
from grafana.style import (
    BYTES,
    COUNT,
    FULL,
    HALF,
    ID,
    INSTANT_CELL,
    PER_S,
    QUARTER,
    SECONDS,
    About,
    Look,
    bars,
    chart,
    dashboard,
    good_below,
    numbers,
    row,
    rows,
    time_series,
    with_wide_range,
)
from schemas.manifest import load_datasets

NOT_MEASURED = "Empty: nothing was measured in this time; does `smartmeter metrics` run?"
STREAM = "Empty: the stream told nothing in this time; do `smartmeter stream` and `smartmeter metrics` run?"
GRAINS = ("meter_30s", "meter_1min", "meter_5min", "meter_1h", "building_1h")
"""The stream's grains, for their colours; a new one is drawn in the panel's colour until it stands here."""
RAW_CONSUMER = "clickhouse-raw_data"
UNPREFIXED = "arrayElement(splitByChar('.', part), -1)"
"""A part without its deployment's prefix, which is all until the last dot: one dashboard for every deployment."""
FED_RARELY = ("pipeline_metrics", "late_readings")
"""Tables that say nothing of the stream by their age: the figures themselves, and what only a repair writes."""
AGES_THAT_COUNT = f"target NOT IN {FED_RARELY}"


def of(metric: str) -> str:
    """The condition of one metric in this time, by the order key."""
    return f"metric = '{metric}' AND $__timeFilter(window_start)"


def of_now(metric: str) -> str:
    """The condition of one metric in the last 5 minutes of this time: what is not told any more is no news."""
    return f"metric = '{metric}' AND window_start > $__toTime - INTERVAL 5 MINUTE AND window_start <= $__toTime"


def over_time(metric: str, column: str, value: str = "value_max", label: str = "target") -> str:
    """One series per `label`, named by it."""
    name = f"replaceOne({UNPREFIXED}, 'clickhouse-', '')" if label == "part" else label
    return f"""SELECT $__timeInterval(window_start) AS time, {name} AS name, max({value}) AS "{column}"
FROM pipeline_metrics_latest
WHERE {of(metric)}
GROUP BY time, name ORDER BY time, name"""


def newest(metric: str, name: str, column: str, label: str = "target") -> str:
    """The last value of each `label`."""
    return f"""SELECT {label} AS "{name}", argMax(value_last, window_start) AS "{column}"
FROM pipeline_metrics_latest
WHERE {of_now(metric)}
GROUP BY {label}"""


def greatest(metric: str, column: str, aggregate: str = "max", condition: str = "1") -> str:
    """One number of the last values."""
    return f"""SELECT {aggregate}(value) AS "{column}" FROM (
    SELECT argMax(value_last, window_start) AS value FROM pipeline_metrics_latest
    WHERE {of_now(metric)} AND {condition} GROUP BY part, target
)
HAVING count() > 0"""


# The raw topic by its consumer: a deployment names the topic as it likes.
READINGS_PER_S = f"""SELECT $__timeInterval(window_start) AS time, sum(messages) / $__interval_s AS "Readings"
FROM (
    SELECT window_start, greatest(0, value_last - lagInFrame(value_last, 1, value_last) OVER (
        ORDER BY window_start ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)) AS messages
    FROM pipeline_metrics_latest
    WHERE {of("end_offset_messages")} AND target IN (
        SELECT DISTINCT target FROM pipeline_metrics WHERE {of("lag_messages")} AND {UNPREFIXED} = '{RAW_CONSUMER}'
    )
)
GROUP BY time ORDER BY time"""

LAG_NOW = greatest("lag_messages", "Lag")
OLDEST = greatest("newest_row_age_s", "Age", condition=AGES_THAT_COUNT)
UNREADABLE = greatest("unreadable_messages", "Unreadable", "sum")
LATE = f"""SELECT sum(value_sum) AS "Late" FROM pipeline_metrics_latest WHERE {of("late_rows")} HAVING count() > 0"""
LATE_ROWS = f"""SELECT $__timeInterval(window_start) AS time, target AS name, sum(value_sum) AS "Late"
FROM pipeline_metrics_latest
WHERE {of("late_rows")}
GROUP BY time, name ORDER BY time, name"""
REASONS = newest(
    "unreadable_by_reason_messages",
    "Reason",
    "Messages",
    f"concat(replaceOne({UNPREFIXED}, 'clickhouse-', ''), ': ', target)",
) + (' HAVING "Messages" > 0 ORDER BY "Messages" DESC, "Reason" LIMIT 20')
PARTS = f"""SELECT part AS "Part", argMax(value_last, window_start) AS "Memory", max(toDateTime(window_end)) AS "Seen"
FROM pipeline_metrics_latest
WHERE {of("resident_bytes")}
GROUP BY part ORDER BY part"""
SUBJECTS = newest("schema_versions", "Subject", "Versions") + ' ORDER BY "Subject"'
AGES = newest("newest_row_age_s", "Table", "Age") + ' ORDER BY "Age" DESC, "Table"'


def _by_name(panel: timeseries.Panel) -> timeseries.Panel:
    """A colour for each consumer and grain, the same in every panel; there are more than colours."""
    consumers = [*load_datasets()] + [f"stream-{grain}" for grain in GRAINS] + ["predict"]
    for at, name in enumerate([*GRAINS, *consumers]):
        color = {"mode": "fixed", "fixedColor": DIGITS[at % len(DIGITS)]}
        panel.override_by_name(name, [DynamicConfigValue("color", color)])
    return panel


def build() -> Dashboard:
    """Five numbers first, then what flows, what waits, what was lost, and the parts."""
    return (
        dashboard("pipeline", "Smart meters: pipeline", "How the system itself is doing.", span_hours=1)
        .with_row(row("Is everything all right?"))
        .with_panel(
            numbers(
                About("Furthest behind", f"Messages that the slowest consumer has yet to read. {NOT_MEASURED}"),
                LAG_NOW,
                {"Lag": Look(steps=good_below(10_000, 100_000))},
                width=QUARTER,
            )
        )
        .with_panel(
            numbers(
                About(
                    "Oldest table",
                    "Time since the newest message of the table that waits longest was written to the log. Without the "
                    f"tables that are fed rarely: {', '.join(FED_RARELY)}. {NOT_MEASURED}",
                    SECONDS,
                    0,
                ),
                OLDEST,
                {"Age": Look(steps=good_below(120, 600))},
                width=QUARTER,
            )
        )
        .with_panel(
            numbers(
                About(
                    "Late rows",
                    "Rows that came after the stream's watermark in this time; they are in raw_data, and `smartmeter "
                    f"repair --late` recomputes their windows. {STREAM}",
                ),
                LATE,
                {"Late": Look(steps=good_below(1))},
                width=QUARTER,
            )
        )
        .with_panel(
            numbers(
                About(
                    "Unreadable messages",
                    f"Messages that ClickHouse keeps as unreadable, in all topics. {NOT_MEASURED}",
                ),
                UNREADABLE,
                {"Unreadable": Look(steps=good_below(1, 1000))},
                width=QUARTER,
            )
        )
        .with_row(row("What flows in, and who waits?"))
        .with_panel(
            with_wide_range(
                time_series(
                    About(
                        "Readings per second",
                        "Messages that came into the raw topic. The axis is logarithmic, so that a backfill leaves "
                        "the live "
                        f"rate to be seen. {NOT_MEASURED}",
                        PER_S,
                        0,
                    ),
                    READINGS_PER_S,
                    {"Readings": Look(color=VALUE)},
                    min_interval="30s",
                )
            )
        )
        .with_panel(
            chart(
                About(
                    "Age of the newest row per table",
                    f"Time since the newest message that each table holds was written to the log. {NOT_MEASURED}",
                    SECONDS,
                    0,
                ),
                AGES,
                "Table",
            )
        )
        .with_panel(
            with_wide_range(
                _by_name(
                    time_series(
                        About(
                            "Lag by consumer",
                            "Messages of its topic that each consumer has yet to read: ClickHouse's tables, the "
                            "stream's "
                            f"grains, the predictions. The axis is logarithmic. {NOT_MEASURED}",
                        ),
                        over_time("lag_messages", "Messages", label="part"),
                        min_interval="15s",
                        width=FULL,
                    )
                )
            )
        )
        .with_row(row("How does the stream do?"))
        .with_panel(
            _by_name(
                time_series(
                    About(
                        "Spark batch duration",
                        f"Longest batch of each grain; the trigger is every 5 s unless set otherwise. {STREAM}",
                        SECONDS,
                        1,
                    ),
                    over_time("batch_duration_s", "Duration"),
                    min_interval="15s",
                )
            )
            .axis_soft_min(0)
            .height(9)
        )
        .with_panel(
            _by_name(
                time_series(
                    About("Spark state size", f"Memory of each grain's open windows. {STREAM}", BYTES, 1),
                    over_time("state_bytes", "Size"),
                    min_interval="15s",
                )
            )
            .axis_soft_min(0)
            .height(9)
        )
        .with_row(row("What was late, and what could not be read?"))
        .with_panel(
            _by_name(
                bars(
                    About("Late rows by grain", f"Rows that came after each grain's watermark, by time. {STREAM}"),
                    LATE_ROWS,
                    min_interval="15s",
                )
            ).height(9)
        )
        .with_panel(
            rows(
                About(
                    "Unreadable messages by reason",
                    "By dataset and reason; digits are left out, so that like reasons add up. Empty is as it should be "
                    "where `smartmeter metrics` runs.",
                ),
                REASONS,
                {"Reason": Look(width=420), "Messages": Look(COUNT, 0, steps=good_below(1, 1000))},
                width=HALF,
                height=9,
            )
        )
        .with_row(row("Which parts and versions?"))
        .with_panel(
            rows(
                About("Registry versions", f"Versions of each subject's schema. {NOT_MEASURED}", ID, 0),
                SUBJECTS,
                {"Subject": Look(width=330)},
                width=HALF,
            )
        )
        .with_panel(
            rows(
                About(
                    "Parts",
                    f"Resident memory of each part on this machine, and when it was seen last. {NOT_MEASURED}",
                    BYTES,
                    0,
                ),
                PARTS,
                {"Seen": INSTANT_CELL},
                width=HALF,
            )
        )
    )
