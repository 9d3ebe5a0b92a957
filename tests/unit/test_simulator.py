"""The simulator: repeatable to the byte, the same in any pieces, and true to the physics that it states."""

import hashlib
from collections.abc import Mapping
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.base.columns import Column, concatenate, take
from producers import anomalies as injected
from producers.events import encode
from producers.hashing import draw, normal
from producers.settings import Anomalies, Household, Rate, Simulation
from producers.simulator import Simulator
from schemas.manifest import load_datasets

DAY_TICKS = 17_280
HOUR_TICKS = 720
FIRST_TICK = 1_767_225_600_000 // 5000  # 2026-01-01
GOLDEN_SHA256 = "d4cb18de3741e420a94d0d9273b5fd3221c2d701104573d3585c7279e39d21ef"

Readings = Mapping[str, Column]


@cache
def two_days(factor: float = 1.0) -> Readings:
    """Two days of 200 meters, with the anomalies `factor` times as often."""
    return simulator(buildings=20, factor=factor).readings(FIRST_TICK, FIRST_TICK + 2 * DAY_TICKS)


def simulator(buildings: int = 3, meters_per_building: int = 10, seed: int = 7, factor: float = 1.0) -> Simulator:
    rates = Anomalies().scaled(factor)
    return Simulator(
        Simulation(buildings=buildings, meters_per_building=meters_per_building, seed=seed, anomalies=rates)
    )


def assert_same(one: Readings, other: Readings) -> None:
    assert one.keys() == other.keys()
    for name, values in one.items():
        assert values.dtype == other[name].dtype
        assert values.tobytes() == other[name].tobytes(), name


def test_first_bytes_of_a_seed_never_change() -> None:
    record = load_datasets()["raw_data"].versions[2]
    readings = simulator(buildings=10, factor=8.0).readings(FIRST_TICK + 300, FIRST_TICK + 1300)
    digest = hashlib.sha256(b"".join(encode(record, 1, readings))).hexdigest()
    assert digest == GOLDEN_SHA256, "the simulation changed: a stopped simulator would go on with other readings"


def test_another_seed_gives_other_readings() -> None:
    one, other = (simulator(seed=seed, factor=0.0).readings(FIRST_TICK, FIRST_TICK + 5) for seed in (1, 2))
    assert (one["power_kw"] != other["power_kw"]).mean() > 0.9


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 900), max_size=8), st.integers(0, 800))
def test_any_pieces_give_the_same_bytes(pieces: list[int], begin: int) -> None:
    source = simulator(factor=8.0)
    bounds = np.cumsum([FIRST_TICK + begin, *pieces]).tolist()
    whole = source.readings(bounds[0], bounds[-1])
    parts = [source.readings(first, end) for first, end in pairwise(bounds)]
    assert_same(whole, concatenate(parts))


def test_a_meters_readings_do_not_depend_on_how_many_others_there_are() -> None:
    small, large = (simulator(buildings=n, factor=8.0).readings(FIRST_TICK, FIRST_TICK + 2000) for n in (1, 8))
    assert_same(small, take(large, large["meter_id"] <= 10))


