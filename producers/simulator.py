"""The simulated meters: readings as a function of the settings and a span of time, of nothing else.

No state is carried from one reading to the next. So a span computed at once, in parts, or again after a crash gives the
same bytes. A reading's tick is its number since 1970 in units of the interval. It is also the reading's `sequence`, so
a gap shows as missing numbers. Power is in steps of 1 W, voltage in steps of 0.01 V.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64, Column, concatenate, length
from producers import anomalies as injected
from producers.anomalies import Episodes
from producers.hashing import draw, normal
from producers.household import HOUR_MS, NOISE_V, VOLTAGE_NOISE, line_v_per_kw, load_w, supply_v
from producers.settings import Simulation

BLOCK_CELLS = 65_536
LOW = 102
"""Channel of the readings during low consumption."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Block:
    """The readings of some ticks, `first_tick` and those that follow."""

    first_tick: int
    missing: int
    """Readings that were not taken: the meter was in a gap."""
    columns: dict[str, Column]


class Simulator:
    """The meters of one simulation."""

    def __init__(self, settings: Simulation) -> None:
        self.settings = settings
        number = np.arange(settings.meters, dtype=np.int64)
        self._building_id = number // settings.meters_per_building + 1
        self._meter_id = number + 1
        self._v_per_kw = line_v_per_kw(settings.seed, self._meter_id)

    def tick_at(self, timestamp_ms: int) -> int:
        """The first tick that is not before this instant."""
        return -(-timestamp_ms // self.settings.interval_ms)

    def blocks(self, first_tick: int, end_tick: int) -> Iterator[Block]:
        """The readings of the ticks from `first_tick` to before `end_tick`, in blocks of bounded size.

        Ordered by timestamp, then meter. Columns: meter_id, building_id, timestamp (ms), power_kw, voltage_v, status,
        sequence. A block may be empty (all meters in a gap).
        """
        interval_ms = self.settings.interval_ms
        most = max(1, BLOCK_CELLS // self.settings.meters)
        tick = first_tick
        while tick < end_tick:
            hour = tick * interval_ms // HOUR_MS
            end = min(end_tick, self.tick_at((hour + 1) * HOUR_MS), tick + most)
            columns = self._block(np.arange(tick, end, dtype=np.int64), hour)
            yield Block(tick, (end - tick) * self.settings.meters - length(columns), columns)
            tick = end

    def readings(self, first_tick: int, end_tick: int) -> dict[str, Column]:
        """All readings of a span at once, as `blocks` has them."""
        return concatenate([block.columns for block in self.blocks(first_tick, end_tick)])

    def _block(self, ticks: I64, hour_number: int) -> dict[str, Column]:
        """The readings of ticks within one hour."""
        time_ms, hour = (ticks * self.settings.interval_ms)[:, None], np.array([hour_number], dtype=np.int64)
        load, supply = self._ordinary(np.arange(self.settings.meters), time_ms, hour)
        status = np.zeros(load.shape, dtype=np.int32)
        taken = np.ones(load.shape, dtype=np.bool_)
        faults: list[tuple[NDArray[np.intp], Mask, Episodes]] = []
        for begun in (hour - 1, hour):
            meters, active, episode = self._active(time_ms, begun)
            status[:, meters] |= active * injected.STATUS_BIT[episode.kind]
            taken[:, meters] &= ~(active & (episode.kind == injected.GAP))
            self._change_load(load, meters, active, episode, time_ms)
            faults.append((meters, active, episode))
        watts, voltage = self._measured(load, supply, np.arange(self.settings.meters))
        for meters, active, episode in faults:
            self._change_readings(watts, voltage, meters, active, episode, time_ms)
        return self._columns(ticks, watts, voltage, status, taken)

    def _ordinary(self, meters: NDArray[np.intp], time_ms: I64, hour: I64) -> tuple[F64, F64]:
        """Load in W and supply in V, without anomalies."""
        home, seed = self.settings.household, self.settings.seed
        meter_id, building_id = self._meter_id[meters], self._building_id[meters]
        return (
            load_w(home, seed, meter_id, time_ms, hour),
            supply_v(home, seed, meter_id, building_id, time_ms, hour),
        )

    def _measured(self, load: F64, supply: F64, meters: NDArray[np.intp]) -> tuple[F64, F64]:
        """What the meters show: whole watts, and volts in hundredths after the drop that the load causes."""
        watts = np.floor(load + 0.5)
        return watts, injected.hundredths(supply - watts / 1000.0 * self._v_per_kw[meters])

    def _active(self, time_ms: I64, begun: I64) -> tuple[NDArray[np.intp], Mask, Episodes]:
        """The meters with an anomaly that began in that hour, when it is active (ticks × these meters), and the
        anomaly."""
        settings = self.settings
        all_meters = injected.episodes(settings.anomalies, settings.seed, settings.interval_ms, self._meter_id, begun)
        touched = (all_meters.start_ms <= time_ms[-1]) & (all_meters.end_ms > time_ms[0])
        meters = np.flatnonzero((all_meters.kind != injected.NONE) & touched)
        episode = all_meters.at(meters)
        return meters, (time_ms >= episode.start_ms) & (time_ms < episode.end_ms), episode

    def _change_load(self, load: F64, meters: NDArray[np.intp], active: Mask, episode: Episodes, time_ms: I64) -> None:
        """Apply the anomalies that change the load itself, and with it the voltage."""
        for kind in (injected.LOAD_SPIKE, injected.LOW_CONSUMPTION):
            chosen = np.flatnonzero(episode.kind == kind)
            if not chosen.size:
                continue
            affected, when = meters[chosen], active[:, chosen]
            if kind == injected.LOAD_SPIKE:
                changed = load[:, affected] + injected.spike_w(episode.size[chosen])
            else:
                changed = injected.low_w(draw(self.settings.seed, LOW, self._meter_id[affected], time_ms))
            load[:, affected] = np.where(when, changed, load[:, affected])

    def _change_readings(
        self, watts: F64, voltage: F64, meters: NDArray[np.intp], active: Mask, episode: Episodes, time_ms: I64
    ) -> None:
        """Apply the anomalies of the meter or of the supply: the reading does not follow the load."""
        for kind in (injected.FAULT_SPIKE, injected.VOLTAGE, injected.FAILURE):
            chosen = np.flatnonzero(episode.kind == kind)
            if not chosen.size:
                continue
            affected, when, size = meters[chosen], active[:, chosen], episode.size[chosen]
            if kind == injected.FAULT_SPIKE:
                watts[:, affected] += when * np.floor(injected.spike_w(size))
            elif kind == injected.VOLTAGE:
                noise = NOISE_V * normal(draw(self.settings.seed, VOLTAGE_NOISE, self._meter_id[affected], time_ms))
                voltage[:, affected] = np.where(
                    when, injected.hundredths(injected.excursion_v(size) + noise), voltage[:, affected]
                )
            else:
                last_watts, last_voltage = self._before(affected, episode.start_ms[chosen])
                watts[:, affected] = np.where(when, last_watts, watts[:, affected])
                voltage[:, affected] = np.where(when, last_voltage, voltage[:, affected])

    def _before(self, meters: NDArray[np.intp], start_ms: I64) -> tuple[F64, F64]:
        """The last reading of each meter before its anomaly; it is always an ordinary one, of the same hour."""
        interval_ms = self.settings.interval_ms
        time_ms = (start_ms - 1) // interval_ms * interval_ms
        load, supply = self._ordinary(meters, time_ms, time_ms // HOUR_MS)
        return self._measured(load, supply, meters)

    def _columns(self, ticks: I64, watts: F64, voltage: F64, status: NDArray[np.int32], taken: Mask) -> dict[str, Any]:
        shape = watts.shape
        rows = slice(None) if taken.all() else taken.ravel()
        grids: dict[str, Column] = {
            "meter_id": np.broadcast_to(self._meter_id, shape),
            "building_id": np.broadcast_to(self._building_id, shape),
            "timestamp": np.broadcast_to((ticks * self.settings.interval_ms)[:, None], shape),
            "power_kw": watts / 1000.0,
            "voltage_v": voltage,
            "status": status,
            "sequence": np.broadcast_to(ticks[:, None], shape),
        }
        return {name: grid.ravel()[rows] for name, grid in grids.items()}
