"""Every aggregate equals its recomputation: SQL over the readings, one file per dataset in `expected`.

Expected and actual rows are compared as hashes by key, so memory is a few words a row; and in slices of meters or
buildings, so the engine's memory does not grow with the number of readings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from clickhouse.ddl import EXAMPLE, Column, literal, names, tables
from infra.base.query import Query
from schemas.manifest import RAW, Dataset
from schemas.order import CONTENT_VERSION

EXPECTED = Path(__file__).parent / "expected"
FIRST = 5
"""How many of each kind of difference are named."""
SLICE_READINGS = 4_000_000
"""Readings that one query recomputes from, at most, where no single meter or building has more."""
READINGS = "FROM raw_data_latest"
"""How the files in `expected` name their one source."""
REPAIR = (
    "; `smartmeter repair --late` recomputes the window, unless the stream has yet to read it (`smartmeter status`)"
)
READ_AGAIN = "`smartmeter rebuild raw_data` brings readings back that the table lost"
SENTENCES = {
    "missing": f"is not in the table, though its time is over{REPAIR}",
    "incomplete": f"has fewer events than there are readings{REPAIR}",
    "surplus": "has more events than there are readings: a late reading moved a meter away (decision 101), or readings "
    f"are lost: {READ_AGAIN}",
    "unexpected": f"is in the table, and there are no readings for it; {READ_AGAIN}",
    "altered": "differs from what the readings give",
}
MAY_COME = {"missing", "incomplete", "surplus"}
"""What a consumer that is behind can look like; the others are wrong for good."""


@dataclass
class Comparison:
    """Rows of one dataset: `equal` ones; `open` ones, whose window may still change; `past` ones, of which retention
    may have removed readings, so nothing can be said; and, by kind, those that differ."""

    equal: int = 0
    open: int = 0
    past: int = 0
    differing: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @property
    def may_come(self) -> bool:
        """Whether waiting may mend it."""
        return any(kind in MAY_COME for kind in self.differing)


def is_aggregate(dataset: Dataset) -> bool:
    """Whether there is SQL that recomputes the dataset."""
    return (EXPECTED / f"{dataset.name}.sql").exists()


def compare(
    dataset: Dataset, closed_before: datetime, query: Query, complete_from: datetime | None = None
) -> Comparison:
    """Compare every row of the dataset's table with its recomputation from the readings.

    A window that ends after `closed_before` is open: it may lack a row or some of its events, but nothing else. One
    that begins before `complete_from` is past: not all of its readings are there any more.
    """
    columns = _columns(dataset)
    comparison = Comparison()
    named: dict[str, list[Sequence[str]]] = {}
    for slice_ in _slices(dataset, query):
        sql = _difference_query(dataset, columns, slice_, closed_before, complete_from)
        for kind, count, keys in query(sql, dataset.parameters):
            if kind in ("equal", "open", "past"):
                setattr(comparison, kind, getattr(comparison, kind) + count)
            else:
                comparison.differing[kind] = comparison.differing.get(kind, 0) + count
                named[kind] = [*named.get(kind, []), *keys][:FIRST]
    for kind, keys in sorted(named.items()):
        comparison.failures += _sentences(dataset, columns, kind, keys, query)
        count = comparison.differing[kind]
        if count > len(keys):
            comparison.failures.append(f"{dataset.name}: {count} rows in all: {SENTENCES[kind]}")
    return comparison


def _sentences(
    dataset: Dataset, columns: Mapping[str, Column], kind: str, keys: Sequence[Sequence[str]], query: Query
) -> list[str]:
    sentences = []
    for key in keys:
        where = ", ".join(f"{name} {value}" for name, value in zip(dataset.order_by, key, strict=True))
        detail = SENTENCES[kind]
        if kind == "altered":
            detail = f"{_altered(dataset, columns, key, query)}; {_repair(dataset, key)}"
        sentences.append(f"{dataset.name}: {where} {detail}")
    return sentences


def _repair(dataset: Dataset, key: Sequence[str]) -> str:
    """The command that recomputes the hour of a row."""
    start = datetime.fromisoformat(key[dataset.order_by.index("window_start")]).replace(
        minute=0, second=0, microsecond=0
    )
    end = start + timedelta(hours=1)
    return f"`smartmeter repair --from {start:%Y-%m-%dT%H:%M} --to {end:%Y-%m-%dT%H:%M}` recomputes it"


@dataclass(frozen=True)
class Slice:
    """Rows whose first key column, a meter or a building, is in [first, last]; None is without limit."""

    key: str
    first: int | None
    last: int | None

    @property
    def rows(self) -> str:
        """The condition on rows of the dataset."""
        limits = [f"{self.key} {sign} {n}" for sign, n in ((">=", self.first), ("<=", self.last)) if n is not None]
        return " AND ".join(limits) or "1"

    @property
    def readings(self) -> str:
        """The condition on readings: those that the rows depend on, and a meter's all or none."""
        if self.key == "meter_id" or self.rows == "1":
            return self.rows
        return f"meter_id IN (SELECT meter_id FROM {RAW} WHERE {self.rows})"


