"""Windows recomputed from the raw topic in batch, by the functions that the stream runs (law 8).

Its rows win or tie by law 3, so it may run beside the stream, be interrupted, and run again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import lcm

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from infra.errors import SmartmeterError
from schemas.manifest import RAW
from stream_processing.context import Context
from stream_processing.framing import UNKNOWN_ID
from stream_processing.grain import Grain
from stream_processing.schema_ids import SchemaIds


@dataclass(frozen=True)
class Span:
    """Event time [start, end); None is without limit."""

    start: datetime | None = None
    end: datetime | None = None

    def aligned(self, grains: Mapping[str, Grain]) -> "Span":
        """Widened to whole windows of every grain: a row may be emitted only for a window that is read in full."""
        step = timedelta(seconds=lcm(*(grain.window_s for grain in grains.values())))
        epoch = datetime.fromtimestamp(0, UTC)
        return Span(
            self.start and self.start - (self.start - epoch) % step,
            self.end and self.end + (epoch - self.end) % step,
        )


def repair(context: Context, span: Span) -> dict[str, int]:
    """Recompute and emit every window of `span`, of every grain; return the number of rows emitted by topic.

    Returns when Kafka has acknowledged all rows. Raises SmartmeterError where retention has removed readings of the
    span, since a row from part of a window could win over a complete one where the topic is compacted.
    """
    raw = context.datasets[RAW]
    ids = SchemaIds(raw, context.registry)
    ids.refresh()
    messages = context.kafka.batch(context.spark, raw.topic)
    try:
        return _emit(context, ids.decode(messages), span)
    except Exception as error:
        if UNKNOWN_ID not in str(error):
            raise
    ids.learn(messages)
    return _emit(context, ids.decode(messages), span)


def recompute(context: Context, events: DataFrame, span: Span) -> DataFrame:
    """Decoded raw events to the messages of every dataset for the whole windows of `span`."""
    span = span.aligned(context.grains)
    if span.start is not None:
        events = events.where(F.col("timestamp") >= F.lit(span.start))
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
        made.append(grain.messages(aggregated, context.datasets, context.schema_ids(grain)))
    messages = made[0]
    for more in made[1:]:
        messages = messages.unionByName(more)
    return messages


def _emit(context: Context, events: DataFrame, span: Span) -> dict[str, int]:
    _refuse_if_removed(context, events, span)
    messages = recompute(context, events, span)
    try:
        counts = {row["topic"]: row["count"] for row in messages.groupBy("topic").count().collect()}
        context.kafka.write(messages)
    finally:
        context.spark.catalog.clearCache()
    return counts


def _refuse_if_removed(context: Context, events: DataFrame, span: Span) -> None:
    """Raise where the log no longer begins at its beginning and the span reaches before what is left of it."""
    topic = context.datasets[RAW].topic
    if not any(context.kafka.beginnings(topic).values()):
        return
    oldest = events.groupBy("partition").agg(F.min("timestamp").alias("oldest")).agg(F.unix_millis(F.max("oldest")))
    left_ms = oldest.collect()[0][0]
    left = datetime.now(UTC) if left_ms is None else datetime.fromtimestamp(left_ms / 1000, UTC)
    if span.start is None or span.start < left:
        raise SmartmeterError(
            f"retention has removed the beginning of {topic}: windows before {left:%Y-%m-%d %H:%M} UTC "
            "cannot be recomputed in full; name a later start with --from"
        )
