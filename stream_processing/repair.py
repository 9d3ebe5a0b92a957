"""Windows recomputed from the raw topic in batch, by the functions that the stream runs (law 8).

Its rows win or tie by law 3, so it may run beside the stream, and may be interrupted and run again.
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
from stream_processing.kafka import Extents
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
        """Widened to whole windows of every grain: only a window that is read in full may be emitted."""
        step = timedelta(seconds=lcm(*(grain.window_s for grain in grains.values())))
        return Span(
            self.start and self.start - (self.start - EPOCH) % step,
            self.end and self.end + (EPOCH - self.end) % step,
        )

    def with_dependants(self, grains: Mapping[str, Grain]) -> "Span":
        """Prolonged to the windows whose context lies in the span."""
        return Span(self.start, self.end and self.end + timedelta(seconds=max(g.context_s for g in grains.values())))

    def read_from(self, grains: Mapping[str, Grain]) -> datetime | None:
        """Where reading begins, so that the first windows of the span have their context."""
        return self.start and self.start - timedelta(seconds=max(grain.context_s for grain in grains.values()))


def repair(context: Context, ids: SchemaIds, span: Span, extents: Extents | None = None) -> dict[str, int]:
    """Recompute and emit every window of `span`, of every grain; return the number of rows emitted by topic.

    Returns when Kafka has acknowledged all rows. `ids` are those of the raw topic; it keeps what it learns for the next
    span. `extents` say where in the raw topic the readings from `Span.read_from` to the span's end are (None:
    anywhere). The caller must know that retention has not removed any of them: a row of half a window could win over
    the complete row where the topic is compacted.
    """
    raw = context.datasets[RAW]
    ids.refresh()
    messages = context.kafka.batch(context.spark, raw.topic, extents)
    try:
        return _emit(context, ids.decode(messages), span)
    except Exception as error:
        if not names_unknown_id(error):
            raise
    ids.learn(messages)
    return _emit(context, ids.decode(messages), span)


def recompute(context: Context, events: DataFrame, span: Span) -> DataFrame:
    """Decoded raw events to the messages of every dataset, for the span widened to whole windows (`Span.aligned`)."""
    span = span.aligned(context.grains)
    read_from = span.read_from(context.grains)
    if read_from is not None:
        events = events.where(F.col("timestamp") >= F.lit(read_from))
    if span.end is not None:
        events = events.where(F.col("timestamp") < F.lit(span.end))
    events_of = {RAW: events}
    messages = []
    for grain in context.grains.values():
        rows = grain.rows(events_of[grain.source], context.datasets).persist()
        for name, fields in grain.emits.items():
            columns = [column.alias(field) for field, column in fields(context.datasets[name]).items()]
            # These events have no offset in a topic yet. They need none: each window has one row, computed from all.
            events_of[name] = rows.select(*columns, F.lit(0).cast("bigint").alias("offset"))
        # The windows before the span are context: they were not read in full, so they must not be emitted.
        in_span = rows if span.start is None else rows.where(F.col("window_start") >= F.lit(span.start))
        messages.append(grain.messages(in_span, context.datasets, context.schema_ids(grain)))
    return reduce(DataFrame.unionByName, messages)


def _emit(context: Context, events: DataFrame, span: Span) -> dict[str, int]:
    messages = recompute(context, events, span)
    try:
        counts = {row["topic"]: row["count"] for row in messages.groupBy("topic").count().collect()}
        context.kafka.write(messages)
    finally:
        context.spark.catalog.clearCache()
    return counts
