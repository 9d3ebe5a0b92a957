"""Histories split by time and by meter, from a table, from simulation and from a file."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from infra.base.errors import SmartmeterError
from ml.data import DAY_MS, Data, injected, simulated, split_table, unseen_of
from ml.features import FEATURES
from ml.history import features_of, merged
from ml.truth import kinds_of
from producers.household import load_w, supply_v
from producers.settings import CsvOptions, Household
from tests.ml_rows import simulated_windows


def of_part(data: Data, part: str) -> set[int]:
    return set(getattr(data, part).meter_id.tolist())


def test_unseen_meters_are_a_fifth_and_stay_so_when_others_come() -> None:
    many = np.arange(1, 10_001)
    unseen = unseen_of(many)
    assert len(unseen) == pytest.approx(2000, rel=0.1)
    assert np.array_equal(unseen_of(many[:5000]), unseen[unseen <= 5000])
    assert unseen_of(many[:4]).size == 0


def test_a_table_is_split_at_shares_of_its_time() -> None:
    rows = simulated_windows(25, 20)
    data = split_table(rows, {"kind": "clickhouse"})
    first, end = int(rows["window_start"].min()), int(rows["window_start"].max()) + 300_000
    assert data.fit.window_start.max() < first + (end - first) * 0.6 <= data.validation.window_start.min()
    assert data.validation.window_start.max() < first + (end - first) * 0.8 <= data.test.window_start.min()
    unseen = set(unseen_of(rows["meter_id"].astype(np.int64)).tolist())
    assert unseen
    assert of_part(data, "test") == set(rows["meter_id"].tolist())
    assert of_part(data, "fit") == of_part(data, "validation") == of_part(data, "test") - unseen
    assert set(data.test.meter_id[data.test.unseen].tolist()) == unseen
    assert of_part(data, "before") == of_part(data, "test")
    assert sum(data.source["windows"]["test"].values()) == len(data.test)


def test_a_parts_features_look_back_across_the_cut_and_its_kinds_are_the_tables() -> None:
    rows = simulated_windows(25, 20)
    data = split_table(rows, {"kind": "clickhouse"})
    table, chosen = merged(rows)
    tested = np.flatnonzero(table.window_start >= data.test.window_start.min())
    assert data.test.features.tobytes() == features_of(table, tested, data.profile).tobytes()
    assert np.array_equal(data.test.kind, kinds_of({name: v[chosen] for name, v in rows.items()})[tested])
    assert data.before.features.shape == (len(data.before), 0)


def test_rows_of_any_order_and_repeats_give_the_same_data() -> None:
    rows = simulated_windows(25, 20)
    order = np.random.default_rng(1).permutation(np.concatenate([np.arange(len(rows["meter_id"])), np.arange(100)]))
    one, other = (split_table(table, {}) for table in (rows, {name: v[order] for name, v in rows.items()}))
    assert one.fit.features.tobytes() == other.fit.features.tobytes()
    assert one.source == other.source


def test_simulated_history_is_tested_at_the_usual_rate_and_the_same_again() -> None:
    one, again, other = simulated(20, 1.5, 0), simulated(20, 1.5, 0), simulated(20, 1.5, 1)
    assert one.fit.features.tobytes() == again.fit.features.tobytes()
    assert one.test.features.tobytes() == again.test.features.tobytes()
    assert one.test.features.tobytes() != other.test.features.tobytes()
    assert one.fit.window_start.max() < one.validation.window_start.min()
    assert one.validation.window_start.max() < one.test.window_start.min()
    assert one.fit.positive.mean() > 3 * one.test.positive.mean()
    look_back = FEATURES.index("windows_in_look_back")
    assert (one.test.features[:, look_back] > 60).mean() > 0.95  # what lies before the cut is known


def household_csv(path: Path, days: int) -> Path:
    """A file of the UCI form: one house, one reading a minute, some missing."""
    minutes = np.arange(days * 1440, dtype=np.int64) * 60_000 + 1_767_571_200_000
    home, meter, hours = Household(), np.array([5]), minutes // 3_600_000
    watts = [load_w(home, 1, meter, minutes[h : h + 60], hours[h : h + 1]) for h in range(0, len(minutes), 60)]
    volts = [supply_v(home, 1, meter, meter, minutes[h : h + 60], hours[h : h + 1]) for h in range(0, len(minutes), 60)]
    lines = ["Date;Time;Global_active_power;Voltage"]
    rows = zip(minutes.tolist(), np.concatenate(watts).tolist(), np.concatenate(volts).tolist(), strict=True)
    for number, (at, power, voltage) in enumerate(rows):
        moment = datetime.fromtimestamp(at / 1000, UTC)
        shown = "?" if number % 997 == 5 else f"{power / 1000:.3f}"
        lines.append(f"{moment:%d/%m/%Y;%H:%M:%S};{shown};{voltage:.2f}")
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_a_file_is_learned_from_in_its_first_days_and_judges_in_its_last(tmp_path: Path) -> None:
    file = household_csv(tmp_path / "home.csv.gz", 5)
    data = injected(file, None, CsvOptions(), test_seeds=4, seed=0, train_seeds=6)
    first = 1_767_571_200_000
    assert data.fit.window_start.max() < first + 2 * DAY_MS <= data.validation.window_start.min()
    assert data.validation.window_start.max() < first + 3 * DAY_MS <= data.test.window_start.min()
    assert set(data.test.run.tolist()) == {0, 1, 2, 3}
    assert set(data.fit.run.tolist()) == set(range(6))
    assert 0.005 < data.test.positive.mean() < 0.06
    assert not data.test.unseen.any()
    other = injected(file, file, CsvOptions(), test_seeds=2, seed=0, train_seeds=2)
    assert other.test.window_start.min() == first
    assert other.source["test_file"] == "home.csv.gz"


def test_too_short_a_file_and_an_empty_table_say_so(tmp_path: Path) -> None:
    with pytest.raises(SmartmeterError, match="at least 3"):
        injected(household_csv(tmp_path / "home.csv.gz", 2), None, CsvOptions(), test_seeds=1, seed=0)
    with pytest.raises(SmartmeterError, match="no history"):
        split_table({}, {})
