"""From reading to verified row on a whole system: versions mixed, unreadable messages, parts killed, rows changed.

One system for all tests of this file, in the order in which they stand: the one that the demo leaves running, with a
day of 2006 in it. Each test adds later readings to the log, and verify judges all of it.
"""

import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.base.wait import until
from infra.operations.rebuild import reversed_names
from producers.settings import Simulation
from schemas.avro import Record, parse_record
from schemas.codec import Encoder
from schemas.manifest import load_datasets
from schemas.registry import Registry
from stream_processing.progress import read_progress
from stream_processing.run import JVM_ENDED
from tests.messy import Mess, send
from tests.system.flow import SILENCE_S, System
from tests.system.noise import NOISE

RAW = load_datasets()["raw_data"]
# Ten minutes before an hour's end, whenever the test starts: each backfill that a part is killed in crosses it.
BEGIN = datetime.now(UTC).replace(minute=50, second=0, microsecond=0) - timedelta(hours=20)
PARTS = ("kafka", "registry", "clickhouse", "stream")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, csv_day: Path) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("flow"))
    try:
        system.demo(csv_day)
        yield system
    finally:
        system.down()


def reading(meter_id: int, at: datetime, **more: Any) -> dict[str, Any]:
    values = {"meter_id": meter_id, "building_id": 1, "timestamp": at, "power_kw": 0.5, "voltage_v": 230.0, "status": 0}
    return {**values, **more}


def with_another_field(record: Record) -> Record:
    """A next version, such as an apply of tomorrow would register."""
    text = record.schema.removesuffix("]}") + ', {"name": "firmware", "type": ["null", "string"], "default": null}]}'
    return parse_record(text, "raw_data.v3.avsc")


def test_the_demo_on_real_readings_ends_verified_and_prints_only_what_a_person_wants_to_read(system: System) -> None:
    """Not on a terminal, where it would also move a line."""
    output = system.demo_output
    assert "VERIFIED: every message accounted for, every row recomputed" in output
    assert re.search(r"raw_data +1,4[34][0-9] +1,4[34][0-9] ", output)
    assert NOISE.search(output) is None, NOISE.search(output)
    assert "\x1b" not in output
    assert len(output.splitlines()) < 80
    assert f"status --data-dir {system.data_dir}`" in output


def test_versions_mix_and_a_new_id_is_picked_up_while_the_stream_runs(system: System) -> None:
    already = system.read()
    registry = Registry(system.settings.schema_registry_url)
    encoders = [Encoder(record, registry.id_of(RAW.subject, record)) for record in RAW.versions.values()]
    system.send(
        encoder.encode(reading(meter_id, BEGIN + timedelta(seconds=5 * tick)))
        for tick in range(60)
        for meter_id, encoder in enumerate(encoders)
    )
    system.await_read(already + 120)

    newest = with_another_field(RAW.latest)
    encoder = Encoder(newest, registry.register(RAW.subject, newest))
    later = BEGIN + timedelta(minutes=5)
    system.send(
        encoder.encode(reading(2, later + timedelta(seconds=5 * tick), sequence=tick, firmware="1.2"))
        for tick in range(60)
    )
    system.await_read(already + 180)
    # Readings that follow close the windows of those before.
    system.send(encoders[0].encode(reading(0, later + timedelta(minutes=5, seconds=10 * n))) for n in range(19))
    report = system.verify()
    assert not report.failures
    assert report.positions["raw_data"].unreadable == 0
    assert counted(system, meter_ids=(1, 2)) == [(1, 60), (2, 60)]


def counted(system: System, meter_ids: tuple[int, ...]) -> list[tuple[int, int]]:
    """Readings by meter that the windows of 30 s count."""
    rows = system.query(
        f"SELECT meter_id, sum(event_count) FROM meter_stats_30s_latest WHERE meter_id IN {meter_ids} "
        "GROUP BY meter_id ORDER BY meter_id"
    )
    return [(int(meter), int(count)) for meter, count in rows]


