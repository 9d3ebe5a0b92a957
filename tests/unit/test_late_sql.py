"""What `repair --late` names: on the engine, with tables filled by the recomputation as a repair fills them."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from clickhouse.late import FIRST_STATS, HOUR, Made, late_readings, stale_hours
from clickhouse.verify.values import EXPECTED
from infra.base.query import Query
from schemas.manifest import RAW
from stream_processing.grain import load_grains
from tests.spark.readings import START, Reading
from tests.unit.test_expected_sql import AGGREGATES, DATASETS, insert, query

__all__ = ["query"]
"""The fixture: an engine in memory with all tables."""
GRAINS = load_grains()
CLOSED = START + 2 * HOUR
NOW = START + timedelta(days=1)
EVERY = [Reading(s // 15, m, s, 1.0, 230.0, 0, s, m) for m in (1, 2) for s in range(0, 7200, 15)]


def compute(query: Query, *names: str) -> None:
    """Emit the rows of these datasets, as a repair of everything does; what the tables hold stays beside them."""
    for name in names or AGGREGATES:
        declared = DATASETS[name]
        columns = ", ".join(field.name for field in declared.latest.fields)
        sql = (EXPECTED / f"{name}.sql").read_text()
        [[rows]] = query(f"SELECT count() FROM {name}")
        query(
            f"INSERT INTO {name} ({columns}, topic, partition, offset, produced_at) SELECT {columns}, '{name}', 0, "
            f"{rows} + rowNumberInAllBlocks(), {START.timestamp() + 9000} FROM ({sql})",
            declared.parameters,
        )


def stale(query: Query, closed: datetime = CLOSED, now: datetime = NOW) -> dict[str, list[int]]:
    """By dataset, the hours after START that know too little; datasets without any are missing."""
    found = {}
    for grain in GRAINS.values():
        for name in grain.emits:
            lengths = (timedelta(seconds=grain.window_s), timedelta(seconds=grain.context_s))
            hours = stale_hours(query, Made(DATASETS[name], DATASETS[grain.source], *lengths), closed, now)
            if hours:
                found[name] = sorted((hour - START) // HOUR for hour in hours)
    return found


def late(query: Query, now: datetime = NOW) -> list[tuple[int, int, int]]:
    """Meter, hour after START, late readings."""
    found = late_readings(query, DATASETS[RAW], DATASETS[FIRST_STATS], CLOSED, now)
    return [(each.meter_id, (each.hour - START) // HOUR, each.late) for each in found]


@pytest.fixture
def computed(query: Query) -> Query:
    for name in AGGREGATES:
        query(f"TRUNCATE TABLE {name}")
    insert(query, EVERY)
    compute(query)
    assert (stale(query), late(query)) == ({}, [])
    return query


def test_a_late_reading_is_named_once_and_a_repair_ends_it(computed: Query) -> None:
    insert(computed, [*EVERY, Reading(9999, 1, 7, 5.0, 230.0, 0, None, 1, produced_s=8000)])
    assert late(computed) == [(1, 0, 1)]
    assert stale(computed) == {"meter_stats_30s": [0], "anomaly_detection_meter": [0]}
    compute(computed, "meter_stats_30s", "anomaly_detection_meter")
    assert stale(computed) == {
        **{"meter_minute_trend": [0], "meter_stats_5min": [0], "anomaly_prediction_features": [0]}
    }, "each dataset is compared with what it is made of"
    compute(computed)
    assert (stale(computed), late(computed)) == ({}, [])


def test_a_corrected_reading_is_stale_and_not_late(computed: Query) -> None:
    """It is older than the hour's newest reading, and in the last 5 min: the next hour's energy depends on it."""
    insert(computed, [*EVERY, Reading(9999, 1, 3585, 5.0, 230.0, 0, None, 1, produced_s=3601)])
    assert (late(computed), stale(computed)) == ([], {"meter_stats_30s": [0], "anomaly_detection_meter": [0]})
    compute(computed, "meter_stats_30s", "meter_stats_5min")
    assert stale(computed)["meter_hourly_power_consumption"] == [0, 1]
    assert stale(computed)["building_hourly_power_consumption"] == [0, 1]
    compute(computed)
    assert stale(computed) == {}


def test_a_meter_that_moves_within_5_min_is_not_named(computed: Query) -> None:
    moving = [replace(r, building_id=2 if r.second < 4000 else 7) if r.meter_id == 2 else r for r in EVERY]
    for name in AGGREGATES:
        computed(f"TRUNCATE TABLE {name}")
    insert(computed, moving)
    compute(computed)
    assert (stale(computed), late(computed)) == ({}, [])


def test_a_late_move_is_repaired_and_then_named_no_more(computed: Query) -> None:
    """The row of the building that was left keeps its surplus, which verify names (decision 101)."""
    insert(computed, [*EVERY, *(Reading(9999, 2, 299, 5.0, 230.0, 0, None, 8, produced_s=8000),)])
    compute(computed)
    assert (stale(computed), late(computed)) == ({}, [])


def test_rows_without_a_version_are_stale(computed: Query) -> None:
    """Those of the first version of each contract."""
    columns = ", ".join(field.name for field in DATASETS["meter_minute_trend"].versions[1].fields)
    row = f"SELECT {columns} FROM meter_minute_trend WHERE meter_id = 1 ORDER BY window_start LIMIT 1"
    computed(f"CREATE TABLE first_version ENGINE = Memory AS {row}")
    of_row = "(meter_id, window_start) IN (SELECT meter_id, window_start FROM first_version)"
    computed(f"DELETE FROM meter_minute_trend WHERE {of_row}")
    computed(
        f"INSERT INTO meter_minute_trend ({columns}, produced_at) SELECT *, {START.timestamp()} FROM first_version"
    )
    assert stale(computed) == {"meter_minute_trend": [0]}


def test_what_is_open_or_may_have_expired_is_not_compared(computed: Query) -> None:
    for name in AGGREGATES:
        computed(f"TRUNCATE TABLE {name}")
    assert stale(computed, closed=START) == {}
    ttl = timedelta(days=DATASETS[RAW].ttl_days or 0)
    produced = START + timedelta(hours=1)
    assert late(computed, now=produced + ttl - timedelta(seconds=1)) == [(m, h, 240) for h in (0, 1) for m in (1, 2)]
    assert late(computed, now=produced + ttl) == []
    assert stale(computed, now=produced + ttl - timedelta(seconds=1))["meter_stats_30s"] == [0, 1]
    assert stale(computed, now=produced + ttl) == {}
