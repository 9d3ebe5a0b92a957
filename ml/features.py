"""What the model sees of a window: one pure function of the window and those before it, for training and for serving.

A window's features depend on the merged rows (law 3) of its meter in the window and in the LOOK_BACK windows of 5 min
before it, and on nothing else: not on later rows, the order of rows, or the number of windows computed at once. So
batch and stream give the same bits. Values are taken in single precision, as the serving state keeps them. Only fields
of anomaly_prediction_features that are not labels are read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64
from ml.windows import WINDOW_MS
from schemas.manifest import load_datasets

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

LOOK_BACK = 72
"""Windows before the one that is judged: six hours."""

INPUTS = (
    "event_count",
    "power_avg_kw",
    "power_std_kw",
    "power_min_kw",
    "power_max_kw",
    "voltage_avg_v",
    "voltage_std_v",
    "voltage_min_v",
    "voltage_max_v",
    "power_step_max_kw",
    "voltage_step_max_v",
    "repeat_count",
    "run_max_count",
    "gap_count",
)
"""Fields of the contract that features are made of, in the order of a history's second axis."""

SOURCE = "meter_stats_5min"
HOUR_WINDOWS = 12
DAY_WINDOWS = 288
PROFILE_CELLS = 48
"""Hours of a weekday, then hours of a day at the weekend; UTC."""

MOST = 1e6
"""Ratios end here, so that a denominator near zero gives no infinity."""


@cache
def voltage_limits() -> tuple[float, float]:
    """The lowest and the highest allowed voltage: parameters of the dataset that features are made from."""
    parameters = load_datasets()[SOURCE].parameters
    return float(parameters["voltage_lower_v"]), float(parameters["voltage_upper_v"])


@dataclass(frozen=True)
class History:
    """Windows to judge, each with those before it.

    `values`: windows × INPUTS × (LOOK_BACK + 1), in single precision. The last column is the window to judge. A window
    without a row is NaN throughout; `gap_count` is NaN where it is null. `window_start` in ms since 1970.
    """

    values: F32
    window_start: I64


def features(history: History, profile: F64) -> F64:
    """Windows × FEATURES in double precision, always finite. `profile`: see `fit_profile`."""
    values = np.ascontiguousarray(history.values, dtype=np.float64)
    context = _Context(values, history.window_start, profile)
    columns = [make(context) for make in MAKERS.values()]
    return np.clip(np.nan_to_num(np.column_stack(columns), nan=-1.0, posinf=MOST, neginf=-MOST), -MOST, MOST)


def profile_cell(window_start: I64) -> I64:
    """Which cell of the profile a window belongs to: hour of the day, and whether it is weekend."""
    hours = window_start // 3_600_000
    weekend = (hours // 24 + 3) % 7 >= 5  # day 0, 1970-01-01, was a Thursday
    return hours % 24 + np.where(weekend, 24, 0)


def fit_profile(power_to_mean: F64, window_start: I64) -> F64:
    """Median, by hour and weekday or weekend, of a window's power over its meter's own mean of the hours before.

    A cell without windows takes the same hour of the other kind of day, and where that has none, 1.
    """
    cell = profile_cell(window_start)
    usable = np.isfinite(power_to_mean)
    medians = np.full(PROFILE_CELLS, np.nan)
    for number in np.unique(cell[usable]).tolist():
        medians[number] = np.median(power_to_mean[usable & (cell == number)])
    other = np.roll(medians, PROFILE_CELLS // 2)
    return np.where(np.isfinite(medians), medians, np.where(np.isfinite(other), other, 1.0))


def power_to_mean(history: History) -> F64:
    """Mean power of each window over the mean of its meter's windows before; NaN where there is none."""
    values = np.ascontiguousarray(history.values, dtype=np.float64)
    return _Context(values, history.window_start, np.ones(PROFILE_CELLS)).to_mean("power_avg_kw", LOOK_BACK)


class _Context:
    """A batch of histories, with intermediate results that several features need, each computed once."""

    def __init__(self, values: F64, window_start: I64, profile: F64) -> None:
        self.window_start, self.profile = window_start, profile
        self._by_name = {name: np.ascontiguousarray(values[:, number]) for number, name in enumerate(INPUTS)}
        self.present: Mask = np.isfinite(self._by_name["event_count"])
        self._known: dict[tuple[str, str, int], F64] = {}
        self._before: dict[tuple[str, int], F64] = {}

    def now(self, name: str) -> F64:
        return self._by_name[name][:, -1]

    def lag(self, name: str, windows: int) -> F64:
        """The value this many windows earlier; NaN if that window has no row."""
        return self._by_name[name][:, -1 - windows]

    def before(self, name: str, windows: int) -> F64:
        """The values of the windows before the one to judge."""
        return self._by_name[name][:, -1 - windows : -1]

    def sorted_before(self, name: str, windows: int) -> F64:
        """The same in rising order, windows without a row last."""
        key = (name, windows)
        if key not in self._before:
            self._before[key] = np.sort(self.before(name, windows), axis=1)
        return self._before[key]

    def _once(self, what: str, name: str, windows: int, compute: Callable[[], F64]) -> F64:
        key = (what, name, windows)
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]

    def count(self, windows: int) -> F64:
        """How many of the windows before have a row."""
        return self._once("count", "", windows, lambda: self.present[:, -1 - windows : -1].sum(axis=1).astype(float))

    def mean(self, name: str, windows: int) -> F64:
        """Mean of the windows before; NaN if none has a row."""

        def compute() -> F64:
            filled = np.where(self.present[:, -1 - windows : -1], self.before(name, windows), 0.0)
            return _over(np.ascontiguousarray(filled).sum(axis=1), self.count(windows))

        return self._once("mean", name, windows, compute)

    def deviation(self, name: str, windows: int) -> F64:
        """Standard deviation of the windows before; NaN if none has a row."""

        def compute() -> F64:
            off = self.before(name, windows) - self.mean(name, windows)[:, None]
            squares = np.where(self.present[:, -1 - windows : -1], off * off, 0.0)
            return np.sqrt(_over(np.ascontiguousarray(squares).sum(axis=1), self.count(windows)))

        return self._once("deviation", name, windows, compute)

    def quantile(self, name: str, windows: int, share: float) -> F64:
        """The value with this share of the windows before it in rising order (no interpolation); NaN without any."""
        ordered = self.sorted_before(name, windows)
        place = np.floor(np.maximum(self.count(windows) - 1, 0) * share).astype(np.int64)
        return np.take_along_axis(ordered, place[:, None], axis=1)[:, 0]

    def to_mean(self, name: str, windows: int) -> F64:
        return _over(self.now(name), self.mean(name, windows))

    def base_kw(self) -> F64:
        """The meter's power when little is on: the lower fifth of its windows' means; its own mean if no window before
        has a row."""
        low = self.quantile("power_avg_kw", LOOK_BACK, 0.2)
        return np.where(np.isfinite(low), low, self.now("power_avg_kw"))


def _over(numerator: F64, denominator: F64) -> F64:
    """The ratio; NaN where the denominator is 0."""
    quotient = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator != 0)
    return quotient


