"""What a window is judged by: the kind of anomaly in it.

Kinds with a status bit are ground truth: the simulator (or the injection) says what it did. A gap has no bit, because a
missing reading carries none; gaps are seen, not known. So windows whose only fault is missing readings are a class of
their own, GAP. The headline figures exclude them, because a count of readings finds them and they would flatter the
model; figures that include them stand beside.
"""

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import I64, Columns
from schemas.manifest import load_datasets

DATASET = "anomaly_prediction_features"
KINDS = ("none", "failure", "spike", "low_consumption", "voltage", "gap")
NONE, GAP = 0, len(KINDS) - 1
COUNTS = ("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count")
"""The labels of the contract, in the order of KINDS from 1 on."""

Kinds = NDArray[np.int8]


def forbidden() -> frozenset[str]:
    """The contract's fields that a model may not look at."""
    return frozenset(field.name for field in load_datasets()[DATASET].latest.fields if field.label)


def kinds_of(rows: Columns) -> Kinds:
    """Each window's kind: of several kinds the one with the most readings, and of equals the first in KINDS.

    A window without any is GAP if readings are missing: between its first and last reading by the sequence, or if it
    has fewer than the meter's usual count (the median over these rows).
    """
    counts = np.stack([np.asarray(rows[name]) for name in COUNTS])
    marked = counts.max(axis=0) > 0
    gap = np.ma.filled(np.ma.asarray(rows["gap_count"], dtype=np.float64), np.nan)
    missing = (gap > 0) | (rows["event_count"] < usual_count(rows["meter_id"].astype(np.int64), rows["event_count"]))
    return np.where(marked, counts.argmax(axis=0) + 1, np.where(missing, GAP, NONE)).astype(np.int8)


def usual_count(meter_id: I64, event_count: I64) -> I64:
    """For each row the median (the upper of two) of its meter's counts."""
    _, which, sizes = np.unique(meter_id, return_inverse=True, return_counts=True)
    order = np.lexsort((event_count, which))
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    medians: I64 = event_count[order][first + sizes // 2]
    return medians[which]
