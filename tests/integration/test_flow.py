"""From reading to verified row on a whole system: versions mixed, bad messages, parts killed, rows changed.

One system for all tests of this file, in the order in which they stand: each adds later readings to the log, and verify
judges all of it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.wait import until
from schemas.avro import Record, parse_record
from schemas.codec import Encoder
from schemas.manifest import load_datasets
from schemas.registry import Registry
from stream_processing.run import read_progress
from tests.integration.flow import BACK_WITHIN_S, System

RAW = load_datasets()["raw_data"]
BEGIN = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)
PARTS = ("kafka", "registry", "clickhouse", "stream")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("flow"))
    system.up()
    yield system
    system.down()


def reading(meter_id: int, at: datetime, **more: Any) -> dict[str, Any]:
    values = {"meter_id": meter_id, "building_id": 1, "timestamp": at, "power_kw": 0.5, "voltage_v": 230.0, "status": 0}
    return {**values, **more}


def with_another_field(record: Record) -> Record:
    """A next version, such as an apply of tomorrow would register."""
    text = record.schema.removesuffix("]}") + ', {"name": "firmware", "type": ["null", "string"], "default": null}]}'
    return parse_record(text, "raw_data.v3.avsc")


def test_versions_mix_and_a_new_id_is_picked_up_while_the_stream_runs(system: System) -> None:
    registry = Registry(system.settings.schema_registry_url)
    encoders = [Encoder(record, registry.id_of(RAW.subject, record)) for record in RAW.versions.values()]
    system.send(
        encoder.encode(reading(meter_id, BEGIN + timedelta(seconds=5 * tick)))
        for tick in range(60)
        for meter_id, encoder in enumerate(encoders)
    )
    until(lambda: reached(system) >= 120, "the stream to have read both versions", BACK_WITHIN_S)

    newest = with_another_field(RAW.latest)
    encoder = Encoder(newest, registry.register(RAW.subject, newest))
    later = BEGIN + timedelta(minutes=5)
    system.send(
        encoder.encode(reading(2, later + timedelta(seconds=5 * tick), sequence=tick, firmware="1.2"))
        for tick in range(60)
    )
    until(lambda: reached(system) >= 180, "the stream to have read the new version", BACK_WITHIN_S)
    system.command("repair", "--open")
    report = system.verify()
    assert not report.failures
    assert report.positions["raw_data"].unreadable == 0
    windows = system.query("SELECT meter_id, sum(event_count) FROM meter_stats_30s_latest GROUP BY meter_id ORDER BY 1")
    assert [tuple(row) for row in windows] == [(0, 60), (1, 60), (2, 60)]


def reached(system: System) -> int:
    """Messages of the raw topic that the first grain has read."""
    grain = read_progress(system.data_dir)["grains"]["meter_30s"]
    offsets = grain["progress"].get("end_offsets") or {}
    return sum(offsets.get(RAW.topic, {}).values())


def test_bad_messages_are_accounted_for_and_stop_nothing(system: System) -> None:
    registry = Registry(system.settings.schema_registry_url)
    encoder = Encoder(RAW.latest, registry.id_of(RAW.subject, RAW.latest))
    at = BEGIN + timedelta(minutes=20)
    good = encoder.encode(reading(3, at, sequence=1))
    trend = load_datasets()["meter_minute_trend"]
    foreign = registry.id_of(trend.subject, trend.latest).to_bytes(4, "big")
    bad = {
        "no framing": b'{"meter_id": 3}',
        "unknown id": b"\x00\x3b\x9a\xca\x00" + good[5:],
        "another dataset's id": b"\x00" + foreign + good[5:],
        "cut off": good[:9],
        "NaN": encoder.encode(reading(3, at, power_kw=float("nan"))),
        "out of bounds": encoder.encode(reading(3, at, voltage_v=1000.5)),
        "a day ahead": encoder.encode(reading(3, datetime.now(UTC) + timedelta(days=1))),
    }
    before = system.verify().positions["raw_data"]
    repeated = encoder.encode(reading(3, at + timedelta(seconds=5), sequence=2))
    corrected = encoder.encode(reading(3, at + timedelta(seconds=5), sequence=2, power_kw=0.75))
    system.send([good, *bad.values(), b"", None, repeated, repeated, corrected])
    system.command("repair", "--open")
    report = system.verify()
    assert not report.failures
    after = report.positions["raw_data"]
    assert after.unreadable - before.unreadable == len(bad)
    assert after.empty - before.empty == 2
    counted = system.query("SELECT event_count, power_sum_mw FROM meter_stats_30s_latest WHERE meter_id = 3")
    assert [tuple(row) for row in counted] == [(2, 1_250_000)]


@pytest.mark.parametrize("part", PARTS)
def test_killed_in_the_middle_of_a_backfill_and_started_again_ends_verified(system: System, part: str) -> None:
    begin = BEGIN + timedelta(hours=1 + 2 * PARTS.index(part))
    span = ["--from", f"{begin:%Y-%m-%dT%H:%M:%S}", "--to", f"{begin + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}"]
    simulate = system.begin("simulate", *span, "--rate-limit", "3000")
    try:
        already = reached(system)
        until(lambda: reached(system) > already + 3000, "the backfill to be under way", BACK_WITHIN_S)
        system.kill(part)
        if part == "stream":
            system.start_stream()
        else:
            system.stack.up()
        assert simulate.wait(timeout=BACK_WITHIN_S) == 0
    finally:
        simulate.kill()
    system.command("repair", "--open")
    report = system.verify()
    assert not report.failures
    assert all(comparison.equal for comparison in report.values.values())


CLOSED = "window_end < (SELECT max(window_end) FROM meter_stats_30s) - INTERVAL 10 MINUTE"
CHANGES = {
    "a reading dropped": (
        "ALTER TABLE raw_data DELETE WHERE (partition, offset) = "
        "(SELECT (partition, offset) FROM raw_data ORDER BY partition, offset LIMIT 1)",
        "raw_data: partition 0 offset 0",
    ),
    "a row doubled into another window": (
        "INSERT INTO meter_stats_30s SELECT * REPLACE (window_start - INTERVAL 300 DAY AS window_start) "
        "FROM meter_stats_30s LIMIT 1",
        "different rows claim",
    ),
    "a value altered": (
        f"ALTER TABLE meter_minute_trend UPDATE power_max_kw = power_max_kw + 1e-9 WHERE {CLOSED} AND meter_id = 1",
        "power_max_kw is",
    ),
    "a row lost": (
        f"ALTER TABLE anomaly_detection_meter DELETE WHERE {CLOSED} AND meter_id = 1",
        "is in the topic and not in the table",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_notices(system: System, change: str) -> None:
    statement, told = CHANGES[change]
    table = statement.split()[2]
    system.execute(f"CREATE TABLE kept AS {table}")
    system.execute(f"INSERT INTO kept SELECT * FROM {table}")
    try:
        system.execute(statement + (" SETTINGS mutations_sync = 1" if statement.startswith("ALTER") else ""))
        done = system.command("verify", "--wait", "3", check=False)
        assert done.returncode == 1
        assert told in done.stdout
    finally:
        system.execute(f"TRUNCATE TABLE {table}")
        system.execute(f"INSERT INTO {table} SELECT * FROM kept")
        system.execute("DROP TABLE kept")
    assert not system.verify().failures
