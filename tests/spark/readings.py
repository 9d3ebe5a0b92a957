"""Made-up readings, and a window's statistics in plain Python, by other means than the code under test.

A Spark job costs much and a row little, so a property draws many examples (`drawn`) and gives them to one job. Each has
meters and buildings of its own there (`side_by_side`); `assert_equal_by_example` names the smallest that fails.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby, pairwise
from math import floor
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import DataFrame, SparkSession

T = TypeVar("T")
IDS_PER_EXAMPLE = 10
"""Ids of meters and buildings within an example are below this."""
START = datetime(2026, 1, 5, 18, 0, tzinfo=UTC)
COLUMNS = (
    "partition int, offset long, produced_at timestamp, meter_id int, building_id int, timestamp timestamp, "
    "power_kw double, voltage_v double, status int, sequence long"
)


@dataclass(frozen=True)
class Reading:
    """One decoded event and its position."""

    offset: int
    meter_id: int
    second: int
    power_kw: float
    voltage_v: float
    status: int = 0
    sequence: int | None = None
    building_id: int = 7
    produced_s: int = 3600
    partition: int = 0

    @property
    def at(self) -> datetime:
        return START + timedelta(seconds=self.second)


def frame(spark: SparkSession, readings: list[Reading]) -> DataFrame:
    """The readings as rows of decoded events."""
    rows = [(r.partition, r.offset, _produced_at(r), r.meter_id, r.building_id, r.at, *_values(r)) for r in readings]
    return spark.createDataFrame(rows, COLUMNS)


def _produced_at(reading: Reading) -> datetime:
    return START + timedelta(seconds=reading.produced_s)


def _values(reading: Reading) -> tuple[float, float, int, int | None]:
    return reading.power_kw, reading.voltage_v, reading.status, reading.sequence


# Values at which floor(x * 10^n + 0.5) in double differs from other ways to round, see tests/unit/test_roundings.py.
ROUNDED_POWERS_KW = [5e-07, -5e-07, -1.5e-06, 3.5e-06, 2.0067435, 2.0293105, -2.5e-06]
ROUNDED_VOLTAGES_V = [0.0025, 0.0045, 0.0515, 0.5115]

# Few distinct values, so that repeats, runs and ties are common.
POWERS_KW = [0.0, 0.02, 0.4321, 2.5, 7.0, -1.25, 999.9999]
VOLTAGES_V = [0.0, 209.99, 210.0, 230.0, 231.4, 250.0, 250.01]


def mostly(values: list[float], rarely: list[float]) -> st.SearchStrategy[float]:
    """One of `values`, or one in five times one of `rarely`."""
    few = st.sampled_from(values)
    return st.one_of(few, few, few, few, st.sampled_from(rarely))


_reading = st.builds(
    Reading,
    offset=st.just(0),
    meter_id=st.integers(1, 3),
    second=st.integers(0, 89),
    power_kw=mostly(POWERS_KW, ROUNDED_POWERS_KW),
    voltage_v=mostly(VOLTAGES_V, ROUNDED_VOLTAGES_V),
    status=st.integers(0, 15),
    sequence=st.none() | st.integers(0, 10_000) | st.integers(0, 2**63 - 1),
    produced_s=st.integers(3600, 3602),
    partition=st.integers(0, 2),
)


def lists(
    elements: st.SearchStrategy[T], most: int, unique_by: Callable[[T], Any] | None = None
) -> st.SearchStrategy[list[T]]:
    """Lists of 1 to `most` elements, every length as likely; Hypothesis' own are mostly short."""
    return st.integers(1, most).flatmap(
        lambda size: st.lists(elements, min_size=size, max_size=size, unique_by=unique_by)
    )


@st.composite
def readings_lists(draw: st.DrawFn) -> list[Reading]:
    """Readings at distinct offsets, some delivered again later on."""
    readings = draw(lists(_reading, 60))
    again = draw(st.lists(st.sampled_from(readings), max_size=10))
    return [replace(reading, offset=offset) for offset, reading in enumerate(readings + again)]


# Examples that are always among those drawn: every rounding, a window's edge, and two readings at one instant.
KNOWN = [
    [Reading(i, 1, i * 7, power, 230.0) for i, power in enumerate(ROUNDED_POWERS_KW)],
    [Reading(i, 2, i * 7, 0.4321, voltage) for i, voltage in enumerate(ROUNDED_VOLTAGES_V)],
    [Reading(0, 1, 29, 0.4321, 230.0), Reading(1, 1, 30, 0.4321, 230.0), Reading(2, 1, 29, 2.5, 210.0)],
]


def drawn(strategy: st.SearchStrategy[T], count: int, known: Sequence[T] = ()) -> list[T]:
    """The known examples and `count` new ones, from the seed of this run of the tests."""
    examples = list(known)

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(example: T) -> None:
        examples.append(example)

    collect()
    return examples


