"""The house style: how dashboards and panels are built, so that each says what it shows and draws it alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from grafana_foundation_sdk.builders import barchart, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    FieldColor,
    QueryVariable,
    Row,
    ThresholdsConfig,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    AnnotationPanelFilter,
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLinkType,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale

from grafana.palette import BAD, CLEAR, DIGITS, GOOD, KINDS, NEUTRAL, VALUE, WATCH
from grafana.query import DATASOURCE, ClickHouseQuery, Format, Query

FULL, HALF, THIRD, QUARTER = 24, 12, 8, 6
"""Widths of panels; a dashboard has 24 columns."""

KW, KWH, VOLT, PER_S = "suffix:kW", "suffix:kWh", "suffix:V", "suffix:/s"
"""Units that stay: Grafana's own kwatt turns 0.5 kW into 500 W on the same axis."""
COUNT, ID, SHARE, SECONDS, BYTES, INSTANT = "locale", "none", "percentunit", "s", "bytes", "dateTimeAsIso"

NOTHING = "No data in this time"
DASH = "–"
BAR_SHARE = 0.94
GAP_MAX_MS = 7_200_000
"""Lines are not drawn over a longer silence; a point stands for an hour at most."""

P = TypeVar("P", timeseries.Panel, stat.Panel, table.Panel, heatmap.Panel, barchart.Panel, statetimeline.Panel)


@dataclass(frozen=True)
class About:
    """What a panel says of itself; the description also says why it may be empty.

    Without `decimals` Grafana shows two or three digits: 0.31 kW of a meter, 2593 kW of 5,000.
    """

    title: str
    description: str
    unit: str = COUNT
    decimals: int | None = 0


@dataclass(frozen=True)
class Link:
    """Where a click leads; `url` may hold Grafana's ${__data.fields["X"]} and ${__field.labels.x}."""

    title: str
    url: str


@dataclass(frozen=True)
class Look:
    """How one column or series looks, where it looks other than its panel."""

    unit: str | None = None
    decimals: int | None = None
    color: str | None = None
    steps: tuple[tuple[float | None, str], ...] = ()
    link: Link | None = None
    width: int | None = None
    hidden: bool = False
    custom: Mapping[str, Any] = field(default_factory=dict)
    maximum: float | None = None


def to_meters(building: str) -> Link:
    """To the meters of a building."""
    return Link("Meters of this building", f"/d/smartmeter-meters?var-building_id={building}&${{__url_time_range}}")


def to_readings(meter: str) -> Link:
    """To one meter's readings."""
    return Link("Readings of this meter", f"/d/smartmeter-readings?var-meter_id={meter}&${{__url_time_range}}")


BUILDING_CELL = Look(ID, 0, link=to_meters('${__data.fields["Building"]}'), width=90)
METER_CELL = Look(ID, 0, link=to_readings('${__data.fields["Meter"]}'), width=90)
INSTANT_CELL = Look(INSTANT, width=170)


def dashboard(uid: str, title: str, description: str, span_hours: float = 6) -> Dashboard:
    """An empty dashboard over the last hours, in the time zone that Grafana is set to, and with links to the others."""
    since = f"{span_hours:g}h" if span_hours >= 1 else f"{span_hours * 60:g}m"
    others = DashboardLink("Smart meters").type(DashboardLinkType.DASHBOARDS).tags(["smartmeter"]).keep_time(True)
    return (
        Dashboard(title)
        .uid(f"smartmeter-{uid}")
        .description(description)
        .tags(["smartmeter"])
        .timezone("")
        .time(f"now-{since}", "now")
        .refresh("30s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(others)
        .editable()
    )


def row(title: str) -> Row:
    """A heading: the panels below answer one question."""
    return Row(title)


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


def single_variable(name: str, label: str, description: str, sql: str) -> QueryVariable:
    """A variable with exactly one value."""
    return (
        variable(name, label, description, sql)
        .multi(multi=False)
        .include_all(include_all=False)
        .current(VariableOption(selected=False, text="", value=""))
    )


class _Marks(AnnotationQuery):
    """An annotation of the SDK with a query of ours."""

    def __init__(self, name: str, sql: str, color: str, panels: tuple[str, ...]) -> None:
        super().__init__(name=name, datasource=DATASOURCE, enable=True, icon_color=color)
        self.panels = panels
        self._sql = sql

    def on(self, ids: Mapping[str, int]) -> None:
        """Say by id on which panels the marks are drawn."""
        self.filter_val = AnnotationPanelFilter(exclude=False, ids=[ids[title] for title in self.panels])

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "target": ClickHouseQuery(self._sql, Format.TABLE, "Anno").to_json()}


class Annotation(Builder[AnnotationQuery]):
    """Rows of a query as marks on the time axis of the panels with these titles: `time`, `timeEnd`, `text`."""

    def __init__(self, name: str, sql: str, color: str, *panels: str) -> None:
        self._marks = _Marks(name, sql, color, panels)

    def build(self) -> AnnotationQuery:
        return self._marks


