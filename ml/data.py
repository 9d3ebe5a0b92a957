"""Histories split by time and by meter: to learn from, to choose the threshold on, and to judge by.

The test is later than everything that training saw. A fifth of the meters is in no training at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.base.clock import instant
from infra.base.columns import F64, Column, Columns, concatenate, length, take
from infra.base.errors import SmartmeterError
from ml.examples import Examples, LabelledRows, Mask, examples, labelled_rows, profile
from ml.features import LOOK_BACK
from ml.injection import inject
from ml.windows import WINDOW_MS, windows_of
from producers.csv_source import batches
from producers.hashing import draw
from producers.settings import Anomalies, CsvOptions, Simulation
from producers.simulator import Simulator
from schemas.manifest import RAW, load_datasets

DAY_MS = 86_400_000
FIT_UNTIL, VALIDATE_UNTIL = 0.6, 0.8
"""Shares of the time: before the first is fitted, between them is validated, after the second is tested."""
UNSEEN_ONE_IN = 5
UNSEEN_CHANNEL = 900
"""Keeps this draw apart from those of the simulation."""
LEAST = {"fit": 10, "validation": 3, "test": 3}
"""Windows with an anomaly, gaps aside, that each split must have."""

SIMULATED_FROM_MS = 1_767_571_200_000
"""2026-01-05, a Monday."""
TRAINING_FACTOR = 5.0
"""How many times as often anomalies are injected where the forest is fitted; the other splits have the usual rates."""
INJECTIONS_FIT, INJECTIONS_FIRST_SEED = 30, 1000


@dataclass(frozen=True)
class Data:
    """The three splits, with what the baselines may know."""

    fit: Examples
    validation: Examples
    test: Examples
    before: Examples
    """All windows before the test, those of unseen meters too; without features."""
    profile: F64
    source: dict[str, Any]
    """What the data are, for the manifest."""

    def check(self) -> None:
        """Raise SmartmeterError where a split has too few anomalies to learn from or to judge by."""
        for split, least in LEAST.items():
            windows: Examples = getattr(self, split)
            anomalies = int((windows.positive & windows.without_gaps).sum())
            if anomalies < least:
                raise SmartmeterError(
                    f"too little history: the {split} split has {len(windows)} windows of 5 min, {anomalies} with "
                    f"an anomaly, and needs {least}; simulate or import more of it, or train on simulated history with "
                    "`smartmeter ml train --simulate`"
                )


def unseen_of(meters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The meters that training does not see: a fifth of all, by a hash of the id, so that further meters change
    nothing.

    Of fewer than five meters it takes none.
    """
    known = np.unique(meters)
    if len(known) < UNSEEN_ONE_IN:
        return known[:0]
    unseen: NDArray[np.int64] = known[draw(0, UNSEEN_CHANNEL, known) % np.uint64(UNSEEN_ONE_IN) == 0]
    return unseen


def split_table(rows: Columns, source: dict[str, Any]) -> Data:
    """Rows of the contract, labels included, split at shares of the time that they cover."""
    if not length(rows):
        raise SmartmeterError("no history: the table of features is empty; run `smartmeter stream` and send readings")
    table = labelled_rows(rows)
    start = table.merged.window_start
    first, end = int(start.min()), int(start.max()) + WINDOW_MS
    fit_end, test_from = (first + int((end - first) * share) for share in (FIT_UNTIL, VALIDATE_UNTIL))
    unseen = unseen_of(table.merged.meter_id)
    seen = ~np.isin(table.merged.meter_id, unseen)
    validated = seen & (start >= fit_end) & (start < test_from)
    periods = {"from": first, "validated_from": fit_end, "tested_from": test_from, "to": end}
    return _data(
        [(table, seen & (start < fit_end))],
        [(table, validated)],
        [(table, start >= test_from)],
        [(table, start < test_from)],
        unseen,
        periods,
        source,
    )


def simulated(meters: int, days: float, seed: int) -> Data:
    """Simulated history: `meters` in all, over `days` from a fixed Monday on; made in memory, without a broker."""
    household_seed = 1_000_003 + seed  # not those of the simulations that a user runs
    first = SIMULATED_FROM_MS
    fit_end, test_from, end = (
        first + int(days * DAY_MS * share) // WINDOW_MS * WINDOW_MS for share in (FIT_UNTIL, VALIDATE_UNTIL, 1.0)
    )
    fit = labelled_rows(_simulate(meters, household_seed, TRAINING_FACTOR, first, fit_end))
    later = labelled_rows(_simulate(meters, household_seed, 1.0, fit_end - (LOOK_BACK + 1) * WINDOW_MS, end))
    unseen = unseen_of(fit.merged.meter_id)
    seen, start = ~np.isin(later.merged.meter_id, unseen), later.merged.window_start
    all_fit = np.ones(len(fit.kind), dtype=np.bool_)
    validated = (start >= fit_end) & (start < test_from)
    periods = {"from": first, "validated_from": fit_end, "tested_from": test_from, "to": end}
    source = {"kind": "simulation", "seed": seed, "days": days, "anomalies_factor_fit": TRAINING_FACTOR}
    return _data(
        [(fit, ~np.isin(fit.merged.meter_id, unseen))],
        [(later, validated & seen)],
        [(later, start >= test_from)],
        [(fit, all_fit), (later, validated)],
        unseen,
        periods,
        source,
    )


