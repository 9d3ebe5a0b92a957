"""A small known world in ClickHouse's tables, and its rows by law 3, for the tests of panels and of the preview.

Buildings 1 (meters 11, 12) and 2 (meter 21). Each table also holds rows that must not count: replaced ones, later and
earlier ones than the time, so that a query that forgets a filter or the merge shows wrong numbers.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from clickhouse.ddl import EXAMPLE, create_statement, tables
from schemas.manifest import Dataset, load_datasets

Row = dict[str, Any]
DATASETS = load_datasets()
END = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
"""Of late, since the tables drop rows that have outlived their TTL."""
START = END - timedelta(hours=6)
BUILDING_OF = {11: 1, 12: 1, 21: 2}
MODELS = ("2026-01", "2026-02")
TOPICS = {"readings-of-a-deployment": "raw_data", "meter_minute_trend": "meter_minute_trend"}
"""Topic → dataset; a deployment names its raw topic as it likes."""
AGES_S = {"raw_data": 5.0, "meter_minute_trend": 800.0, "pipeline_metrics": 3.0, "late_readings": 1e6}


def window(start: datetime, seconds: int) -> Row:
    return {"window_start": start, "window_end": start + timedelta(seconds=seconds)}


def steps(seconds: int, start: datetime = START, end: datetime = END) -> Iterator[datetime]:
    while start < end:
        yield start
        start += timedelta(seconds=seconds)


def trend(meter: int, at: datetime, count: int = 12, **more: Any) -> Row:
    minute = int((at - START).total_seconds() // 60)
    power, voltage = meter / 10 + minute % 7 / 100, 225 + meter / 10 + minute % 5
    values = {"power_avg_kw": power, "power_min_kw": power / 2, "power_max_kw": power * 2}
    values |= {"voltage_avg_v": voltage, "voltage_min_v": voltage - 3, "voltage_max_v": voltage + 4}
    return {
        "meter_id": meter,
        "building_id": BUILDING_OF[meter],
        "event_count": count,
        **window(at, 60),
        **values,
        **more,
    }


def hourly_power(at: datetime, number: int, count: int = 720, **more: float) -> Row:
    hour = int((at - START).total_seconds() // 3600)
    power = number / 10 + (hour % 24) / 10
    values = {"power_avg_kw": power, "power_min_kw": 0.1, "power_max_kw": 3.0, "readings_sum_kw": power * count}
    told = {"event_count": count, **window(at, 3600), **values, "energy_kwh": power, "covered_s": 3600.0}
    return told | more


def hourly_voltage(meter: int, at: datetime) -> Row:
    hour = int((at - START).total_seconds() // 3600)
    values = {"voltage_avg_v": 230 + hour / 2, "voltage_min_v": 205.5, "voltage_max_v": 251.0, "voltage_std_v": 1.5}
    outside = {"voltage_outside_count": 36, "voltage_outside_share": 0.05}
    return {
        "meter_id": meter,
        "building_id": BUILDING_OF[meter],
        "event_count": 720,
        **window(at, 3600),
        **values,
        **outside,
    }


def detection(meter: int, at: datetime, *kinds: str, count: int = 6) -> Row:
    flags = {kind: kind in kinds for kind in ("spike", "low_consumption", "voltage_anomaly", "failure")}
    values = {"power_avg_kw": 1.0, "power_min_kw": 1.0, "power_max_kw": 1.0}
    values |= {"voltage_avg_v": 230.0, "voltage_min_v": 230.0, "voltage_max_v": 230.0}
    return {
        **{"meter_id": meter, "building_id": BUILDING_OF[meter], "event_count": count, **window(at, 30)},
        **values,
        **flags,
    }


def anomalies(building: int, at: datetime, *counts: int, count: int = 1440) -> Row:
    names = ("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count")
    kinds = dict(zip(names, counts, strict=True))
    return {"building_id": building, "event_count": count, "meter_count": 2, **window(at, 3600), **kinds}


def features(meter: int, at: datetime, *counts: int, count: int = 60) -> Row:
    names = ("failure_count", "spike_count", "low_consumption_count", "voltage_anomaly_count")
    numbers = (
        *("power_avg_kw", "power_std_kw", "power_min_kw", "power_max_kw", "voltage_avg_v", "voltage_std_v"),
        *("voltage_min_v", "voltage_max_v", "power_step_max_kw", "voltage_step_max_v"),
    )
    told = {"meter_id": meter, "building_id": BUILDING_OF[meter], "event_count": count, **window(at, 300)}
    return (
        told
        | dict.fromkeys(numbers, 1.0)
        | {"repeat_count": 0, "run_max_count": 1, "gap_count": None}
        | dict(zip(names, counts, strict=True))
    )


def result(meter: int, at: datetime, model: str, probability: float, count: int = 60) -> Row:
    alarm = probability >= 0.5
    told = {"meter_id": meter, "building_id": BUILDING_OF[meter], "event_count": count, **window(at, 300)}
    kind = "low_consumption" if alarm else None
    said = {"probability": probability, "prediction": alarm, "kind": kind, "threshold": 0.5}
    judged = {"model_name": "spike_rf_model", "model_version": model, "feature_partition": 0, "feature_offset": 0}
    return told | said | judged


def metric(name: str, part: str, target: str, at: datetime, *values: float) -> Row:
    told = {"metric": name, "part": part, "target": target, **window(at, 15), "event_count": len(values)}
    return told | {
        "value_sum": sum(values),
        "value_min": min(values),
        "value_max": max(values),
        "value_last": values[-1],
    }


def _metrics() -> Iterator[Row]:
    for number, at in enumerate(steps(15, END - timedelta(minutes=10))):
        for dataset, age_s in AGES_S.items():
            yield metric("newest_row_age_s", "clickhouse", dataset, at, age_s + number % 2)
        for topic, dataset in TOPICS.items():
            yield metric("end_offset_messages", "kafka", topic, at, 1000.0 + 300 * number)
            yield metric("lag_messages", f"clickhouse-{dataset}", topic, at, 500.0 - number, 400.0 - number)
            yield metric("schema_versions", "registry", f"{topic}-value", at, 2.0)
        yield metric("batch_duration_s", "stream", "meter_30s", at, 1.5, 2.5)
        yield metric("state_bytes", "stream", "meter_30s", at, 4e6)
        yield metric("late_rows", "stream", "meter_30s", at, 1.0, 0.0)
        yield metric("unreadable_messages", "clickhouse-raw_data", "smart-meter-data", at, float(number))
        yield metric("unreadable_by_reason_messages", "clickhouse-raw_data", "no magic byte", at, float(number))
        yield metric("unreadable_by_reason_messages", "clickhouse-raw_data", "cut off", at, 3.0)
        yield metric("resident_bytes", "kafka", "", at, 3e8)


def reading(meter: int, at: datetime, number: int, status: int = 0) -> Row:
    values = {"power_kw": meter / 10 + number % 5 / 100, "voltage_v": 228 + number % 3, "status": status}
    return {
        "meter_id": meter,
        "building_id": BUILDING_OF[meter],
        "timestamp": at,
        **values,
        "sequence": number + number // 50,
    }


def _readings() -> Iterator[Row]:
    """A reading each minute; the meter's own count leaves out one in fifty."""
    for meter in BUILDING_OF:
        for number, at in enumerate(steps(60, START + timedelta(seconds=5))):
            yield reading(meter, at, number, 2 if at.minute == 30 else 0)
    yield reading(11, EARLIER, 0)