def side_by_side(examples: Sequence[Sequence[Reading]]) -> list[list[Reading]]:
    """The examples with ids of meters and buildings that no other example has."""
    return [
        [
            replace(r, meter_id=r.meter_id + IDS_PER_EXAMPLE * n, building_id=r.building_id + IDS_PER_EXAMPLE * n)
            for r in example
        ]
        for n, example in enumerate(examples)
    ]


def assert_equal_by_example(
    actual: Mapping[tuple[Any, ...], Any],
    expected: Mapping[tuple[Any, ...], Any],
    examples: Sequence[Sequence[Reading]],
) -> None:
    """Both are values by key, whose first element is the id of a meter or building.

    Fails with the smallest of `examples` (side by side) whose values differ, and how they do.
    """
    differing = {key for key in actual.keys() | expected.keys() if actual.get(key) != expected.get(key)}
    if not differing:
        return
    smallest = min({key[0] // IDS_PER_EXAMPLE for key in differing}, key=lambda n: len(examples[n]))
    of_example = sorted((key for key in differing if key[0] // IDS_PER_EXAMPLE == smallest), key=str)
    lines = "\n".join(f"{key}:\n  is     {actual.get(key)}\n  wanted {expected.get(key)}" for key in of_example[:3])
    raise AssertionError(f"{len(differing)} rows differ; of the smallest example, {list(examples[smallest])}:\n{lines}")


def counted(readings: list[Reading], window_s: int) -> dict[tuple[int, datetime], list[Reading]]:
    """By meter and window its readings in order of time; of several at one instant the one that came last."""
    in_order = sorted(readings, key=lambda r: (r.produced_s, r.partition, r.offset))
    latest = {(r.meter_id, r.second): r for r in in_order}
    windows: dict[tuple[int, datetime], list[Reading]] = {}
    for (meter_id, second), reading in sorted(latest.items()):
        start = START + timedelta(seconds=second // window_s * window_s)
        windows.setdefault((meter_id, start), []).append(reading)
    return windows


def milli(value: float, factor: float) -> int:
    """floor(x * factor + 0.5), as the design states it."""
    return floor(value * factor + 0.5)


def expected_stats(readings: list[Reading]) -> dict[str, object]:
    """The fields of meter_stats_30s, save key and window, for one window's counted readings."""
    power = [milli(r.power_kw, 1e6) for r in readings]
    voltage = [milli(r.voltage_v, 1e3) for r in readings]
    runs = [len(list(run)) for _, run in groupby(zip(power, voltage, strict=True))]
    sequences = [r.sequence for r in readings if r.sequence is not None]
    return {
        "event_count": len(readings),
        "power_sum_mw": sum(power),
        "power_sum_sq_mw2": Decimal(sum(p * p for p in power)),
        "power_min_mw": min(power),
        "power_max_mw": max(power),
        "voltage_sum_mv": sum(voltage),
        "voltage_sum_sq_mv2": sum(v * v for v in voltage),
        "voltage_min_mv": min(voltage),
        "voltage_max_mv": max(voltage),
        "voltage_outside_count": sum(not 210_000 <= v <= 250_000 for v in voltage),
        "failure_count": sum(bool(r.status & 1) for r in readings),
        "spike_count": sum(bool(r.status & 2) for r in readings),
        "low_consumption_count": sum(bool(r.status & 4) for r in readings),
        "voltage_anomaly_count": sum(bool(r.status & 8) for r in readings),
        "power_step_max_mw": max((abs(b - a) for a, b in pairwise(power)), default=0),
        "voltage_step_max_mv": max((abs(b - a) for a, b in pairwise(voltage)), default=0),
        "repeat_count": len(readings) - len(runs),
        "run_first_count": runs[0],
        "run_max_count": max(runs),
        "run_last_count": runs[-1],
        "energy_mw_ms": sum(milli(a.power_kw, 1e6) * (b.second - a.second) * 1000 for a, b in pairwise(readings)),
        "first_timestamp": readings[0].at,
        "last_timestamp": readings[-1].at,
        "first_power_mw": power[0],
        "last_power_mw": power[-1],
        "first_voltage_mv": voltage[0],
        "last_voltage_mv": voltage[-1],
        "first_sequence": sequences[0] if sequences else None,
        "last_sequence": sequences[-1] if sequences else None,
        "content_version": content_version(readings),
    }


def content_version(readings: Sequence[Reading]) -> Decimal:
    """As contracts state it, for these readings."""
    start_ms = round(START.timestamp()) * 1000
    ranks = ((start_ms + r.produced_s * 1000) * 2**52 + r.partition * 2**40 + r.offset for r in readings)
    return Decimal(sum(ranks))