def time_series(
    about: About,
    sql: str,
    looks: Mapping[str, Look] | None = None,
    *,
    min_interval: str = "1m",
    width: int = HALF,
    link: Link | None = None,
) -> timeseries.Panel:
    """Lines over time; a series is named by its label `name`, or by its column where there is no such label."""
    panel = _common(timeseries.Panel(), about, width, NOTHING).with_target(Query(sql, Format.TIME_SERIES))
    panel = _fixed(_names(panel, sql, link), VALUE)
    panel = _looks(panel, looks)
    return (
        panel.interval(min_interval)
        .line_width(1)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.AUTO)
        .point_size(4)
        .span_nulls(span_nulls=False)
        .insert_nulls(GAP_MAX_MS)
        .legend(legend(width))
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )


def bars(
    about: About,
    sql: str,
    looks: Mapping[str, Look] | None = None,
    *,
    min_interval: str = "1m",
    width: int = HALF,
    link: Link | None = None,
) -> timeseries.Panel:
    """Stacked bars over time; each begins at its window's start, and the axis at 0."""
    stacking = common_builders.StackingConfig().mode(common.StackingMode.NORMAL).group("A")
    panel = time_series(about, sql, looks, min_interval=min_interval, width=width, link=link)
    return (
        panel.draw_style(common.GraphDrawStyle.BARS)
        .bar_alignment(common.BarAlignment.AFTER)
        .bar_width_factor(BAR_SHARE)
        .fill_opacity(80)
        .line_width(0)
        .axis_soft_min(0)
        .stacking(stacking)
    )


def with_limits(panel: timeseries.Panel, lower: float, upper: float) -> timeseries.Panel:
    """Draw two limits as dashed lines of one colour; between them is well."""
    steps = [Threshold(None, CLEAR), Threshold(lower, BAD), Threshold(upper, BAD)]
    style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
    return (
        panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .thresholds_style(style)
        .axis_soft_min(lower - 5)
        .axis_soft_max(upper + 5)
    )


def with_wide_range(panel: timeseries.Panel, threshold: float = 1) -> timeseries.Panel:
    """A logarithmic axis that has a place for 0, so that a backfill's peak leaves the live course to be seen."""
    scale = common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.SYMLOG).log(10)
    return panel.scale_distribution(scale.linear_threshold(threshold)).min(0)


def numbers(about: About, sql: str, looks: Mapping[str, Look] | None = None, *, width: int = HALF) -> stat.Panel:
    """Numbers side by side, one per column; only those with steps are coloured by them."""
    panel = _common(stat.Panel(), about, width, DASH).height(4).with_target(Query(sql, Format.TABLE))
    values = common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(values=False)
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(None, "text")]))
    return _looks(
        panel.reduce_options(values)
        .color_mode(common.BigValueColorMode.VALUE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .orientation(common.VizOrientation.VERTICAL)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME),
        looks,
    )


def rows(
    about: About, sql: str, looks: Mapping[str, Look] | None = None, *, width: int = FULL, height: int = 8
) -> table.Panel:
    """A table; the columns are named in the SQL as people would."""
    panel = _common(table.Panel(), about, width, NOTHING).height(height).with_target(Query(sql, Format.TABLE))
    panel.color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(None, "text")]))
    return _looks(panel.min_width(80), looks)


def chart(
    about: About,
    sql: str,
    name: str,
    looks: Mapping[str, Look] | None = None,
    *,
    width: int = HALF,
    color: str = VALUE,
    link: Link | None = None,
) -> barchart.Panel:
    """Horizontal bars from 0, one per row; `name` is the column that tells them apart."""
    panel = _common(barchart.Panel(), about, width, NOTHING).with_target(Query(sql, Format.TABLE))
    panel = _fixed(panel, color).axis_soft_min(0).fill_opacity(80).line_width(0).bar_width(0.8)
    panel.show_value(common.VisibilityMode.AUTO).x_tick_label_max_length(40)
    if link is not None:
        panel.data_links([DashboardLink(link.title).url(link.url)])
    panel.x_field(name).orientation(common.VizOrientation.HORIZONTAL).legend(legend(visible=False))
    return _looks(panel, looks)