def test_unreadable_messages_are_accounted_for_and_stop_nothing(system: System) -> None:
    registry = Registry(system.settings.schema_registry_url)
    encoder = Encoder(RAW.latest, registry.id_of(RAW.subject, RAW.latest))
    at = BEGIN + timedelta(minutes=20)
    good = encoder.encode(reading(3, at, sequence=1))
    trend = load_datasets()["meter_minute_trend"]
    foreign = registry.id_of(trend.subject, trend.latest).to_bytes(4, "big")
    unreadable = {
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
    system.send([good, *unreadable.values(), b"", None, repeated, repeated, corrected])
    system.command("repair", "--open")
    report = system.verify()
    assert not report.failures
    after = report.positions["raw_data"]
    assert after.unreadable - before.unreadable == len(unreadable)
    assert after.empty - before.empty == 2
    both = system.query("SELECT event_count, power_sum_mw FROM meter_stats_30s_latest WHERE meter_id = 3")
    assert [tuple(row) for row in both] == [(2, 1_250_000)]
    assert counted(system, meter_ids=(0, 1, 2)) == [(0, 79), (1, 60), (2, 60)]


@pytest.mark.parametrize("part", PARTS)
def test_killed_in_the_middle_of_a_backfill_and_started_again_ends_verified(system: System, part: str) -> None:
    begin = BEGIN + timedelta(hours=1 + 2 * PARTS.index(part))
    span = ["--from", f"{begin:%Y-%m-%dT%H:%M:%S}", "--to", f"{begin + timedelta(minutes=20):%Y-%m-%dT%H:%M:%S}"]
    already = system.read()
    simulate = system.begin("simulate", *span, "--rate-limit", "2000")
    try:
        system.await_read(already + 2000)
        if part == "stream":
            assert JVM_ENDED in system.kill_jvm()
            system.start_stream()
        else:
            system.kill(part)
            system.stack.up()
        assert simulate.wait(timeout=SILENCE_S) == 0
    finally:
        simulate.kill()
    report = system.verify()
    assert not report.failures
    assert all(comparison.equal for comparison in report.values.values())


CLOSED = "window_end < (SELECT max(window_end) FROM meter_stats_30s) - INTERVAL 10 MINUTE"
FIRST_READING = "(SELECT (partition, offset) FROM raw_data WHERE meter_id != 1 ORDER BY partition, offset LIMIT 1)"
CHANGES = {
    "raw_data": (  # a reading dropped
        f"ALTER TABLE raw_data DELETE WHERE (partition, offset) = {FIRST_READING}",
        "is in the topic and not in the table",
    ),
    "meter_stats_30s": (  # a row doubled into another window
        "INSERT INTO meter_stats_30s SELECT * REPLACE (window_start - INTERVAL 300 DAY AS window_start) "
        "FROM meter_stats_30s LIMIT 1",
        "different rows claim",
    ),
    "meter_minute_trend": (  # a value altered
        f"ALTER TABLE meter_minute_trend UPDATE power_max_kw = power_max_kw + 1e-9 WHERE {CLOSED} AND meter_id = 1",
        "power_max_kw is",
    ),
    "anomaly_detection_meter": (  # rows lost
        f"ALTER TABLE anomaly_detection_meter DELETE WHERE {CLOSED} AND meter_id = 1",
        "is in the topic and not in the table",
    ),
}
"""By table: a change to it, and words of the sentence that must name it."""


def test_verify_notices_a_change_in_each_of_four_tables(system: System) -> None:
    try:
        for table in CHANGES:
            system.execute(f"CREATE TABLE kept_{table} AS {table}")
            system.execute(f"INSERT INTO kept_{table} SELECT * FROM {table}")
        for statement, _ in CHANGES.values():
            system.execute(statement + (" SETTINGS mutations_sync = 1" if statement.startswith("ALTER") else ""))
        done = system.command("verify", "--wait", "3", "--json", check=False)
        assert done.exit_code == 1
        failures = json.loads(done.stdout)["failures"]
        for table, (_, words) in CHANGES.items():
            assert [each for each in failures if each.startswith(f"{table}:") and words in each], (table, failures)
    finally:
        for table in CHANGES:
            system.execute(f"TRUNCATE TABLE {table}")
            system.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
            system.execute(f"DROP TABLE kept_{table}")
    assert not system.verify().failures


def checksums(system: System) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(system.command("checksums", "--json").stdout)
    return found


def test_late_readings_are_counted_and_repaired(system: System) -> None:
    """Half an hour of a meter that nobody heard of yet comes when its windows are long closed: an import of history."""
    registry = Registry(system.settings.schema_registry_url)
    encoder = Encoder(RAW.latest, registry.id_of(RAW.subject, RAW.latest))
    begin = BEGIN.replace(minute=0, second=0) + timedelta(hours=1)
    instants = [begin + timedelta(seconds=10 * n) for n in range(180)]
    system.send(encoder.encode(reading(5005, at)) for at in instants)
    system.await_rows("SELECT count() FROM raw_data WHERE meter_id = 5005", lambda rows: rows == [(180,)])
    failures = system.verify(wait_s=0).failures
    assert any("meter_stats_30s: meter_id 5005" in failure and "is not in the table" in failure for failure in failures)

    done = system.command("repair", "--late")
    assert "180 of them late" in done.stdout
    assert not system.verify().failures
    told = system.query("SELECT meter_id, late_count FROM late_readings_latest WHERE meter_id = 5005")
    assert [tuple(row) for row in told] == [(5005, 180)]
    energy = system.query("SELECT energy_kwh FROM meter_hourly_power_consumption_latest WHERE meter_id = 5005")
    assert energy[0][0] == pytest.approx(0.5 * (1790 + 300) / 3600)
    assert "0 readings read anew" in system.command("repair", "--late").stdout


def test_a_messy_backfill_and_a_repair_end_clean(system: System) -> None:
    """Repeated, shuffled, late and unreadable messages in both versions: everything is counted once."""
    before = system.verify().positions["raw_data"]
    begin = BEGIN + timedelta(hours=12)
    end = begin + timedelta(hours=3)

    settling = Encoder(RAW.latest, Registry(system.settings.schema_registry_url).id_of(RAW.subject, RAW.latest))
    followed: list[datetime] = []

    def settle() -> None:
        """Until the stream has closed the windows that the late readings belong to; readings go on until then."""

        def closed() -> bool:
            followed.append(end + timedelta(seconds=5 * len(followed)))
            system.send([settling.encode(reading(0, followed[-1]))])
            return closed_until(system) > end - timedelta(minutes=5)

        until(closed, "the windows to be closed", SILENCE_S, every_s=2, progress=lambda: closed_until(system))

    mess = Mess(late=0.005, each_kind_of_bad=0.0005)
    span_ms = (round(instant.timestamp() * 1000) for instant in (begin, end))
    sent = send(system.settings, Simulation(buildings=4, meters_per_building=10, seed=3), *span_ms, mess, settle)
    assert min(sent.repeated, sent.late, sent.unreadable, sent.empty) > 0
    done = system.command("repair", "--late")
    (late,) = re.findall(r"([0-9]+) of them late", done.stdout.replace(",", ""))
    assert 0.9 * sent.late < int(late) <= sent.late
    report = system.verify()
    assert not report.failures
    after = report.positions["raw_data"]
    assert after.messages - before.messages == sent.messages + len(followed)
    assert after.unreadable - before.unreadable == sent.unreadable
    assert after.empty - before.empty == sent.empty


def closed_until(system: System) -> datetime:
    """The first grain's watermark."""
    told = read_progress(system.data_dir)["grains"]["meter_30s"]["progress"].get("watermark")
    return datetime.fromisoformat(told) if told else datetime.fromtimestamp(0, UTC)


def test_checkpoints_lost_and_everything_replayed_gives_equal_rows(system: System) -> None:
    system.command("repair", "--open")  # else a replay knows more of the running windows than the stream has told
    assert not system.verify().failures
    before = checksums(system)
    assert before["meter_stats_30s"]["rows"] > 1000
    system.kill("stream")
    shutil.rmtree(system.data_dir / "checkpoints")
    done = system.command("replay")
    assert "meter_stats_5min: " in done.stdout
    assert not system.verify().failures
    assert checksums(system) == before
    system.start_stream()


def test_every_table_dropped_and_rebuilt_is_equal_to_what_it_was(system: System) -> None:
    before = checksums(system)
    datasets = load_datasets()
    for dataset in datasets.values():
        for table in reversed_names(dataset):
            system.execute(f"DROP TABLE IF EXISTS {table}")
    done = system.command("rebuild", "--all")
    assert done.stdout.count("there was none") == len(datasets)
    assert checksums(system) == before
    done = system.command("rebuild", "raw_data", "meter_minute_trend")
    assert done.stdout.count(", equal") == 2
    assert checksums(system) == before
    assert system.command("plan").exit_code == 0
    assert not system.verify().failures


def test_a_rebuild_shows_a_difference_and_mends_it(system: System) -> None:
    before = checksums(system)["meter_minute_trend"]
    system.execute("ALTER TABLE meter_minute_trend DELETE WHERE meter_id = 1 SETTINGS mutations_sync = 1")
    done = system.command("rebuild", "meter_minute_trend")
    assert ", DIFFERENT" in done.stdout
    assert checksums(system)["meter_minute_trend"] == before


def test_an_interrupted_rebuild_leaves_the_table_and_can_be_run_again(system: System) -> None:
    before = checksums(system)["raw_data"]
    rebuild = system.begin("rebuild", "raw_data")
    shadow = "SELECT count() FROM system.tables WHERE name = 'raw_data_rebuild_intake'"
    system.await_rows(shadow, lambda rows: rows == [(1,)], every_s=0.05)
    rebuild.kill()
    rebuild.wait()
    assert checksums(system)["raw_data"] == before
    assert ", equal" in system.command("rebuild", "raw_data").stdout
    assert system.query("SELECT count() FROM system.tables WHERE name LIKE '%rebuild%'") == [(0,)]


def test_what_retention_has_removed_is_not_passed_over(system: System) -> None:
    """The last test of this file: it takes the beginning of the raw topic away."""
    admin = AdminClient({"bootstrap.servers": system.settings.kafka_brokers})
    for deleted in admin.delete_records([TopicPartition(RAW.topic, 0, 100)]).values():
        deleted.result(30)
    for command in (["replay"], ["rebuild", "raw_data"]):
        done = system.command(*command, check=False)
        assert done.exit_code == 1
        assert "retention has removed the" in done.stderr
        assert "--allow-incomplete" in done.stderr
