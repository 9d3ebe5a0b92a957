"""What the model sees: only what it may, only the past, and the same bits in batch, one by one and on the stream."""

from dataclasses import replace

import numpy as np
import pytest

from ml.features import FEATURES, INPUTS, LOOK_BACK, PROFILE_CELLS, History, features, fit_profile, profile_cell
from ml.history import Merged, features_of, histories, merged, profile_of
from ml.judge import Judge
from ml.lag_state import winners
from ml.truth import COUNTS, DATASET, forbidden, kinds_of
from ml.windows import WINDOW_MS
from schemas.manifest import load_datasets
from tests.ml_rows import as_log, simulated_windows

PROFILE = np.linspace(0.4, 1.6, PROFILE_CELLS)


def table(meters: int = 4, hours: int = 20) -> Merged:
    return merged(simulated_windows(meters, hours))[0]


def every_row(of: Merged) -> np.ndarray:
    return np.arange(len(of.number))


def test_only_fields_of_the_contract_that_are_no_labels_are_read() -> None:
    fields = {field.name for field in load_datasets()[DATASET].latest.fields}
    assert forbidden() == {"failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count"}
    assert set(COUNTS) == forbidden()
    assert set(INPUTS) <= fields - forbidden()


def test_labels_change_no_feature() -> None:
    windows = simulated_windows(3, 8)
    turned = {name: 60 - values if name in forbidden() else values for name, values in windows.items()}
    plain, other = merged(windows)[0], merged(turned)[0]
    assert (kinds_of(windows) != kinds_of(turned)).any()
    assert (
        features_of(plain, every_row(plain), PROFILE).tobytes()
        == features_of(other, every_row(other), PROFILE).tobytes()
    )


def test_no_feature_looks_ahead() -> None:
    whole = table()
    cut = int(np.median(whole.number))
    past = whole.number <= cut
    before = features_of(whole, every_row(whole)[past], PROFILE)
    changed = whole.values.copy()
    changed[~past] = changed[~past] * np.float32(3) + np.float32(1)
    other = replace(whole, values=changed)
    assert features_of(other, every_row(whole)[past], PROFILE).tobytes() == before.tobytes()
    only_past = Merged(whole.meter_id[past], whole.number[past], whole.values[past])
    assert features_of(only_past, every_row(only_past), PROFILE).tobytes() == before.tobytes()


def test_what_lies_before_the_look_back_changes_nothing() -> None:
    own = table(1, 20)
    last = np.array([len(own.number) - 1])
    recent = own.number >= own.number[-1] - LOOK_BACK
    assert not recent.all()
    shorter = Merged(own.meter_id[recent], own.number[recent], own.values[recent])
    end = np.array([len(shorter.number) - 1])
    assert features_of(shorter, end, PROFILE).tobytes() == features_of(own, last, PROFILE).tobytes()


def test_other_meters_change_nothing() -> None:
    whole = table()
    one = whole.meter_id == 2
    alone = Merged(whole.meter_id[one], whole.number[one], whole.values[one])
    assert (
        features_of(alone, every_row(alone), PROFILE).tobytes()
        == features_of(whole, every_row(whole)[one], PROFILE).tobytes()
    )


def test_one_by_one_and_all_at_once_have_the_same_bits() -> None:
    whole = table(2, 8)
    [history] = list(histories(whole, every_row(whole)))
    together = features(history, PROFILE)
    for row in range(0, len(together), 7):
        single = History(history.values[row : row + 1], history.window_start[row : row + 1])
        assert features(single, PROFILE).tobytes() == together[row : row + 1].tobytes()


def test_batch_and_stream_have_the_same_bits() -> None:
    log = as_log(simulated_windows(4, 20))
    log = log.chosen(np.lexsort((log.meter_id, log.number)))
    counted = winners(log)
    whole = Merged(counted.meter_id, counted.number, counted.values)
    batch = dict(
        zip(
            zip(counted.meter_id.tolist(), counted.number.tolist(), strict=True),
            features_of(whole, every_row(whole), PROFILE),
            strict=True,
        )
    )
    judge, seen = Judge(), 0
    for begin in range(0, len(log), 37):
        for suspects in judge.judge(log.chosen(np.arange(begin, min(begin + 37, len(log)))), {"v": PROFILE}):
            rows = suspects["v"].rows
            for row, found in enumerate(suspects["v"].features):
                assert found.tobytes() == batch[int(rows.meter_id[row]), int(rows.number[row])].tobytes()
                seen += 1
    assert seen == len(log)


@pytest.mark.parametrize("values", [0.0, 1e6, np.nan, -1e3])
def test_features_are_always_finite(values: float) -> None:
    history = np.full((3, len(INPUTS), LOOK_BACK + 1), values, dtype=np.float32)
    history[1, :, :-1] = np.nan  # a meter's first window
    history[2, :, -1] = 5.0
    found = features(History(history, np.arange(3, dtype=np.int64) * WINDOW_MS), PROFILE)
    assert found.shape == (3, len(FEATURES))
    assert np.isfinite(found).all()


def test_features_are_what_their_names_say() -> None:
    history = np.full((1, len(INPUTS), LOOK_BACK + 1), np.nan, dtype=np.float32)
    place = {name: number for number, name in enumerate(INPUTS)}
    for back, power in ((0, 3.0), (3, 1.0), (4, 2.0)):  # the two windows directly before never came
        history[0, :, -1 - back] = 0.0
        history[0, place["event_count"], -1 - back] = 30 if back == 0 else 60
        for name in ("power_avg_kw", "power_max_kw", "power_min_kw"):
            history[0, place[name], -1 - back] = power
    start = np.array([1_767_571_200_000 + 3_600_000 * 18], dtype=np.int64)  # a Monday at six in the evening
    found = dict(zip(FEATURES, features(History(history, start), PROFILE)[0].tolist(), strict=True))
    assert found["missing_windows_before"] == 2
    assert found["windows_in_last_hour"] == found["windows_in_look_back"] == 2
    assert found["readings_to_usual"] == 0.5
    assert found["power_to_mean"] == 2.0
    assert found["power_to_expected"] == pytest.approx(2.0 / PROFILE[18])
    assert found["power_max_over_base_kw"] == 2.0
    assert found["power_avg_kw_diff_1"] == -1.0  # nothing to compare with
    assert found["power_avg_kw_diff_3"] == 2.0
    assert found["weekend"] == 0.0
    assert found["hour_sine"] == pytest.approx(-1.0)


def test_the_profile_is_the_median_by_hour_and_kind_of_day() -> None:
    hours = np.arange(24 * 7, dtype=np.int64)
    start = 1_767_571_200_000 + hours * 3_600_000
    ratio = 1.0 + hours % 24 / 24 + np.where(hours >= 24 * 5, 10.0, 0.0)
    profile = fit_profile(ratio, start)
    assert profile.tolist() == [*(1 + hour / 24 for hour in range(24)), *(11 + hour / 24 for hour in range(24))]
    assert profile_cell(start)[[0, 24 * 5 + 3]].tolist() == [0, 27]
    weekdays = fit_profile(ratio[:48], start[:48])
    assert weekdays[24:].tolist() == weekdays[:24].tolist()  # without a weekend, its hours are the weekday's
    assert fit_profile(np.array([np.nan]), start[:1]).tolist() == [1.0] * PROFILE_CELLS


def test_the_profile_of_simulated_meters_rises_towards_the_evening_and_falls_at_night() -> None:
    whole = table(8, 48)
    profile = profile_of(whole, every_row(whole))
    assert profile[16:18].mean() > 1.2
    assert profile[22:24].mean() < 0.8
