"""Alert rules as Grafana's provisioning has them, each a query, a reduction to its last value, and a threshold.

Rendered to provisioning/alerting/smartmeter.yaml. There a `$` in a text means a variable of Grafana's environment and
is doubled; the queries are taken as they are.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from grafana.dashboards.pipeline import of
from grafana.query import DATASOURCE_UID, ClickHouseQuery, Format

FILE = Path(__file__).parent / "provisioning" / "alerting" / "smartmeter.yaml"
HEADER = "# Rendered from grafana/alerts.py by `smartmeter dashboards render`; do not edit.\n"
EXPRESSION_UID = "__expr__"


@dataclass(frozen=True)
class AlertRule:
    """One rule: fires where the query's number is above `above` for `pending`, per combination of its text columns.

    `no_data`: what an empty result means, `OK` or `NoData`.
    """

    uid: str
    title: str
    sql: str
    above: float
    span_s: int
    pending: str
    summary: str
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
        summary="{{ $labels.consumer }} has {{ $values.B.Value }} messages of {{ $labels.topic }} yet to read",
        no_data="NoData",
    ),
    AlertRule(
        uid="smartmeter-dead-letters",
        title="Messages are set aside",
        sql=f"""SELECT part AS consumer, max(value_last) - min(value_last) AS messages
FROM pipeline_metrics_latest
WHERE {of("set_aside_messages")}
GROUP BY part ORDER BY part""",
        above=10,
        span_s=900,
        pending="0s",
        summary="{{ $labels.consumer }} set {{ $values.B.Value }} messages aside within 15 minutes",
    ),
    AlertRule(
        uid="smartmeter-silent-meter",
        title="A meter is silent",
        # Whether a row counts or was replaced, its minute had readings: no need to merge.
        sql="""SELECT toString(meter_id) AS meter, dateDiff('second', max(window_end), $__toTime) AS silent_s
FROM meter_minute_trend
WHERE $__timeFilter(window_start)
GROUP BY meter_id HAVING silent_s > 600 ORDER BY silent_s DESC, meter_id LIMIT 100""",
        above=600,
        span_s=7200,
        pending="0s",
        summary="meter {{ $labels.meter }} has sent nothing for {{ $values.B.Value }} s",
    ),
    AlertRule(
        uid="smartmeter-anomaly",
        title="A meter is probably anomalous",
        sql="""SELECT toString(meter_id) AS meter, model_version AS model, max(probability) AS probability
FROM anomaly_prediction_results_latest
WHERE prediction AND (meter_id, window_start) IN (
    SELECT meter_id, window_start FROM anomaly_prediction_results
    WHERE $__timeFilter(window_start) AND prediction
    ORDER BY window_start DESC LIMIT 1000
)
GROUP BY meter_id, model_version ORDER BY probability DESC, meter_id, model_version LIMIT 100""",
        above=0.9,
        span_s=900,
        pending="0s",
        summary="meter {{ $labels.meter }} is anomalous, probability {{ $values.B.Value }}, says {{ $labels.model }}",
    ),
)


def render() -> str:
    """The provisioning file."""
    group = {
        "orgId": 1,
        "name": "smartmeter",
        "folder": "Smart meters",
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
        "annotations": {"summary": rule.summary.replace("$", "$$")},
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
