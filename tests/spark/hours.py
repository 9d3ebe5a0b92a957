"""Readings of some hours, and every longer aggregate of them in plain Python."""

from bisect import bisect_right
from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from math import sqrt
from typing import Any

from hypothesis import strategies as st

from tests.spark.readings import (
    ROUNDED_POWERS_KW,
    ROUNDED_VOLTAGES_V,
    START,
    Reading,
    content_version,
    counted,
    expected_stats,
    lists,
    milli,
    mostly,
)

HOUR_S, FIVE_MIN_S, HOLD_S = 3600, 300, 300
KEYS = ("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count")

# Around the edges of 5 min and hours, with gaps below, at and above what a reading may hold.
SECONDS = [
    base + more for base in (0, 270, 300, 1500, 3270, 3300, 3595, 3600, 3900, 7190, 7200) for more in range(0, 40, 4)
]

reading = st.builds(
    Reading,
    offset=st.just(0),
    meter_id=st.integers(1, 4),
    second=st.sampled_from(SECONDS),
    power_kw=mostly([0.0, 0.4321, 0.4321, 2.5, -1.25, 999.9999, 1000.0], ROUNDED_POWERS_KW),
    voltage_v=mostly([0.0, 209.99, 210.0, 230.0, 230.0, 250.01, 1000.0], ROUNDED_VOLTAGES_V),
    status=st.integers(0, 15),
    sequence=st.none() | st.integers(0, 10_000) | st.integers(0, 2**63 - 1),
    building_id=st.sampled_from([7, 7, 7, 8]),
)
readings_of_hours = lists(reading, 90, unique_by=lambda r: (r.meter_id, r.second)).map(
    lambda readings: [replace(r, offset=offset, produced_s=9000) for offset, r in enumerate(readings)]
)


def meter(meter_id: int, *moments: tuple[int, float], building_id: int = 7) -> list[Reading]:
    """One meter's readings, each given as its second and power."""
    return [
        Reading(i, meter_id, second, power_kw, 230.0, building_id=building_id, produced_s=9000)
        for i, (second, power_kw) in enumerate(moments)
    ]


# Examples that are always among those drawn: what holds over an hour's edge, just so long and just too long; a move.
KNOWN = [
    meter(1, (3595, 7.2), (3605, 3.6)),
    meter(1, (3299, 1.0), (3300, 1.0), (3600, 2.0)),
    [*meter(1, (0, 1.0), (600, 1.0), building_id=8), *meter(1, (610, 5.0), (900, 5.0), building_id=9)],
    [*meter(1, *enumerate(ROUNDED_POWERS_KW, 3597)), *meter(2, (3300, -5e-07), (3600, 5e-07))],
]


def deviation(values: list[int], units: float) -> float:
    """From the exact variance; the conversion of an int to float rounds once, to the nearest."""
    return sqrt(float(len(values) * sum(v * v for v in values) - sum(values) ** 2)) / (len(values) * units)


def expected_features(readings: list[Reading]) -> dict[str, Any]:
    """The fields of anomaly_prediction_features, save key and window, for one window's counted readings."""
    stats: dict[str, Any] = expected_stats(readings)
    count = stats["event_count"]
    sequences = [r.sequence for r in readings if r.sequence is not None]
    return {
        "event_count": count,
        "power_avg_kw": stats["power_sum_mw"] / (count * 1e6),
        "power_std_kw": deviation([milli(r.power_kw, 1e6) for r in readings], 1e6),
        "power_min_kw": stats["power_min_mw"] / 1e6,
        "power_max_kw": stats["power_max_mw"] / 1e6,
        "voltage_avg_v": stats["voltage_sum_mv"] / (count * 1e3),
        "voltage_std_v": deviation([milli(r.voltage_v, 1e3) for r in readings], 1e3),
        "voltage_min_v": stats["voltage_min_mv"] / 1e3,
        "voltage_max_v": stats["voltage_max_mv"] / 1e3,
        "power_step_max_kw": stats["power_step_max_mw"] / 1e6,
        "voltage_step_max_v": stats["voltage_step_max_mv"] / 1e3,
        "repeat_count": stats["repeat_count"],
        "run_max_count": stats["run_max_count"],
        "gap_count": max(0, sequences[-1] - sequences[0] + 1 - count) if sequences else None,
        **{key: stats[key] for key in KEYS},
        "content_version": stats["content_version"],
    }


