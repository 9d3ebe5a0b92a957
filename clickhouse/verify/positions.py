"""Conservation: every offset of a topic is a row, set aside as unreadable, empty, or a row that another replaced.

What a table lacks is looked up in the log, and the log must explain it.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from clickhouse.ddl import literal as sql_text
from clickhouse.ddl import names
from infra.base.log import Entry, Extent
from infra.base.query import Query
from schemas.codec import Undecodable
from schemas.manifest import Dataset
from schemas.reader import ContractReader

Values = dict[str, Any]
DAY_S = 86_400
FIRST = 5
"""How many of each kind of difference are named."""
LOOKUP = 4_000
"""Rows whose successors are looked up at once; their keys as text must fit the engine's limit of 256 KiB a query."""
GATHERED = 50 * LOOKUP
"""Rows gathered before that: looked up in the order of their keys, each part of the table is read once for many."""


class Row(NamedTuple):
    """A message that the table lacks: its key, and the value by which its row wins (0 where that is the offset)."""

    offset: int
    key: tuple[Any, ...]
    version: int


class ReadsLog(Protocol):
    """What is needed of `verify.log.Log`."""

    def entries(self, topic: str, extents: Sequence[Extent]) -> Iterable[Entry]: ...


@dataclass
class Positions:
    """The account of one topic: messages = rows + unreadable + empty + superseded + not_in_log + expired + behind, or
    failures.

    `empty` are empty values and tombstones. `superseded` are messages whose row another with the same key has replaced
    for good (laws 3 and 5). `expired` are older than the table's TTL, and the log still has them. `redelivered` are
    copies of rows that ClickHouse consumed again after a crash, equal to the letter and merged when read. `behind` are
    messages at the end that ClickHouse has yet to consume.
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
        positions.failures += _told_differently(dataset, extent, query)
    set_aside = _set_aside(dataset, extent, query) if unreadable else set()
    missing, reached = _missing(dataset, extent, query) if rows + unreadable != size else ([], extent.end)
    if set_aside or missing:
        _explain(dataset, extent, set_aside, missing, reached, query, log, reader, positions)


def _within(dataset: Dataset, extent: Extent) -> str:
    partition = f"topic = {sql_text(dataset.topic)} AND partition = {extent.partition}"
    return f"{partition} AND offset >= {extent.begin} AND offset < {extent.end}"


def _distinct(query: Query, table: str, dataset: Dataset, extent: Extent) -> tuple[int, int]:
    """Rows of the table within the extent as stored, and the distinct positions that they hold."""
    [(stored, distinct)] = query(f"SELECT count(), uniqExact(offset) FROM {table} WHERE {_within(dataset, extent)}")
    return stored, distinct


def _told_differently(dataset: Dataset, extent: Extent, query: Query) -> list[str]:
    """Positions that stand in the table with different contents: a row that was made up or changed."""
    fields = ", ".join(f.name for f in dataset.latest.fields)
    rows = query(
        f"SELECT offset, count() FROM (SELECT DISTINCT offset, {fields} FROM {dataset.name} "
        f"WHERE {_within(dataset, extent)}) GROUP BY offset HAVING count() > 1 ORDER BY offset"
    )
    return [
        f"{dataset.name}: {count} different rows claim partition {extent.partition} offset {offset}"
        for offset, count in rows[:FIRST]
    ]


def _set_aside(dataset: Dataset, extent: Extent, query: Query) -> set[int]:
    """Offsets that ClickHouse has set aside as unreadable."""
    table = names(dataset.name).unreadable
    return {int(offset) for (offset,) in query(f"SELECT offset FROM {table} WHERE {_within(dataset, extent)}")}


def _is_good(entry: Entry, reader: ContractReader) -> bool:
    try:
        reader.read(entry.value, entry.produced_at_ms)
    except Undecodable:
        return False
    return True


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


def _explain(
    dataset: Dataset,
    extent: Extent,
    set_aside: set[int],
    missing: list[Extent],
    reached: int,
    query: Query,
    log: ReadsLog,
    reader: ContractReader,
    positions: Positions,
) -> None:
    """Let the log say, in one reading, what stands at the offsets that were set aside and those that the tables lack.

    What was set aside and can be read, and keeps to the contract, is lost by a consumer's fault.
    """
    found = 0
    wrong: list[int] = []
    lost: list[tuple[int, str]] = []
    rows: list[Row] = []

    def look_up() -> None:
        rows.sort(key=lambda row: row.key)
        replaced = {
            offset for n in range(0, len(rows), LOOKUP) for offset in _replaced(dataset, rows[n : n + LOOKUP], query)
        }
        positions.superseded += len(replaced)
        lost.extend((row.offset, _named(dataset, row.key)) for row in rows if row.offset not in replaced)
        rows.clear()

    refused = (Extent(extent.partition, offset, offset + 1) for offset in set_aside)
    for entry in log.entries(dataset.topic, sorted([*missing, *refused])):
        if entry.offset in set_aside:
            if entry.value and _is_good(entry, reader):
                wrong.append(entry.offset)
            continue
        found += 1
        if not entry.value:
            positions.empty += 1
            continue
        if dataset.ttl_days is not None and entry.produced_at_ms < 1000 * (time.time() - DAY_S * dataset.ttl_days):
            positions.expired += 1
            continue
        try:
            values = reader.read(entry.value, entry.produced_at_ms)
        except Undecodable as error:
            lost.append((entry.offset, f"{error}: not set aside"))
            continue
        key = tuple(values[name] for name in dataset.order_by)
        rows.append(Row(entry.offset, key, values.get(dataset.version_by, 0)))
        if len(rows) == GATHERED:
            look_up()
    look_up()
    positions.not_in_log += sum(gap.end - gap.begin for gap in missing) - found
    place = f"{dataset.name}: partition {extent.partition}"
    positions.failures += [
        f"{place} offset {offset} is a good message and was set aside as unreadable" for offset in wrong[:FIRST]
    ]
    behind = [offset for offset, _ in lost if offset >= reached]
    positions.behind += len(behind)
    lost = sorted((offset, what) for offset, what in lost if offset < reached)
    positions.failures += [
        f"{place} offset {offset} ({what}) is in the topic and not in the table" for offset, what in lost[:FIRST]
    ]
    if len(lost) > FIRST:
        positions.failures.append(f"{place}: {len(lost)} such messages in all")


def _named(dataset: Dataset, key: tuple[Any, ...]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(dataset.order_by, key, strict=True))


def _replaced(dataset: Dataset, rows: Sequence[Row], query: Query) -> set[int]:
    """Offsets of the rows whose key the table holds with more events, or with as many and a later offset."""
    kinds = {f.name: f.type for f in dataset.latest.fields}
    key = dataset.order_by
    selected = ", ".join(f"toUnixTimestamp64Milli({n})" if kinds[n] == "timestamp-millis" else n for n in key)
    columns = zip(*(row.key for row in rows), strict=True)
    arrays = ", ".join(_array(kinds[name], column) for name, column in zip(key, columns, strict=True))
    fields = ", ".join(f"wanted.{number}" for number in range(1, len(key) + 1))
    version = "0" if dataset.version_by == "offset" else dataset.version_by
    newest = {
        tuple(found[:-2]): (found[-2], found[-1])
        for found in query(
            f"SELECT {selected}, max({version}) AS version, argMax(offset, ({version}, offset)) FROM {dataset.name} "
            f"WHERE ({', '.join(key)}) IN (SELECT {fields} FROM (SELECT arrayJoin(arrayZip({arrays})) AS wanted)) "
            f"GROUP BY {', '.join(key)}"
        )
    }
    return {row.offset for row in rows if newest.get(row.key, (-1, -1)) > (row.version, row.offset)}


def _array(kind: str, values: Iterable[Any]) -> str:
    """Values as an array: one literal to the engine's parser, however long."""
    array = f"[{','.join(sql_text(value) if kind == 'string' else str(value) for value in values)}]"
    return f"arrayMap(ms -> fromUnixTimestamp64Milli(ms, 'UTC'), {array})" if kind == "timestamp-millis" else array
