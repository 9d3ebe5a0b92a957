"""What the stream missed: readings that came, or were corrected, after their window was closed.

raw_data holds every reading, and each row of an aggregate says which readings it knows. If a closed window's rows know
less than what they are made of, readings were late or corrected, or a part of the stream ran without its state;
`smartmeter repair --late` recomputes there. Everything is SQL over the merged views: the functions write it and read
the answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clickhouse.ddl import names
from infra.base.query import Query
from schemas.manifest import RAW, Dataset
from schemas.order import CONTENT_VERSION, RANK_SQL, READING_TIME

HOUR = timedelta(hours=1)
FIRST_STATS = "meter_stats_30s"
BUCKET = 20_000
"""Offsets are looked at in buckets of so many."""
EXTENTS_MAX = 8
VERSION = f"toDecimal128(ifNull({CONTENT_VERSION}, 0), 0)"


@dataclass(frozen=True)
class LateReadings:
    """Readings of one meter and hour that closed windows of meter_stats_30s do not count."""

    meter_id: int
    building_id: int
    hour: datetime
    readings: int
    """All of them in the hour that belong to closed windows."""
    late: int


def newest_reading(query: Query, before: datetime | None = None) -> datetime | None:
    """The newest time that a reading proves (`READING_TIME`), or the newest timestamp before an instant; None where
    there is none."""
    time = READING_TIME if before is None else "timestamp"
    [(count, newest_ms)] = query(
        f"SELECT count(), toUnixTimestamp64Milli(max({time})) FROM {RAW} WHERE {_between(None, before)}"
    )
    return datetime.fromtimestamp(newest_ms / 1000, UTC) if count else None


def late_readings(
    query: Query, raw: Dataset, stats: Dataset, closed_before: datetime, now: datetime | None = None
) -> list[LateReadings]:
    """By meter and hour, how many readings the first dataset's rows lack of the windows that end by `closed_before`."""
    end_ms = _whole_windows_ms(closed_before, timedelta(seconds=30))
    rows = query(
        f"""
        SELECT meter_id, max(building_id), toUnixTimestamp(hour), sum(readings) AS raw, raw - sum(counted) AS late
        FROM
        (
            SELECT
                meter_id, building_id, toStartOfHour(timestamp) AS hour, count() AS readings, 0 AS counted,
                min(produced_at) AS oldest
            FROM {names(RAW).latest} WHERE timestamp < fromUnixTimestamp64Milli({end_ms})
            GROUP BY meter_id, building_id, hour
            UNION ALL
            SELECT meter_id, building_id, toStartOfHour(window_start) AS hour, 0, sum(event_count), NULL
            FROM {names(stats.name).latest} WHERE window_end <= fromUnixTimestamp64Milli({end_ms})
            GROUP BY meter_id, building_id, hour
        )
        GROUP BY meter_id, hour HAVING late > 0 AND {_kept(raw, stats, now)} ORDER BY hour, meter_id"""
    )
    return [
        LateReadings(meter, building, datetime.fromtimestamp(hour, UTC), int(raw), int(late))
        for meter, building, hour, raw, late in rows
    ]


@dataclass(frozen=True)
class Made:
    """How a dataset's rows are made: of `source`'s, by `window`, with those up to `context` before it."""

    dataset: Dataset
    source: Dataset
    window: timedelta
    context: timedelta = timedelta()


