"""What a rebuild refuses: to lose rows that the table holds and the topic does not. On the engine, in memory."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace

import pytest

from clickhouse.checksum import checksums
from clickhouse.ddl import EXAMPLE, create_statement, tables
from clickhouse.front import library
from infra.base.errors import SmartmeterError
from infra.base.log import Extent
from infra.base.query import Query, ResultRows
from infra.operations.rebuild import refuse_if_rows_would_be_lost
from schemas.manifest import load_datasets

TREND = load_datasets()["meter_minute_trend"]
SHADOW = replace(TREND, name="meter_minute_trend_rebuild")
TOPIC = [Extent(0, 100, 200), Extent(1, 0, 50)]
"""Of partition 0 retention has removed the first 100 messages."""


@pytest.fixture
def query() -> Iterator[Query]:
    with closing(library.connect(":memory:")) as connection:

        def run(sql: str, _: Mapping[str, float] | None = None) -> ResultRows:
            return [json.loads(line) for line in connection.query(sql, "JSONCompactEachRow").bytes().splitlines()]

        run("SET output_format_json_quote_64bit_integers = 0")
        for dataset in (TREND, SHADOW):
            for table in tables(dataset, EXAMPLE):
                if table.name in (dataset.name, f"{dataset.name}_latest"):
                    run(create_statement(table))
            run(f"SYSTEM STOP TTL MERGES {dataset.name}")  # an expired row stays until a merge, as it may anywhere
        yield run


def insert(query: Query, table: str, meter: int, partition: int, offset: int, age_days: float) -> None:
    query(
        f"INSERT INTO {table} (meter_id, window_start, event_count, topic, partition, offset, produced_at) VALUES "
        f"({meter}, 60 * {offset}, 1, 't', {partition}, {offset}, now() - toIntervalSecond({round(86_400 * age_days)}))"
    )


def test_rows_that_only_the_table_holds_are_not_given_up(query: Query) -> None:
    insert(query, TREND.name, 1, partition=0, offset=99, age_days=1)
    with pytest.raises(SmartmeterError, match=r"retention has removed the messages of 1 rows .* --allow-incomplete"):
        refuse_if_rows_would_be_lost(TREND, TOPIC, query)


def test_what_the_topic_still_has_or_the_table_would_not_keep_is_no_loss(query: Query) -> None:
    insert(query, TREND.name, 1, partition=0, offset=100, age_days=1)
    insert(query, TREND.name, 2, partition=1, offset=0, age_days=1)
    assert TREND.ttl_days == 100
    insert(query, TREND.name, 3, partition=0, offset=99, age_days=101)
    refuse_if_rows_would_be_lost(TREND, TOPIC, query)


def test_a_dataset_without_a_ttl_keeps_every_row(query: Query) -> None:
    insert(query, TREND.name, 3, partition=0, offset=99, age_days=101)
    with pytest.raises(SmartmeterError, match="retention has removed"):
        refuse_if_rows_would_be_lost(replace(TREND, ttl_days=None), TOPIC, query)


def test_rows_that_retention_has_removed_are_not_compared(query: Query) -> None:
    insert(query, TREND.name, 3, partition=0, offset=99, age_days=101)
    for table in (TREND.name, SHADOW.name):
        insert(query, table, 1, partition=0, offset=100, age_days=1)
    before, after = checksums(TREND, (TREND.name, SHADOW.name), query, TOPIC)
    assert before == after
    assert before.rows == 1
