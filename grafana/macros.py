"""Panel SQL to SQL: variables as Grafana's page puts them in, macros as the plugin's server expands them.

Both follow the plugin's documentation and are pinned by tests, so that what is tested here is what Grafana runs.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from infra.base.errors import SmartmeterError

ALL = "$__all"
MAX_POINTS = 1000
"""Points in a panel's width; Grafana takes the width in pixels."""
NICE_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_CONDITIONAL = "$__conditionalAll("
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_MACRO = re.compile(r"\$__(\w+)(\(([^()]*)\))?")


@dataclass(frozen=True)
class TimeRange:
    """The dashboard's time, whole seconds; both ends belong to it."""

    start: datetime
    end: datetime
    zone: str = "utc"
    """The dashboard's time zone as Grafana names it: utc, or an IANA name."""

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True)
class Value:
    """What a variable is set to: the chosen `values`; of All, every option there is."""

    values: Sequence[str]
    is_all: bool = False


def interval_s(time: TimeRange, least_s: int = 1) -> int:
    """The step between points: the range over MAX_POINTS, rounded up to a nice number, at least the panel's own."""
    wanted = time.seconds / MAX_POINTS
    nice = next((step for step in NICE_S if step >= wanted), NICE_S[-1])
    return max(nice, least_s, 1)


def expand(sql: str, time: TimeRange, step_s: int, variables: Mapping[str, Value]) -> str:
    """The SQL that reaches ClickHouse; raises SmartmeterError for a variable or macro that does not exist."""
    return expand_macros(expand_variables(sql, variables, time.zone), time, step_s)


def expand_variables(sql: str, variables: Mapping[str, Value], zone: str = "utc") -> str:
    """What the page does: $__conditionalAll first, then variables in their format."""
    while (at := sql.find(_CONDITIONAL)) >= 0:
        end = _closing(sql, at + len(_CONDITIONAL) - 1)
        condition, _, name = sql[at + len(_CONDITIONAL) : end].rpartition(",")
        value = _value(name.strip().strip("${}"), variables)
        kept = "1=1" if value.is_all else condition
        sql = sql[:at] + kept + sql[end + 1 :]
    return _VARIABLE.sub(lambda match: _formatted(match, variables, zone), sql)


def expand_macros(sql: str, time: TimeRange, step_s: int) -> str:
    """What the plugin's server does."""
    start, end = int(time.start.timestamp()), int(time.end.timestamp())
    dates = [f"toDate('{at.astimezone(UTC):%Y-%m-%d}')" for at in (time.start, time.end)]
    macros: dict[str, Callable[[str], str]] = {
        "fromTime": lambda _: f"toDateTime({start})",
        "toTime": lambda _: f"toDateTime({end})",
        "timeFilter": lambda c: f"{c} >= toDateTime({start}) AND {c} <= toDateTime({end})",
        "dateFilter": lambda c: f"{c} >= {dates[0]} AND {c} <= {dates[1]}",
        "timeInterval": lambda c: f"toStartOfInterval(toDateTime({c}), INTERVAL {step_s} second)",
        "interval_s": lambda _: str(step_s),
    }

    def expanded(match: re.Match[str]) -> str:
        macro = macros.get(match[1])
        if macro is None:
            raise SmartmeterError(f"$__{match[1]}: the plugin has no such macro, or this module does not know it yet")
        takes_no_argument = match[1] in {"fromTime", "toTime", "interval_s"}
        return macro(match[3] or "") + (match[2] or "" if takes_no_argument and match[3] else "")

    return _MACRO.sub(expanded, sql)


def _closing(sql: str, opening: int) -> int:
    """The position of the bracket that closes the one at `opening`."""
    depth = 0
    for at in range(opening, len(sql)):
        depth += {"(": 1, ")": -1}.get(sql[at], 0)
        if depth == 0:
            return at
    raise SmartmeterError(f"a bracket is not closed: {sql[opening - 20 : opening + 60]}")


def _value(name: str, variables: Mapping[str, Value]) -> Value:
    if name not in variables:
        raise SmartmeterError(f"the SQL uses variable {name}, which the dashboard does not have")
    return variables[name]


def _formatted(match: re.Match[str], variables: Mapping[str, Value], zone: str) -> str:
    name = match[1] or match[3]
    if name == "__timezone":
        return zone
    if name.startswith("__"):
        return match[0]
    values = _value(name, variables).values
    if match[2] == "singlequote":
        return ",".join("'" + value.replace("'", "\\'") + "'" for value in values)
    return ",".join(values)
