"""Where a stopped or killed producer goes on, so that nothing is lost and nothing is sent twice.

A producer sends chunks of event time and begins a chunk when the one before is acknowledged in full. So if the topic's
newest reading is at T, the topic has every reading up to T − chunk, and some of the later ones. If all readings have
one key, they are in one partition in order, and the topic has every reading before T.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import I64, Columns

METER_IDS = 2**31


@dataclass(frozen=True)
class Resume:
    """What a topic holds of some meters. Both times are None if it holds nothing of them."""

    newest_ms: int | None
    complete_ms: int | None
    """Every reading at this time or before is in the topic."""
    present: I64
    """The readings after `complete_ms` that are in the topic, as `_numbers` has them, sorted."""

    @property
    def began_ms(self) -> int | None:
        """The oldest reading after `complete_ms`; where the topic began later than that, its first."""
        if self.complete_ms is None or not len(self.present):
            return None
        return self.complete_ms + int(self.present[0]) // METER_IDS

    def lacking(self, columns: Columns) -> NDArray[np.bool_]:
        """Which of these readings are not in the topic yet."""
        timestamp = columns["timestamp"]
        if self.complete_ms is None or self.newest_ms is None:
            return np.ones(len(timestamp), dtype=np.bool_)
        lacking: NDArray[np.bool_] = timestamp > self.complete_ms
        unsure = np.flatnonzero(lacking & (timestamp <= self.newest_ms))
        if unsure.size:
            numbers = _numbers(columns["meter_id"][unsure], timestamp[unsure], self.complete_ms)
            lacking[unsure] = ~np.isin(numbers, self.present)
        return lacking


NOTHING = Resume(None, None, np.empty(0, dtype=np.int64))


def resume(meter_id: I64, timestamp_ms: I64, margin_ms: int) -> Resume:
    """What follows from the readings at a topic's end.

    `meter_id` and `timestamp_ms`: at least all readings in the topic, of the meters in question, that are less than
    `margin_ms` older than the newest; in any order, repeated or not, older ones among them or not. `margin_ms`: the
    longest chunk of event time with which they may have been sent; 1 if they have one key.
    """
    if not len(timestamp_ms):
        return NOTHING
    newest_ms = int(timestamp_ms.max())
    complete_ms = newest_ms - margin_ms
    recent = timestamp_ms > complete_ms
    numbers = _numbers(meter_id[recent], timestamp_ms[recent], complete_ms)
    return Resume(newest_ms, complete_ms, np.unique(numbers))


def _numbers(meter_id: I64, timestamp_ms: I64, since_ms: int) -> I64:
    """One number for each pair of meter and time; fits 64 bits as the times are within minutes of each other."""
    numbers: I64 = (timestamp_ms - since_ms) * METER_IDS + meter_id.astype(np.int64)
    return numbers
