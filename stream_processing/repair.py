"""Windows recomputed from the raw topic in batch, by the functions that the stream runs (law 8).

Its rows win or tie by law 3, so it may run beside the stream, be interrupted, and run again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from math import lcm

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from infra.base.clock import EPOCH
from schemas.manifest import RAW
from stream_processing.context import Context
from stream_processing.framing import names_unknown_id
from stream_processing.grain import Grain
from stream_processing.kafka import Ranges
from stream_processing.schema_ids import SchemaIds


@dataclass(frozen=True)
class Span:
    """Event time [start, end); None is without limit."""

    start: datetime | None = None
    end: datetime | None = None

    @classmethod
    def of_ms(cls, start: int | None, end: int | None) -> "Span":
        """From ms since 1970."""
        instants = [None if ms is None else datetime.fromtimestamp(ms / 1000, UTC) for ms in (start, end)]
        return cls(*instants)

    def aligned(self, grains: Mapping[str, Grain]) -> "Span":
        """Widened to whole windows of every grain: a row may be emitted only for a window that is read in full."""
        step = timedelta(seconds=lcm(*(grain.window_s for grain in grains.values())))
        return Span(
            self.start and self.start - (self.start - EPOCH) % step,
            self.end and self.end + (EPOCH - self.end) % step,
        )

    def with_dependants(self, grains: Mapping[str, Grain]) -> "Span":
        """Prolonged to the windows that look back into it."""
        return Span(self.start, self.end and self.end + timedelta(seconds=max(g.context_s for g in grains.values())))

    def read_from(self, grains: Mapping[str, Grain]) -> datetime | None:
        """Where reading begins, so that the first windows of the span have what they look at before their start."""
        return self.start and self.start - timedelta(seconds=max(grain.context_s for grain in grains.values()))


def repair(context: Context, ids: SchemaIds, span: Span, ranges: Ranges | None = None) -> dict[str, int]:
    """Recompute and emit every window of `span`, of every grain; return the number of rows emitted by topic.

    `ids` are those of the raw topic; what it learns it knows for the next span. `ranges` says where in the raw topic
    the span's readings are, those of `Span.read_from` included; None: anywhere.
    Returns when Kafka has acknowledged all rows. That retention has not removed readings of the span is the caller's to
    know, since a row from part of a window could win over a complete one where the topic is compacted.
    """
    raw = context.datasets[RAW]
    ids.refresh()
    messages = context.kafka.batch(context.spark, raw.topic, ranges)
    try:
        return _emit(context, ids.decode(messages), span)
    except Exception as error:
        if not names_unknown_id(error):
            raise
    ids.learn(messages)
    return _emit(context, ids.decode(messages), span)


def recompute(context: Context, events: DataFrame, span: Span) -> DataFrame:
    """Decoded raw events to the messages of every dataset for the whole windows of `span`."""
    span = span.aligned(context.grains)
    read_from = span.read_from(context.grains)
    if read_from is not None:
        events = events.where(F.col("timestamp") >= F.lit(read_from))
    if span.end is not None:
        events = events.where(F.col("timestamp") < F.lit(span.end))
    rows = {RAW: events}
    made = []
    for grain in context.grains.values():
        prepared = grain.prepare(rows[grain.source], context.datasets)
        aggregated = grain.aggregate(prepared, context.datasets).persist()
        for name, fields in grain.emits.items():
            columns = [column.alias(field) for field, column in fields(context.datasets[name]).items()]
            # What is made here has no position in a topic yet, and needs none: each window has one row.
            rows[name] = aggregated.select(*columns, F.lit(0).cast("bigint").alias("offset"))
        # What was read as context only is not all of its own windows, so none of those is emitted.
        own = aggregated if span.start is None else aggregated.where(F.col("window_start") >= F.lit(span.start))
        made.append(grain.messages(own, context.datasets, context.schema_ids(grain)))
    return reduce(DataFrame.unionByName, made)


def _emit(context: Context, events: DataFrame, span: Span) -> dict[str, int]:
    messages = recompute(context, events, span)
    try:
        counts = {row["topic"]: row["count"] for row in messages.groupBy("topic").count().collect()}
        context.kafka.write(messages)
    finally:
        context.spark.catalog.clearCache()
    return counts
