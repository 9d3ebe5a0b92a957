"""Injected anomalies: which anomaly a meter has and from when to when. Any instant is computed by itself.

In each hour at most one anomaly of a meter begins. It may last into the next hour. If another one begins there, it ends
one reading earlier. So anomalies never overlap, and the reading before each anomaly is an ordinary one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64, I64, U64
from producers.hashing import draw, field
from producers.household import HOUR_MS
from producers.settings import Anomalies
from schemas import status

NONE, LOAD_SPIKE, FAULT_SPIKE, LOW_CONSUMPTION, VOLTAGE, FAILURE, GAP = range(7)
"""Kinds. Half of the spikes are real loads, which pull the voltage down; half are faults of the meter, which do not."""

STATUS_BIT = np.array(
    [0, status.SPIKE, status.SPIKE, status.LOW_CONSUMPTION, status.VOLTAGE, status.FAILURE, 0], dtype=np.int32
)
"""Status bit of each kind; a gap has no reading that could carry one."""

EPISODE, SIZE = 100, 101
SPIKE_W = (4000.0, 9000.0)
SAG_V = (198.0, 207.0)
SWELL_V = (253.0, 264.0)
LOW_W = (1.0, 9.0)


@dataclass(frozen=True)
class Episodes:
    """One anomaly per element. Where `kind` is NONE there is no anomaly, and the times mean nothing."""

    kind: NDArray[np.int8]
    start_ms: I64
    end_ms: I64
    """The first instant after the anomaly."""
    size: U64
    """64 random bits, from which the anomaly's size follows."""

    def at(self, elements: NDArray[np.intp]) -> "Episodes":
        """The chosen elements of one-dimensional episodes."""
        return Episodes(self.kind[elements], self.start_ms[elements], self.end_ms[elements], self.size[elements])


def episodes(rates: Anomalies, seed: int, interval_ms: int, meter_id: I64, hour: I64) -> Episodes:
    """The anomalies that begin in this hour. One that would reach the next hour's anomaly is cut short."""
    begun, following = (_begun(rates, seed, interval_ms, meter_id, h) for h in (hour, hour + 1))
    cut_ms = np.where(following.kind == NONE, begun.end_ms, following.start_ms - interval_ms)
    return Episodes(begun.kind, begun.start_ms, np.minimum(begun.end_ms, cut_ms), begun.size)


def _begun(rates: Anomalies, seed: int, interval_ms: int, meter_id: I64, hour: I64) -> Episodes:
    bits = draw(seed, EPISODE, meter_id, hour)
    fault = rates.spike.model_copy(update={"per_day": rates.spike.per_day / 2})
    by_kind = (fault, fault, *rates.rates()[1:])
    thresholds = np.cumsum([rate.per_day / 24 for rate in by_kind])
    which = np.searchsorted(thresholds, field(bits, 0) + field(bits, 3) / 65536.0, side="right")
    kind = np.where(which < len(by_kind), which + 1, NONE).astype(np.int8)
    shortest_ms, longest_ms = (
        1000.0 * np.array([0.0, *(getattr(rate, bound) for rate in by_kind)])[kind]
        for bound in ("shortest_s", "longest_s")
    )
    # At least one interval after the hour begins: the reading before then belongs to the same hour.
    start_ms = hour * HOUR_MS + interval_ms + np.floor(field(bits, 1) * (HOUR_MS - interval_ms)).astype(np.int64)
    end_ms = start_ms + np.floor(shortest_ms + (longest_ms - shortest_ms) * field(bits, 2)).astype(np.int64)
    return Episodes(kind, start_ms, end_ms, draw(seed, SIZE, meter_id, hour))


def spike_w(size: U64) -> F64:
    """Power that a spike adds to the ordinary load."""
    return _between(SPIKE_W, field(size, 0))


def excursion_v(size: U64) -> F64:
    """Voltage during an excursion, half of them sags and half swells; outside 210 to 250 V by more than the noise."""
    low, high = _between(SAG_V, field(size, 0)), _between(SWELL_V, field(size, 0))
    return np.where(field(size, 1) < 0.5, low, high)


def low_w(bits: U64) -> F64:
    """Power of one reading during low consumption."""
    return _between(LOW_W, field(bits, 0))


def hundredths(volts: F64) -> F64:
    """Voltage as a meter reports it."""
    rounded: F64 = np.floor(volts * 100.0 + 0.5) / 100.0
    return rounded


def _between(bounds: tuple[float, float], share: F64) -> F64:
    return bounds[0] + (bounds[1] - bounds[0]) * share
