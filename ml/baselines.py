"""What any score must beat: scores without learning, or with next to none."""

from collections.abc import Callable

import numpy as np

from infra.base.columns import F64, I64
from ml.examples import Examples
from ml.features import voltage_limits
from ml.truth import usual_count

MAD_TO_DEVIATION = 1.4826
"""Median absolute deviation of a normal variable to its standard deviation."""
LEAST_KW = 0.01
FLAGGED = 1e9
INJECTED_LOW_KW = 0.01


def everything(history: Examples, tested: Examples) -> F64:  # noqa: ARG001 - a baseline's signature
    """Every window is an anomaly: its average precision is the prevalence."""
    return np.zeros(len(tested))


def hour_of_day(history: Examples, tested: Examples) -> F64:
    """How often windows of this hour held an anomaly."""
    judged = history.without_gaps
    hours = _hour(history.window_start[judged])
    windows = np.bincount(hours, minlength=24)
    anomalies = np.bincount(hours, history.positive[judged], minlength=24)
    rate: F64 = anomalies / np.maximum(1, windows)
    return rate[_hour(tested.window_start)]


def robust_z(history: Examples, tested: Examples) -> F64:
    """|power - median| / deviation by the meter and hour of the history; by the hour where the meter is not in it.

    The deviation is that of a normal variable with the same median absolute deviation.
    """
    by_hour = _medians(_hour(history.window_start), history.rows["power_avg_kw"])
    own_key = history.meter_id * 24 + _hour(history.window_start)
    by_meter = _medians(own_key, history.rows["power_avg_kw"])
    overall = _medians(np.zeros(len(history), dtype=np.int64), history.rows["power_avg_kw"])
    hours = _hour(tested.window_start).tolist()
    keys = (tested.meter_id * 24 + _hour(tested.window_start)).tolist()
    known = [
        by_meter.get(key, by_hour.get(hour, overall.get(0, (0.0, 1.0)))) for key, hour in zip(keys, hours, strict=True)
    ]
    median, deviation = np.array(known).T
    z: F64 = np.abs(tested.rows["power_avg_kw"] - median) / np.maximum(deviation, LEAST_KW)
    return z


def rules(history: Examples, tested: Examples) -> F64:
    """Readings missing, voltage beyond its limits, or power and voltage at a standstill; else the robust z-score."""
    rows = tested.rows
    lower_v, upper_v = voltage_limits()
    flagged = (
        (rows["event_count"] < usual_count(tested.meter_id, rows["event_count"]))
        | (rows["voltage_min_v"] < lower_v)
        | (rows["voltage_max_v"] > upper_v)
        | ((rows["power_std_kw"] == 0) & (rows["voltage_std_v"] == 0))
    )
    return robust_z(history, tested) + np.where(flagged, FLAGGED, 0.0)


def informed_rules(history: Examples, tested: Examples) -> F64:  # noqa: ARG001 - a baseline's signature
    """Rules by somebody who has read how anomalies are injected: a run of identical readings, next to no power, voltage
    beyond its limits; else the largest step of power. How far this goes says how easy the injection is."""
    rows = tested.rows
    lower_v, upper_v = voltage_limits()
    long_run = np.maximum(2, 0.05 * usual_count(tested.meter_id, rows["event_count"]))
    flagged = (
        (rows["run_max_count"] >= long_run)
        | (rows["power_min_kw"] < INJECTED_LOW_KW)
        | (rows["voltage_min_v"] < lower_v)
        | (rows["voltage_max_v"] > upper_v)
    )
    suspicion: F64 = rows["power_step_max_kw"] + np.where(flagged, FLAGGED, 0.0)
    return suspicion


Baseline = Callable[[Examples, Examples], F64]
BASELINES: dict[str, Baseline] = {
    "everything": everything,
    "hour_of_day": hour_of_day,
    "robust_z": robust_z,
    "rules": rules,
}
"""By name; each is given windows from before, with their kinds, and scores the tested ones: higher is more suspect."""
SHOWN: dict[str, Baseline] = {**BASELINES, "informed_rules": informed_rules}
"""What stands beside the model: the baselines that it must beat by far, and the rules that know the injection."""


def _hour(window_start: I64) -> I64:
    return window_start // 3_600_000 % 24


def _medians(keys: I64, values: F64) -> dict[int, tuple[float, float]]:
    """Median and deviation by key."""
    order = np.argsort(keys, kind="stable")
    medians = {}
    for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        if rows.size:
            median = np.median(values[rows])
            spread = np.median(np.abs(values[rows] - median))
            medians[int(keys[rows[0]])] = (float(median), float(MAD_TO_DEVIATION * spread))
    return medians
