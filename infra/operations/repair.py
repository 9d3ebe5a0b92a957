"""Repair and replay of the deployment that the settings name: which windows, in which batches, from where in the log.

ClickHouse's raw_data says where the readings are, so a batch reads only the extents of the raw topic that hold its
windows. Before that, raw_data must have consumed the topic to its end.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from pyspark.sql import functions as F

from clickhouse import late
from clickhouse.late import LateReadings
from infra.base import parts
from infra.base.backoff import Tell
from infra.base.clickhouse_client import connect, query_with
from infra.base.errors import SmartmeterError
from infra.base.log import Extent, Log
from infra.base.settings import Settings
from infra.operations.closed import Reported, closed_before, emitted_before
from infra.operations.lag import await_read, messages_behind, table_behind
from infra.stack.spark import spark_runtime
from schemas.manifest import RAW, Dataset, load_deployed
from stream_processing.context import Context
from stream_processing.framing import message, spark_type
from stream_processing.grain import Grain, load_grains
from stream_processing.progress import PART, read_progress, watermark
from stream_processing.repair import Span, repair
from stream_processing.run import open_context, what_closes
from stream_processing.schema_ids import SchemaIds
from stream_processing.settings import StreamSettings

READINGS_MAX = 4_000_000
"""Readings of a batch, unless one hour has more; they are shuffled through memory and disk."""
STUCK_AFTER_S = 600.0


@dataclass(frozen=True)
class Recomputed:
    """`rows` emitted by topic, `readings` read again, and how many of them had been `late`."""

    rows: Mapping[str, int]
    readings: int
    late: int


@dataclass
class Repairing:
    """One repair. `tell` gets a line for each thing waited for or done."""

    settings: Settings
    stream_settings: StreamSettings
    tell: Tell

    def __post_init__(self) -> None:
        self.datasets: dict[str, Dataset] = load_deployed(self.settings)
        self.grains: dict[str, Grain] = load_grains()

    def span(self, span: Span, allow_incomplete: bool = False) -> Recomputed:
        """Recompute every window of a span.

        Raises SmartmeterError where retention has removed readings that may belong to it, unless allowed: a row
        computed from the rest has fewer events and loses against the complete row wherever that still exists.
        """
        self._await_table(RAW)
        span = span.with_dependants(self.grains).aligned(self.grains)
        if not allow_incomplete:
            self._refuse_if_removed(span)
        with closing(connect(self.settings)) as client:
            hours = late.hours(query_with(client), span.start, span.end)
        return self._recompute(hours, [])

    def open(self, allow_incomplete: bool = False) -> Recomputed:
        """Recompute the windows that the stream still holds open once it has read what the topics hold now."""
        self._await_stream()
        return self.span(Span(start=watermark(self.settings.data_dir)), allow_incomplete)

    def late(self) -> Recomputed:
        """Recompute the hours in which closed windows lack readings or hold corrected ones, and publish how many each
        meter lacked.

        A running stream first gets the time to read what the topic holds now. What a stream, running or stopped, has
        yet to emit is not late.
        """
        self._await_stream()
        reported = self._reported()
        for name in self.datasets:  # after the report: what it says was emitted is in the tables then
            self._await_table(name)
        with closing(connect(self.settings)) as client:
            query = query_with(client)
            closings = what_closes(self.settings.data_dir, self.grains, self.stream_settings)
            closed = closed_before(closings, partial(late.newest_reading, query))
            closed = emitted_before(closed, self.grains, reported)
            raw, stats = self.datasets[RAW], self.datasets[late.FIRST_STATS]
            late_readings = late.late_readings(query, raw, stats, closed[stats.name])
            hours = {each.hour for each in late_readings}
            for grain in self.grains.values():
                window, context = timedelta(seconds=grain.window_s), timedelta(seconds=grain.context_s)
                for name in grain.emits:
                    made = late.Made(self.datasets[name], self.datasets[grain.source], window, context)
                    hours |= late.stale_hours(query, made, closed[name])
            # What a reading still holds after the hour counts there.
            hours |= {hour + late.HOUR for hour in hours}
            with_counts = [(hour, count) for hour, count in late.hours(query, None, None) if hour in hours]
        self.tell(
            f"{sum(each.late for each in late_readings):,} late readings in {len(with_counts):,} hours to recompute"
        )
        return self._recompute(with_counts, late_readings)

    def _recompute(self, hours: Sequence[tuple[datetime, int]], late_readings: Sequence[LateReadings]) -> Recomputed:
        spans = late.batches(hours, READINGS_MAX)
        readings = sum(count for _, count in hours)
        rows: dict[str, int] = {}
        if not spans:
            return Recomputed(rows, 0, 0)
        self.tell(f"starting Spark to recompute {readings:,} readings in {len(hours):,} hours")
        with (
            open_context(self.settings, self.stream_settings, spark_runtime()) as context,
            closing(connect(self.settings)) as client,
        ):
            if late_readings:
                publish_late(context, late_readings)
            ids = SchemaIds(context.datasets[RAW], context.registry)
            for number, (start, end) in enumerate(spans, 1):
                span = Span(start, end)
                extents = late.extents(query_with(client), self._begins(), span.read_from(self.grains), span.end)
                for topic, count in repair(context, ids, span, extents).items():
                    rows[topic] = rows.get(topic, 0) + count
                done = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
                self.tell(f"{number} of {len(spans)}: {done} recomputed, {sum(rows.values()):,} rows so far")
        return Recomputed(rows, readings, sum(each.late for each in late_readings))

    def _begins(self) -> dict[int, int]:
        with Log(self.settings.kafka) as log:
            return {extent.partition: extent.begin for extent in log.extents(self.datasets[RAW].topic)}

    def _refuse_if_removed(self, span: Span) -> None:
        """Raise where the log no longer begins at its beginning and what is gone may belong to the span.

        A reading's own time is at most the tolerance ahead of its message's. So readings produced before the oldest
        message that is left belong to windows that begin before that message's time plus the tolerance.
        """
        raw = self.datasets[RAW]
        tolerance = timedelta(seconds=raw.parameters["future_tolerance_s"])
        with Log(self.settings.kafka) as log:
            removed = [extent for extent in log.extents(raw.topic) if extent.begin > 0]
            oldest = [log.produced_at(raw.topic, extent) or datetime.now(UTC) for extent in removed]
        if not oldest:
            return
        complete = max(oldest) + tolerance
        if span.start is None or span.start < complete:
            raise SmartmeterError(
                f"retention has removed the beginning of {raw.topic}: only windows from {complete:%Y-%m-%d %H:%M} UTC "
                "on are sure to be recomputed in full; name a later start with --from, or say --allow-incomplete"
            )

    def _reported(self) -> dict[str, Reported]:
        """By grain what the stream's last report says, whether or not it still runs; empty where it never ran."""
        grains = read_progress(self.settings.data_dir).get("grains", {})
        reported = {}
        with Log(self.settings.kafka) as log:
            for name in grains.keys() & self.grains.keys():
                topic = self.datasets[self.grains[name].source].topic
                behind = stream_behind(self.settings, log, name, topic, log.extents(topic))
                told = grains[name]["progress"].get("watermark")
                reported[name] = Reported(told and datetime.fromisoformat(told), not behind)
        return reported

    def _await_table(self, name: str) -> None:
        dataset, kafka = self.datasets[name], self.settings.kafka
        with Log(kafka) as log:
            extents = log.extents(dataset.topic)
            awaited = f"ClickHouse to have read {dataset.topic}"
            await_read(lambda: table_behind(kafka, log, dataset, extents), awaited, STUCK_AFTER_S, self.tell)

    def _await_stream(self) -> None:
        """Wait until every query of a running stream has read what its topic holds now, sources before dependants."""
        if parts.find(self.settings.stack_dir, self.settings.deployment.named(PART)) is None:
            return
        with Log(self.settings.kafka) as log:
            for name, grain in self.grains.items():
                topic = self.datasets[grain.source].topic
                extents = log.extents(topic)
                behind = partial(stream_behind, self.settings, log, name, topic, extents)
                await_read(behind, f"the stream's {name}", STUCK_AFTER_S, self.tell)


