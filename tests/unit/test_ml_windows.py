"""Windows made from readings in memory, against the contract's definitions in plain Python."""

from itertools import groupby, pairwise
from math import floor, isnan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.base.errors import SmartmeterError
from ml.windows import WINDOW_MS, windows_of

Reading = tuple[int, int, float, float, int, int | None]

_readings = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.integers(0, 3 * WINDOW_MS // 5000 - 1),
        st.sampled_from([0.0, 0.02, 0.4321, 2.5, 7.0]),
        st.sampled_from([209.99, 230.0, 231.4]),
        st.integers(0, 15),
        st.none() | st.integers(0, 1000),
    ),
    min_size=1,
    max_size=60,
)


def columns(readings: list[Reading]) -> dict[str, np.ndarray]:
    meter, tick, power, voltage, status, sequence = (list(column) for column in zip(*readings, strict=True))
    return {
        "meter_id": np.array(meter, dtype=np.int32),
        "building_id": np.array(tick, dtype=np.int32) % 5,
        "timestamp": np.array(tick, dtype=np.int64) * 5000,
        "power_kw": np.array(power),
        "voltage_v": np.array(voltage),
        "status": np.array(status, dtype=np.int32),
        "sequence": np.ma.masked_array([s or 0 for s in sequence], mask=[s is None for s in sequence]),
    }


def expected(readings: list[Reading]) -> dict[tuple[int, int], dict[str, float | None]]:
    """By meter and window, in integers of mW and mV; of several readings at one instant the last counts."""
    latest = {(meter, tick): (power, voltage, status, seq) for meter, tick, power, voltage, status, seq in readings}
    grouped: dict[tuple[int, int], list[tuple[float, float, int, int | None]]] = {}
    for (meter, tick), values in sorted(latest.items()):
        grouped.setdefault((meter, tick * 5000 // WINDOW_MS * WINDOW_MS), []).append(values)
    return {key: _one(own) for key, own in grouped.items()}


def _one(own: list[tuple[float, float, int, int | None]]) -> dict[str, float | None]:
    n = len(own)
    power, voltage = [floor(r[0] * 1e6 + 0.5) for r in own], [floor(r[1] * 1e3 + 0.5) for r in own]
    pairs = list(zip(power, voltage, strict=True))
    known = [r[3] for r in own if r[3] is not None]
    return {
        "event_count": n,
        "power_avg_kw": sum(power) / (n * 1e6),
        "power_std_kw": sqrt(n * sum(p * p for p in power) - sum(power) ** 2) / (n * 1e6),
        "power_min_kw": min(power) / 1e6,
        "power_max_kw": max(power) / 1e6,
        "voltage_avg_v": sum(voltage) / (n * 1e3),
        "voltage_std_v": sqrt(n * sum(v * v for v in voltage) - sum(voltage) ** 2) / (n * 1e3),
        "voltage_min_v": min(voltage) / 1e3,
        "voltage_max_v": max(voltage) / 1e3,
        "power_step_max_kw": max((abs(b - a) for a, b in pairwise(power)), default=0) / 1e6,
        "voltage_step_max_v": max((abs(b - a) for a, b in pairwise(voltage)), default=0) / 1e3,
        "repeat_count": sum(a == b for a, b in pairwise(pairs)),
        "run_max_count": max(len(list(run)) for _, run in groupby(pairs)),
        "gap_count": max(0, known[-1] - known[0] + 1 - n) if known else None,
        "failure_count": sum(r[2] & 1 for r in own),
        "spike_count": sum(r[2] >> 1 & 1 for r in own),
        "low_consumption_count": sum(r[2] >> 2 & 1 for r in own),
        "voltage_anomaly_count": sum(r[2] >> 3 & 1 for r in own),
    }


@settings(max_examples=150, deadline=None)
@given(_readings)
def test_every_value_is_the_contracts(readings: list[Reading]) -> None:
    found = windows_of(columns(readings))
    wanted = expected(readings)
    assert list(zip(found["meter_id"].tolist(), found["window_start"].tolist(), strict=True)) == list(wanted)
    for row, values in enumerate(wanted.values()):
        for name, value in values.items():
            got = found[name][row]
            assert isnan(got) if value is None else got == value, name


def test_building_is_that_of_the_last_reading_and_a_window_ends_after_five_minutes() -> None:
    found = windows_of(columns([(1, 3, 0.5, 230.0, 0, None), (1, 59, 0.5, 230.0, 0, None)]))
    assert found["building_id"].tolist() == [59 % 5]
    assert (found["window_end"] - found["window_start"]).tolist() == [300_000]


def test_nothing_gives_nothing() -> None:
    assert windows_of({}) == {}


def test_sums_beyond_64_bits_are_refused_and_not_wrong() -> None:
    readings = columns([(1, tick, 1e6, 230.0, 0, None) for tick in range(60)])
    with pytest.raises(SmartmeterError, match="64"):
        windows_of(readings)
