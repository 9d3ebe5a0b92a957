"""How good a score is: average precision first, as anomalies are rare; then what a threshold makes of it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64
from ml.examples import Examples, Mask
from ml.truth import KINDS, NONE
from ml.windows import WINDOW_MS


@dataclass(frozen=True)
class Curve:
    """Precision and recall at each distinct score, from the highest down."""

    precision: F64
    recall: F64
    threshold: F64


def curve(positive: Mask, score: F64) -> Curve:
    """The curve of predictions `score >= threshold`; windows of equal score enter together."""
    order = np.argsort(-score, kind="stable")
    ranked, hits = score[order], np.cumsum(positive[order])
    last_of_equals = np.concatenate([np.flatnonzero(np.diff(ranked)), [len(ranked) - 1]]).astype(np.intp)
    true, taken = hits[last_of_equals], last_of_equals + 1
    return Curve(true / taken, true / max(1, int(hits[-1])), ranked[last_of_equals])


def average_precision(positive: Mask, score: F64) -> float:
    """Sum over the curve of precision times the rise in recall (no interpolation); NaN without a positive window."""
    if not positive.any():
        return float("nan")
    points = curve(positive, score)
    return float((points.precision * np.diff(points.recall, prepend=0.0)).sum())


def best_threshold(positive: Mask, score: F64) -> float:
    """The threshold of the highest F1; of equals the highest."""
    points = curve(positive, score)
    total = points.precision + points.recall
    f1 = np.divide(2 * points.precision * points.recall, total, out=np.zeros_like(total), where=total > 0)
    return float(points.threshold[int(np.argmax(f1))])


def at_threshold(positive: Mask, predicted: Mask) -> dict[str, Any]:
    """Confusion, precision, recall and F1; a ratio without a denominator is 0."""
    hit, false = int((positive & predicted).sum()), int((~positive & predicted).sum())
    missed, rest = int((positive & ~predicted).sum()), int((~positive & ~predicted).sum())
    return {
        "precision": hit / max(1, hit + false),
        "recall": hit / max(1, hit + missed),
        "f1": 2 * hit / max(1, 2 * hit + false + missed),
        "confusion": {"true_positive": hit, "false_positive": false, "false_negative": missed, "true_negative": rest},
    }


def per_kind(examples: Examples, score: F64, threshold: float) -> dict[str, Any]:
    """For each kind its windows, the share found, and the average precision against ordinary windows."""
    figures_of = {}
    for number, kind in enumerate(KINDS):
        of_kind = examples.kind == number
        if number == NONE or not of_kind.any():
            continue
        against = of_kind | (examples.kind == NONE)
        figures_of[kind] = {
            "windows": int(of_kind.sum()),
            "recall": float((score[of_kind] >= threshold).mean()),
            "average_precision": average_precision(of_kind[against], score[against]),
        }
    return figures_of


def delay(examples: Examples, predicted: Mask) -> dict[str, Any]:
    """Minutes of event time from the end of an anomaly's first window to the end of its first predicted window.

    Neighbouring windows are one anomaly. Only anomalies that are found count. A result also waits until its window is
    closed.
    """
    rows = np.flatnonzero(examples.positive & examples.without_gaps)
    if not rows.size:
        return {"anomalies": 0, "found": 0, "mean_minutes": None, "within_first_window": None}
    numbers = _anomaly_numbers(examples, rows)
    first_start = np.full(numbers[-1] + 1, np.iinfo(np.int64).max)
    np.minimum.at(first_start, numbers, examples.window_start[rows])
    found_start = np.full(numbers[-1] + 1, np.iinfo(np.int64).max)
    hits = predicted[rows]
    np.minimum.at(found_start, numbers[hits], examples.window_start[rows][hits])
    is_found = found_start < np.iinfo(np.int64).max
    minutes = (found_start[is_found] - first_start[is_found]) / 60_000
    return {
        "anomalies": len(is_found),
        "found": int(is_found.sum()),
        "mean_minutes": float(minutes.mean()) if is_found.any() else None,
        "within_first_window": float((minutes == 0).mean()) if is_found.any() else None,
    }


def _anomaly_numbers(examples: Examples, rows: NDArray[np.intp]) -> I64:
    """Consecutive windows of one run, meter and kind are one anomaly."""
    keys = [examples.run[rows], examples.meter_id[rows], examples.kind[rows].astype(np.int64)]
    begins = np.concatenate([[True], np.diff(examples.window_start[rows]) != WINDOW_MS])
    for key in keys:
        begins[1:] |= np.diff(key) != 0
    numbers: I64 = np.cumsum(begins) - 1
    return numbers


def figures(examples: Examples, score: F64, threshold: float) -> dict[str, Any]:
    """All of the above for one score. The headline excludes windows whose only fault is missing readings."""
    judged = examples.without_gaps
    positive, judged_score = examples.positive[judged], score[judged]
    unseen = examples.unseen & judged
    return {
        "average_precision": average_precision(positive, judged_score),
        "average_precision_with_gaps": average_precision(examples.positive, score),
        "average_precision_unseen_meters": _or_none(average_precision(examples.positive[unseen], score[unseen])),
        **at_threshold(positive, judged_score >= threshold),
        "windows": int(judged.sum()),
        "prevalence": float(positive.mean()) if len(positive) else 0.0,
        "prevalence_with_gaps": float(examples.positive.mean()) if len(examples) else 0.0,
        "by_kind": per_kind(examples, score, threshold),
        "delay": delay(examples, score >= threshold),
    }


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def per_run(examples: Examples, score: F64) -> list[float]:
    """Average precision of each run by itself; a run without an anomaly has none."""
    judged = examples.without_gaps
    masks = [judged & (examples.run == run) for run in np.unique(examples.run)]
    return [average_precision(examples.positive[run], score[run]) for run in masks if examples.positive[run].any()]
