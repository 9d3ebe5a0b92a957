"""What a topic holds of a file's readings, and what follows for what is sent: new, changed, the same; and behind."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from infra.base.log import Extent, Log
from producers.held import TAIL, Wanted, held
from producers.run import FileReport, _There
from schemas.codec import Undecodable
from schemas.reader import ContractReader

MINUTE = 60_000
NOON = 1_751_371_200_000
"""2025-07-01T12:00:00Z"""


@dataclass(frozen=True)
class Message:
    """A message whose value is JSON."""

    place: int
    body: Any
    produced: int
    of_key: bytes = b"building_1"

    def offset(self) -> int:
        return self.place

    def key(self) -> bytes:
        return self.of_key

    def value(self) -> Any:
        return self.body

    def timestamp(self) -> tuple[int, int]:
        return 1, self.produced


class Topic:
    """A log of two partitions."""

    def __init__(self, *partitions: list[Message]) -> None:
        self._partitions = partitions

    def extents(self, _topic: str) -> list[Extent]:
        return [Extent(number, 0, len(messages)) for number, messages in enumerate(self._partitions)]

    def messages(self, _topic: str, extents: Sequence[Extent]) -> Iterator[Message]:
        for extent in extents:
            yield from self._partitions[extent.partition][extent.begin : extent.end]


class Reader:
    """Reads JSON; counts what it reads."""

    def __init__(self) -> None:
        self.read_count = 0

    def read(self, body: Any, _produced_at_ms: int) -> dict[str, Any]:
        self.read_count += 1
        if body == "bad":
            raise Undecodable("bad")
        return cast(dict[str, Any], json.loads(body))


def message(offset: int, minute: int, power: float, meter: int = 1, produced: int = 0, **more: Any) -> Message:
    body = {
        "meter_id": meter,
        "building_id": 1,
        "timestamp": NOON + MINUTE * minute,
        "power_kw": power,
        "voltage_v": 230,
    }
    return Message(offset, json.dumps({**body, "voltage_v": 230, **more}), produced)


def file(*minutes_and_powers: tuple[int, float], meter: int = 1) -> dict[str, Any]:
    rows = len(minutes_and_powers)
    return {
        "meter_id": np.full(rows, meter, dtype=np.int32),
        "building_id": np.ones(rows, dtype=np.int32),
        "timestamp": np.array([NOON + MINUTE * minute for minute, _ in minutes_and_powers], dtype=np.int64),
        "power_kw": np.array([power for _, power in minutes_and_powers]),
        "voltage_v": np.full(rows, 230.0),
    }


WANTED = Wanted({b"building_1"}, {1}, NOON, NOON + 60 * MINUTE)


def look(topic: Topic, wanted: Wanted | None = WANTED, reader: Reader | None = None) -> Any:
    return held(cast(Log, topic), "topic", cast(ContractReader, reader or Reader()), wanted)


def test_values_are_compared_with_the_reading_that_came_last() -> None:
    topic = Topic(
        [message(0, 0, 0.5), message(1, 1, 0.9, produced=5), message(2, 1, 0.6, produced=9), Message(3, "bad", 9)],
        [message(0, 2, 0.7), message(1, 1, 0.8, produced=7), message(2, 3, 0.5, meter=2)],
    )
    there, changed = look(topic).compare(file((-1, 0.1), (0, 0.5), (1, 0.6), (2, 0.75), (3, 0.5)))
    assert there.tolist() == [False, True, True, True, False]
    assert changed.tolist() == [False, False, False, True, False]
    assert look(topic).newest_ms == NOON + 3 * MINUTE


def test_another_building_or_voltage_is_another_reading() -> None:
    topic = Topic([message(0, 0, 0.5, building_id=2), message(1, 1, 0.5, voltage_v=231)], [])
    assert look(topic).compare(file((0, 0.5), (1, 0.5)))[1].tolist() == [True, True]


def test_of_other_messages_few_are_read() -> None:
    others = [Message(n, json.dumps({"meter_id": 9, "timestamp": NOON + n}), 0, b"building_9") for n in range(10_000)]
    reader = Reader()
    assert look(Topic(others, []), WANTED, reader).newest_ms == NOON + 9_999
    assert reader.read_count == TAIL + (10_000 - TAIL) // 50
    reader = Reader()
    assert look(Topic(others, []), None, reader).newest_ms == NOON + 9_999
    assert reader.read_count == TAIL


def test_what_is_sent_is_new_or_changed_and_what_is_behind_has_its_command() -> None:
    topic = Topic([message(n, n, 0.5) for n in range(41)], [])
    report = FileReport()
    there = _There(look(topic), report, lateness_s=60)
    assert there.newest_ms == NOON + 40 * MINUTE
    assert there.lacking(file((5, 0.5), (6, 0.9), (39, 0.9), (41, 0.5))).tolist() == [False, True, True, True]
    assert (report.changed, report.behind, report.behind_changed) == (2, 1, 1)  # the window of minute 39 is open
    assert report.remedy == "smartmeter repair --from 2025-07-01T12:00:00Z --to 2025-07-01T13:00:00Z"

    report = FileReport()
    there = _There(look(topic), report, lateness_s=60)
    assert there.lacking(file((5, 0.5), (6, 0.9), meter=7)).all()
    assert (report.changed, report.behind, report.remedy) == (0, 2, "smartmeter repair --late")
    report = FileReport()
    assert _There(look(Topic([], [])), report, lateness_s=60).lacking(file((0, 1.0), (1, 1.0))).all()
    assert report.remedy is None
