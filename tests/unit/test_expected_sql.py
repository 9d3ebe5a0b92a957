"""The SQL from which verify recomputes aggregates, on the engine, against plain Python; and verify's comparison."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from clickhouse.ddl import EXAMPLE, create_statement, tables
from clickhouse.front import library
from clickhouse.verify import values
from clickhouse.verify.values import EXPECTED, compare
from infra.base.columns import Columns
from infra.base.query import Query, ResultRows
from schemas.manifest import RAW, load_datasets
from tests.spark.hours import FIVE_MIN_S, deviation, expected_features, expected_hours, readings_of_hours
from tests.spark.readings import START, Reading, counted, expected_stats
from tests.unit.test_cases import LINZ, SMA
from tests.unit.test_cases import readings as case_readings

DATASETS = load_datasets()
AGGREGATES = sorted(path.stem for path in EXPECTED.glob("*.sql"))
LATER = START + timedelta(days=1)
many = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def query() -> Iterator[Query]:
    """An engine in memory with the tables of every dataset, as declared, that hold rows."""
    with closing(library.connect(":memory:")) as connection:

        def run(sql: str, parameters: Mapping[str, float] | None = None) -> ResultRows:
            text = {name: str(value) for name, value in (parameters or {}).items()}
            return [
                json.loads(line)
                for line in connection.query(sql, "JSONCompactEachRow", params=text).bytes().splitlines()
            ]

        run("SET output_format_json_quote_64bit_integers = 0, mutations_sync = 1")
        for name in (RAW, *AGGREGATES):
            for table in tables(DATASETS[name], EXAMPLE):
                if table.name in (name, f"{name}_latest"):
                    run(create_statement(replace(table, ttl="")))  # readings of these tests are old
        yield run


def insert(query: Query, readings: list[Reading]) -> None:
    """Twice, in two parts: only FINAL merges them."""
    query(f"TRUNCATE TABLE {RAW}")
    rows = ", ".join(
        f"({r.meter_id}, {r.building_id}, {r.at.timestamp()}, {r.power_kw!r}, {r.voltage_v!r}, {r.status}, "
        f"{'NULL' if r.sequence is None else r.sequence}, 'smart-meter-data', {r.partition}, {r.offset}, "
        f"{START.timestamp() + r.produced_s})"
        for r in readings
    )
    for _ in range(2):
        query(f"INSERT INTO {RAW} SETTINGS precise_float_parsing = 1 VALUES {rows}")


def recomputed(query: Query, dataset: str) -> dict[tuple[int, datetime], dict[str, Any]]:
    """By the two columns of the key; instants as datetimes."""
    fields = DATASETS[dataset].latest.fields
    instants = {field.name for field in fields if field.type == "timestamp-millis"}
    names = [
        f"toUnixTimestamp64Milli(toDateTime64({f.name}, 3, 'UTC'))" if f.name in instants else f.name for f in fields
    ]
    sql = (EXPECTED / f"{dataset}.sql").read_text()
    found = {}
    for row in query(f"SELECT {', '.join(names)} FROM ({sql}) AS t", DATASETS[dataset].parameters):
        values_ = dict(zip((f.name for f in fields), row, strict=True))
        values_ |= {name: datetime.fromtimestamp(values_[name] / 1000, UTC) for name in instants}
        key = values_[DATASETS[dataset].order_by[0]], values_["window_start"]
        assert key not in found
        found[key] = values_
    return found


@many
@given(readings=readings_of_hours)
def test_longer_aggregates_equal_plain_python(query: Query, readings: list[Reading]) -> None:
    insert(query, readings)
    windows = counted(readings, FIVE_MIN_S)
    expected: dict[str, dict[tuple[int, datetime], dict[str, Any]]] = {
        "meter_stats_5min": {key: expected_stats(window) for key, window in windows.items()},
        "anomaly_prediction_features": {key: expected_features(window) for key, window in windows.items()},
        **expected_hours(readings),
    }
    for name, rows in expected.items():
        actual = recomputed(query, name)
        assert actual.keys() == rows.keys(), name
        for key, fields in rows.items():
            assert {field: actual[key][field] for field in fields} == fields, (name, key)


def test_deviations_are_exact_at_the_limits(query: Query) -> None:
    powers = [999.999999 if i % 7 else -1000.0 for i in range(3600)]
    insert(query, [Reading(i, 1, i, power, float(i % 1001)) for i, power in enumerate(powers)])
    [hour] = recomputed(query, "meter_hourly_voltage_monitoring").values()
    assert hour["voltage_std_v"] == deviation([i % 1001 * 1000 for i in range(3600)], 1e3)
    for (_, start), row in recomputed(query, "anomaly_prediction_features").items():
        first = int((start - START).total_seconds())
        assert row["power_std_kw"] == deviation([round(p * 1e6) for p in powers[first : first + FIVE_MIN_S]], 1e6)


def from_file(columns: Columns) -> list[Reading]:
    """Readings of a file, moved so that the hour of the first one begins at START."""
    first_ms = int(columns["timestamp"].min()) // 3_600_000 * 3_600_000
    seconds = ((columns["timestamp"] - first_ms) // 1000).tolist()
    powers, volts = columns["power_kw"].tolist(), columns["voltage_v"].tolist()
    return [Reading(i, 1, *values) for i, values in enumerate(zip(seconds, powers, volts, strict=True))]


def test_no_window_of_feed_in_is_low_consumption(query: Query) -> None:
    options = {
        **SMA,
        "date_column": "time",
        "date_format": "iso",
        "power_column": "power_w",
        "voltage_column": "voltage",
    }
    insert(query, from_file(case_readings("b01_feed_in.csv", **options)))
    windows = recomputed(query, "anomaly_detection_meter").values()
    assert (len(windows), sum(window["low_consumption"] for window in windows)) == (20, 0)
    insert(query, [Reading(0, 1, 0, -0.02, 230.0), Reading(1, 1, 5, 0.01, 230.0), Reading(2, 2, 0, -0.021, 230.0)])
    low = {meter: row["low_consumption"] for (meter, _), row in recomputed(query, "anomaly_detection_meter").items()}
    assert low == {1: True, 2: False}


def test_hours_of_a_file_of_quarter_hours_are_whole(query: Query) -> None:
    insert(query, from_file(case_readings("f04_linz.csv", **LINZ)))
    hours = sorted(recomputed(query, "meter_hourly_power_consumption").items())
    assert [row["energy_kwh"] for _, row in hours] == pytest.approx([0.17, 0.06, 0.50, 0.26])
    assert [row["covered_s"] for _, row in hours] == [3600.0] * 4


def test_sums_of_squares_hold_the_largest_fleet(query: Query) -> None:
    powers = [99_999.999999 if i % 7 else -100_000.0 for i in range(3600)]
    insert(query, [Reading(i, 1, i, power, 230.0) for i, power in enumerate(powers)])
    for (_, start), row in recomputed(query, "anomaly_prediction_features").items():
        first = int((start - START).total_seconds())
        assert row["power_std_kw"] == deviation([round(p * 1e6) for p in powers[first : first + FIVE_MIN_S]], 1e6)


def some_readings() -> list[Reading]:
    """Six meters in three buildings, and one that moves."""
    readings = [Reading(0, m, s, (m + s % 7) / 10, 230.0, 0, s, m // 2) for m in range(6) for s in range(0, 4000, 45)]
    return [*readings, *(Reading(0, 9, s, 1.0, 230.0, 0, s, s // 2000) for s in range(0, 4000, 45))]


@pytest.mark.parametrize("dataset", AGGREGATES)
@pytest.mark.parametrize("slice_readings", [200, 10**9])
def test_the_comparison_in_slices_finds_one_row_altered_lost_or_invented(
    query: Query, monkeypatch: pytest.MonkeyPatch, dataset: str, slice_readings: int
) -> None:
    monkeypatch.setattr(values, "SLICE_READINGS", slice_readings)
    insert(query, some_readings())
    declared, key = DATASETS[dataset], DATASETS[dataset].order_by[0]
    sql = (EXPECTED / f"{dataset}.sql").read_text()
    names = ", ".join(field.name for field in declared.latest.fields)
    query(f"TRUNCATE TABLE {dataset}")
    query(
        f"INSERT INTO {dataset} ({names}, topic, partition, offset, produced_at) "
        f"SELECT {names}, '{dataset}', 0, rowNumberInAllBlocks(), now() FROM ({sql}) AS t",
        declared.parameters,
    )
    [[rows]] = query(f"SELECT count() FROM {dataset}")
    all_equal = compare(declared, LATER, query)
    assert (all_equal.equal, all_equal.failures) == (rows, [])

    # Neither of the key nor of what the engine computes, whichever the dataset has.
    altered = next(f.name for f in declared.latest.fields if f.type in ("double", "long") and f.name != "event_count")
    [[start]] = query(f"SELECT min(window_start) FROM {dataset}")
    at = f"window_start = '{start}' AND {key}"
    query(f"ALTER TABLE {dataset} UPDATE {altered} = {altered} + 1 WHERE {at} = 1")
    query(f"ALTER TABLE {dataset} DELETE WHERE {at} = 2")
    query(f"INSERT INTO {dataset} SELECT * REPLACE (77 AS {key}) FROM (SELECT * FROM {dataset} WHERE {at} = 0)")
    comparison = compare(declared, LATER, query)
    assert comparison.differing == {"altered": 1, "missing": 1, "unexpected": 1}
    told = "\n".join(comparison.failures)
    assert f"{dataset}: {key} 1, window_start {start} {altered} is " in told
    assert f"{key} 2, window_start {start} is not in the table" in told
    assert f"{key} 77, window_start {start} is in the table, and there are no readings" in told


def test_the_statistics_of_30_s_and_5_min_are_recomputed_alike() -> None:
    short, long = ((EXPECTED / f"meter_stats_{window}.sql").read_text() for window in ("30s", "5min"))
    assert (
        short.replace("meter_stats_30s", "meter_stats_5min").replace("INTERVAL 30 SECOND", "INTERVAL 5 MINUTE") == long
    )
