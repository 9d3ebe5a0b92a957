"""Conservation: every offset of a topic is a row, unreadable, empty, or a row that another one replaced.

What a table lacks is looked up in the log, and the log must explain it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from clickhouse.ddl import literal as sql_text
from clickhouse.ddl import names
from infra.base.log import Entry, Extent
from infra.base.query import Query
from schemas.codec import Undecodable
from schemas.manifest import Dataset
from schemas.order import row_version
from schemas.reader import ContractReader

Values = dict[str, Any]
DAY_S = 86_400
FIRST = 5
"""How many of each kind of difference are named."""
LOOKUP = 4_000
LOOKUP_BYTES = 160_000
"""Rows whose successors are looked up at once, and their keys as text: a reader's query has at most 256 KiB."""
GATHERED = 50 * LOOKUP
"""Rows gathered before a look-up. In the order of their keys, one read of a part of the table serves many of them."""


class Row(NamedTuple):
    """A message that the table lacks: its key, and its `schemas.order.row_version`."""

    offset: int
    key: tuple[Any, ...]
    version: int


class ReadsLog(Protocol):
    """What is needed of `infra.base.log.Log`."""

    def entries(self, topic: str, extents: Sequence[Extent]) -> Iterable[Entry]: ...


@dataclass
class Positions:
    """The account of one topic: messages = rows + unreadable + empty + superseded + not_in_log + expired + behind, or
    failures.

    `empty` are empty values and tombstones. `superseded` are messages whose row another with the same key has replaced
    for good (laws 3 and 5). `expired` are older than the table's TTL, and the log still has them. `redelivered` are
    identical copies of rows that ClickHouse consumed again after a crash; a read merges them. `behind` are messages at
    the end that ClickHouse has yet to consume.
    """

    messages: int = 0
    rows: int = 0
    unreadable: int = 0
    empty: int = 0
    superseded: int = 0
    not_in_log: int = 0
    expired: int = 0
    redelivered: int = 0
    behind: int = 0
    failures: list[str] = field(default_factory=list)


def account(
    dataset: Dataset, extents: Sequence[Extent], query: Query, log: ReadsLog, reader: ContractReader
) -> Positions:
    """Account for every offset within `extents` of the dataset's topic."""
    positions = Positions()
    for extent in extents:
        _account_partition(dataset, extent, query, log, reader, positions)
    return positions


def _account_partition(
    dataset: Dataset, extent: Extent, query: Query, log: ReadsLog, reader: ContractReader, positions: Positions
) -> None:
    size = extent.end - extent.begin
    positions.messages += size
    stored, rows = _distinct(query, names(dataset.name).table, dataset, extent)
    _, unreadable = _distinct(query, names(dataset.name).unreadable, dataset, extent)
    positions.rows += rows
    positions.unreadable += unreadable
    if stored > rows:
        positions.redelivered += stored - rows
        positions.failures += _contradictions(dataset, extent, query)
    refused = _unreadable(dataset, extent, query) if unreadable else set()
    missing, reached = _missing(dataset, extent, query) if rows + unreadable != size else ([], extent.end)
    if refused or missing:
        explanation = _Explanation(dataset, query, reader, refused)
        single = (Extent(extent.partition, offset, offset + 1) for offset in refused)
        for entry in log.entries(dataset.topic, sorted([*missing, *single])):
            explanation.take(entry)
        explanation.finish()
        explanation.add_to(positions, extent.partition, missing, reached)


def rebuild(dataset: Dataset) -> str:
    """What a sentence ends with where the log has what the table has not."""
    return f"; `smartmeter rebuild {dataset.name}` fills the table from the topic"


def _within(dataset: Dataset, extent: Extent) -> str:
    partition = f"topic = {sql_text(dataset.topic)} AND partition = {extent.partition}"
    return f"{partition} AND offset >= {extent.begin} AND offset < {extent.end}"