def injected(
    path: Path,
    test_path: Path | None,
    options: CsvOptions,
    test_seeds: int,
    seed: int,
    train_seeds: int = INJECTIONS_FIT,
) -> Data:
    """Real readings with anomalies injected many times over. The first days train, the last ones judge.

    Without `test_path` the test is the last 30 % of the days, in whole days. Validation is the last fifth (at least one
    day) of the days before.
    """
    readings = _read(path, options)
    first = int(readings["timestamp"].min()) // DAY_MS * DAY_MS
    days = -(-(int(readings["timestamp"].max()) + 1 - first) // DAY_MS)
    test_days = 0 if test_path else max(1, round(0.3 * days))
    if days - test_days < 2:
        raise SmartmeterError(f"{path} covers {days} days; to learn and to judge takes at least 3: give a longer file")
    test_from = first + (days - test_days) * DAY_MS
    fit_end = test_from - max(1, round(0.2 * (days - test_days))) * DAY_MS
    before = take(readings, readings["timestamp"] < test_from)
    tested = _read(test_path, options) if test_path else readings
    from_ms = int(tested["timestamp"].min()) if test_path else test_from
    learned = _runs(before, range(INJECTIONS_FIRST_SEED + seed, INJECTIONS_FIRST_SEED + seed + train_seeds))
    judged = _runs(tested, range(seed, seed + test_seeds))
    fit = [(table, table.merged.window_start < fit_end) for table in learned]
    validation = [(table, table.merged.window_start >= fit_end) for table in learned]
    test = [(table, table.merged.window_start >= from_ms) for table in judged]
    whole = [(table, np.ones(len(table.kind), dtype=np.bool_)) for table in learned]
    periods = {"from": first, "validated_from": fit_end, "tested_from": from_ms}
    periods["to"] = int(tested["timestamp"].max()) + 1
    source = {"kind": "csv", "file": path.name, "test_file": test_path.name if test_path else None, "seed": seed}
    source |= {"injections_fit": train_seeds, "injections_test": test_seeds}
    return _data(fit, validation, test, whole, np.empty(0, dtype=np.int64), periods, source)


def _data(
    fit: Sequence[tuple[LabelledRows, Mask]],
    validation: Sequence[tuple[LabelledRows, Mask]],
    test: Sequence[tuple[LabelledRows, Mask]],
    before: Sequence[tuple[LabelledRows, Mask]],
    unseen: NDArray[np.int64],
    periods: dict[str, int],
    source: dict[str, Any],
) -> Data:
    fitted_profile = profile(fit)
    fitted, validated, tested = (examples(split, fitted_profile, unseen) for split in (fit, validation, test))
    splits = {"fit": fitted, "validation": validated, "test": tested}
    description = {
        **source,
        **{name: instant(ms) for name, ms in periods.items()},
        "meters": len(np.unique(np.concatenate([split.meter_id for split in splits.values()]))),
        "unseen_meters": len(unseen),
        "windows": {name: split.by_kind() for name, split in splits.items()},
    }
    known = examples(before, fitted_profile, unseen, with_features=False)
    return Data(fitted, validated, tested, known, fitted_profile, description)


def _simulate(meters: int, seed: int, factor: float, first_ms: int, end_ms: int) -> dict[str, Column]:
    """Windows of simulated meters, a day at a time, so that memory stays bounded by a day's readings."""
    simulator = Simulator(
        Simulation(buildings=meters, meters_per_building=1, seed=seed, anomalies=Anomalies().scaled(factor))
    )
    days = range(first_ms, end_ms, DAY_MS)
    spans = [(simulator.tick_at(begin), simulator.tick_at(min(begin + DAY_MS, end_ms))) for begin in days]
    return concatenate([windows_of(simulator.readings(first, end)) for first, end in spans])


def _runs(readings: Columns, seeds: range) -> list[LabelledRows]:
    interval_ms = int(np.median(np.diff(np.unique(readings["timestamp"]))))
    return [labelled_rows(windows_of(inject(readings, Anomalies(), seed, interval_ms))) for seed in seeds]


def _read(path: Path, options: CsvOptions) -> dict[str, Column]:
    record = load_datasets()[RAW].latest
    readings = concatenate([batch.columns for batch in batches(path, options, record)])
    if length(readings) < 2:
        raise SmartmeterError(f"{path}: {length(readings)} readings; give a file that covers several days")
    return readings
