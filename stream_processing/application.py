"""The streaming application: one query per grain in one session, restarted with backoff when one fails."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.errors import StreamingQueryException
from pyspark.sql.streaming.query import StreamingQuery

from infra.base.share_limit import ShareLimit, TooManyBadMessages
from stream_processing.context import Context
from stream_processing.framing import COUNTS, names_unknown_id
from stream_processing.grain import Grain
from stream_processing.pace import Pace, paces
from stream_processing.schema_ids import SchemaIds
from stream_processing.settings import StreamSettings

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
HEALTHY_AFTER_S = 60.0
POLL_S = 0.5

Log = Callable[[str], None]


@dataclass
class Run:
    """One grain's query as it goes: when to try again, and what went wrong last."""

    grain: Grain
    pace: Pace
    ids: SchemaIds
    query: StreamingQuery | None = None
    started_at: float = 0.0
    failures: int = 0
    retry_at: float = 0.0
    error: str | None = None
    progress: dict[str, Any] = field(default_factory=dict)


class Application:
    """Runs every grain until told to stop. One that fails does not stop the others.

    Each query resumes from its checkpoint. A failed batch is run again with the same input, and what it had already
    written is written twice: harmless by law 3. An unreachable broker or registry is a failure like any other, retried
    for ever; no message is skipped because of it. But when too great a share of a batch cannot be read, everything ends
    with TooManyBadMessages: leaving out so much would be a silent loss, and trying again the same.
    """

    def __init__(self, context: Context, settings: StreamSettings, checkpoints: Path, log: Log) -> None:
        self._context = context
        self._checkpoints = checkpoints
        self._log = log
        self._limit = ShareLimit(settings.max_unreadable_share)
        pace = paces(context.grains, settings)
        self._runs = {
            name: Run(grain, pace[name], SchemaIds(context.datasets[grain.source], context.registry))
            for name, grain in context.grains.items()
        }

    def run(self, stopping: Callable[[], bool], report: Callable[[dict[str, Any]], None]) -> None:
        """Run until `stopping()`; `report` gets `state()` twice a second. The queries are stopped on the way out."""
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
                "restarts": run.failures,
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
        elif run.failures and time.monotonic() - run.started_at > HEALTHY_AFTER_S:
            run.failures, run.error = 0, None

    def _attempt(self, name: str, run: Run, step: Callable[[], None]) -> None:
        """Do the step; if it fails, note why and when to try again. Nothing is given up, and nothing is hidden."""
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever ended a query, it is reported and run again
            pause_s = min(FIRST_PAUSE_S * 2**run.failures, LONGEST_PAUSE_S)
            run.failures += 1
            run.error = _first_line(error)
            run.retry_at = time.monotonic() + pause_s
            self._log(f"{name}: {run.error}; trying again in {pause_s:g} s")

    def _start(self, name: str, run: Run) -> None:
        context, grain, pace = self._context, run.grain, run.pace
        run.ids.refresh()
        topic = context.datasets[grain.source].topic
        source = context.kafka.stream(context.spark, topic, pace.max_messages_per_trigger)
        rows = grain.prepare(run.ids.decode(source), context.datasets)
        rows = rows.withWatermark(grain.event_time, f"{pace.lateness_s} seconds")
        aggregated = grain.aggregate(rows, context.datasets)
        run.query = (
            context.kafka.sink(grain.messages(aggregated, context.datasets, context.schema_ids(grain)))
            .queryName(name)
            .outputMode(grain.output_mode)
            .option("checkpointLocation", str(self._checkpoints / name))
            .trigger(processingTime=f"{pace.trigger_s} seconds")
            .start()
        )
        run.started_at = time.monotonic()
        self._log(f"{name}: reads {topic}, writes {', '.join(grain.emits)}")

    def _recover(self, run: Run, failure: StreamingQueryException | None) -> None:
        """After a schema id that is not known yet: learn it and go on at once. Any other failure is raised."""
        if failure is None:
            raise RuntimeError("the query ended without an error, though nobody stopped it")
        if not names_unknown_id(failure):
            raise failure
        context, unread = self._context, _unread(run)
        topic = context.datasets[run.grain.source].topic
        refused = run.ids.learn(context.kafka.since(context.spark, topic, unread))
        for schema_id in sorted(refused):
            self._log(f"{topic}: schema id {schema_id} is not of its subject; messages that carry it are left out")


def _unread(run: Run) -> str:
    """Where to look for new schema ids, as Spark's starting offsets: from the end of the last batch that went well."""
    offsets = run.progress.get("end_offsets")
    return json.dumps(offsets) if offsets else "earliest"


def after(last: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """What is known after a query told something: a batch says all, an idle query only how far it is.

    After a restart in the middle of a batch an idle query may be the first to tell of that batch's end: Spark 4.1 ends
    a batch that it runs again with an error in its report, after the batch is committed.
    """
    if told["watermark"] is not None or not last:
        return told
    return {**last, "end_offsets": told["end_offsets"]}


def check_share(progress: dict[str, Any], topic: str, limit: ShareLimit) -> None:
    """Raise TooManyBadMessages where the batch left out more than the limit. `progress`: a `summary`.

    Judged is the last batch of each look, twice a second.
    """
    read, left_out = progress["read"], progress["left_out"]
    if limit.exceeded(left_out, read):
        raise TooManyBadMessages(
            f"{topic}: {left_out} of {read} messages of batch {progress['batch']} cannot be read, more than "
            f"{limit.max_share:.1%}: mend what writes them; started again it goes on after this batch "
            "(STREAM_MAX_UNREADABLE_SHARE=1 lets it go on whatever comes)"
        )


def summary(progress: dict[str, Any]) -> dict[str, Any]:
    """What a person or a monitor wants of Spark's progress of a batch: rows, seconds, watermark, offsets, state."""
    counts = progress.get("observedMetrics", {}).get(COUNTS, {})
    state = progress["stateOperators"][0] if progress["stateOperators"] else {}
    return {
        "at": progress["timestamp"],
        "batch": progress["batchId"],
        "batch_s": progress["durationMs"].get("triggerExecution", 0) / 1000,
        "rows": progress["numInputRows"],
        "read": counts.get("read", 0),
        "left_out": counts.get("left_out", 0),
        "rows_per_s": progress.get("processedRowsPerSecond", 0.0),
        "watermark": progress.get("eventTime", {}).get("watermark"),
        "end_offsets": progress["sources"][0]["endOffset"],
        "late_rows": state.get("numRowsDroppedByWatermark", 0),
        "state_rows": state.get("numRowsTotal", 0),
        "state_bytes": state.get("memoryUsedBytes", 0),
    }


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:500]
