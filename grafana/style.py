"""The house style: how dashboards and panels are built, so that each says what it shows and why it may be empty."""

from dataclasses import dataclass
from typing import TypeVar

from grafana_foundation_sdk.builders import barchart, heatmap, stat, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders.dashboard import Dashboard, FieldColor, QueryVariable, ThresholdsConfig
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode

from grafana.query import DATASOURCE, ClickHouseQuery, Format, Query

FULL, HALF, THIRD, QUARTER = 24, 12, 8, 6
"""Widths of panels; a dashboard has 24 columns."""
GREEN, YELLOW, RED = "green", "yellow", "red"

P = TypeVar("P", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel, barchart.Panel)


@dataclass(frozen=True)
class About:
    """What a panel says of itself; `no_data` stands in place of an empty result: the likely reason, and what to do."""

    title: str
    unit: str
    description: str
    no_data: str
    decimals: int | None = None


def dashboard(uid: str, title: str, description: str, span_hours: float = 6) -> Dashboard:
    """An empty dashboard over the last hours, in UTC as the windows are."""
    since = f"{span_hours:g}h" if span_hours >= 1 else f"{span_hours * 60:g}m"
    return (
        Dashboard(title)
        .uid(f"smartmeter-{uid}")
        .description(description)
        .tags(["smartmeter"])
        .timezone("utc")
        .time(f"now-{since}", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .editable()
    )


def variable(name: str, label: str, description: str, sql: str) -> QueryVariable:
    """A variable with several values and All, asked anew when the time range changes."""
    return (
        QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query(sql)
        .multi(multi=True)
        .include_all(include_all=True)
        .current(VariableOption(selected=True, text=["All"], value=["$__all"]))
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NUMERICAL_ASC)
    )


class _Marks(AnnotationQuery):
    """An annotation of the SDK with a query of ours."""

    def __init__(self, name: str, sql: str, color: str) -> None:
        super().__init__(name=name, datasource=DATASOURCE, enable=True, icon_color=color)
        self._sql = sql

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "target": ClickHouseQuery(self._sql, Format.TABLE, "Anno").to_json()}


class Annotation(Builder[AnnotationQuery]):
    """Rows of a query as marks on the time axis: `time`, `timeEnd`, `text`."""

    def __init__(self, name: str, sql: str, color: str) -> None:
        self._marks = _Marks(name, sql, color)

    def build(self) -> AnnotationQuery:
        return self._marks


def time_series(about: About, *sql: str, min_interval: str = "1m", width: int = HALF) -> timeseries.Panel:
    """Lines over time, one query per text."""
    panel = _common(timeseries.Panel(), about, width)
    for ref_id, text in zip("ABCD", sql, strict=False):
        panel.with_target(Query(text, Format.TIME_SERIES, ref_id))
    return (
        panel.interval(min_interval)
        .line_width(1)
        .fill_opacity(5)
        .show_points(common.VisibilityMode.AUTO)
        .span_nulls(span_nulls=False)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )


def bars(about: About, *sql: str, min_interval: str = "1m", width: int = HALF) -> timeseries.Panel:
    """Bars over time, stacked."""
    stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
    panel = time_series(about, *sql, min_interval=min_interval, width=width)
    return panel.draw_style(common.GraphDrawStyle.BARS).fill_opacity(70).line_width(0).stacking(stacking)


def with_limits(panel: timeseries.Panel, lower: float, upper: float) -> timeseries.Panel:
    """Draw two limits as dashed lines; between them is well."""
    steps = [Threshold(None, RED), Threshold(lower, GREEN), Threshold(upper, RED)]
    style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return (
        panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .thresholds_style(style)
        .axis_soft_min(lower - 5)
        .axis_soft_max(upper + 5)
    )


def single(
    about: About,
    sql: str,
    warn: float | None = None,
    alarm: float | None = None,
    units: dict[str, str] | None = None,
    width: int = QUARTER,
) -> stat.Panel:
    """One number, or several side by side, green until `warn` and red from `alarm`; `units` as in `rows`."""
    panel = _with_units(_common(stat.Panel(), about, width).height(4).with_target(Query(sql, Format.TABLE)), units)
    steps = [Threshold(None, GREEN)]
    steps += [Threshold(warn, YELLOW)] if warn is not None else []
    steps += [Threshold(alarm, RED)] if alarm is not None else []
    values = common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(values=False)
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    return (
        panel.reduce_options(values)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
    )


def rows(about: About, sql: str, units: dict[str, str] | None = None, width: int = HALF) -> table.Panel:
    """A table; `units` by column, where a column has another than the panel."""
    return _with_units(_common(table.Panel(), about, width).with_target(Query(sql, Format.TABLE)), units)


def chart(about: About, sql: str, name: str, width: int = HALF) -> barchart.Panel:
    """Horizontal bars, one per row; `name` is the column that tells them apart."""
    panel = _common(barchart.Panel(), about, width).with_target(Query(sql, Format.TABLE))
    return panel.x_field(name).orientation(common.VizOrientation.HORIZONTAL).legend(_legend(visible=False))


def heat_map(about: About, sql: str, label: str, min_interval: str = "1h", width: int = HALF) -> heatmap.Panel:
    """Time by series; rows of the map are the values of text column `label`."""
    panel = _common(heatmap.Panel(), about, width).with_target(Query(sql, Format.TIME_SERIES))
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("YlOrRd").steps(64)
    named = f"${{__field.labels.{label}}}"
    return panel.interval(min_interval).calculate(calculate=False).color(color).display_name(named)


def _with_units(panel: P, units: dict[str, str] | None) -> P:
    for column, unit in (units or {}).items():
        panel.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def _common(panel: P, about: About, width: int) -> P:
    panel.title(about.title).description(about.description).unit(about.unit).no_value(about.no_data)
    panel.datasource(DATASOURCE).span(width).height(8)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    if about.decimals is not None:
        panel.decimals(about.decimals)
    return panel


def legend_beside(panel: timeseries.Panel) -> timeseries.Panel:
    """For more series than a legend below has room for."""
    return panel.legend(_legend().placement(common.LegendPlacement.RIGHT))


def _legend(visible: bool = True) -> common_builders.VizLegendOptions:
    legend = common_builders.VizLegendOptions().show_legend(show_legend=visible)
    return legend.display_mode(common.LegendDisplayMode.LIST).placement(common.LegendPlacement.BOTTOM)
