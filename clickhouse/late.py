"""What the stream missed: readings that came after their window was closed, found by comparing counts.

raw_data holds every reading, and each row of an aggregate says how many readings it counts. If a closed window's rows
count fewer, readings were late, or a part of the stream ran without its state; `smartmeter repair --late` recomputes
there. Everything is SQL over the merged views: the functions write it and read the answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from clickhouse.ddl import names
from infra.base.query import Query
from schemas.manifest import RAW, Dataset

HOUR = timedelta(hours=1)
FIRST_STATS = "meter_stats_30s"
BUCKET = 20_000
"""Offsets are looked at in buckets of so many."""
EXTENTS_MAX = 8


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
    """The time of the newest reading, or of the newest before an instant; None where there is none."""
    [(count, newest_ms)] = query(
        f"SELECT count(), toUnixTimestamp64Milli(max(timestamp)) FROM {RAW} WHERE {_between(None, before)}"
    )
    return datetime.fromtimestamp(newest_ms / 1000, UTC) if count else None


def late_readings(query: Query, closed_before: datetime) -> list[LateReadings]:
    """By meter and hour, what meter_stats_30s lacks of the windows that end by `closed_before`."""
    end_ms = _whole_windows_ms(closed_before, timedelta(seconds=30))
    rows = query(
        f"""
        SELECT meter_id, max(building_id), toUnixTimestamp(hour), sum(readings) AS raw, raw - sum(counted) AS late
        FROM
        (
            SELECT meter_id, building_id, toStartOfHour(timestamp) AS hour, count() AS readings, 0 AS counted
            FROM {names(RAW).latest} WHERE timestamp < fromUnixTimestamp64Milli({end_ms})
            GROUP BY meter_id, building_id, hour
            UNION ALL
            SELECT meter_id, building_id, toStartOfHour(window_start) AS hour, 0, sum(event_count)
            FROM {names(FIRST_STATS).latest} WHERE window_end <= fromUnixTimestamp64Milli({end_ms})
            GROUP BY meter_id, building_id, hour
        )
        GROUP BY meter_id, hour HAVING late > 0 ORDER BY hour, meter_id"""
    )
    return [
        LateReadings(meter, building, datetime.fromtimestamp(hour, UTC), int(raw), int(late))
        for meter, building, hour, raw, late in rows
    ]


def incomplete_hours(query: Query, dataset: Dataset, closed_before: datetime, window: timedelta) -> set[datetime]:
    """Hours in which the closed windows of an aggregate count fewer readings than meter_stats_30s does."""
    end_ms = _whole_windows_ms(closed_before, window)
    key = dataset.order_by[0]
    rows = query(
        f"""
        SELECT DISTINCT toUnixTimestamp(hour) FROM
        (
            SELECT {key}, toStartOfHour(window_start) AS hour, sum(event_count) AS expected, 0 AS counted
            FROM {names(FIRST_STATS).latest} WHERE window_end <= fromUnixTimestamp64Milli({end_ms})
            GROUP BY {key}, hour
            UNION ALL
            SELECT {key}, toStartOfHour(window_start) AS hour, 0, sum(event_count)
            FROM {names(dataset.name).latest} WHERE window_end <= fromUnixTimestamp64Milli({end_ms})
            GROUP BY {key}, hour
        )
        GROUP BY {key}, hour HAVING sum(counted) < sum(expected)"""
    )
    return {datetime.fromtimestamp(hour, UTC) for (hour,) in rows}


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