def test_readings_are_ordered_and_numbered_by_tick() -> None:
    readings = simulator().readings(FIRST_TICK, FIRST_TICK + 1500)
    order = np.lexsort((readings["meter_id"], readings["timestamp"]))
    assert (order == np.arange(len(order))).all()
    assert (readings["sequence"] * 5000 == readings["timestamp"]).all()
    assert (readings["building_id"] == (readings["meter_id"] - 1) // 10 + 1).all()
    assert (readings["power_kw"] >= 0).all()


def test_numbers_are_what_meters_show() -> None:
    readings = two_days()
    for values, steps in ((readings["power_kw"], 1000), (readings["voltage_v"], 100)):
        assert (values == np.round(values * steps) / steps).all()


def test_noise_is_a_tenth_of_the_load_by_night_and_by_day() -> None:
    quiet = Household(appliance_chance=(0.0,) * 24, absent_share=0.0)
    source = Simulator(Simulation(household=quiet, anomalies=Anomalies().scaled(0)))
    for hour in (2, 17):  # the profile is level around the middle of these
        middle = FIRST_TICK + hour * HOUR_TICKS + HOUR_TICKS // 2
        power = source.readings(middle - 20, middle + 20)["power_kw"].reshape(40, 100)
        relative = (power / power.mean(axis=0)).std()
        assert relative == pytest.approx(0.10, abs=0.01), f"hour {hour}"


def test_the_profile_holds_in_the_middle_of_each_hour() -> None:
    quiet = Household(appliance_chance=(0.0,) * 24, absent_share=0.0, winter_factor=1.0, summer_factor=1.0)
    source = Simulator(Simulation(buildings=200, household=quiet, anomalies=Anomalies().scaled(0)))
    for hour, expected_kw in enumerate(quiet.profile_kw):  # 2026-01-01 is a Thursday
        middle = FIRST_TICK + hour * HOUR_TICKS + HOUR_TICKS // 2
        assert source.readings(middle, middle + 5)["power_kw"].mean() == pytest.approx(expected_kw, rel=0.03)


def test_weekends_and_seasons_differ() -> None:
    quiet = Household(appliance_chance=(0.0,) * 24, absent_share=0.0, noise_share=0.0)
    source = Simulator(Simulation(household=quiet, anomalies=Anomalies().scaled(0)))

    def mean_kw(day: int) -> float:
        noon = FIRST_TICK + day * DAY_TICKS + DAY_TICKS // 2
        return float(source.readings(noon, noon + 1)["power_kw"].mean())

    assert mean_kw(2) == pytest.approx(1.25 * mean_kw(1), rel=0.02)  # Saturday over Friday
    assert mean_kw(181) < 0.7 * mean_kw(0)  # July over New Year


def test_ordinary_life_has_appliances_more_in_the_evening_and_rarely_reaches_5_kw() -> None:
    readings = two_days(0.0)
    hour = readings["timestamp"] // 3_600_000 % 24
    busy = readings["power_kw"] > 1.9
    assert 0.08 < busy[(hour >= 17) & (hour < 20)].mean() < 0.3
    assert 0 < busy[hour < 4].mean() < 0.03
    assert 0 < (readings["power_kw"] >= 5).mean() < 0.001


def test_without_anomalies_nothing_is_marked_missing_or_out_of_limits() -> None:
    readings = two_days(0.0)
    assert len(readings["status"]) == 2 * DAY_TICKS * 200
    assert not readings["status"].any()
    assert ((readings["voltage_v"] > 210) & (readings["voltage_v"] < 250)).all()
    assert (readings["power_kw"] > 0.02).all()


def test_two_percent_of_windows_hold_an_anomaly() -> None:
    readings = two_days()
    window = readings["timestamp"] // 300_000 * 1000 + readings["meter_id"]
    numbers, counts = np.unique(window, return_counts=True)
    touched = set(window[readings["status"] != 0].tolist()) | set(numbers[counts < 60].tolist())
    never_came = 2 * 288 * 200 - len(numbers)
    share = (len(touched) + never_came) / (2 * 288 * 200)
    assert share == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize(("bit", "share"), [(1, 0.0005), (2, 0.00237), (4, 0.00365), (8, 0.00219)])
def test_each_kind_has_its_share_of_readings(bit: int, share: float) -> None:
    """Share of readings = per_day · mean duration / 86,400 s."""
    status = two_days(5.0)["status"]
    assert ((status & bit) != 0).mean() / 5 == pytest.approx(share, rel=0.15)


def test_gaps_have_their_share_and_show_in_the_sequence() -> None:
    readings = two_days(5.0)
    expected = 2 * DAY_TICKS * 200
    assert (expected - len(readings["status"])) / expected / 5 == pytest.approx(0.3 * 480 / 86_400, rel=0.15)
    one = readings["sequence"][readings["meter_id"] == np.bincount(readings["meter_id"])[1:].argmin() + 1]
    assert one[0] >= FIRST_TICK
    assert np.diff(one).max() > 12


def test_low_consumption_is_a_few_watts_and_excursions_leave_the_limits() -> None:
    readings = two_days(5.0)
    low, volts = readings["status"] == 4, readings["status"] == 8
    assert low.any()
    assert volts.any()
    assert (readings["power_kw"][low] < 0.01).all()
    assert readings["power_kw"][~low].min() > 0.02
    outside = (readings["voltage_v"] < 210) | (readings["voltage_v"] > 250)
    assert (outside == volts)[readings["status"] != 1].all()


def test_spikes_mostly_reach_5_kw() -> None:
    readings = two_days(5.0)
    share = (readings["power_kw"][readings["status"] == 2] >= 5).mean()
    assert 0.85 < share < 0.99


def test_a_failed_meter_repeats_its_last_reading() -> None:
    readings = two_days(5.0)
    checked = 0
    for meter in range(1, 41):
        own = take(readings, readings["meter_id"] == meter)
        failed = own["status"] == 1
        begins = np.flatnonzero(failed & ~np.roll(failed, 1))
        for begin in begins[begins > 0].tolist():
            end = begin + int(np.argmin(failed[begin:])) if not failed[begin:].all() else len(failed)
            for name in ("power_kw", "voltage_v"):
                assert (own[name][begin:end] == own[name][begin - 1]).all()
            checked += 1
    assert checked > 60


def spikes(seed: int) -> tuple[Readings, Readings, Column]:
    """The same span with spikes and without, and for each reading the kind of spike that is active."""
    rates = Anomalies().scaled(0).model_copy(update={"spike": Rate(per_day=24, shortest_s=60, longest_s=600)})
    with_spikes = Simulation(seed=seed, anomalies=rates)
    span = (FIRST_TICK + 1, FIRST_TICK + HOUR_TICKS)
    spiky = Simulator(with_spikes).readings(*span)
    plain = Simulator(with_spikes.model_copy(update={"anomalies": Anomalies().scaled(0)})).readings(*span)
    meters = np.arange(1, 101)
    hour = np.array([FIRST_TICK * 5000 // 3_600_000])
    began = injected.episodes(rates, seed, 5000, meters, hour)
    number = spiky["meter_id"] - 1
    active = (spiky["timestamp"] >= began.start_ms[number]) & (spiky["timestamp"] < began.end_ms[number])
    return spiky, plain, np.where(active, began.kind[number], injected.NONE)


def test_a_spike_that_is_load_pulls_the_voltage_down_and_a_faulty_meter_does_not() -> None:
    spiky, plain, kind = spikes(3)
    extra_kw = spiky["power_kw"] - plain["power_kw"]
    drop_v = plain["voltage_v"] - spiky["voltage_v"]
    load, fault = kind == injected.LOAD_SPIKE, kind == injected.FAULT_SPIKE
    assert load.sum() > 1000
    assert fault.sum() > 1000
    assert (extra_kw[load | fault] > 3.9).all()
    assert (drop_v[load] > 0.29 * extra_kw[load]).all()
    assert (drop_v[load] < 0.71 * extra_kw[load]).all()
    assert (drop_v[fault] == 0).all()
    assert 0.3 < load.sum() / (load.sum() + fault.sum()) < 0.7


def test_anomalies_of_a_meter_never_overlap_and_leave_a_reading_between() -> None:
    rates = Anomalies().scaled(7.0)
    hours = np.arange(490_000, 490_400)
    episodes = injected.episodes(rates, 5, 5000, np.arange(1, 101)[:, None], hours)
    begun = episodes.kind != injected.NONE
    assert begun.mean() > 0.7
    for meter in range(100):
        start, end = episodes.start_ms[meter][begun[meter]], episodes.end_ms[meter][begun[meter]]
        assert (start[1:] >= end[:-1] + 5000).all() or (start[1:] - 5000 >= end[:-1]).all()
        assert (start % 3_600_000 >= 5000).all()


def test_numbers_drawn_are_near_normal_and_bounded() -> None:
    deviates = normal(draw(1, 1, np.arange(200_000)))
    assert deviates.mean() == pytest.approx(0, abs=0.01)
    assert deviates.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(deviates) < 1).mean() == pytest.approx(0.6827, abs=0.02)
    assert np.abs(deviates).max() < 3.47


def test_draws_are_splitmix64() -> None:
    """The first outputs of splitmix64 from state 1234567, as its reference implementation gives them."""
    from producers.hashing import _GOLDEN, _mix

    states = np.array([1234567], dtype=np.uint64) + np.arange(3, dtype=np.uint64) * _GOLDEN
    assert _mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ValidationError, match="at most 24"):
        Anomalies().scaled(10)
    with pytest.raises(ValidationError, match="is above longest_s"):
        Rate(per_day=1, shortest_s=60, longest_s=30)
    with pytest.raises(ValidationError, match="do not fit"):
        Simulation(buildings=100_000, meters_per_building=100_000)


def steps(readings: Readings) -> tuple[Column, Column, Column, Column]:
    """From each reading of a meter to its next: status before and after, change of power (kW) and voltage (V)."""
    own = take(readings, np.argsort(readings["meter_id"], kind="stable"))
    next_of_meter = (np.diff(own["meter_id"]) == 0) & (np.diff(own["timestamp"]) == 5000)
    changes = (own["status"][:-1], own["status"][1:], np.diff(own["power_kw"]), np.diff(own["voltage_v"]))
    before, after, power, voltage = (values[next_of_meter] for values in changes)
    return before, after, power, voltage


def test_an_appliance_costs_its_meter_half_a_volt_per_kw() -> None:
    """From the readings alone: the slope of voltage steps over power steps where a load of 1 to 3 kW comes or goes."""
    before, after, power, voltage = steps(two_days())
    switched = (before == 0) & (after == 0) & (np.abs(power) > 0.9)
    assert switched.sum() > 2_000
    slope = np.polyfit(power[switched], voltage[switched], 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.03)


def test_the_readings_alone_show_both_kinds_of_spike() -> None:
    """A spike that is load costs 0.3 to 0.7 V per kW, so 1.2 V at least; the noise of a step is 0.42 V."""
    before, after, power, voltage = steps(two_days(5.0))
    begins = (before == 0) & (after == 2) & (power > 3.5)
    assert begins.sum() > 1_500
    pulled_down = begins & (voltage < -0.85)
    assert pulled_down.sum() / begins.sum() == pytest.approx(0.5, abs=0.05)
    assert (voltage[pulled_down] / power[pulled_down]).mean() == pytest.approx(-0.5, abs=0.04)
    untouched = begins & ~pulled_down
    assert voltage[untouched].mean() == pytest.approx(0, abs=0.06)
    assert voltage[untouched].std() == pytest.approx(0.3 * 2**0.5, abs=0.06)


def test_noise_grows_with_the_meters_own_load() -> None:
    """Across meters and hours the deviation is a tenth of the mean: their ratio does not depend on the mean."""
    quiet = Household(appliance_chance=(0.0,) * 24, absent_share=0.0)
    source = Simulator(Simulation(buildings=40, household=quiet, anomalies=Anomalies().scaled(0)))
    means, deviations = [], []
    for hour in (2, 8, 17):
        middle = FIRST_TICK + hour * HOUR_TICKS + HOUR_TICKS // 2
        power = source.readings(middle - 20, middle + 20)["power_kw"].reshape(40, 400)
        means.append(power.mean(axis=0))
        deviations.append(power.std(axis=0, ddof=1))
    slope, at_nothing = np.polyfit(np.concatenate(means), np.concatenate(deviations), 1)
    assert slope == pytest.approx(0.10, abs=0.01)
    assert at_nothing == pytest.approx(0, abs=0.006)
