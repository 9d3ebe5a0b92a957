"""Figures against their definitions, computed by counting."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.baselines import BASELINES, SHOWN
from ml.examples import Examples
from ml.metrics import at_threshold, average_precision, best_threshold, delay, figures, per_run
from ml.truth import GAP, KINDS, kinds_of

_scored = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40).filter(
    lambda pairs: any(positive for positive, _ in pairs)
)


def arrays(pairs: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    positive, score = zip(*pairs, strict=True)
    return np.array(positive), np.array(score, dtype=np.float64)


@given(_scored)
def test_average_precision_is_the_sum_over_distinct_thresholds(pairs: list[tuple[bool, int]]) -> None:
    total, recall_before, expected = sum(positive for positive, _ in pairs), 0.0, 0.0
    for threshold in sorted({score for _, score in pairs}, reverse=True):
        taken = [positive for positive, score in pairs if score >= threshold]
        recall = sum(taken) / total
        expected += sum(taken) / len(taken) * (recall - recall_before)
        recall_before = recall
    assert average_precision(*arrays(pairs)) == pytest.approx(expected)


@given(_scored)
def test_the_threshold_has_the_highest_f1(pairs: list[tuple[bool, int]]) -> None:
    positive, score = arrays(pairs)
    found = at_threshold(positive, score >= best_threshold(positive, score))["f1"]
    assert found >= max(at_threshold(positive, score >= one)["f1"] for one in range(8)) - 1e-12


def test_a_score_that_knows_nothing_has_the_prevalence() -> None:
    positive = np.arange(100) % 50 == 0
    assert average_precision(positive, np.zeros(100)) == pytest.approx(0.02)
    assert math.isnan(average_precision(np.zeros(3, dtype=np.bool_), np.zeros(3)))


def test_confusion_is_counted() -> None:
    found = at_threshold(np.array([True, True, False, False, False]), np.array([True, False, True, False, False]))
    assert found["confusion"] == {"true_positive": 1, "false_positive": 1, "false_negative": 1, "true_negative": 2}
    assert (found["precision"], found["recall"], found["f1"]) == (0.5, 0.5, 0.5)


def made(kinds: list[int], meters: list[int], runs: list[int] | None = None) -> Examples:
    """Windows one after the other."""
    count = len(kinds)
    rows = {
        "event_count": np.full(count, 60),
        "power_avg_kw": np.linspace(0.1, 1, count),
        "power_std_kw": np.full(count, 0.1),
        "power_min_kw": np.full(count, 0.05),
        "power_step_max_kw": np.linspace(0.1, 0.2, count),
        "run_max_count": np.full(count, 1),
        "voltage_std_v": np.full(count, 0.1),
        "voltage_min_v": np.full(count, 228.0),
        "voltage_max_v": np.full(count, 232.0),
    }
    return Examples(
        np.empty((count, 0)),
        np.array(kinds, dtype=np.int8),
        np.array(runs or [0] * count),
        np.array(meters),
        np.arange(count, dtype=np.int64) * 300_000,
        np.array(meters) == 2,
        rows,
    )


def test_windows_whose_only_fault_is_missing_readings_are_not_in_the_headline() -> None:
    examples = made([0, GAP, 2, 0], [1, 1, 2, 2])
    score = np.array([0.1, 0.0, 0.9, 0.2])
    found = figures(examples, score, 0.5)
    assert found["windows"] == 3
    assert found["average_precision"] == 1.0
    assert found["average_precision_with_gaps"] == pytest.approx(0.5 * (1 + 2 / 4))
    assert found["average_precision_unseen_meters"] == 1.0
    assert found["by_kind"]["gap"] == {"windows": 1, "recall": 0.0, "average_precision": pytest.approx(1 / 3)}
    assert (found["prevalence"], found["prevalence_with_gaps"]) == (1 / 3, 0.5)


def test_delay_runs_from_an_anomalys_first_window() -> None:
    #                 two neighbours, found in the second; a gap; one never found; another kind; another meter
    examples = made([2, 2, GAP, 0, 3, 4, 4, 4], [1, 1, 1, 1, 1, 1, 1, 2])
    predicted = np.array([False, True, True, False, False, True, True, True])
    assert delay(examples, predicted) == {
        "anomalies": 4,
        "found": 3,
        "mean_minutes": pytest.approx(5 / 3),
        "within_first_window": pytest.approx(2 / 3),
    }


def test_runs_are_judged_by_themselves() -> None:
    examples = made([2, 0, 0, 2, 0, 0], [1] * 6, [0, 0, 1, 1, 2, 2])
    assert per_run(examples, np.array([1.0, 0.0, 1.0, 0.5, 0.0, 0.0])) == [1.0, 0.5]


def test_kinds_come_from_the_labels_and_missing_readings_from_what_is_seen() -> None:
    rows = {
        "meter_id": np.array([1, 1, 1, 1, 1, 2]),
        "event_count": np.array([60, 60, 60, 59, 60, 30]),
        "failure_count": np.array([0, 3, 0, 0, 0, 0]),
        "spike_count": np.array([0, 2, 0, 0, 0, 0]),
        "low_consumption_count": np.array([0, 0, 1, 0, 0, 0]),
        "voltage_anomaly_count": np.array([0, 0, 0, 0, 0, 0]),
        "gap_count": np.array([0, 0, 1, 0, 2, np.nan]),
    }
    assert [KINDS[kind] for kind in kinds_of(rows)] == ["none", "failure", "low_consumption", "gap", "gap", "none"]


def test_baselines_score_as_they_say() -> None:
    examples = made([0, 2, 0, 0, 0], [1] * 5)
    for name, value in (("voltage_max_v", 251.0), ("event_count", 40), ("power_std_kw", 0.0)):
        rows = {column: values.copy() for column, values in examples.rows.items()}
        rows[name][3] = value
        if name == "power_std_kw":
            rows["voltage_std_v"][3] = 0.0
        tested = Examples(**{**vars(examples), "rows": rows})
        assert BASELINES["rules"](examples, tested).argmax() == 3, name
    assert not BASELINES["everything"](examples, examples).any()
    assert BASELINES["hour_of_day"](examples, examples).tolist() == [0.2] * 5
    power = examples.rows["power_avg_kw"]
    wanted = np.abs(power - np.median(power)) / (1.4826 * np.median(np.abs(power - np.median(power))))
    assert BASELINES["robust_z"](examples, examples) == pytest.approx(wanted)
    elsewhere = Examples(**{**vars(examples), "meter_id": np.full(5, 9)})
    assert BASELINES["robust_z"](examples, elsewhere) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "value"),
    [("run_max_count", 3), ("power_min_kw", 0.009), ("voltage_min_v", 209.0), ("voltage_max_v", 251.0)],
)
def test_informed_rules_know_what_is_injected(name: str, value: float) -> None:
    examples = made([0, 2, 0, 0, 0], [1] * 5)
    assert SHOWN["informed_rules"](examples, examples).argmax() == 4  # the largest step
    rows = {column: values.copy() for column, values in examples.rows.items()}
    rows[name][2] = value
    assert SHOWN["informed_rules"](examples, Examples(**{**vars(examples), "rows": rows})).argmax() == 2