LATER, EARLIER = END + timedelta(hours=3), START - timedelta(days=3)
HALF = START + timedelta(minutes=30)
ROWS: Mapping[str, Callable[[], Iterable[Row]]] = {
    "meter_minute_trend": lambda: [
        *(trend(meter, at) for meter in BUILDING_OF for at in steps(60)),
        *(trend(11, at, power_avg_kw=999.0, voltage_avg_v=999.0) for at in (LATER, EARLIER)),
        trend(11, HALF, count=4, power_avg_kw=999.0, voltage_min_v=1.0, voltage_max_v=999.0),  # replaced by more events
        trend(12, END - timedelta(minutes=1), count=4, power_avg_kw=999.0),
    ],
    "meter_hourly_power_consumption": lambda: [
        *(
            hourly_power(at, meter, meter_id=meter, building_id=BUILDING_OF[meter])
            for meter in BUILDING_OF
            for at in steps(3600)
        ),
        hourly_power(EARLIER, 999, meter_id=11, building_id=1),
        hourly_power(START, 999, count=5, meter_id=11, building_id=1),
    ],
    "building_hourly_power_consumption": lambda: [
        *(
            hourly_power(at, building, building_id=building, meter_count=2)
            for building in (1, 2)
            for at in (
                *steps(3600, END - timedelta(hours=12)),
                *steps(3600, END - timedelta(days=7, hours=12), END - timedelta(days=7, hours=-3)),
            )
        ),
        hourly_power(START, 999, count=5, building_id=1, meter_count=2),
    ],
    "meter_hourly_voltage_monitoring": lambda: [
        hourly_voltage(meter, at) for meter in BUILDING_OF for at in steps(3600)
    ],
    "anomaly_count_hourly_per_building": lambda: [
        *(anomalies(building, at, 0, building, 2, 3) for building in (1, 2) for at in steps(3600)),
        anomalies(1, START, 900, 900, 900, 900, count=5),
        anomalies(2, EARLIER, 900, 900, 900, 900),
    ],
    "anomaly_detection_meter": lambda: [
        *(detection(meter, at) for meter in BUILDING_OF for at in steps(30, HALF - timedelta(minutes=5), HALF)),
        *(detection(11, at, "spike", "voltage_anomaly") for at in steps(30, HALF, HALF + timedelta(minutes=2))),
        detection(11, HALF + timedelta(minutes=4), "failure"),
        detection(21, HALF, "low_consumption"),
        detection(12, HALF, "spike", count=2),
        detection(12, HALF),  # more events, and nothing found
        detection(11, LATER, "spike"),
    ],
    "anomaly_prediction_features": lambda: [
        *(features(meter, at, 0, int(meter == 11 and at == HALF), 0, 0) for meter in BUILDING_OF for at in steps(300)),
        features(21, HALF, 0, 0, 4, 1, count=61),
        features(12, HALF + timedelta(minutes=10), 5, 0, 0, 0, count=20),  # replaced by one without anomaly
    ],
    "anomaly_prediction_results": lambda: [
        *(
            result(meter, at, model, 0.9 if meter == 11 and at == HALF else 0.1)
            for meter in BUILDING_OF
            for at in steps(300)
            for model in MODELS
        ),
        result(21, HALF, MODELS[1], 0.8, count=61),
        result(12, HALF + timedelta(hours=1), MODELS[1], 0.7, count=61),
        result(12, HALF + timedelta(hours=2), MODELS[1], 0.95, count=20),  # replaced by a calm one
        result(11, LATER, MODELS[0], 0.99),
    ],
    "raw_data": lambda: list(_readings()),
    "pipeline_metrics": lambda: list(_metrics()),
}