def print_recomputed(recomputed: Recomputed) -> None:
    """The rows by topic on stdout."""
    for topic, count in sorted(recomputed.rows.items()):
        print(f"{topic}: {count:,} rows emitted")
    late_ones = f", {recomputed.late:,} of them late" if recomputed.late else ""
    print(f"{recomputed.readings:,} readings read anew{late_ones}")


def stream_behind(settings: Settings, log: Log, grain: str, topic: str, extents: list[Extent]) -> int:
    """Messages within `extents` that a grain's query has yet to process."""
    progress = read_progress(settings.data_dir).get("grains", {}).get(grain, {}).get("progress", {})
    offsets = (progress.get("end_offsets") or {}).get(topic) or {}  # Spark tells none before the first batch
    return messages_behind(log, topic, extents, {int(partition): offset for partition, offset in offsets.items()})


def publish_late(context: Context, counts: Iterable[LateReadings]) -> None:
    """Publish the counts to topic late_readings; returns when they are acknowledged."""
    dataset = context.datasets["late_readings"]
    schema_id = context.registry.id_of(dataset.subject, dataset.latest)
    types = ", ".join(f"{field.name} {spark_type(field)}" for field in dataset.latest.fields)
    rows = [
        (count.meter_id, count.building_id, count.hour, count.hour + late.HOUR, count.readings, count.late)
        for count in counts
    ]
    frame = context.spark.createDataFrame(rows, types)
    columns = {field.name: F.col(field.name) for field in dataset.latest.fields}
    sent = frame.select("window_start", message(dataset, schema_id, columns).alias("message"))
    context.kafka.write(sent.select("window_start", "message.*"))
