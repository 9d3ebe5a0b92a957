"""What Grafana makes of a result before it draws: series with their names, order, colours and gaps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from grafana.data import Frame
from grafana.panels import Field, Link, Panel
from grafana.preview.units import text

VALUE = "Value"
"""A column of this name leaves the series to be named by its label alone."""
FALLBACK = "#808893"


@dataclass(frozen=True)
class Series:
    """One series; `labels` as the text columns say, `look` as the panel's field options say for its name."""

    name: str
    labels: Mapping[str, str]
    times: Sequence[datetime]
    values: Sequence[float | None]
    look: Field

    @property
    def color(self) -> str:
        return self.look.color or FALLBACK

    def last(self) -> float | None:
        return next((value for value in reversed(self.values) if value is not None), None)

    def greatest(self) -> float | None:
        return max((value for value in self.values if value is not None), default=None)


def series_of(panel: Panel, frame: Frame) -> list[Series]:
    """The series of long rows, as the plugin's server makes them: the first column is time, text columns are labels.

    With labels they come sorted by column, then by the labels in the order of their columns, as text; every series has
    every time, with None where it has no row. Without labels they come as the columns do.
    """
    label_at = [at for at, kind in enumerate(frame.types) if "String" in kind]
    numbers = [at for at in range(1, len(frame.columns)) if at not in label_at]
    found: dict[tuple[str, tuple[str, ...]], dict[datetime, float | None]] = {}
    for row in frame.rows:
        labels = tuple(str(row[at]) for at in label_at)
        for at in numbers:
            found.setdefault((frame.columns[at], labels), {})[row[0]] = row[at]
    times = sorted({row[0] for row in frame.rows})
    names = [frame.columns[at] for at in label_at]
    keys = sorted(found) if label_at else list(found)
    told = []
    for column, values in keys:
        labels_of = dict(zip(names, values, strict=True))
        name = display_name(panel.display_name, column, labels_of)
        points = found[column, values]
        told.append(Series(name, labels_of, times, [points.get(at) for at in times], panel.field(name)))
    return told


def display_name(template: str, column: str, labels: Mapping[str, str]) -> str:
    """A series' name: by the panel's template, else its column and the one label, or all of them as {k="v"}."""
    if template:
        return re.sub(r"\$\{__field\.labels\.(\w+)\}", lambda match: labels.get(match[1], match[0]), template)
    parts = [column] if column != VALUE else []
    if len(labels) == 1:
        parts += [value for value in labels.values() if value]
    elif labels:
        parts.append("{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}")
    return " ".join(parts) or column


def step_color(look: Field, value: object) -> str:
    """The colour of the highest step that a value reaches; a fixed colour wins."""
    if look.color:
        return look.color
    color = look.steps[0].color if look.steps else "text"
    for step in look.steps:
        if step.value is not None and isinstance(value, int | float) and value >= step.value:
            color = step.color
    return color


def link_of(links: Sequence[Link], values: Mapping[str, object]) -> dict[str, str] | None:
    """The first link with its placeholders filled in; the page follows it within itself."""
    for link in links:
        url = re.sub(
            r'\$\{__(?:data\.fields\["([^"]+)"\]|field\.labels\.(\w+))\}',
            lambda match: str(values.get(match[1] or match[2], "")),
            link.url,
        )
        return {"title": link.title, "url": url.replace("&${__url_time_range}", "").replace("/d/", "#")}
    return None


def legend_of(panel: Panel, series: Sequence[Series]) -> dict[str, object] | None:
    """The legend as a table of name, last and greatest value; None where the panel shows none."""
    options = panel.options.get("legend") or {}
    if not options.get("showLegend"):
        return None
    rows = [
        {
            "name": each.name,
            "color": each.color,
            "last": text(each.last(), each.look.unit, each.look.decimals),
            "max": text(each.greatest(), each.look.unit, each.look.decimals),
            "link": link_of(each.look.links, each.labels) if each.labels.get("id") else None,
        }
        for each in series
    ]
    return {"place": options.get("placement", "bottom"), "rows": rows}
