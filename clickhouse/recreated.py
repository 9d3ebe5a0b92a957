"""A topic that was deleted and made again: its offsets begin anew, and tables still hold rows of the one before.

The table's positions then name other messages than the log's. Nothing that compares positions can be right until the
table is filled anew, so whatever finds a topic like that says so and how to go on.
"""

from clickhouse.ddl import literal, names
from infra.base.log import Extent, Log
from infra.base.query import Query
from schemas.manifest import RAW, Dataset

LAST_MS = 10_413_791_999_999
"""What a DateTime64 can hold: the year 2299."""
LOOKED_AT = 100
"""Messages at a partition's beginning whose times are compared."""


def recreated(dataset: Dataset, query: Query, log: Log) -> str | None:
    """A sentence that says that the dataset's topic was made again, how that shows, and what to do; None if it was not.

    Either the table holds offsets that the topic has not reached, or a row whose message came into the log at another
    time than the table says. A table that has read the new topic to beyond the old one's end, and of which the first
    rows have been replaced or removed, shows neither.
    """
    ends = query(
        f"SELECT partition, max(offset) FROM {names(dataset.name).table} WHERE topic = {literal(dataset.topic)} "
        "GROUP BY partition ORDER BY partition"
    )
    if not ends:
        return None
    # The log is asked after the table: a table cannot have read what is not there yet.
    extents = {extent.partition: extent for extent in log.extents(dataset.topic)}
    for partition, last in ends:
        extent = extents.get(partition)
        if extent is None or last >= extent.end:
            reached = "does not exist" if extent is None else f"ends at {extent.end}"
            return _sentence(dataset, f"the table holds partition {partition} to offset {last}, which {reached}")
    # A topic is made again as a whole, so one partition tells.
    partition = max(ends, key=lambda row: row[1])[0]
    offset = _other_time(dataset, extents[partition], query, log)
    if offset is None:
        return None
    how = f"the table's row of partition {partition} offset {offset} came at another time than the message there"
    return _sentence(dataset, how)


def _other_time(dataset: Dataset, extent: Extent, query: Query, log: Log) -> int | None:
    """The first offset of those looked at whose rows came at another time than the message."""
    looked_at = extent._replace(end=min(extent.end, extent.begin + LOOKED_AT))
    came_at = {entry.offset: entry.produced_at_ms for entry in log.entries(dataset.topic, [looked_at])}
    rows = query(
        f"SELECT DISTINCT offset, toUnixTimestamp64Milli(produced_at) FROM {names(dataset.name).table} "
        f"WHERE topic = {literal(dataset.topic)} AND partition = {extent.partition} "
        f"AND offset >= {looked_at.begin} AND offset < {looked_at.end} ORDER BY offset"
    )
    told = {offset: ms for offset, ms in came_at.items() if 0 < ms < LAST_MS}  # the table cannot hold other times
    return next((int(offset) for offset, ms in rows if told.get(offset, ms) != ms), None)


def _sentence(dataset: Dataset, how: str) -> str:
    way_on = f"`smartmeter rebuild {dataset.name} --allow-incomplete` fills the table from the new topic"
    if dataset.name == RAW:
        way_on = (
            "stop the stream, remove its checkpoints (`checkpoints` in the data directory, or where the deployment "
            f"says), {way_on}, and start the stream again. Rows made of the old readings stay in their topics: make "
            "those again, too, to be without them"
        )
    return f"{dataset.name}: topic {dataset.topic} was deleted and made again ({how}). To go on: {way_on}"
