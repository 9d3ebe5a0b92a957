"""DDL as text: committed as rendered, and the rules that the text must keep."""

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from clickhouse import ddl
from clickhouse.dead_letters import tables as dead_letters
from infra.base.kafka_connection import KafkaConnection
from schemas.avro import ContractError, Record, parse_record
from schemas.manifest import Dataset, deployed, load_datasets
from schemas.order import row_version_sql

DATASETS = deployed(load_datasets(), ddl.EXAMPLE.deployment)
RAW = DATASETS["raw_data"]
TREND = DATASETS["meter_minute_trend"]

EVERY_TYPE = """
{"type": "record", "name": "E", "namespace": "t", "doc": "Every type.", "fields": [
  {"name": "i", "type": "int", "doc": "It's an int.", "unit": "kW"},
  {"name": "l", "type": "long"},
  {"name": "d", "type": "double"},
  {"name": "b", "type": "boolean"},
  {"name": "s", "type": "string"},
  {"name": "t", "type": {"type": "long", "logicalType": "timestamp-millis"}},
  {"name": "big", "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 0}},
  {"name": "ns", "type": ["null", "string"], "default": null},
  {"name": "nl", "type": ["null", "long"], "default": null},
  {"name": "event_count", "type": "long"}
]}
"""


def every_type() -> Dataset:
    record: Record = parse_record(EVERY_TYPE, "every.v1.avsc")
    return replace(TREND, name="every", topic="every", order_by=("i", "t"), versions={1: record})


def by_name(dataset: Dataset) -> dict[str, ddl.Table]:
    return {table.name: table for table in ddl.tables(dataset, ddl.EXAMPLE)}


