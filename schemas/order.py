"""Which of two readings or rows counts, and what time a reading proves: one order for every consumer (laws 3, 5, 8).

A message's rank is one integer, by log time, then partition, then offset. Of two readings for one (meter, timestamp)
the one with the greater rank counts. The offsets of two partitions are compared nowhere else.

A row that is made of readings carries `content_version`, the sum of their ranks, context included. To know one reading
more, or a newer one in the place of an older one, makes the sum greater. So of two rows with equal counts the greater
one knows more, whenever and however often either was emitted, and a row made of everything in the log wins. The newest
log time alone would not do: a correction is often older than the newest reading of its hour (decision 101).

As expressions these are SQL that Spark and ClickHouse both understand.
"""

from collections.abc import Mapping
from typing import Any

from schemas.manifest import Dataset

CONTENT_VERSION = "content_version"
LOG_TIME_FACTOR, PARTITION_FACTOR = 2**52, 2**40
"""A rank is ms since 1970 times the first, plus partition times the second, plus offset. A sum of 2^33 ranks fits
decimal(38, 0)."""

READING_TIME = "least(timestamp, produced_at)"
"""The time that a reading proves to have come. A clock that is fast proves no more than the log's own time, so it moves
no other meter's time. Watermarks, and all that reckons the newest reading, use this (decision 100)."""

PLACES = {CONTENT_VERSION, "feature_partition", "feature_offset"}
"""Fields that say which messages a row comes from, not what it says."""


def rank(produced_at_ms: int, partition: int, offset: int) -> int:
    """A message's place in the one order of all messages of a topic."""
    return produced_at_ms * LOG_TIME_FACTOR + partition * PARTITION_FACTOR + offset


def row_version(dataset: Dataset, values: Mapping[str, Any], produced_at_ms: int, partition: int, offset: int) -> int:
    """Of a key's rows the one with the greatest counts. ClickHouse's tables compute the same (`row_version_sql`).

    `values` are a record's; a row without `content_version` was written before there was one.
    """
    if dataset.version_by == "offset":
        return rank(produced_at_ms, partition, offset)
    count, version = int(values[dataset.version_by]), int(values.get(CONTENT_VERSION) or 0)
    return (count << 192) + (version << 64) + offset


RANK_SQL = (
    f"((toInt128(toUnixTimestamp64Milli(produced_at)) * {LOG_TIME_FACTOR}) "
    f"+ (toInt128(partition) * {PARTITION_FACTOR})) + offset"
)
"""A stored message's rank in ClickHouse, as the engine prints it."""


def row_version_sql(dataset: Dataset) -> str:
    """`row_version` over a table's columns in ClickHouse, as the engine prints it."""
    if dataset.version_by == "offset":
        return RANK_SQL
    count = f"bitShiftLeft(toInt256({dataset.version_by}), 192)"
    if CONTENT_VERSION not in {field.name for field in dataset.latest.fields}:
        return f"{count} + offset"
    return f"({count} + bitShiftLeft(toInt256(ifNull({CONTENT_VERSION}, 0)), 64)) + offset"