def expected_voltage(readings: list[Reading]) -> dict[str, Any]:
    """The fields of meter_hourly_voltage_monitoring, likewise."""
    features = expected_features(readings)
    outside = sum(not 210_000 <= milli(r.voltage_v, 1e3) <= 250_000 for r in readings)
    names = ("event_count", "voltage_avg_v", "voltage_min_v", "voltage_max_v", "voltage_std_v")
    return {
        **{name: features[name] for name in names},
        "voltage_outside_count": outside,
        "voltage_outside_share": outside / len(readings),
    }


def expected_power(series: list[list[Reading]], start: datetime) -> dict[str, Any]:
    """The power and energy of the hour from `start` on; each of `series` is one meter's readings, of all time, sorted.

    Looked up is, for every second, the reading that holds then.
    """
    second = int((start - START).total_seconds())
    hours = [[r for r in readings if second <= r.second < second + HOUR_S] for readings in series]
    milliwatts = [milli(r.power_kw, 1e6) for hour in hours for r in hour]
    milliwatt_seconds, covered = 0, 0
    for readings, hour in zip(series, hours, strict=True):
        if not hour:
            continue
        powers, seconds = [milli(r.power_kw, 1e6) for r in readings], [r.second for r in readings]
        for now in range(second, second + HOUR_S):
            before = bisect_right(seconds, now) - 1
            if before >= 0 and now - HOLD_S < seconds[before]:
                milliwatt_seconds += powers[before]
                covered += 1
    return {
        "event_count": len(milliwatts),
        "power_avg_kw": sum(milliwatts) / (len(milliwatts) * 1e6),
        "power_min_kw": min(milliwatts) / 1e6,
        "power_max_kw": max(milliwatts) / 1e6,
        "readings_sum_kw": sum(milliwatts) / 1e6,
        "energy_kwh": float(Fraction(milliwatt_seconds, 3_600_000_000)),
        "covered_s": float(covered),
        "content_version": content_version(
            [r for readings in series for r in readings if second - FIVE_MIN_S <= r.second < second + HOUR_S]
        ),
    }


def hour_of(moment: Reading) -> datetime:
    return START + timedelta(seconds=moment.second // HOUR_S * HOUR_S)


def by_meter(readings: list[Reading]) -> dict[int, list[Reading]]:
    """Each meter's readings in order of time."""
    meters: dict[int, list[Reading]] = {}
    for r in sorted(readings, key=lambda r: r.second):
        meters.setdefault(r.meter_id, []).append(r)
    return meters


def by_building(readings: list[Reading]) -> dict[int, list[list[Reading]]]:
    """By building the series of each meter: its readings of those 5 min in which it belongs to the building."""
    buildings: dict[int, dict[int, list[Reading]]] = {}
    for (meter_id, _), window in sorted(counted(readings, FIVE_MIN_S).items()):
        buildings.setdefault(window[-1].building_id, {}).setdefault(meter_id, []).extend(window)
    return {building_id: list(meters.values()) for building_id, meters in buildings.items()}


def expected_hours(readings: list[Reading]) -> dict[str, dict[tuple[int, datetime], dict[str, Any]]]:
    """By dataset, key and hour: the expected fields."""
    expected: dict[str, dict[tuple[int, datetime], dict[str, Any]]] = {
        name: {}
        for name in (
            *("meter_hourly_power_consumption", "meter_hourly_voltage_monitoring"),
            *("building_hourly_power_consumption", "anomaly_count_hourly_per_building"),
        )
    }
    for (meter_id, start), hour in counted(readings, HOUR_S).items():
        key = meter_id, start
        building = {"building_id": hour[-1].building_id}
        power = expected_power([by_meter(readings)[meter_id]], start)
        expected["meter_hourly_power_consumption"][key] = {**building, **power}
        version = {"content_version": power["content_version"]}
        expected["meter_hourly_voltage_monitoring"][key] = {**building, **expected_voltage(hour), **version}
    for building_id, series in by_building(readings).items():
        for start in {hour_of(r) for readings in series for r in readings}:
            hour = [r for readings in series for r in readings if hour_of(r) == start]
            meters = {"meter_count": len({r.meter_id for r in hour})}
            counts = {name: sum(r.status >> bit & 1 for r in hour) for bit, name in enumerate(KEYS)}
            power = expected_power(series, start)
            expected["building_hourly_power_consumption"][building_id, start] = {**meters, **power}
            version = {"content_version": power["content_version"]}
            anomalies = {"event_count": len(hour), **meters, **counts, **version}
            expected["anomaly_count_hourly_per_building"][building_id, start] = anomalies
    return expected
