"""One order everywhere (laws 3 and 5): a row made of the whole log wins, in whatever order rows of less are emitted.

A window's row is modelled in plain Python from some of the log's messages: what a stream knew that was behind in a
partition, or before a correction or a late reading. Repairs and replays emit a row of all of them, at any time.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickhouse.checksum import checksum
from clickhouse.ddl import EXAMPLE, create_statement, tables
from clickhouse.front import library
from infra.base.query import Query, ResultRows
from infra.base.topic_reader import Position
from schemas.manifest import RAW, load_datasets
from schemas.merge import Merge
from schemas.order import row_version
from tests.spark.readings import drawn
from tests.unit.records import unhurried

DATASETS = load_datasets()
READINGS, TREND = DATASETS[RAW], DATASETS["meter_minute_trend"]
EXAMPLES = 300
START_MS = 1_767_636_000_000


@dataclass(frozen=True)
class Message:
    """A reading in the log; `second` is when it was taken, `at_ms` the log's time after the minute's start."""

    second: int
    at_ms: int
    partition: int
    offset: int
    power: int

    @property
    def rank(self) -> tuple[int, int, int]:
        return self.at_ms, self.partition, self.offset


@dataclass(frozen=True)
class Row:
    """What a window's row says, and what it rests on."""

    events: int
    version: int
    power: int

    def values(self, meter: int) -> dict[str, Any]:
        return {
            "meter_id": meter,
            "window_start": START_MS,
            "event_count": self.events,
            "content_version": self.version,
        }


def row_of(messages: Sequence[Message]) -> Row:
    """The window's row from these messages: of several for a second the one that came into the log last counts."""
    counted: dict[int, Message] = {}
    for message in sorted(messages, key=lambda m: m.rank):
        counted[message.second] = message
    version = sum((START_MS + m.at_ms) * 2**52 + m.partition * 2**40 + m.offset for m in counted.values())
    return Row(len(counted), version, sum(m.power for m in counted.values()))


@st.composite
def logs(draw: st.DrawFn) -> list[Message]:
    """Few seconds and instants, so that corrections and ties are common; offsets ascend with time in a partition."""
    drawn = draw(st.lists(st.tuples(*(st.integers(0, n) for n in (3, 5, 2, 9))), min_size=1, max_size=8))
    next_offset = [draw(st.integers(0, 3)) for _ in range(3)]
    messages = []
    for second, at_ms, partition, power in sorted(drawn, key=lambda values: values[1]):
        messages.append(Message(second, at_ms, partition, next_offset[partition], power))
        next_offset[partition] += draw(st.integers(1, 2))
    return messages


@st.composite
def emissions(draw: st.DrawFn) -> tuple[list[Message], list[Row]]:
    """A log, and rows of parts of it in the order of their emission, at least one of them of the whole."""
    log = draw(logs())
    parts = draw(st.lists(st.lists(st.sampled_from(log), min_size=1), max_size=6))
    return log, draw(st.permutations([row_of(log), *map(row_of, parts)]))


def winner(rows: Sequence[Row]) -> Row:
    """By the versions that every consumer compares; rows are at ascending offsets."""
    return max(enumerate(rows), key=lambda row: row_version(TREND, row[1].values(1), 0, 0, row[0]))[1]


@unhurried
@given(emissions())
def test_the_row_of_the_whole_log_wins_whenever_it_is_emitted(example: tuple[list[Message], list[Row]]) -> None:
    log, rows = example
    assert winner(rows) == row_of(log)


@unhurried
@given(emissions(), st.randoms(use_true_random=False))
def test_a_subscriber_that_merges_ends_with_that_row(example: tuple[list[Message], list[Row]], random: Random) -> None:
    log, rows = example
    delivered = [*enumerate(rows), *enumerate(rows)]
    random.shuffle(delivered)
    merge, last = Merge(TREND, 100), None
    for offset, row in delivered:
        if merge.changes(row.values(1), Position("t", 0, offset, 0), repr(row).encode()):
            assert row != last, "it gives out only what changes something"
            last = row
    assert last == row_of(log)


def test_the_newest_log_time_alone_does_not_tell_a_correction() -> None:
    """The hour goes on after the correction, so both rows rest on the same newest reading."""
    first, correction, newest = Message(0, 0, 0, 0, 1), Message(0, 1, 1, 0, 9), Message(1, 2, 0, 1, 1)
    behind, whole = (row_of([first, newest]), row_of([first, correction, newest]))
    assert behind.events == whole.events and behind.power != whole.power
    assert winner([whole, behind]) == winner([behind, whole]) == whole


