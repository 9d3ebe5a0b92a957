"""The tables in a real engine: read back as declared, differences named, and every kind of message in its place."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import ClickHouseError

from clickhouse.ddl import tables
from clickhouse.tables import normalised, read_tables
from infra.base.clickhouse_client import connect
from infra.base.parts import log_file
from infra.base.settings import Settings
from infra.base.wait import until
from infra.stack.stack import Stack
from schemas.avro import parse_record
from schemas.codec import Encoder
from schemas.framing import frame
from schemas.registry import Registry
from tests.integration.trial import Trial, applied_trial, reading
from tests.patience import PATIENCE_S

TREND = {
    "meter_id": 1,
    "building_id": 1,
    "window_start": 1_700_000_000_000,
    "window_end": 1_700_000_060_000,
}


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Iterator[Trial]:
    with applied_trial(tmp_path_factory.mktemp("contracts"), settings) as trial:
        yield trial


@pytest.fixture
def own_trial(tmp_path: Path, settings: Settings) -> Iterator[Trial]:
    with applied_trial(tmp_path, settings) as trial:
        yield trial


def trend_row(encoder: Encoder, dataset_fields: list[str], **values: Any) -> bytes:
    """A row of the trend; what is not given is 0."""
    return encoder.encode({**dict.fromkeys(dataset_fields, 0), **TREND, **values})


def test_every_dataset_reads_back_as_declared(settings: Settings, trial: Trial) -> None:
    actual = read_tables(lambda sql: connect(settings).query(sql).result_rows)
    for dataset in trial.datasets.values():
        for table in tables(dataset, trial.services.connection):
            assert actual[table.name] == normalised(table)


CHANGES = {
    "column type": ("ALTER TABLE {readings} MODIFY COLUMN status Int64", "{readings}: type of column status", False),
    "column comment": (
        "ALTER TABLE {readings} COMMENT COLUMN status '?'",
        "{readings}: comment of column status",
        True,
    ),
    "codec": ("ALTER TABLE {readings} MODIFY COLUMN power_kw CODEC(LZ4)", "{readings}: codec of column power_kw", True),
    "column gone": ("ALTER TABLE {readings} DROP COLUMN sequence", "{readings}: column sequence", True),
    "TTL": ("ALTER TABLE {readings} MODIFY TTL produced_at + INTERVAL 1 DAY", "{readings}: TTL", True),
    "TTL gone": ("ALTER TABLE {readings} REMOVE TTL", "{readings}: TTL", True),
    "comment": ("ALTER TABLE {readings} MODIFY COMMENT '?'", "{readings}: comment", True),
    "setting": (
        "ALTER TABLE {readings} MODIFY SETTING merge_with_ttl_timeout = 100",
        "{readings}: setting merge_with_ttl_timeout",
        True,
    ),
    "merged view": (
        "CREATE OR REPLACE VIEW {readings}_latest AS SELECT meter_id FROM {readings}",
        "{readings}_latest: query",
        True,
    ),
    "merged view gone": ("DROP VIEW {readings}_latest", "{readings}_latest", True),
    "view gone": ("DROP VIEW {readings}_view", "{readings}_view", True),
    "queue gone": ("DROP TABLE {readings}_queue", "{readings}_queue", True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_behind_our_back_is_named_and_mended(trial: Trial, change: str) -> None:
    statement, what, mended = CHANGES[change]
    named = {"readings": trial.readings}
    trial.admin().command(statement.format(**named))
    (found,) = trial.plan().changes
    assert what.format(**named) in [detail.what for detail in found.details]
    if mended:
        trial.apply()
    else:
        assert (found.action, trial.plan().exit_code) == ("breaking", 1)
        trial.admin().command(f"ALTER TABLE {trial.readings} MODIFY COLUMN status Int32")
    assert trial.plan().exit_code == 0


def test_both_versions_in_one_topic(own_trial: Trial) -> None:
    first, second = own_trial.encoder(own_trial.readings, 1), own_trial.encoder(own_trial.readings, 2)
    own_trial.send(
        own_trial.readings,
        [
            first.encode(reading(1, power_kw=-1.25, status=8)),
            second.encode(reading(2, voltage_v=229.5, sequence=7)),
            second.encode(reading(3, sequence=None)),
            first.encode(reading(4)),
        ],
    )
    own_trial.await_rows(
        "SELECT meter_id, toUnixTimestamp64Milli(timestamp), power_kw, voltage_v, status, sequence, topic, partition, "
        "offset FROM {readings}_latest ORDER BY meter_id",
        [
            (1, 1_700_000_000_000, -1.25, 230.0, 8, None, own_trial.readings, 0, 0),
            (2, 1_700_000_000_000, 0.5, 229.5, 0, 7, own_trial.readings, 0, 1),
            (3, 1_700_000_000_000, 0.5, 230.0, 0, None, own_trial.readings, 0, 2),
            (4, 1_700_000_000_000, 0.5, 230.0, 0, None, own_trial.readings, 0, 3),
        ],
    )


def test_the_later_reading_of_an_instant_counts(own_trial: Trial) -> None:
    encoder = own_trial.encoder(own_trial.readings, 1)
    for power_kw in (1.0, 3.0, 2.0):  # sent apart, so that they come in blocks of their own
        own_trial.send(own_trial.readings, [encoder.encode(reading(1, power_kw=power_kw))])
        own_trial.await_rows("SELECT power_kw FROM {readings}_latest", [(power_kw,)])
    own_trial.send(own_trial.readings, [encoder.encode(reading(1, power_kw=p)) for p in (9.0, 4.0)])
    own_trial.await_rows("SELECT power_kw, offset FROM {readings}_latest", [(4.0, 4)])


def test_more_events_count_and_then_the_later_row_in_any_order(own_trial: Trial) -> None:
    """The same rows are inserted forwards and backwards: the merged row does not depend on the order of insertion."""
    dataset = own_trial.datasets[own_trial.trend]
    encoder, fields = own_trial.encoder(own_trial.trend, 1), [f.name for f in dataset.versions[1].fields]
    rows = [(6, 1.0), (12, 2.0), (12, 3.0), (9, 4.0)]
    for event_count, power_avg_kw in rows:
        message = trend_row(encoder, fields, event_count=event_count, power_avg_kw=power_avg_kw)
        own_trial.send(own_trial.trend, [message])
    # A merge in the background may drop a row that lost before it is seen, so another key tells that all were read.
    own_trial.send(own_trial.trend, [trend_row(encoder, fields, meter_id=2, event_count=1)])
    own_trial.await_rows("SELECT max(offset) FROM {trend}", [(4,)])
    expected = [(12, 3.0, 2)]
    assert own_trial.rows("SELECT event_count, power_avg_kw, offset FROM {trend}_latest WHERE meter_id = 1") == expected
    copy = f"{own_trial.trend}_backwards"
    own_trial.admin().command(f"CREATE TABLE {copy} AS {own_trial.trend}")
    for event_count, power_avg_kw in reversed(rows):
        # Produced now, or the TTL would take them.
        values = f"{event_count}, {power_avg_kw}, {rows.index((event_count, power_avg_kw))}, now()"
        columns = "event_count, power_avg_kw, offset, produced_at"
        own_trial.admin().command(f"INSERT INTO {copy} ({columns}) VALUES ({values})")
    assert own_trial.rows(f"SELECT event_count, power_avg_kw, offset FROM {copy} FINAL") == expected


def test_what_cannot_be_read_is_kept_with_its_position(own_trial: Trial) -> None:
    encoder = own_trial.encoder(own_trial.readings, 2)
    good = encoder.encode(reading(1, sequence=1))
    unknown = frame(999_999, good[5:])
    bad = {1: b"garbage", 2: unknown, 3: good[:-3], 5: good + b"more"}
    own_trial.send(own_trial.readings, [good, *(bad[i] for i in (1, 2, 3)), good, bad[5], None, b"", good])
    own_trial.await_rows("SELECT max(offset) FROM {readings}_latest", [(8,)])
    found = own_trial.rows(
        "SELECT offset, hex(message), topic, partition, reason != '' FROM {readings}_unreadable FINAL ORDER BY offset"
    )
    assert found == [(i, message.hex().upper(), own_trial.readings, 0, 1) for i, message in bad.items()]


def test_what_is_out_of_contract_is_unreadable_by_name_and_stops_nothing(own_trial: Trial) -> None:
    """Whatever Avro can hold: verify, the stream and the table decide alike what counts."""
    encoder = own_trial.encoder(own_trial.readings, 1)
    out_of_contract = {
        "timestamp": [reading(1, timestamp_ms=instant) for instant in (2**63 - 1, -(2**63))],
        "power_kw": [reading(1, power_kw=power) for power in (float("nan"), float("inf"), -1.7976931348623157e308)],
        "meter_id": [reading(-(2**31), building_id=2**31 - 1)],
        "status": [reading(1, status=16)],
    }
    names = [name for name, values in out_of_contract.items() for _ in values]
    messages = [encoder.encode(values) for group in out_of_contract.values() for values in group]
    own_trial.send(own_trial.readings, [*messages, encoder.encode(reading(99))])
    own_trial.await_rows("SELECT meter_id, offset FROM {readings}_latest", [(99, len(names))])
    reasons = "SELECT offset, splitByChar(' ', reason)[1] FROM {readings}_unreadable FINAL ORDER BY offset"
    own_trial.await_rows(reasons, list(enumerate(names)))


def test_sums_of_38_digits_are_exact(settings: Settings) -> None:
    """AvroConfluent reads decimal(38, 0) into Decimal(38, 0); this is the widest that the contracts hold."""
    rows = connect(settings).query("SELECT toDecimal128('99999999999999999999999999999999999999', 0)").result_rows
    assert int(rows[0][0]) == 10**38 - 1


def test_a_message_of_another_dataset_is_unreadable(own_trial: Trial) -> None:
    """Fields that its schema lacks would be zeros otherwise: a reading of 0 kW in 1970."""
    dataset = own_trial.datasets[own_trial.trend]
    foreign = own_trial.encoder(own_trial.trend, 1)
    message = trend_row(foreign, [f.name for f in dataset.versions[1].fields], event_count=1)
    own_trial.send(own_trial.readings, [message])
    own_trial.await_rows("SELECT reason LIKE 'no field timestamp%', offset FROM {readings}_unreadable FINAL", [(1, 0)])
    assert own_trial.rows("SELECT count() FROM {readings}") == [(0,)]


def test_a_schema_that_is_no_avro_stops_nothing(own_trial: Trial, settings: Settings) -> None:
    """Its messages are unreadable; were they taken for a registry that is down, reading would wait for ever."""
    registry = Registry(settings.schema_registry_url)
    other = parse_record(
        json.dumps(
            {
                "type": "record",
                "name": f"Other{uuid.uuid4().hex[:8]}",
                "namespace": "trial",
                "fields": [{"name": "meter_id", "type": "string"}],
            }
        ),
        "other",
    )
    schema_id = registry.register(f"{own_trial.readings}-other-value", other)
    good = own_trial.encoder(own_trial.readings, 1).encode(reading())
    own_trial.send(own_trial.readings, [frame(schema_id, b"\x02x"), good])
    own_trial.await_rows("SELECT offset FROM {readings}", [(1,)])
    own_trial.await_rows("SELECT offset FROM {readings}_unreadable FINAL", [(0,)])


def test_reading_waits_for_a_registry_that_is_down(own_trial: Trial, stack: Stack, settings: Settings) -> None:
    """No readable message becomes unreadable: the schema is asked for again until the registry answers."""
    registry = Registry(settings.schema_registry_url)
    unseen = parse_record(
        own_trial.datasets[own_trial.readings].versions[1].schema.replace('"name": "MeterEvent"', '"name": "Unseen"'),
        "unseen",
    )
    schema_id = registry.register(f"{own_trial.readings}-unseen-value", unseen)
    stack.kill("registry")
    try:
        own_trial.send(own_trial.readings, [Encoder(unseen, schema_id).encode(reading(i)) for i in range(10)])
        waiting = f"schema {schema_id}: registry unavailable"
        log = log_file(stack.data_dir, "clickhouse")
        until(lambda: waiting in log.read_text(), "the engine to ask for the schema in vain", PATIENCE_S)
        assert own_trial.rows("SELECT count() FROM {readings}_unreadable") == [(0,)]
    finally:
        stack.start("registry")
    own_trial.await_rows("SELECT count() FROM {readings}_latest", [(10,)])
    assert own_trial.rows("SELECT count() FROM {readings}_unreadable") == [(0,)]


def test_a_killed_engine_goes_on_and_has_every_offset(own_trial: Trial, stack: Stack) -> None:
    count = 60_000
    encoder = own_trial.encoder(own_trial.readings, 2)
    messages = [encoder.encode(reading(i % 100, 1_700_000_000_000 + i, sequence=i)) for i in range(count)]
    own_trial.send(own_trial.readings, [*messages[: count // 2], b"garbage"])
    until(
        lambda: own_trial.rows("SELECT count() > 0 FROM {readings}") == [(1,)],
        "the first rows",
        PATIENCE_S,
        every_s=0.01,
    )
    stack.kill("clickhouse")
    own_trial.send(own_trial.readings, messages[count // 2 :])
    stack.start("clickhouse")
    everything = "SELECT count(), uniqExact(offset), min(offset), max(offset) FROM {readings}_latest"
    own_trial.await_rows(everything, [(count, count, 0, count)])
    own_trial.await_rows("SELECT offset FROM {readings}_unreadable FINAL", [(count // 2,)])
    assert own_trial.plan().exit_code == 0


def test_the_reader_reads_the_merged_truth_and_cannot_write(trial: Trial, settings: Settings) -> None:
    reader = connect(settings, reader=True)
    assert reader.query(f"SELECT count() FROM {trial.readings}_latest").result_rows
    with pytest.raises(ClickHouseError):
        reader.command(f"DROP TABLE {trial.readings}")
    assert trial.plan().exit_code == 0


def test_a_filter_on_the_order_key_reaches_the_merge(trial: Trial) -> None:
    """Else every look at one meter would merge the whole table."""
    trial.send(trial.readings, [trial.encoder(trial.readings, 1).encode(reading(7))])
    trial.await_rows("SELECT count() > 0 FROM {readings}", [(1,)])
    plan = str(
        trial.rows("EXPLAIN indexes = 1 SELECT * FROM {readings}_latest WHERE meter_id = 7 AND timestamp > now() - 60")
    )
    assert "meter_id" in plan
    assert "timestamp" in plan
    assert "PrimaryKey" in plan
