"""Panels asked: variables chosen, macros expanded, queries run; what is drawn of it is for others to say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from grafana.macros import ALL, TimeRange, Value, expand, interval_s
from grafana.panels import Marks, Panel, Variable


@dataclass(frozen=True)
class Frame:
    """A result: columns with ClickHouse's types, and the rows. `is_series` as the query's."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: Sequence[Sequence[Any]]
    is_series: bool = False

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]


class Ask(Protocol):
    """Runs one statement and gives its result; raises SmartmeterError with what went wrong."""

    def __call__(self, sql: str) -> Frame: ...


@dataclass(frozen=True)
class Answer:
    """What a panel gets: frames, or an error in words."""

    panel: Panel
    frames: tuple[Frame, ...]
    step_s: int
    error: str = ""


def choose(
    variables: Sequence[Variable], chosen: Mapping[str, Sequence[str]], time: TimeRange, ask: Ask
) -> dict[str, tuple[Value, list[str]]]:
    """Values and options of each variable, in order, so that later ones may depend on earlier ones.

    A chosen value that is no option any more is dropped; with nothing chosen it is All.
    """
    found: dict[str, tuple[Value, list[str]]] = {}
    for variable in variables:
        known = {name: value for name, (value, _) in found.items()}
        sql = expand(variable.sql, time, interval_s(time), known)
        options = [str(row[0]) for row in ask(sql).rows]
        wanted = [value for value in chosen.get(variable.name, [ALL]) if value in options]
        everything = Value(options, is_all=True)
        found[variable.name] = (Value(wanted) if wanted else everything, options)
    return found


def ask_panel(panel: Panel, time: TimeRange, variables: Mapping[str, Value], ask: Ask) -> Answer:
    """One panel; an error of one query is the panel's, as it is in Grafana."""
    step_s = interval_s(time, panel.least_step_s)
    frames = []
    for target in panel.targets:
        frame = ask(expand(target.sql, time, step_s, variables))
        frames.append(Frame(frame.columns, frame.types, frame.rows, target.is_series))
    return Answer(panel, tuple(frames), step_s)


def ask_marks(marks: Marks, time: TimeRange, variables: Mapping[str, Value], ask: Ask) -> Frame:
    """The rows of an annotation."""
    return ask(expand(marks.sql, time, interval_s(time), variables))