def _range(c: _Context, quantity: str, unit: str) -> F64:
    return c.now(f"{quantity}_max_{unit}") - c.now(f"{quantity}_min_{unit}")


def _since_last(c: _Context) -> F64:
    """Number of windows without a row directly before this one."""
    backwards = c.present[:, -2::-1]
    return np.where(backwards.any(axis=1), backwards.argmax(axis=1), LOOK_BACK).astype(np.float64)


def _angle(c: _Context) -> F64:
    return 2 * np.pi * ((c.window_start // WINDOW_MS) % DAY_WINDOWS) / DAY_WINDOWS


def _expected_kw(c: _Context) -> F64:
    """The expected mean power: the meter's own last hours times the profile of hour and weekday."""
    return c.mean("power_avg_kw", LOOK_BACK) * c.profile[profile_cell(c.window_start)]


def _volts_per_kw(c: _Context) -> F64:
    """Change of the mean voltage from the window before, per kW that the mean power changed."""
    power = c.now("power_avg_kw") - c.lag("power_avg_kw", 1)
    return _over(c.now("voltage_avg_v") - c.lag("voltage_avg_v", 1), np.where(np.abs(power) < 0.05, 0.0, power))


def _since(name: str, windows: int) -> Callable[[_Context], F64]:
    return lambda c: c.now(name) - c.lag(name, windows)


def _current(name: str) -> Callable[[_Context], F64]:
    return lambda c: c.now(name)


MAKERS: dict[str, Callable[[_Context], F64]] = {
    # The window by itself.
    **{
        name: _current(name)
        for name in INPUTS
        if name not in {"event_count", "voltage_avg_v", "repeat_count", "run_max_count"}
    },
    "power_range_kw": lambda c: _range(c, "power", "kw"),
    "voltage_range_v": lambda c: _range(c, "voltage", "v"),
    "voltage_below_v": lambda c: np.maximum(0.0, voltage_limits()[0] - c.now("voltage_min_v")),
    "voltage_above_v": lambda c: np.maximum(0.0, c.now("voltage_max_v") - voltage_limits()[1]),
    "repeat_share": lambda c: _over(c.now("repeat_count"), c.now("event_count")),
    "run_share": lambda c: _over(c.now("run_max_count"), c.now("event_count")),
    "run_max_count": _current("run_max_count"),
    "step_of_range": lambda c: _over(c.now("power_step_max_kw"), _range(c, "power", "kw")),
    "power_std_of_mean": lambda c: _over(c.now("power_std_kw"), c.now("power_avg_kw")),
    "power_max_over_mean_kw": lambda c: c.now("power_max_kw") - c.now("power_avg_kw"),
    "power_mean_over_min_kw": lambda c: c.now("power_avg_kw") - c.now("power_min_kw"),
    # How the voltage answers the load.
    "voltage_range_per_kw": lambda c: _over(_range(c, "voltage", "v"), _range(c, "power", "kw")),
    "voltage_step_per_kw": lambda c: _over(c.now("voltage_step_max_v"), c.now("power_step_max_kw")),
    "voltage_move_per_kw": _volts_per_kw,
    "voltage_min_to_lag_v": lambda c: c.now("voltage_min_v") - c.lag("voltage_avg_v", 1),
    "voltage_max_to_lag_v": lambda c: c.now("voltage_max_v") - c.lag("voltage_avg_v", 1),
    "voltage_min_to_hour_v": lambda c: c.now("voltage_min_v") - c.mean("voltage_avg_v", HOUR_WINDOWS),
    "voltage_std_ratio": lambda c: _over(c.now("voltage_std_v"), c.quantile("voltage_std_v", LOOK_BACK, 0.5)),
    # Against the windows just before.
    **{f"{name}_diff_1": _since(name, 1) for name in ("power_avg_kw", "power_min_kw", "power_max_kw", "voltage_avg_v")},
    "power_avg_kw_diff_2": _since("power_avg_kw", 2),
    "power_avg_kw_diff_3": _since("power_avg_kw", 3),
    "power_max_to_lag_avg_kw": lambda c: c.now("power_max_kw") - c.lag("power_avg_kw", 1),
    "power_min_to_lag_max_kw": lambda c: c.now("power_min_kw") - c.lag("power_max_kw", 1),
    **{
        f"{name}_lag_1": (lambda c, name=name: c.lag(name, 1))  # type: ignore[misc]
        for name in ("power_std_kw", "power_step_max_kw", "power_max_kw", "voltage_min_v", "voltage_max_v")
    },
    "run_max_count_lag_1": lambda c: c.lag("run_max_count", 1),
    # Against the meter's own last hours.
    "power_to_hour_mean": lambda c: c.to_mean("power_avg_kw", HOUR_WINDOWS),
    "power_to_mean": lambda c: c.to_mean("power_avg_kw", LOOK_BACK),
    "power_to_expected": lambda c: _over(c.now("power_avg_kw"), _expected_kw(c)),
    "power_z": lambda c: _over(
        c.now("power_avg_kw") - c.mean("power_avg_kw", LOOK_BACK), c.deviation("power_avg_kw", LOOK_BACK)
    ),
    "power_std_ratio": lambda c: _over(c.now("power_std_kw"), c.quantile("power_std_kw", LOOK_BACK, 0.5)),
    "power_std_to_highest": lambda c: _over(c.now("power_std_kw"), c.quantile("power_std_kw", LOOK_BACK, 1.0)),
    "power_std_to_low": lambda c: _over(c.now("power_std_kw"), c.quantile("power_std_kw", LOOK_BACK, 0.1)),
    "power_max_over_base_kw": lambda c: c.now("power_max_kw") - c.base_kw(),
    "power_avg_over_base_kw": lambda c: c.now("power_avg_kw") - c.base_kw(),
    "power_min_over_base_kw": lambda c: c.now("power_min_kw") - c.base_kw(),
    "power_max_to_base": lambda c: _over(c.now("power_max_kw"), c.base_kw()),
    "power_max_to_highest": lambda c: _over(c.now("power_max_kw"), c.quantile("power_max_kw", LOOK_BACK, 1.0)),
    "power_max_over_highest_kw": lambda c: c.now("power_max_kw") - c.quantile("power_max_kw", LOOK_BACK, 1.0),
    "power_max_over_hour_highest_kw": lambda c: c.now("power_max_kw") - c.quantile("power_max_kw", HOUR_WINDOWS, 1.0),
    "power_min_to_low": lambda c: _over(c.now("power_min_kw"), c.quantile("power_min_kw", LOOK_BACK, 0.1)),
    "power_min_to_lowest": lambda c: _over(c.now("power_min_kw"), c.quantile("power_min_kw", LOOK_BACK, 0.0)),
    "power_step_to_high": lambda c: _over(c.now("power_step_max_kw"), c.quantile("power_step_max_kw", LOOK_BACK, 0.9)),
    "power_step_to_highest": lambda c: _over(
        c.now("power_step_max_kw"), c.quantile("power_step_max_kw", LOOK_BACK, 1.0)
    ),
    # What did not come.
    "readings_to_usual": lambda c: _over(c.now("event_count"), c.quantile("event_count", LOOK_BACK, 0.5)),
    "missing_windows_before": _since_last,
    "windows_in_last_hour": lambda c: c.count(HOUR_WINDOWS),
    "windows_in_look_back": lambda c: c.count(LOOK_BACK),
    # When it was.
    "hour_sine": lambda c: np.sin(_angle(c)),
    "hour_cosine": lambda c: np.cos(_angle(c)),
    "weekend": lambda c: (profile_cell(c.window_start) >= PROFILE_CELLS // 2).astype(np.float64),
}
FEATURES = tuple(MAKERS)