@pytest.fixture(scope="module")
def query() -> Iterator[Query]:
    """An engine in memory with the two tables."""
    with closing(library.connect(":memory:")) as connection:

        def run(sql: str, _: object = None) -> ResultRows:
            return [json.loads(line) for line in connection.query(sql, "JSONCompactEachRow").bytes().splitlines()]

        for dataset in (READINGS, TREND):
            run(create_statement(replace(tables(dataset, EXAMPLE)[0], ttl="")))
        yield run


def insert(query: Query, table: str, columns: str, rows: list[str]) -> None:
    """In some other order, in three parts."""
    Random(len(rows)).shuffle(rows)
    for part in range(3):
        query(f"INSERT INTO {table} ({columns}) VALUES {', '.join(rows[part::3])}")


def test_the_engine_keeps_the_row_of_the_whole_log(query: Query) -> None:
    """One meter an example, all in one table; power_max_kw stands for what a row says."""
    examples = drawn(emissions(), EXAMPLES)
    rows = [
        f"({meter}, {START_MS / 1000}, {row.events}, {row.version}, {row.power}, {offset}, 0, 0)"
        for meter, (_, of_meter) in enumerate(examples)
        for offset, row in enumerate(of_meter)
    ]
    columns = "meter_id, window_start, event_count, content_version, power_max_kw, offset, partition, produced_at"
    insert(query, TREND.name, columns, rows)
    kept = query(f"SELECT meter_id, event_count, toString(content_version), power_max_kw FROM {TREND.name} FINAL")
    expected = {meter: row_of(log) for meter, (log, _) in enumerate(examples)}
    assert {meter: Row(events, int(version), power) for meter, events, version, power in kept} == expected
    newest = query(f"SELECT meter_id, toString(max(row_version)) FROM {TREND.name} GROUP BY meter_id")
    versions = {int(meter): str(version) for meter, version in newest}
    for meter, (log, of_meter) in enumerate(examples):
        last = max(offset for offset, row in enumerate(of_meter) if row == row_of(log))
        assert int(versions[meter]) == row_version(TREND, row_of(log).values(meter), 0, 0, last)


def test_the_engine_keeps_of_two_readings_the_one_that_came_into_the_log_last(query: Query) -> None:
    examples = drawn(logs(), EXAMPLES)
    rows = [
        f"({meter}, {m.second}, {m.power}, {m.partition}, {m.offset}, {(START_MS + m.at_ms) / 1000:.3f})"
        for meter, log in enumerate(examples)
        for m in log
    ]
    insert(query, RAW, "meter_id, timestamp, power_kw, partition, offset, produced_at", rows)
    kept = query(f"SELECT meter_id, toUnixTimestamp(timestamp), power_kw, partition, offset FROM {RAW} FINAL")
    expected = set()
    for meter, log in enumerate(examples):
        for second in {m.second for m in log}:
            last = max((m for m in log if m.second == second), key=lambda m: m.rank)
            expected.add((meter, second, last.power, last.partition, last.offset))
            of_python = max((m for m in log if m.second == second), key=_version)
            assert of_python == last
    assert {tuple(row) for row in kept} == expected


def _version(message: Message) -> int:
    return row_version(READINGS, {}, START_MS + message.at_ms, message.partition, message.offset)


def test_a_checksum_is_of_what_rows_say(query: Query) -> None:
    """The same rows, resting on the same readings at other places in a log."""
    copy = replace(TREND, name="meter_minute_copy")
    query(create_statement(replace(tables(copy, EXAMPLE)[0], ttl="")))
    fields = ", ".join(f.name for f in TREND.latest.fields if f.name != "content_version")
    query(f"INSERT INTO {copy.name} ({fields}, offset) SELECT {fields}, offset + 7 FROM {TREND.name} FINAL")
    sums = [checksum(TREND, name, query) for name in (TREND.name, copy.name)]
    assert sums[0] == sums[1] and sums[0].rows > 0
    query(f"INSERT INTO {copy.name} ({fields}) SELECT {fields.replace('meter_id', 'meter_id + 1000')} FROM {copy.name}")
    assert checksum(TREND, copy.name, query) != sums[0]
