"""Repair's recomputation of some hours gives what a recomputation of everything gives for them."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from pyspark.sql import SparkSession

from schemas.manifest import RAW
from stream_processing.framing import in_contract
from stream_processing.repair import Span, recompute
from tests.spark.chain import DATASETS, GRAINS
from tests.spark.readings import START, Reading, frame


def messages(spark: SparkSession, readings: list[Reading], span: Span) -> dict[tuple[str, bytes], Any]:
    """Window start by topic and value, of everything that the span gives."""
    context: Any = SimpleNamespace(
        datasets=DATASETS, grains=GRAINS, schema_ids=lambda grain: dict.fromkeys(grain.emits, 1)
    )
    events = frame(spark, readings).where(in_contract(DATASETS[RAW].latest))
    rows = recompute(context, events, span).selectExpr("topic", "value", "unix_millis(window_start) AS ms").collect()
    spark.catalog.clearCache()
    assert len(rows) == len({(row["topic"], bytes(row["value"])) for row in rows})
    return {(row["topic"], bytes(row["value"])): row["ms"] for row in rows}


def test_an_hour_recomputed_alone_has_its_context_and_its_neighbours_are_left_alone(spark: SparkSession) -> None:
    readings = [
        Reading(0, meter_id, second, second / 1000 - meter_id, 230.0, produced_s=12000)
        for meter_id in (1, 2)
        for second in range(0, 10800, 97)
    ]
    hour = timedelta(hours=1)
    everything = messages(spark, readings, Span())
    second_hour = messages(spark, readings, Span(START + hour + timedelta(minutes=20), START + hour * 2))
    begin_ms, end_ms = (int((START + hour * n).timestamp() * 1000) for n in (1, 2))
    assert second_hour == {key: ms for key, ms in everything.items() if begin_ms <= ms < end_ms}
    assert {topic for topic, _ in second_hour} == {name for grain in GRAINS.values() for name in grain.emits}