def _slices(dataset: Dataset, query: Query) -> list[Slice]:
    """All rows, in slices of the first key column with at most SLICE_READINGS each."""
    key = dataset.order_by[0]
    edges = _edges(query(f"SELECT {key}, count() FROM {RAW} GROUP BY {key} ORDER BY {key}"), SLICE_READINGS)
    firsts, lasts = [None, *edges], [*(edge - 1 for edge in edges), None]
    return [Slice(key, first, last) for first, last in zip(firsts, lasts, strict=True)]


def _edges(counts: Sequence[Sequence[int]], most: int) -> list[int]:
    """Where slices begin, except the first, such that each holds at most `most` readings or one value; `counts` are
    sorted."""
    edges: list[int] = []
    held = 0
    for value, count in counts:
        if held and held + count > most:
            edges.append(value)
            held = 0
        held += count
    return edges


def _columns(dataset: Dataset) -> dict[str, Column]:
    stored = tables(dataset, EXAMPLE)[0]
    contract = {f.name for f in dataset.latest.fields}
    return {column.name: column for column in stored.columns if column.name in contract}


def _expected(dataset: Dataset, columns: Mapping[str, Column], slice_: Slice) -> str:
    """The recomputation of a slice, with every column of the type that the table has."""
    sql = (EXPECTED / f"{dataset.name}.sql").read_text(encoding="utf-8")
    if sql.count(READINGS) != 1:
        raise ValueError(f"{dataset.name}.sql must read `{READINGS}` at one place")
    source = READINGS.removeprefix("FROM ")
    sql = sql.replace(READINGS, f"FROM (SELECT * FROM {source} WHERE {slice_.readings}) AS {source}")
    cast = ", ".join(f"CAST({name} AS {column.type}) AS {name}" for name, column in columns.items())
    return f"SELECT {cast} FROM ({sql}) AS recomputed WHERE {slice_.rows}"


def _difference_query(
    dataset: Dataset,
    columns: Mapping[str, Column],
    slice_: Slice,
    closed_before: datetime,
    complete_from: datetime | None,
) -> str:
    key = ", ".join(dataset.order_by)
    hashed = ", ".join(f"ifNull(toString({n}), 'null')" if "Nullable" in c.type else n for n, c in columns.items())
    fields = f"{key}, window_end, event_count, sipHash64({hashed}) AS hash"
    sides = (
        f"SELECT {fields}, 1 AS is_expected FROM ({_expected(dataset, columns, slice_)}) AS expected UNION ALL "
        f"SELECT {fields}, 0 AS is_expected FROM {names(dataset.name).latest} WHERE {slice_.rows}"
    )
    closed_ms = int(closed_before.timestamp() * 1000)
    complete_ms = int(complete_from.timestamp() * 1000) if complete_from else -(2**62)
    return f"""
        SELECT kind, count(), groupArraySorted({FIRST})(row_key) FROM
        (
            SELECT
                ({", ".join(f"toString({name})" for name in dataset.order_by)}) AS row_key,
                any(toUnixTimestamp64Milli(window_end)) > {closed_ms} AS is_open,
                anyIf(event_count, is_expected = 1) AS expected_count,
                anyIf(event_count, is_expected = 0) AS actual_count,
                multiIf(
                    any(toUnixTimestamp64Milli(window_start)) < {complete_ms}, 'past',
                    countIf(is_expected = 1) = 0, if(is_open, 'open', 'unexpected'),
                    countIf(is_expected = 0) = 0, if(is_open, 'open', 'missing'),
                    actual_count < expected_count, if(is_open, 'open', 'incomplete'),
                    actual_count > expected_count, if(is_open, 'open', 'surplus'),
                    anyIf(hash, is_expected = 1) != anyIf(hash, is_expected = 0), 'altered',
                    'equal'
                ) AS kind
            FROM ({sides})
            GROUP BY {key}
        )
        GROUP BY kind ORDER BY kind"""


def _altered(dataset: Dataset, columns: Mapping[str, Column], key: Sequence[str], query: Query) -> str:
    """Which columns differ, with both values."""
    pairs = zip(dataset.order_by, key, strict=True)
    where = " AND ".join(f"{name} = CAST({literal(value)} AS {columns[name].type})" for name, value in pairs)
    slice_ = Slice(dataset.order_by[0], int(key[0]), int(key[0]))
    sources = (f"({_expected(dataset, columns, slice_)})", names(dataset.name).latest)
    fields = ", ".join(f"toString({name})" for name in columns)
    expected, actual = (
        query(f"SELECT {fields} FROM {source} AS side WHERE {where}", dataset.parameters)[0] for source in sources
    )
    differing = [
        f"{name} is {is_} and should be {should}"
        for name, should, is_ in zip(columns, expected, actual, strict=True)
        if should != is_
    ]
    # What rests on other readings is stale; anything else was changed in the table.
    return "; ".join(differing) + (REPAIR if f"{CONTENT_VERSION} is " in "; ".join(differing) else "")
