"""What a table holds in two numbers, to tell whether two tables, or one at two times, hold the same rows."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from clickhouse.verify.log import Extent
from schemas.manifest import Dataset

Query = Callable[[str], Sequence[Sequence[Any]]]


class Checksum(NamedTuple):
    """Merged rows, and the sum modulo 2^64 of a 64-bit hash of each: equal whatever the order of the rows."""

    rows: int
    hash: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.hash:016x}"


def checksum(dataset: Dataset, table: str, query: Query, extents: Iterable[Extent] | None = None) -> Checksum:
    """The checksum over the contract's fields of a table's merged rows; positions are not part of it.

    With `extents` only messages within them are merged: PREWHERE is applied before FINAL picks the row that counts, so
    two tables that have read different distances are compared over what both have.
    """
    fields = ", ".join(
        f"ifNull(toString({field.name}), 'null')" if field.nullable else field.name for field in dataset.latest.fields
    )
    limits = " OR ".join(f"(partition = {extent.partition} AND offset < {extent.end})" for extent in extents or ())
    within = f"PREWHERE {limits}" if limits else ""
    [(rows, hash_)] = query(f"SELECT count(), sum(sipHash64({fields})) FROM {table} FINAL {within}")
    return Checksum(int(rows), int(hash_))
