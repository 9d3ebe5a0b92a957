"""Framed messages to rows and back, against fastavro; every version decodes to the newest."""

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import fastavro
import pytest
from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as F

from infra.base.share_limit import ShareLimit, TooManyUnreadable
from schemas.framing import frame
from schemas.manifest import load_datasets
from stream_processing.application import check_share
from stream_processing.framing import UNKNOWN_ID, decode, message, names_unknown_id

RAW = load_datasets()["raw_data"]
STATS = load_datasets()["meter_stats_30s"]
NOON = datetime(2026, 1, 5, 12, 0, 0, 123000, tzinfo=UTC)
V1 = {"meter_id": 1, "building_id": 2, "timestamp": NOON, "power_kw": 0.5, "voltage_v": 230.25, "status": 3}
V2 = {**V1, "meter_id": 2, "sequence": 77}
WRITERS = {5: RAW.versions[1].schema, 9: RAW.versions[2].schema}


def encoded(version: int, schema_id: int, record: dict[str, Any]) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, json.loads(RAW.versions[version].schema), record)
    return frame(schema_id, body.getvalue())


def kafka_rows(spark: SparkSession, values: list[bytes | None]) -> DataFrame:
    rows = [(value, 0, offset, NOON + timedelta(hours=1)) for offset, value in enumerate(values)]
    return spark.createDataFrame(rows, "value binary, partition int, offset long, timestamp timestamp")


def test_both_versions_decode_to_the_newest(spark: SparkSession) -> None:
    messages = kafka_rows(spark, [encoded(1, 5, V1), encoded(2, 9, V2), encoded(2, 9, {**V2, "sequence": None})])
    rows = decode(messages, RAW.latest, WRITERS).orderBy("offset").collect()
    assert [row["sequence"] for row in rows] == [None, 77, None]
    for row, sent in zip(rows, [V1, V2, V2], strict=True):
        for name in ("meter_id", "building_id", "power_kw", "voltage_v", "status"):
            assert row[name] == sent[name]
        assert row["timestamp"].astimezone(UTC) == NOON
        assert row["produced_at"].astimezone(UTC) == NOON + timedelta(hours=1)


def test_what_cannot_be_read_gives_no_row_and_stops_nothing(spark: SparkSession) -> None:
    good = encoded(2, 9, V2)
    unreadable = [None, b"", b"\x00\x00", b"{}", good[:9], b"\x01" + good[1:], encoded(2, 66, V2)]
    unreadable += [good + b"\x00", good + good, encoded(1, 5, V1) + b"\x00"]
    rows = decode(kafka_rows(spark, [*unreadable, good]), RAW.latest, WRITERS, refused={66}).collect()
    assert [row["offset"] for row in rows] == [len(unreadable)]


def test_a_record_of_any_length_is_whole(spark: SparkSession) -> None:
    """The length that follows from the values is the one that an encoder writes, at every step of it."""
    edges = [edge + step for edge in (1 << (7 * n - 1) for n in range(1, 10)) for step in (-1, 0)]
    readings = [{**V2, "sequence": edge} for edge in [0, 2**63 - 1, *edges]]
    readings += [{**V2, "meter_id": min(edge, 2**31 - 1), "building_id": edge % 2**31} for edge in edges]
    readings += [{**V2, "timestamp": datetime.fromtimestamp(edge / 1000, UTC)} for edge in edges if edge < 4 * 10**12]
    rows = decode(kafka_rows(spark, [encoded(2, 9, reading) for reading in readings]), RAW.latest, WRITERS).collect()
    assert len(rows) == len(readings)


def test_what_is_unreadable_is_counted_but_for_empty_values(spark: SparkSession) -> None:
    good = encoded(2, 9, V2)
    unreadable = [b"\x00\x00", b"{}", good[:9], encoded(2, 66, V2), encoded(2, 9, {**V2, "power_kw": 1001.0})]
    unreadable += [encoded(2, 9, {**V2, "power_kw": float("nan")})]
    messages = kafka_rows(spark, [None, b"", *unreadable, good, encoded(1, 5, V1)])
    counts = Observation("messages")
    rows = decode(messages, RAW.latest, WRITERS, {66}, counted_as=counts).collect()
    assert len(rows) == 2
    assert counts.get == {"read": 4 + len(unreadable), "unreadable": len(unreadable)}


def test_the_application_ends_when_too_great_a_share_is_unreadable() -> None:
    limit = ShareLimit(max_share=0.05)
    check_share({"batch": 7, "read": 20_000, "unreadable": 1_000}, "smart-meter-data", limit)
    check_share({"batch": 7, "read": 10, "unreadable": 10}, "smart-meter-data", limit)
    with pytest.raises(TooManyUnreadable, match=r"1001 of 20000 messages of batch 7 cannot be read, more than 5\.0%"):
        check_share({"batch": 7, "read": 20_000, "unreadable": 1_001}, "smart-meter-data", limit)


def test_an_unknown_id_stops_the_batch_and_names_itself(spark: SparkSession) -> None:
    messages = kafka_rows(spark, [encoded(2, 9, V2), encoded(2, 4_000_000_000, V2)])
    with pytest.raises(Exception, match=f"{UNKNOWN_ID} 4000000000") as stopped:
        decode(messages, RAW.latest, WRITERS).collect()
    assert names_unknown_id(stopped.value)


def test_a_plan_that_would_complain_of_an_unknown_id_is_no_complaint(spark: SparkSession) -> None:
    plan = decode(kafka_rows(spark, []), RAW.latest, WRITERS)._jdf.queryExecution().toString()
    assert UNKNOWN_ID in plan
    assert not names_unknown_id(RuntimeError(f"the query ended with an error; its plan was {plan}"))


def test_a_message_is_framed_keyed_and_readable_by_others(spark: SparkSession) -> None:
    values: dict[str, Any] = {field.name: index for index, field in enumerate(STATS.latest.fields)}
    values |= dict.fromkeys(("window_start", "window_end", "first_timestamp", "last_timestamp"), NOON)
    values |= {"power_sum_sq_mw2": 10**25 + 7, "first_sequence": None}
    row = spark.range(1).select(
        *(F.lit(value).alias(name) for name, value in values.items() if name != "power_sum_sq_mw2"),
        F.lit(str(values["power_sum_sq_mw2"])).cast("decimal(38,0)").alias("power_sum_sq_mw2"),
    )
    columns = {name: F.col(name) for name in values}
    sent = row.select(message(STATS, 12, columns).alias("m")).select("m.*").collect()[0]
    assert sent["topic"] == "meter_stats_30s"
    assert bytes(sent["key"]) == b"building_1"
    assert bytes(sent["value"])[:5] == b"\x00\x00\x00\x00\x0c"
    body = io.BytesIO(bytes(sent["value"])[5:])
    assert fastavro.schemaless_reader(body, json.loads(STATS.latest.schema)) == values
