"""Windows to learn from or to be judged by: features, kinds, and what the baselines look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64, Column, Columns, concatenate, take
from ml.features import FEATURES
from ml.history import Merged, features_of, merged, profile_of
from ml.truth import GAP, KINDS, NONE, Kinds, kinds_of
from ml.windows import WINDOW_MS

Mask = NDArray[np.bool_]
KEPT = (
    *("event_count", "power_avg_kw", "power_std_kw", "power_min_kw", "power_step_max_kw"),
    *("voltage_std_v", "voltage_min_v", "voltage_max_v", "run_max_count"),
)


@dataclass(frozen=True)
class Examples:
    """Windows in the order of run, meter and time. Each window of a meter occurs once in a run."""

    features: F64
    kind: Kinds
    run: I64
    """Which injection, where the same readings were used several times."""
    meter_id: I64
    window_start: I64
    unseen: Mask
    """Windows of meters that training never saw."""
    rows: dict[str, Column]
    """Fields that the baselines look at; none is a label."""

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def positive(self) -> Mask:
        """Windows that hold an anomaly, a gap included."""
        is_anomaly: Mask = self.kind != NONE
        return is_anomaly

    @property
    def without_gaps(self) -> Mask:
        """The windows of the headline figures: all but those whose only fault is missing readings."""
        is_no_gap: Mask = self.kind != GAP
        return is_no_gap

    def by_kind(self) -> dict[str, int]:
        """How many windows of each kind."""
        counts = np.bincount(self.kind, minlength=len(KINDS))
        return {kind: int(count) for kind, count in zip(KINDS, counts, strict=True)}

    def chosen(self, which: Mask) -> "Examples":
        """Some of the windows."""
        arrays = {name: value[which] for name, value in vars(self).items() if name != "rows"}
        return Examples(**arrays, rows=take(self.rows, which))


@dataclass(frozen=True)
class LabelledRows:
    """The merged rows (law 3) of one run, with their kinds."""

    merged: Merged
    kind: Kinds
    rows: dict[str, Column]


def labelled_rows(rows: Columns) -> LabelledRows:
    """Merge rows of the contract, labels included, which may come in any order and more than once."""
    table, chosen = merged(rows)
    kept = take(rows, chosen)
    return LabelledRows(table, kinds_of(kept), {name: np.asarray(kept[name]) for name in KEPT})


def profile(tables: Sequence[tuple[LabelledRows, Mask]]) -> F64:
    """The profile of the chosen ordinary windows of the first run; further runs have the same readings."""
    table, chosen = tables[0]
    return profile_of(table.merged, np.flatnonzero(chosen & (table.kind == NONE)))


def examples(
    tables: Sequence[tuple[LabelledRows, Mask]],
    fitted_profile: F64,
    unseen_meters: NDArray[np.int64],
    with_features: bool = True,
) -> Examples:
    """The chosen windows of several runs; the windows before them give the features, chosen or not."""
    runs = []
    for run, (table, mask) in enumerate(tables):
        chosen = np.flatnonzero(mask)
        features = np.empty((len(chosen), 0))
        if with_features:
            features = features_of(table.merged, chosen, fitted_profile).reshape(-1, len(FEATURES))
        meter_id = table.merged.meter_id[chosen]
        runs.append(
            Examples(
                features,
                table.kind[chosen],
                np.full(len(chosen), run),
                meter_id,
                table.merged.number[chosen] * WINDOW_MS,
                np.isin(meter_id, unseen_meters),
                take(table.rows, chosen),
            )
        )
    arrays = {
        name: np.concatenate([getattr(run_examples, name) for run_examples in runs])
        for name in vars(runs[0])
        if name != "rows"
    }
    return Examples(**arrays, rows=concatenate([run_examples.rows for run_examples in runs]))
