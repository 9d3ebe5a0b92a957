"""Anomalies injected into measured readings, by the simulator's own rules.

Kinds, rates, durations, sizes and physics are those of `producers.anomalies` and `producers.simulator`. A spike that is
load pulls the voltage down; a spike that is a meter's fault does not; low consumption lets the voltage rise. A test
injects into simulated readings without anomalies and compares the result with the simulator's.
"""

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64, Column, Columns, length, take
from ml.windows import counted_once
from producers import anomalies as injected
from producers.anomalies import Episodes
from producers.hashing import draw, normal
from producers.household import HOUR_MS, NOISE_V, VOLTAGE_NOISE, line_v_per_kw
from producers.settings import Anomalies
from producers.simulator import LOW


def inject(readings: Columns, rates: Anomalies, seed: int, interval_ms: int) -> dict[str, Column]:
    """The readings by meter and time, with anomalies. `status` says which; readings within a gap are removed.

    `interval_ms` is the usual time between two readings of a meter. The `status` of the input is replaced. A failure
    repeats the meter's last reading before it; a failure at a meter's first reading has none to repeat and is dropped.
    """
    kept = counted_once(readings)
    if not length(kept):
        return kept
    meter, time_ms = kept["meter_id"].astype(np.int64), kept["timestamp"].astype(np.int64)
    watts = np.floor(kept["power_kw"] * 1000.0 + 0.5)
    volts = kept["voltage_v"].astype(np.float64)
    kind = np.full(len(meter), injected.NONE, dtype=np.int8)
    frozen = [watts.copy(), volts.copy()]
    for episode in _active(rates, seed, interval_ms, meter, time_ms):
        kind = np.where(episode.kind != injected.NONE, episode.kind, kind)
        watts, volts = _changed(seed, meter, time_ms, watts, volts, episode)
    watts, volts, kind = _held(meter, watts, volts, kind, frozen)
    changed = {
        **kept,
        "power_kw": watts / 1000.0,
        "voltage_v": volts,
        "status": injected.STATUS_BIT[kind].astype(np.int32),
    }
    return take(changed, kind != injected.GAP)


def _active(rates: Anomalies, seed: int, interval_ms: int, meter: I64, time_ms: I64) -> list[Episodes]:
    """Per reading, the anomaly that began in the hour before and the one that began in its own hour, where active."""
    hour = time_ms // HOUR_MS
    active_by_hour = []
    for begun in (hour - 1, hour):
        pairs, which = np.unique(np.column_stack([meter, begun]), axis=0, return_inverse=True)
        begun_then = injected.episodes(rates, seed, interval_ms, pairs[:, 0], pairs[:, 1]).at(which.ravel())
        active = (time_ms >= begun_then.start_ms) & (time_ms < begun_then.end_ms)
        kind = np.where(active, begun_then.kind, injected.NONE).astype(np.int8)
        active_by_hour.append(Episodes(kind, begun_then.start_ms, begun_then.end_ms, begun_then.size))
    return active_by_hour


def _changed(seed: int, meter: I64, time_ms: I64, watts: F64, volts: F64, episode: Episodes) -> tuple[F64, F64]:
    """The reading where an anomaly is active. Failures are `_held`'s."""
    kind = episode.kind
    load = watts
    load = np.where(kind == injected.LOAD_SPIKE, np.floor(load + injected.spike_w(episode.size) + 0.5), load)
    low = np.floor(injected.low_w(draw(seed, LOW, meter, time_ms)) + 0.5)
    load = np.where(kind == injected.LOW_CONSUMPTION, low, load)
    answered = volts - (load - watts) / 1000.0 * line_v_per_kw(seed, meter)
    excursion = injected.excursion_v(episode.size) + NOISE_V * normal(draw(seed, VOLTAGE_NOISE, meter, time_ms))
    new_volts = np.where(load != watts, injected.hundredths(answered), volts)
    new_volts = np.where(kind == injected.VOLTAGE, injected.hundredths(excursion), new_volts)
    read = np.where(kind == injected.FAULT_SPIKE, load + np.floor(injected.spike_w(episode.size)), load)
    return read, new_volts


def _held(
    meter: I64, watts: F64, volts: F64, kind: NDArray[np.int8], ordinary: list[F64]
) -> tuple[F64, F64, NDArray[np.int8]]:
    """Repeat the last reading before a failure during it. That reading is always an ordinary one."""
    place = np.arange(len(meter))
    source = np.maximum.accumulate(np.where(kind == injected.FAILURE, 0, place))
    failed = kind == injected.FAILURE
    has_one = failed & (source < place) & (meter[source] == meter) & (kind[source] != injected.FAILURE)
    source = np.where(has_one, source, place)
    held_watts, held_volts = (
        np.where(has_one, column[source], now) for column, now in zip(ordinary, (watts, volts), strict=True)
    )
    return held_watts, held_volts, np.where(failed & ~has_one, injected.NONE, kind).astype(np.int8)