def _distinct(query: Query, table: str, dataset: Dataset, extent: Extent) -> tuple[int, int]:
    """Rows of the table within the extent as stored, and the distinct positions that they hold."""
    [(stored, distinct)] = query(f"SELECT count(), uniqExact(offset) FROM {table} WHERE {_within(dataset, extent)}")
    return stored, distinct


def _contradictions(dataset: Dataset, extent: Extent, query: Query) -> list[str]:
    """A sentence for each position that the table holds with different contents: a row was invented or changed."""
    fields = ", ".join(f.name for f in dataset.latest.fields)
    rows = query(
        f"SELECT offset, count() FROM (SELECT DISTINCT offset, {fields} FROM {dataset.name} "
        f"WHERE {_within(dataset, extent)}) GROUP BY offset HAVING count() > 1 ORDER BY offset"
    )
    return [
        f"{dataset.name}: {count} different rows claim partition {extent.partition} offset {offset}{rebuild(dataset)}"
        for offset, count in rows[:FIRST]
    ]


def _unreadable(dataset: Dataset, extent: Extent, query: Query) -> set[int]:
    """Offsets that ClickHouse found unreadable."""
    table = names(dataset.name).unreadable
    return {int(offset) for (offset,) in query(f"SELECT offset FROM {table} WHERE {_within(dataset, extent)}")}


def _missing(dataset: Dataset, extent: Extent, query: Query) -> tuple[list[Extent], int]:
    """The extents within the extent that no table holds, and the offset after the last one that a table holds."""
    named = names(dataset.name)
    within = _within(dataset, extent)
    tables = (named.table, named.unreadable)
    held = " UNION DISTINCT ".join(f"SELECT offset FROM {table} WHERE {within}" for table in tables)
    rows = query(
        f"SELECT before + 1, offset FROM (SELECT offset, lagInFrame(offset, 1, toInt64({extent.begin - 1})) OVER "
        f"(ORDER BY offset ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS before FROM ({held})) "
        "WHERE offset > before + 1 ORDER BY offset"
    )
    [(count, last)] = query(f"SELECT count(), max(offset) FROM ({held})")
    reached = last + 1 if count else extent.begin
    missing = [Extent(extent.partition, int(begin), int(end)) for begin, end in rows]
    if reached < extent.end:
        missing.append(extent._replace(begin=reached))
    return missing, reached


