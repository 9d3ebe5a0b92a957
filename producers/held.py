"""What a topic holds of a file's readings: which are there with the same values, with others, or not at all.

The topic is read once from its beginning to where it ends now. Kept are the file's meters in the file's time, in 48
bytes a reading.
"""

from array import array
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from infra.base.columns import I64, Columns
from infra.base.log import Extent, Log, offset_of
from schemas.codec import Undecodable, Values
from schemas.reader import ContractReader

SAMPLE = 50
"""Of other meters' messages one of so many is read, and the last of each partition: enough for the newest reading."""
COMPARED = ("building_id", "power_kw", "voltage_v")
TAIL = 2_000


@dataclass(frozen=True)
class Wanted:
    """Readings that are looked for: of these meters, under these keys, with a time in [first_ms, last_ms]."""

    keys: Set[bytes]
    meters: Set[int]
    first_ms: int
    last_ms: int

    def has(self, values: Values) -> bool:
        """Whether a reading is one of them."""
        return values["meter_id"] in self.meters and self.first_ms <= values["timestamp"] <= self.last_ms


@dataclass(frozen=True)
class OfMeter:
    """The readings of one meter, one for each instant, in order of time: the one that came into the log last."""

    timestamp: I64
    values: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Held:
    """What the topic holds. `newest_ms`: the newest reading of any meter, None without one."""

    of_meter: dict[int, OfMeter] = field(default_factory=dict)
    newest_ms: int | None = None

    def compare(self, columns: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which readings the topic has at their instant, and which of these it has with other values."""
        there = np.zeros(len(columns["timestamp"]), dtype=np.bool_)
        changed = there.copy()
        for meter in np.unique(columns["meter_id"]).tolist():
            held = self.of_meter.get(meter)
            if held is None:
                continue
            rows = np.flatnonzero(columns["meter_id"] == meter)
            places = np.minimum(np.searchsorted(held.timestamp, columns["timestamp"][rows]), len(held.timestamp) - 1)
            is_there = held.timestamp[places] == columns["timestamp"][rows]
            there[rows] = is_there
            for name, values in held.values.items():
                changed[rows] |= is_there & (values[places] != columns[name][rows])
        return there, changed


class _Series:
    """Readings of a meter as they come; arrays, as objects would take five times the memory."""

    def __init__(self) -> None:
        self.times, self.produced, self.offsets = array("q"), array("q"), array("q")
        self.values = {name: array("d") for name in COMPARED}

    def add(self, values: Values, message: Message) -> None:
        self.times.append(values["timestamp"])
        self.produced.append(message.timestamp()[1])
        self.offsets.append(offset_of(message))
        for name, of_name in self.values.items():
            of_name.append(values[name])

    def finish(self) -> OfMeter:
        times = np.array(self.times, dtype=np.int64)
        order = np.lexsort((np.array(self.offsets), np.array(self.produced), times))
        times = times[order]
        last = np.append(times[1:] != times[:-1], True)
        return OfMeter(times[last], {name: np.array(of)[order][last] for name, of in self.values.items()})


def held(log: Log, topic: str, reader: ContractReader, wanted: Wanted | None) -> Held:
    """Read the topic; without `wanted` only its end, for the newest reading. Unreadable messages are passed over.

    Raises SmartmeterError when the broker does not answer, RegistryUnavailable when the registry does not.
    """
    series: dict[int, _Series] = {}
    newest_ms: int | None = None
    for extent in log.extents(topic):
        read_from = extent.begin if wanted else max(extent.begin, extent.end - TAIL)
        for message in log.messages(topic, [extent._replace(begin=read_from)]):
            if not _is_read(message, extent, wanted):
                continue
            try:
                values = reader.read(message.value(), message.timestamp()[1])
            except Undecodable:
                continue
            newest_ms = max(newest_ms or values["timestamp"], values["timestamp"])
            if wanted is not None and wanted.has(values):
                series.setdefault(values["meter_id"], _Series()).add(values, message)
    return Held({meter: of_meter.finish() for meter, of_meter in series.items()}, newest_ms)


def _is_read(message: Message, extent: Extent, wanted: Wanted | None) -> bool:
    offset = offset_of(message)
    if wanted is None or offset % SAMPLE == 0 or offset >= extent.end - TAIL:
        return True
    return message.key() in wanted.keys


def windows_end_ms(timestamps: Iterable[int] | I64, window_s: int) -> I64:
    """The end of the window that each instant is in."""
    window_ms = window_s * 1000
    ends: I64 = (np.asarray(timestamps, dtype=np.int64) // window_ms + 1) * window_ms
    return ends
