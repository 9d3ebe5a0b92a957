"""A checksum of a table: whether two tables, or one table at two times, hold the same rows."""

from collections.abc import Iterable
from typing import NamedTuple

from infra.base.log import Extent
from infra.base.query import Query
from schemas.manifest import Dataset
from schemas.order import PLACES


class Checksum(NamedTuple):
    """Merged rows, and the sum modulo 2^64 of a 64-bit hash of each: equal whatever the order of the rows."""

    rows: int
    hash: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.hash:016x}"


def checksum(dataset: Dataset, table: str, query: Query, where: str = "1") -> Checksum:
    """The checksum of the merged rows that match `where`, over the contract's fields that say something.

    Positions do not count, nor do fields that name messages (`schemas.order.PLACES`).
    """
    fields = ", ".join(
        f"ifNull(toString({field.name}), 'null')" if field.nullable else field.name
        for field in dataset.latest.fields
        if field.name not in PLACES
    )
    [(rows, hash_)] = query(f"SELECT count(), sum(sipHash64({fields})) FROM {table} FINAL WHERE {where}")
    return Checksum(int(rows), int(hash_))


def checksums(
    dataset: Dataset, tables: tuple[str, str], query: Query, extents: Iterable[Extent]
) -> tuple[Checksum, Checksum]:
    """Two tables of one dataset, over what both have read: the messages within `extents`.

    Keys of which either holds another row are not compared. Of a newer one, the row before it may be gone already in
    one of them; an older one is of a message that retention has removed.
    """
    within = " OR ".join(
        f"(partition = {extent.partition} AND offset >= {extent.begin} AND offset < {extent.end})" for extent in extents
    )
    key = ", ".join(dataset.order_by)
    others = " UNION ALL ".join(f"SELECT {key} FROM {table} WHERE NOT ({within})" for table in tables)
    where = f"({within}) AND ({key}) NOT IN ({others})"
    first, second = (checksum(dataset, table, query, where) for table in tables)
    return first, second