@dataclass
class _Explanation:
    """What the log says about the offsets of a partition that a table lacks or that ClickHouse found unreadable.

    `take` every entry in order, then `finish`. An offset in `refused` that can be read is a consumer's fault.
    """

    dataset: Dataset
    query: Query
    reader: ContractReader
    refused: set[int]
    entries: int = 0
    empty: int = 0
    expired: int = 0
    superseded: int = 0
    readable: list[int] = field(default_factory=list)
    """Offsets that ClickHouse refused and that can be read."""
    lost: list[tuple[int, str]] = field(default_factory=list)
    """Offsets that no table explains, each with what stands there."""
    _rows: list[Row] = field(default_factory=list)

    def take(self, entry: Entry) -> None:
        """Take in what the log holds at one offset."""
        if entry.offset in self.refused:
            if entry.value and self._can_be_read(entry):
                self.readable.append(entry.offset)
            return
        self.entries += 1
        ttl_days = self.dataset.ttl_days
        if not entry.value:
            self.empty += 1
        elif ttl_days is not None and entry.produced_at_ms < 1000 * (time.time() - DAY_S * ttl_days):
            self.expired += 1
        else:
            self._take_row(entry)

    def finish(self) -> None:
        """Look the last rows up."""
        self._rows.sort(key=lambda row: row.key)
        replaced = {offset for batch in lookups(self._rows) for offset in _replaced(self.dataset, batch, self.query)}
        self.superseded += len(replaced)
        self.lost += [(row.offset, _named(self.dataset, row.key)) for row in self._rows if row.offset not in replaced]
        self._rows.clear()

    def add_to(self, positions: Positions, partition: int, missing: Sequence[Extent], reached: int) -> None:
        """Add the outcome. Rows from offset `reached` on are not lost: ClickHouse has yet to consume them."""
        positions.empty += self.empty
        positions.expired += self.expired
        positions.superseded += self.superseded
        positions.not_in_log += sum(extent.end - extent.begin for extent in missing) - self.entries
        positions.behind += sum(offset >= reached for offset, _ in self.lost)
        place, mended = f"{self.dataset.name}: partition {partition}", rebuild(self.dataset)
        positions.failures += [
            f"{place} offset {offset} can be read and is in {names(self.dataset.name).unreadable}{mended}"
            for offset in self.readable[:FIRST]
        ]
        lost = sorted((offset, what) for offset, what in self.lost if offset < reached)
        positions.failures += [
            f"{place} offset {offset} ({what}) is in the topic and not in the table{mended}"
            for offset, what in lost[:FIRST]
        ]
        if len(lost) > FIRST:
            positions.failures.append(f"{place}: {len(lost)} such messages in all")

    def _can_be_read(self, entry: Entry) -> bool:
        try:
            self.reader.read(entry.value, entry.produced_at_ms)
        except Undecodable:
            return False
        return True

    def _take_row(self, entry: Entry) -> None:
        try:
            values = self.reader.read(entry.value, entry.produced_at_ms)
        except Undecodable as error:
            self.lost.append((entry.offset, f"unreadable: {error}"))
            return
        key = tuple(values[name] for name in self.dataset.order_by)
        version = row_version(self.dataset, values, entry.produced_at_ms, entry.partition, entry.offset)
        self._rows.append(Row(entry.offset, key, version))
        if len(self._rows) == GATHERED:
            self.finish()


def lookups(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows in batches, in order: at most LOOKUP rows, whose keys have at most LOOKUP_BYTES as text."""
    first = size = 0
    for number, row in enumerate(rows):
        of_key = sum(len(str(value).encode()) + len("'',") for value in row.key)
        if number > first and (number - first == LOOKUP or size + of_key > LOOKUP_BYTES):
            yield rows[first:number]
            first, size = number, 0
        size += of_key
    if first < len(rows):
        yield rows[first:]


def _named(dataset: Dataset, key: tuple[Any, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(dataset.order_by, key, strict=True))


def _replaced(dataset: Dataset, rows: Sequence[Row], query: Query) -> set[int]:
    """Offsets of the rows whose key the table holds with a greater version."""
    kinds = {f.name: f.type for f in dataset.latest.fields}
    key = dataset.order_by
    selected = ", ".join(f"toUnixTimestamp64Milli({n})" if kinds[n] == "timestamp-millis" else n for n in key)
    columns = zip(*(row.key for row in rows), strict=True)
    arrays = ", ".join(_array(kinds[name], column) for name, column in zip(key, columns, strict=True))
    fields = ", ".join(f"wanted.{number}" for number in range(1, len(key) + 1))
    newest = {
        tuple(row[:-1]): int(row[-1])
        for row in query(
            f"SELECT {selected}, toString(max(row_version)) FROM {dataset.name} "
            f"WHERE ({', '.join(key)}) IN (SELECT {fields} FROM (SELECT arrayJoin(arrayZip({arrays})) AS wanted)) "
            f"GROUP BY {', '.join(key)}"
        )
    }
    return {row.offset for row in rows if newest.get(row.key, -1) > row.version}


def _array(kind: str, values: Iterable[Any]) -> str:
    """Values as an array: one literal to the engine's parser, however long."""
    array = f"[{','.join(sql_text(value) if kind == 'string' else str(value) for value in values)}]"
    return f"arrayMap(ms -> fromUnixTimestamp64Milli(ms, 'UTC'), {array})" if kind == "timestamp-millis" else array