@cache
def merged(name: str) -> list[Row]:
    """The rows that count of a dataset, by law 3: for one key the one with most events."""
    dataset = DATASETS[name]
    newest: dict[tuple[Any, ...], Row] = {}
    for row in ROWS[name]():
        key = tuple(row[field] for field in dataset.order_by)
        if key not in newest or row.get("event_count", 0) >= newest[key].get("event_count", 0):
            newest[key] = row
    return list(newest.values())


def create(run: Callable[[str], object]) -> None:
    """Every dataset's table, its unreadable messages and its merged view."""
    for dataset in DATASETS.values():
        for table in tables(dataset, EXAMPLE)[:3]:
            run(create_statement(table))


def insert(run: Callable[[str], object]) -> None:
    """Rows in two parts, so that what replaces and what is replaced are not merged on the way in."""
    for name, rows in ROWS.items():
        everything = list(rows())
        for half in (everything[1::2], everything[::2]):
            insert_rows(run, name, half)


def insert_rows(run: Callable[[str], object], name: str, rows: Sequence[Row]) -> None:
    """Rows of one dataset, in one part."""
    lines = "\n".join(_line(DATASETS[name], row, at) for at, row in enumerate(rows))
    run(f"INSERT INTO {name} FORMAT JSONEachRow\n{lines}")


def _line(dataset: Dataset, row: Row, offset: int) -> str:
    position = {
        "topic": dataset.topic,
        "partition": 0,
        "offset": offset,
        "produced_at": row.get("window_end", row.get("timestamp")),
    }
    return json.dumps({name: _value(value) for name, value in (row | position).items()})


def _value(value: Any) -> Any:
    return f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value


def within(rows: Sequence[Row], start: datetime = START, end: datetime = END) -> list[Row]:
    """Rows whose window begins in the dashboard's time; both ends belong to it."""
    return [row for row in rows if start <= row["window_start" if "window_start" in row else "timestamp"] <= end]
