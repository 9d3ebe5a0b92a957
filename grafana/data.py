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
    """What a panel gets: a frame per query."""

    panel: Panel
    frames: tuple[Frame, ...]
    step_s: int


def choose(
    variables: Sequence[Variable], chosen: Mapping[str, Sequence[str]], time: TimeRange, ask: Ask
) -> dict[str, tuple[Value, list[tuple[str, str]]]]:
    """Values and options (value, text) of each variable, in order, so that later ones may depend on earlier ones.

    A chosen value that is no option any more is dropped. With nothing chosen it is All, or the first option where
    exactly one value is to be chosen, or nothing where there is none.
    """
    found: dict[str, tuple[Value, list[tuple[str, str]]]] = {}
    for variable in variables:
        known = {name: value for name, (value, _) in found.items()}
        frame = ask(expand(variable.sql, time, interval_s(time), known))
        options = list(zip(map(str, frame.column("value")), map(str, frame.column("text")), strict=True))
        values = [value for value, _ in options]
        wanted = [value for value in chosen.get(variable.name, [ALL]) if value in values]
        default = Value(values, is_all=True) if variable.is_multi else Value(values[:1] or [""])
        found[variable.name] = (Value(wanted if variable.is_multi else wanted[:1]) if wanted else default, options)
    return found


def ask_panel(panel: Panel, time: TimeRange, variables: Mapping[str, Value], ask: Ask) -> Answer:
    """One panel over the dashboard's time; an error of one query is the panel's, as it is in Grafana."""
    time = panel.time(time)
    step_s = interval_s(time, panel.least_step_s)
    frames = []
    for target in panel.targets:
        frame = ask(expand(target.sql, time, step_s, variables))
        frames.append(Frame(frame.columns, frame.types, frame.rows, target.is_series))
    return Answer(panel, tuple(frames), step_s)


def ask_marks(marks: Marks, time: TimeRange, variables: Mapping[str, Value], ask: Ask) -> Frame:
    """The rows of an annotation."""
    return ask(expand(marks.sql, time, interval_s(time), variables))