def heat_map(about: About, sql: str, color: str, *, min_interval: str = "1h", width: int = HALF) -> heatmap.Panel:
    """Time by series, the more the stronger, in light and dark; a row's time is the end of its cell.

    Schemes of colours flip with the theme, so opacity says how much. Rows are named by the one label, as the column
    is called Value.
    """
    panel = _common(heatmap.Panel(), about, width, NOTHING).with_target(Query(sql, Format.TIME_SERIES))
    scale = (
        heatmap.HeatmapColorOptions()
        .mode(HeatmapColorMode.OPACITY)
        .fill(color)
        .scale(HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
        .min(0)
    )
    axis = heatmap.YAxisConfig().axis_placement(common.AxisPlacement.LEFT)
    return panel.interval(min_interval).calculate(calculate=False).color(scale).cell_gap(1).y_axis(axis)


def timeline(
    about: About, sql: str, *, min_interval: str = "30s", width: int = HALF, link: Link | None = None
) -> statetimeline.Panel:
    """A row per series: when which kind of anomaly was found, as `sql.WORST` numbers them."""
    panel = _common(statetimeline.Panel(), about, width, NOTHING).with_target(Query(sql, Format.TIME_SERIES))
    states = {"0": ValueMappingResult(text="nothing", color=CLEAR, index=0)}
    for number, (kind, color) in enumerate(reversed(KINDS.items()), start=1):
        states[str(number)] = ValueMappingResult(text=kind, color=color, index=number)
    panel.mappings([ValueMap(options=states)]).color_scheme(FieldColor().mode(FieldColorModeId.THRESHOLDS))
    panel.thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps([Threshold(None, CLEAR)]))
    panel.display_name("${__field.labels.name}").interval(min_interval).fill_opacity(90).line_width(0)
    if link is not None:
        panel.data_links([DashboardLink(link.title).url(link.url)])
    return (
        panel.merge_values(merge_values=True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(show_legend=True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
    )


def legend(width: int = HALF, visible: bool = True) -> common_builders.VizLegendOptions:
    """A table with last and greatest value, beside a wide panel and below a narrow one."""
    place = common.LegendPlacement.RIGHT if width == FULL else common.LegendPlacement.BOTTOM
    options = common_builders.VizLegendOptions().show_legend(show_legend=visible).placement(place)
    return options.display_mode(common.LegendDisplayMode.TABLE).calcs(["lastNotNull", "max"])


def good_below(watch: float, alarm: float | None = None) -> tuple[tuple[float | None, str], ...]:
    """Steps: well until `watch`, to be looked at from there, to be acted on from `alarm`."""
    steps: tuple[tuple[float | None, str], ...] = ((None, GOOD), (watch, WATCH))
    return steps if alarm is None else (*steps, (alarm, BAD))


def good_above(watch: float, good: float) -> tuple[tuple[float | None, str], ...]:
    """Steps: well from `good`, to be looked at from `watch`, to be acted on below."""
    return ((None, BAD), (watch, WATCH), (good, GOOD))


def _common(panel: P, about: About, width: int, no_data: str) -> P:
    panel.title(about.title).description(about.description).unit(about.unit).no_value(no_data)
    panel.datasource(DATASOURCE).span(width).height(8)
    if about.decimals is not None:
        panel.decimals(about.decimals)
    return panel


def _fixed(panel: P, color: str) -> P:
    return panel.color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color(color))


def _names(panel: timeseries.Panel, sql: str, link: Link | None) -> timeseries.Panel:
    """Series named by label `name`; those with a number at its end are coloured by the last digit."""
    if " AS name" not in sql:
        return panel
    panel.display_name("${__field.labels.name}")
    for digit, color in enumerate(DIGITS):
        fixed = {"mode": "fixed", "fixedColor": color}
        panel.override_by_regexp(
            rf"/(Meter|Building|Model) +[\d.-]*{digit}(?![\d.-])/", [DynamicConfigValue("color", fixed)]
        )
    if link is not None:
        panel.data_links([DashboardLink(link.title).url(link.url)])
    return panel


def _looks(panel: P, looks: Mapping[str, Look] | None) -> P:
    for column, look in (looks or {}).items():
        override = panel.override_by_regexp if column.startswith("/") else panel.override_by_name
        override(column, [DynamicConfigValue(name, value) for name, value in _properties(look)])
    return panel


def _properties(look: Look) -> list[tuple[str, Any]]:
    """A look as Grafana's properties of an override."""
    steps = [{"color": color, "value": value} for value, color in look.steps]
    given = {
        "unit": look.unit,
        "decimals": look.decimals,
        "color": {"mode": "fixed", "fixedColor": look.color} if look.color else None,
        "thresholds": {"mode": "absolute", "steps": steps} if steps else None,
        "links": [{"title": look.link.title, "url": look.link.url}] if look.link else None,
        "custom.width": look.width,
        "custom.hidden": True if look.hidden else None,
        "max": look.maximum,
        **{f"custom.{name}": value for name, value in look.custom.items()},
    }
    coloured = [("custom.cellOptions", {"type": "color-text"})] if steps else []
    return [(name, value) for name, value in given.items() if value is not None] + coloured


DASHED = {"lineStyle": {"fill": "dash", "dash": [6, 6]}}
MEAN = Look(color=NEUTRAL, custom={**DASHED, "spanNulls": GAP_MAX_MS})
"""A mean by the hour among lines by the minute."""
