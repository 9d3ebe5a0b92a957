"""Macros and variables expand as the plugin documents them; the expected texts are written by hand."""

from datetime import UTC, datetime

import pytest

from grafana.macros import TimeRange, Value, expand, expand_macros, expand_variables, interval_s
from infra.base.errors import SmartmeterError

TIME = TimeRange(datetime(2026, 3, 2, 6, tzinfo=UTC), datetime(2026, 3, 2, 12, tzinfo=UTC))
START, END = 1772431200, 1772452800
ONE = {"id": Value(["7"])}
TWO = {"id": Value(["7", "9"])}
ALL = {"id": Value(["7", "9"], is_all=True)}
NAMES = {"id": Value(["it's", "b"])}


@pytest.mark.parametrize(
    ("sql", "expanded"),
    [
        ("$__timeFilter(t.at)", f"t.at >= toDateTime({START}) AND t.at <= toDateTime({END})"),
        ("$__dateFilter(day)", "day >= toDate('2026-03-02') AND day <= toDate('2026-03-02')"),
        ("$__timeInterval(at)", "toStartOfInterval(toDateTime(at), INTERVAL 60 second)"),
        ("x > $__fromTime AND x <= $__toTime", f"x > toDateTime({START}) AND x <= toDateTime({END})"),
        ("toStartOfDay($__toTime, 'UTC')", f"toStartOfDay(toDateTime({END}), 'UTC')"),
        ("sum(n) / $__interval_s", "sum(n) / 60"),
        ("(sum(n) / $__interval_s)", "(sum(n) / 60)"),
        ("SELECT '$5'", "SELECT '$5'"),
    ],
)
def test_what_the_plugins_server_expands(sql: str, expanded: str) -> None:
    assert expand_macros(sql, TIME, 60) == expanded


@pytest.mark.parametrize(
    ("sql", "variables", "expanded"),
    [
        ("a IN (${id:csv})", TWO, "a IN (7,9)"),
        ("a = $id AND b", ONE, "a = 7 AND b"),
        ("a IN (${id:singlequote})", NAMES, "a IN ('it\\'s','b')"),
        ("$__conditionalAll(a IN (${id:csv}), $id)", TWO, "a IN (7,9)"),
        ("$__conditionalAll(a IN (${id:csv}), $id)", ALL, "1=1"),
        ("$__conditionalAll(a IN (f(b, c)), ${id}) AND x", ONE, "a IN (f(b, c)) AND x"),
        ("$__conditionalAll(a = 1, $id) OR $__conditionalAll(b = 1, $id)", ALL, "1=1 OR 1=1"),
        ("$__timeFilter(at)", ONE, "$__timeFilter(at)"),
        ("toStartOfDay(at, '${__timezone}')", ONE, "toStartOfDay(at, 'utc')"),
    ],
)
def test_what_the_page_expands(sql: str, variables: dict[str, Value], expanded: str) -> None:
    assert expand_variables(sql, variables) == expanded


def test_both_in_the_order_in_which_they_happen() -> None:
    sql = "$__timeFilter(at) AND $__conditionalAll(id IN (${id:csv}), $id)"
    assert expand(sql, TIME, 60, TWO) == f"at >= toDateTime({START}) AND at <= toDateTime({END}) AND id IN (7,9)"


def test_the_dashboards_time_zone_reaches_the_sql() -> None:
    paris = TimeRange(TIME.start, TIME.end, "Europe/Paris")
    assert expand("'${__timezone}'", paris, 60, {}) == "'Europe/Paris'"


@pytest.mark.parametrize("sql", ["$__timeFliter(at)", "${meter:csv}", "$meter", "$__conditionalAll(a IN (1), $meter)"])
def test_what_does_not_exist_is_named(sql: str) -> None:
    with pytest.raises(SmartmeterError, match=r"timeFliter|meter"):
        expand(sql, TIME, 60, ONE)


def test_a_bracket_that_is_not_closed_is_an_error() -> None:
    with pytest.raises(SmartmeterError, match="not closed"):
        expand_variables("$__conditionalAll(a IN (1, $id", ONE)


@pytest.mark.parametrize(("hours", "least", "step"), [(6, 1, 30), (6, 60, 60), (720, 60, 3600), (0.25, 1, 1)])
def test_the_step_is_nice_and_at_least_the_panels(hours: float, least: int, step: int) -> None:
    start = datetime.fromtimestamp(END - hours * 3600, UTC)
    assert interval_s(TimeRange(start, TIME.end), least) == step