@pytest.mark.parametrize("name", DATASETS)
def test_committed_sql_is_what_the_contract_renders(name: str) -> None:
    committed = (ddl.SQL_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    assert committed == ddl.render(DATASETS[name], ddl.EXAMPLE), "run `python -m clickhouse.ddl` and commit the result"


def test_committed_sql_of_dead_letters_is_what_is_rendered() -> None:
    command = "run `python -m clickhouse.dead_letters.tables` and commit the result"
    assert dead_letters.SQL_FILE.read_text(encoding="utf-8") == dead_letters.render(
        dead_letters.EXAMPLE_TOPICS, ddl.EXAMPLE
    ), command


def test_no_sql_without_a_dataset() -> None:
    assert {path.stem for path in Path(ddl.SQL_FOLDER).glob("*.sql")} == set(DATASETS)


def test_each_avro_type_has_its_column() -> None:
    types = {column.name: column.type for column in by_name(every_type())["every"].columns}
    assert types == {
        "i": "Int32",
        "l": "Int64",
        "d": "Float64",
        "b": "Bool",
        "s": "LowCardinality(String)",
        "t": "DateTime64(3, 'UTC')",
        "big": "Decimal(38, 0)",
        "ns": "LowCardinality(Nullable(String))",
        "nl": "Nullable(Int64)",
        "event_count": "Int64",
        "topic": "LowCardinality(String)",
        "partition": "Int32",
        "offset": "Int64",
        "produced_at": "DateTime64(3, 'UTC')",
        "row_version": "Int256",
    }
    assert Decimal(2) ** 64 < Decimal(10) ** 38  # what Decimal(38, 0) is for


def test_every_column_of_a_queue_is_nullable_and_without_default() -> None:
    queue = by_name(every_type())["every_queue"]
    assert all("Nullable(" in column.type for column in queue.columns)
    assert not any(column.materialized or column.codec for column in queue.columns)


def test_comments_say_what_the_contract_says_with_the_unit() -> None:
    column = by_name(every_type())["every"].columns[0]
    assert column.comment == "It's an int. Unit: kW."
    assert r"COMMENT 'It\'s an int. Unit: kW.'" in ddl.column_clause(column)


def test_rows_are_replaced_by_the_one_order() -> None:
    """What the order is, is tested on the engine (`test_order.py`)."""
    for dataset in (TREND, RAW):
        stored = by_name(dataset)[dataset.name]
        assert stored.engine == "ReplacingMergeTree(row_version)"
        assert stored.columns[-1].materialized == row_version_sql(dataset)


def test_rows_age_by_the_log_and_not_by_the_event() -> None:
    assert by_name(RAW)["raw_data"].ttl == "produced_at + toIntervalDay(35)"
    assert by_name(RAW)["raw_data_unreadable"].ttl == "produced_at + toIntervalDay(35)"
    assert by_name(replace(RAW, ttl_days=None))["raw_data"].ttl == ""


def test_a_key_that_begins_with_something_else_has_an_index_by_time() -> None:
    minmax = {"by_time": "window_start TYPE minmax GRANULARITY 1"}
    indexes = {name: by_name(dataset)[name].indexes for name, dataset in DATASETS.items()}
    assert {name for name, index in indexes.items() if index == minmax} == DATASETS.keys() - {"raw_data"}
    assert indexes["raw_data"] == {}
    assert "    INDEX by_time window_start TYPE minmax GRANULARITY 1\n)" in ddl.render(TREND, ddl.EXAMPLE)


@pytest.mark.parametrize("name", DATASETS)
def test_no_table_is_partitioned(name: str) -> None:
    """A wild timestamp must not open a hundred partitions, which makes an insert fail and reading stop."""
    assert "PARTITION BY" not in ddl.render(DATASETS[name], ddl.EXAMPLE)


@pytest.mark.parametrize(("partitions", "consumers"), [(1, "1"), (2, "2"), (8, "2")])
def test_readings_get_two_consumers_where_there_are_partitions(partitions: int, consumers: str) -> None:
    queue = by_name(replace(RAW, partitions=partitions))["raw_data_queue"]
    assert queue.settings["kafka_num_consumers"] == consumers
    assert by_name(TREND)["meter_minute_trend_queue"].settings["kafka_num_consumers"] == "1"


class Secured(KafkaConnection):
    """A connection with a password."""

    def clickhouse(self) -> dict[str, str]:
        return {**super().clickhouse(), "kafka_sasl_password": "it's"}


def test_further_settings_reach_the_queue_quoted() -> None:
    connection = ddl.Connection(Secured(brokers="b:1"), "http://r", ddl.EXAMPLE.deployment)
    queue = {table.name: table for table in ddl.tables(RAW, connection)}["raw_data_queue"]
    assert r"kafka_sasl_password = 'it\'s'" in ddl.create_statement(queue)


def test_each_message_goes_to_one_table_only() -> None:
    """The two views split the messages by their reason, and nothing else reads the queue."""
    raw = by_name(RAW)
    assert raw["raw_data_view"].query.endswith("FROM raw_data_messages\nWHERE reason = ''")
    assert raw["raw_data_unreadable_view"].query.endswith("FROM raw_data_messages\nWHERE reason != ''")
    assert [table.name for table in raw.values() if "FROM raw_data_queue" in table.query] == ["raw_data_intake"]


def test_every_required_field_is_asked_for_and_an_optional_one_is_not() -> None:
    asked = set(re.findall(r"(\w+) IS NULL", by_name(RAW)["raw_data_intake"].query))
    assert asked == {f.name for f in RAW.latest.fields} - {"sequence"}


def test_reading_starts_with_the_last_table() -> None:
    """Were a view on the queue created earlier, what it reads would pass by the tables that follow."""
    *earlier, last = ddl.tables(RAW, ddl.EXAMPLE)
    assert last.name == "raw_data_intake"
    assert not any("_queue" in table.query for table in earlier)


@pytest.mark.parametrize("name", ["topic", "offset", "produced_at", "row_version", "missing", "reason"])
def test_a_field_may_not_be_named_as_the_position(name: str) -> None:
    record = parse_record(EVERY_TYPE.replace('"nl"', f'"{name}"'), "every.v1.avsc")
    with pytest.raises(ContractError, match=name):
        ddl.tables(replace(every_type(), versions={1: record}), ddl.EXAMPLE)