def stale_hours(query: Query, made: Made, closed_before: datetime, now: datetime | None = None) -> set[datetime]:
    """Hours in which closed windows of a dataset know less than the rows that they are made of.

    A row says what it knows by its `content_version`: it is less than the sum of its source's where a reading is
    missing, and where one was corrected. A row that knows more, of a meter that has since moved away, is not stale:
    to recompute it would change nothing (decision 101).
    """
    dataset, source = made.dataset, made.source
    key, end_ms = dataset.order_by[0], _whole_windows_ms(closed_before, made.window)
    raw = source.name == RAW
    start, version = (
        ("timestamp", f"CAST(toString({RANK_SQL}), 'Decimal(38, 0)')") if raw else ("window_start", VERSION)
    )
    bucket_s = max(round(made.window.total_seconds()), 3600)
    bucket = f"INTERVAL {bucket_s} SECOND"
    # What lies within the context before the next bucket counts there, too, but does not make it a row of its own.
    joined = (
        f"arrayJoin({start} >= begin + toIntervalSecond({bucket_s - made.context.total_seconds():.0f}) ? [0, 1] : [0])"
    )
    rows = query(
        f"""
        SELECT DISTINCT toUnixTimestamp(bucket) FROM
        (
            SELECT
                {key}, toDateTime(toStartOfInterval({start}, {bucket}), 'UTC') AS begin, {joined} AS ahead,
                begin + toIntervalSecond(ahead * {bucket_s}) AS bucket,
                sum({version}) AS expected, toDecimal128(0, 0) AS counted, countIf(ahead = 0) AS of_bucket,
                min(produced_at) AS oldest
            FROM {names(source.name).latest} WHERE {start} < fromUnixTimestamp64Milli({end_ms})
            GROUP BY {key}, begin, ahead
            UNION ALL
            SELECT
                {key}, toDateTime(toStartOfInterval(window_start, {bucket}), 'UTC'), 0,
                toDateTime(toStartOfInterval(window_start, {bucket}), 'UTC'), toDecimal128(0, 0), sum({VERSION}),
                0, NULL
            FROM {names(dataset.name).latest} WHERE window_end <= fromUnixTimestamp64Milli({end_ms})
            GROUP BY ALL
        )
        GROUP BY {key}, bucket
        HAVING sum(counted) < sum(expected) AND sum(of_bucket) > 0 AND {_kept(source, dataset, now)}"""
    )
    starts = [datetime.fromtimestamp(start_s, UTC) for (start_s,) in rows]
    return {start + n * HOUR for start in starts for n in range(bucket_s // 3600)}


def _kept(source: Dataset, dataset: Dataset, now: datetime | None) -> str:
    """The condition that no TTL can have removed any of the rows compared; `oldest` is the time of the source's."""
    days = [table.ttl_days for table in (source, dataset) if table.ttl_days is not None]
    if not days:
        return "1"
    since = _ms((now or datetime.now(UTC)) - timedelta(days=min(days)))
    return f"min(oldest) > fromUnixTimestamp64Milli({since})"


def hours(query: Query, start: datetime | None, end: datetime | None) -> list[tuple[datetime, int]]:
    """Every hour of [start, end) that has readings, in order, and how many."""
    rows = query(
        f"SELECT toUnixTimestamp(toStartOfHour(timestamp)) AS hour, count() FROM {RAW} "
        f"WHERE {_between(start, end)} GROUP BY hour ORDER BY hour"
    )
    return [(datetime.fromtimestamp(hour, UTC), int(count)) for hour, count in rows]


def extents(
    query: Query, begins: Mapping[int, int], start: datetime | None, end: datetime | None
) -> dict[int, list[tuple[int, int]]]:
    """Where in the raw topic the readings of event time [start, end) are: offsets [begin, end) by partition.

    They hold other readings too. Every partition of `begins` (its first offset) gets at least one, empty if need be.
    raw_data must have consumed the topic to its end, and holds of repeated readings the last, which is the one that
    counts.
    """
    rows = query(
        f"SELECT partition, min(offset), max(offset) + 1 FROM {RAW} WHERE {_between(start, end)} "
        f"GROUP BY partition, intDiv(offset, {BUCKET}) ORDER BY partition, 2"
    )
    by_partition: dict[int, list[tuple[int, int]]] = {partition: [] for partition in begins}
    for partition, begin, end_offset in rows:
        by_partition[partition].append((int(begin), int(end_offset)))
    return {
        partition: fewer(extents_, EXTENTS_MAX) or [(begins[partition], begins[partition])]
        for partition, extents_ in by_partition.items()
    }


def fewer(extents: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """Ascending extents, joined over the narrowest gaps between them until at most `most` are left."""
    if len(extents) <= most:
        return list(extents)
    gaps = sorted(range(1, len(extents)), key=lambda i: extents[i][0] - extents[i - 1][1])
    cuts = sorted(gaps[len(extents) - most :])
    starts = [0, *cuts]
    ends = [*cuts, len(extents)]
    return [(extents[first][0], extents[last - 1][1]) for first, last in zip(starts, ends, strict=True)]


def batches(hours: Sequence[tuple[datetime, int]], most: int) -> list[tuple[datetime, datetime]]:
    """Cut hours, in order and with their counts, into spans [start, end) of at most `most` readings or one hour.

    Hours that do not follow each other are in different spans.
    """
    spans: list[tuple[datetime, datetime]] = []
    total = 0
    for hour, count in hours:
        if spans and spans[-1][1] == hour and total + count <= most:
            spans[-1] = (spans[-1][0], hour + HOUR)
            total += count
        else:
            spans.append((hour, hour + HOUR))
            total = count
    return spans


def _between(start: datetime | None, end: datetime | None) -> str:
    limits = [
        f"timestamp {sign} fromUnixTimestamp64Milli({_ms(instant)})"
        for sign, instant in ((">=", start), ("<", end))
        if instant is not None
    ]
    return " AND ".join(limits) or "1"


def _ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def _whole_windows_ms(closed_before: datetime, window: timedelta) -> int:
    """The end of the last window that ends by an instant."""
    step = round(window.total_seconds() * 1000)
    return _ms(closed_before) // step * step
