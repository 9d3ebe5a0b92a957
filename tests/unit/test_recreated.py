"""A topic that was deleted and made again is told from one that is only ahead of its table, or behind it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import pytest

from clickhouse.recreated import recreated
from infra.base.log import Entry, Extent, Log
from infra.base.query import ResultRows
from schemas.manifest import load_datasets

DATASETS = load_datasets()


class Topic:
    """A log of one partition: the times of its messages, from offset `begin` on."""

    def __init__(self, begin: int, times: Sequence[int]) -> None:
        self._begin, self._times = begin, times

    def extents(self, _topic: str) -> list[Extent]:
        return [Extent(0, self._begin, self._begin + len(self._times))]

    def entries(self, _topic: str, extents: Sequence[Extent]) -> Iterator[Entry]:
        for extent in extents:
            for offset in range(extent.begin, extent.end):
                yield Entry(0, offset, b"", self._times[offset - self._begin])


def told(table: Mapping[int, int], begin: int, times: Sequence[int], dataset: str = "raw_data") -> str | None:
    """Of a table with rows by offset and time."""

    def query(sql: str, _parameters: Mapping[str, float] | None = None) -> ResultRows:
        if "max(offset)" in sql:
            return [(0, max(table))] if table else []
        return [(offset, ms) for offset, ms in sorted(table.items()) if begin <= offset < begin + 100]

    return recreated(DATASETS[dataset], cast(Any, query), cast(Log, Topic(begin, times)))


@pytest.mark.parametrize(
    ("table", "begin", "times"),
    [
        ({}, 0, []),
        ({}, 0, [10, 20]),
        ({0: 10, 1: 20}, 0, [10, 20, 30]),
        ({1: 20}, 0, [10, 20]),  # the first was replaced
        ({0: 10, 1: 20, 2: 30}, 2, [30]),  # retention removed what was before
    ],
)
def test_a_topic_that_goes_on_is_not_told(table: dict[int, int], begin: int, times: list[int]) -> None:
    assert told(table, begin, times) is None


@pytest.mark.parametrize(
    ("table", "times", "how"),
    [
        ({0: 10, 1: 20}, [50], "partition 0 to offset 1, which ends at 1"),
        ({0: 10}, [], "partition 0 to offset 0, which ends at 0"),
        ({0: 10}, [50, 60], "partition 0 offset 0 came at another time than the message there"),
        ({1: 20, 5: 99}, [10, 20, 30, 40, 50, 60], "partition 0 offset 5 came at another time"),
    ],
)
def test_a_topic_that_was_made_again_is_told_with_how_that_shows(
    table: dict[int, int], times: list[int], how: str
) -> None:
    sentence = told(table, 0, times)
    assert sentence is not None
    assert "topic smart-meter-data was deleted and made again (the table" in sentence
    assert how in sentence
    assert "remove its checkpoints" in sentence
    assert "`smartmeter rebuild raw_data --allow-incomplete`" in sentence
    other = told(table, 0, times, "meter_minute_trend")
    assert other is not None
    assert "`smartmeter rebuild meter_minute_trend --allow-incomplete`" in other
    assert "checkpoints" not in other
