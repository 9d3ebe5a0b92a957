"""The streaming application: one query per grain in one session, restarted with backoff when one fails."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql.streaming.query import StreamingQuery

from infra.base.backoff import Backoff
from infra.base.errors import first_line
from infra.base.share_limit import ShareLimit, TooManyUnreadable
from stream_processing.context import Context, EarlierCheckpoint
from stream_processing.framing import COUNTS, names_unknown_id
from stream_processing.grain import Grain
from stream_processing.pace import Pace, paces
from stream_processing.schema_ids import SchemaIds
from stream_processing.settings import StreamSettings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
HEALTHY_AFTER_S = 60.0
POLL_S = 0.5


@dataclass
class Run:
    """One grain's query: its progress, its last error, and when to start it again."""

    grain: Grain
    pace: Pace
    ids: SchemaIds
    query: StreamingQuery | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S))
    started_at: float = 0.0
    retry_at: float = 0.0
    error: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)


class Application:
    """Runs every grain until it is asked to stop. A grain that fails does not stop the others.

    Each query resumes from its checkpoint. A failed batch runs again with the same input, and what it had written
    already is written twice, which is harmless by law 3. An unreachable broker or registry is a failure like any other:
    the query starts again, for ever if need be, and skips no message. Only where too great a share of a batch is
    unreadable does everything end, with TooManyUnreadable: to go on would be a silent loss, and to retry cannot help.
    A checkpoint of an earlier version ends it too, with EarlierCheckpoint.
    `tell` gets a sentence for each start and failure.
    """

    def __init__(self, context: Context, settings: StreamSettings, checkpoints: str, tell: Callable[[str], None]):
        self._context = context
        self._checkpoints = checkpoints
        self._tell = tell
        self._limit = ShareLimit(settings.max_unreadable_share)
        pace = paces(context.grains, settings)
        self._runs = {
            name: Run(grain, pace[name], SchemaIds(context.datasets[grain.source], context.registry))
            for name, grain in context.grains.items()
        }

    def run(self, stopping: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> None:
        """Run until `stopping()`, then stop the queries; `report` gets `state()` twice a second."""
        try:
            while not stopping():
                for name, run in self._runs.items():
                    self._tend(name, run)
                report(self.state())
                time.sleep(POLL_S)
        finally:
            for run in self._runs.values():
                if run.query is not None:
                    run.query.stop()

    def state(self) -> dict[str, Any]:
        """By grain: `state` (running, or waiting to be restarted), `restarts`, `error`, and `progress` (`summary`)."""
        return {
            name: {
                "state": "running" if run.query is not None and run.query.isActive else "waiting",
                "restarts": run.backoff.failures,
                "error": run.error,
                "progress": run.progress,
            }
            for name, run in self._runs.items()
        }

    def _tend(self, name: str, run: Run) -> None:
        if run.query is None:
            if time.monotonic() >= run.retry_at:
                self._attempt(name, run, lambda: self._start(name, run))
            return
        if run.query.lastProgress is not None:
            run.progress = after(run.progress, summary(json.loads(run.query.lastProgress.json)))
            check_share(run.progress, self._context.datasets[run.grain.source].topic, self._limit)
        if not run.query.isActive:
            failure, run.query = run.query.exception(), None
            self._attempt(name, run, lambda: self._recover(run, failure))
        elif run.backoff.failures and time.monotonic() - run.started_at > HEALTHY_AFTER_S:
            run.backoff.succeeded()
            run.error = None

    def _attempt(self, name: str, run: Run, step: Callable[[], None]) -> None:
        """Do the step. If it fails, record why, and when the query is to start again."""
        try:
            step()
        except EarlierCheckpoint:
            raise
        except Exception as error:  # noqa: BLE001 - whatever ended a query, it is reported and the query runs again
            pause_s = run.backoff.failed(error)
            run.error = first_line(error)
            run.retry_at = time.monotonic() + pause_s
            self._tell(f"{name}: {run.error}; trying again in {pause_s:g} s")

    def _start(self, name: str, run: Run) -> None:
        context, grain, pace = self._context, run.grain, run.pace
        run.ids.refresh()
        topic = context.datasets[grain.source].topic
        source = context.kafka.stream(context.spark, topic, pace.max_messages_per_trigger)
        rows = grain.rows(run.ids.decode(source), context.datasets, pace.lateness_s)
        run.query = (
            context.kafka.sink(grain.messages(rows, context.datasets, context.schema_ids(grain)))
            .queryName(name)
            .outputMode(grain.output_mode)
            .option("checkpointLocation", context.checkpoint(grain, self._checkpoints))
            .trigger(processingTime=f"{pace.trigger_s} seconds")
            .start()
        )
        run.started_at = time.monotonic()
        self._tell(f"{name}: reads {topic}, writes {', '.join(grain.emits)}")

    def _recover(self, run: Run, failure: StreamingQueryException | None) -> None:
        """After a schema id that is not known yet, learn it, so that the query starts again at once; raise the rest."""
        if failure is None:
            raise RuntimeError("the query ended without an error, though nobody stopped it")
        if not names_unknown_id(failure):
            raise failure
        context, unread = self._context, _unread(run)
        topic = context.datasets[run.grain.source].topic
        refused = run.ids.learn(context.kafka.since(context.spark, topic, unread))
        for schema_id in sorted(refused):
            self._tell(f"{topic}: schema id {schema_id} is not of its subject; messages that carry it are unreadable")


def _unread(run: Run) -> str:
    """Where new schema ids may be, as Spark's starting offsets: from the end of the last batch that succeeded."""
    offsets = run.progress.get("end_offsets")
    return json.dumps(offsets) if offsets else "earliest"


def after(last: dict[str, Any], newest: dict[str, Any]) -> dict[str, Any]:
    """The progress to keep after a query's newest report: a batch reports everything, an idle query only its offsets.

    After a kill between a batch's commit and its report an idle query is the first to tell that batch's end.
    """
    if newest["watermark"] is not None or not last:
        return newest
    return {**last, "end_offsets": newest["end_offsets"]}


def check_share(progress: dict[str, Any], topic: str, limit: ShareLimit) -> None:
    """Raise TooManyUnreadable where more of a batch was unreadable than the limit allows. `progress`: a `summary`.

    The application looks twice a second, each time at the last batch.
    """
    read, unreadable = progress["read"], progress["unreadable"]
    if limit.exceeded(unreadable, read):
        raise TooManyUnreadable(
            f"{topic}: {unreadable} of {read} messages of batch {progress['batch']} cannot be read, more than "
            f"{limit.max_share:.1%}: mend what writes them; started again it goes on after this batch "
            "(STREAM_MAX_UNREADABLE_SHARE=1 lets it go on whatever comes)"
        )


def summary(progress: dict[str, Any]) -> dict[str, Any]:
    """Of Spark's progress of a batch what people and monitors need: rows, seconds, watermark, offsets, state."""
    counts = progress.get("observedMetrics", {}).get(COUNTS, {})
    state = progress["stateOperators"][0] if progress["stateOperators"] else {}
    return {
        "at": progress["timestamp"],
        "batch": progress["batchId"],
        "batch_s": progress["durationMs"].get("triggerExecution", 0) / 1000,
        "rows": progress["numInputRows"],
        "read": counts.get("read", 0),
        "unreadable": counts.get("unreadable", 0),
        "rows_per_s": progress.get("processedRowsPerSecond", 0.0),
        "watermark": progress.get("eventTime", {}).get("watermark"),
        "end_offsets": progress["sources"][0]["endOffset"],
        "late_rows": state.get("numRowsDroppedByWatermark", 0),
        "state_rows": state.get("numRowsTotal", 0),
        "state_bytes": state.get("memoryUsedBytes", 0),
    }
