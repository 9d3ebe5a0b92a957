"""Alert rules as Grafana's provisioning has them, each a query, a reduction to its last value, and a threshold.

Rendered to provisioning/alerting/smartmeter.yaml. Grafana takes annotations and queries there as they are written: no
`$` is doubled.

A series that is gone resolves its alert without a value. So each query gives every building, consumer or table that is
known, also where nothing is wrong, and each summary says something where no value is left.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grafana import sql
from grafana.dashboards.pipeline import AGES_THAT_COUNT, of
from grafana.query import DATASOURCE_UID, ClickHouseQuery, Format

FILE = Path(__file__).parent / "provisioning" / "alerting" / "smartmeter.yaml"
HEADER = "# Rendered from grafana/alerts.py by `smartmeter dashboards render`; do not edit.\n"
EXPRESSION_UID = "__expr__"
FOLDER = "Smart meters"
"""As the dashboards' provider has it: Grafana finds the folder of alert rules by its title."""
GONE = "{{ else }}no longer known{{ end }}"


@dataclass(frozen=True)
class AlertRule:
    """One rule: fires where the query's number is above `above` for `pending`, per combination of its text columns.

    `dashboard`: where to look. `no_data`: what an empty result means, `OK` or `NoData`.
    """

    uid: str
    title: str
    sql: str
    above: float
    span_s: int
    pending: str
    summary: str
    dashboard: str
    no_data: str = "OK"
    severity: str = "warning"


RULES = (
    AlertRule(
        uid="smartmeter-lag",
        title="A consumer lags behind",
        sql=f"""SELECT part AS consumer, target AS topic, argMax(value_last, window_start) AS messages
FROM pipeline_metrics_latest
WHERE {of("lag_messages")}
GROUP BY part, target ORDER BY part, target""",
        above=100_000,
        span_s=300,
        pending="5m",
        summary="{{ $labels.consumer }} has {{ with $values.B }}{{ humanize .Value }} messages of "
        "{{ $labels.topic }} yet "
        f"to read{GONE}",
        dashboard="pipeline",
        no_data="NoData",
    ),
    AlertRule(
        uid="smartmeter-stale-table",
        title="A table gets nothing new",
        sql=f"""SELECT target AS dataset, argMax(value_last, window_start) AS age_s
FROM pipeline_metrics_latest
WHERE {of("newest_row_age_s")} AND {AGES_THAT_COUNT}
GROUP BY target ORDER BY target""",
        above=900,
        span_s=300,
        pending="0s",
        summary="Nothing new in table {{ $labels.dataset }}: {{ with $values.B }}the newest row is "
        f"{{{{ humanizeDuration .Value }}}} old{GONE}",
        dashboard="pipeline",
        no_data="NoData",
    ),
    AlertRule(
        uid="smartmeter-dead-letters",
        title="Messages are unreadable",
        sql=f"""SELECT part AS consumer, max(value_last) - min(value_last) AS messages
FROM pipeline_metrics_latest
WHERE {of("unreadable_messages")}
GROUP BY part ORDER BY part""",
        above=10,
        span_s=900,
        pending="0s",
        summary="{{ $labels.consumer }}: {{ with $values.B }}{{ humanize .Value }} unreadable messages within 15 "
        "minutes"
        f"{GONE}",
        dashboard="pipeline",
        no_data="NoData",
    ),
    AlertRule(
        uid="smartmeter-silent-meter",
        title="Meters are silent",
        # Whether a row counts or was replaced, its minute had readings: no need to merge. A building stays known for so
        # long that its alert does not resolve itself.
        sql=f"""SELECT toString(home) AS building, countIf(NOT seen) AS silent_meters
FROM (
    SELECT meter_id, argMax(building_id, at) AS home, max(recent) AS seen
    FROM (
        SELECT meter_id, building_id, window_start AS at, 0 AS recent
        FROM meter_hourly_power_consumption
        WHERE {sql.KNOWN}
        UNION ALL
        SELECT meter_id, building_id, window_start, 1
        FROM meter_minute_trend
        WHERE {sql.RECENT}
    )
    GROUP BY meter_id
)
GROUP BY home ORDER BY home""",
        above=0,
        span_s=sql.SILENT_AFTER_S,
        pending="0s",
        summary="Building {{ $labels.building }}: {{ with $values.B }}{{ .Value }} meters have sent nothing for "
        f"{sql.SILENT_AFTER_S // 60} minutes or longer{GONE}",
        dashboard="meters",
    ),
    AlertRule(
        uid="smartmeter-anomaly",
        title="Meters are probably anomalous",
        sql="""SELECT toString(building_id) AS building, uniqExactIf(meter_id, alarm) AS anomalous_meters
FROM (
    SELECT building_id, 0 AS meter_id, false AS alarm
    FROM building_hourly_power_consumption
    WHERE window_start > $__toTime - INTERVAL 1 DAY AND window_start <= $__toTime
    UNION ALL
    SELECT building_id, meter_id, prediction AND probability > 0.9
    FROM anomaly_prediction_results_latest
    WHERE (meter_id, window_start) IN (
        SELECT meter_id, window_start FROM anomaly_prediction_results
        WHERE $__timeFilter(window_start) AND prediction
        ORDER BY window_start DESC LIMIT 100000
    )
)
GROUP BY building_id ORDER BY building_id""",
        above=0,
        span_s=900,
        pending="0s",
        summary="Building {{ $labels.building }}: {{ with $values.B }}{{ .Value }} meters are anomalous with a "
        "probability "
        f"above 90 %{GONE}",
        dashboard="predictions",
    ),
)


def render() -> str:
    """The provisioning file."""
    group = {
        "orgId": 1,
        "name": "smartmeter",
        "folder": FOLDER,
        "interval": "1m",
        "rules": [_rule(rule) for rule in RULES],
    }
    document = {"apiVersion": 1, "groups": [group]}
    return HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that the SQL can be read."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def _rule(rule: AlertRule) -> dict[str, Any]:
    return {
        "uid": rule.uid,
        "title": rule.title,
        "condition": "C",
        "data": [_query(rule), _reduce(), _threshold(rule)],
        "noDataState": rule.no_data,
        "execErrState": "Error",
        "for": rule.pending,
        "annotations": {"summary": rule.summary, "look": f"/d/smartmeter-{rule.dashboard}"},
        "labels": {"severity": rule.severity},
        "isPaused": False,
    }


def _query(rule: AlertRule) -> dict[str, Any]:
    return {
        "refId": "A",
        "relativeTimeRange": {"from": rule.span_s, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": ClickHouseQuery(rule.sql, Format.TABLE).to_json() | {"intervalMs": 1000, "maxDataPoints": 43200},
    }


def _expression(ref_id: str, model: dict[str, Any]) -> dict[str, Any]:
    source = {"type": EXPRESSION_UID, "uid": EXPRESSION_UID}
    return {
        "refId": ref_id,
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": EXPRESSION_UID,
        "model": {"refId": ref_id, "datasource": source, **model},
    }


def _reduce() -> dict[str, Any]:
    return _expression("B", {"type": "reduce", "expression": "A", "reducer": "last"})


def _threshold(rule: AlertRule) -> dict[str, Any]:
    evaluator = {"type": "gt", "params": [rule.above]}
    return _expression("C", {"type": "threshold", "expression": "B", "conditions": [{"evaluator": evaluator}]})
