"""The entry point of the streaming application, and the context for repair."""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.base import parts
from infra.base.errors import SmartmeterError
from infra.base.events import event
from infra.base.files import write_whole
from infra.base.settings import Settings
from infra.base.signals import stopped_by_signals
from schemas.manifest import load_deployed
from schemas.registry import Registry
from stream_processing.application import Application
from stream_processing.context import Context
from stream_processing.grain import Grain, load_grains
from stream_processing.kafka import Kafka
from stream_processing.pace import Closing, closings, paces
from stream_processing.progress import PART, progress_file, read_progress
from stream_processing.session import SparkRuntime, has_ended, start_session
from stream_processing.settings import StreamSettings

JVM_ENDED = "Spark's JVM has ended; start `smartmeter stream` again, it resumes where it was"
JVM_ENDS_WITHIN_S = 5.0
"""From the first call that fails to the end of the process."""
events = logging.getLogger(__name__)


def checkpoint_folder(settings: Settings, stream_settings: StreamSettings) -> str:
    """Where the queries' checkpoints are: below the data directory, else a deployment's folder at the given place."""
    if stream_settings.checkpoints is None:
        return str(settings.data_dir / "checkpoints")
    return "/".join([stream_settings.checkpoints.rstrip("/"), *settings.deployment.prefix.split(".")]).rstrip("/")


def what_closes(data_dir: Path, grains: Mapping[str, Grain], settings: StreamSettings) -> dict[str, Closing]:
    """By dataset what `pace.closings` returns: from the application's last report, else from these settings."""
    reported: dict[str, dict[str, Any]] = read_progress(data_dir).get("closings", {})
    return {name: Closing(**closing) for name, closing in reported.items()} or closings(grains, paces(grains, settings))


def run_stream(
    settings: Settings, stream_settings: StreamSettings, runtime: SparkRuntime, tell: Callable[[str], None]
) -> None:
    """Run every grain until SIGTERM or SIGINT; then stop the queries and return. `tell` gets sentences for people.

    Raises SmartmeterError when the application runs already, or when Spark's JVM ends.
    """
    with (
        stopped_by_signals() as stopping,
        parts.this_process_is(settings.stack_dir, settings.deployment.named(PART), "the stream"),
        open_context(settings, stream_settings, runtime) as context,
    ):
        application = Application(context, stream_settings, checkpoint_folder(settings, stream_settings), tell)
        closes = closings(context.grains, paces(context.grains, stream_settings))
        batches: dict[str, int] = {}

        def report(state: dict[str, Any]) -> None:
            if has_ended(context.spark):  # where every query waits to be started again, none would notice
                raise SmartmeterError(JVM_ENDED)
            for fields in new_batches(state, batches):
                event(events, "batch", **fields)
            progress = {
                "closings": {name: asdict(closing) for name, closing in closes.items()},
                "at": time.time(),
                "grains": state,
            }
            write_whole(progress_file(settings.data_dir), json.dumps(progress))

        try:
            application.run(stopping.is_set, report)
        except Exception as error:
            # The first call that a dead JVM does not answer raises whatever its place in PySpark raises.
            if has_ended(context.spark, within_s=JVM_ENDS_WITHIN_S):
                raise SmartmeterError(JVM_ENDED) from error
            raise
    tell("stopped")


def new_batches(state: dict[str, Any], seen: dict[str, int]) -> Iterator[dict[str, object]]:
    """The fields to log of each batch that has rows and is not in `seen`: by grain the last batch, updated here."""
    for grain, report in state.items():
        batch = report["progress"]
        if not batch or seen.get(grain) == batch["batch"]:
            continue
        seen[grain] = batch["batch"]
        if not batch["rows"]:
            continue
        names = ("batch", "rows", "batch_s", "late_rows", "state_rows", "watermark")
        offsets = {
            f"{topic}/{partition}": offset
            for topic, partitions in (batch["end_offsets"] or {}).items()
            for partition, offset in partitions.items()
        }
        yield {"grain": grain, **{name: batch[name] for name in names}, **offsets}


@contextmanager
def open_context(settings: Settings, stream_settings: StreamSettings, runtime: SparkRuntime) -> Iterator[Context]:
    """A context with a session of its own, which ends with it."""
    spark = start_session(stream_settings, runtime)
    try:
        yield Context(
            spark=spark,
            kafka=Kafka(settings.kafka),
            registry=Registry(settings.schema_registry_url),
            datasets=load_deployed(settings),
            grains=load_grains(),
        )
    finally:
        if not has_ended(spark):
            spark.stop()
