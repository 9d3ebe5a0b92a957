"""The metrics part: asks every source, serves Prometheus on one port, and writes windows to the log as a dataset."""

import logging
import time
from threading import Event

from confluent_kafka import Message
from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server

from infra.base import kafka_client, parts
from infra.base.errors import SmartmeterError
from infra.base.events import event
from infra.base.loopback import HOST, chosen_port
from infra.base.same_origin import guarded
from infra.base.settings import Settings
from infra.base.signals import stopped_by_signals
from infra.operations.metrics.exposition import Exposition
from infra.operations.metrics.sources import Sources
from infra.operations.metrics.windows import Windows
from schemas.codec import Encoder
from schemas.manifest import load_deployed
from schemas.registry import Registry

PART = "metrics"
DATASET = "pipeline_metrics"
READ_EVERY_S = 5.0
QUEUED_MAX = 100_000
"""Rows that wait for a broker that is down: hours of them."""
FLUSH_S = 10.0
log = logging.getLogger(__name__)


def run_metrics(settings: Settings, port: int, every_s: float = READ_EVERY_S) -> None:
    """Run until SIGTERM or SIGINT, recorded as a part of the data directory.

    A part that is down is reported and asked again. Raises SmartmeterError when the port is taken, or when metrics
    already run.
    """
    part = settings.deployment.named(PART)
    with (
        stopped_by_signals() as stop,
        parts.this_process_is(settings.stack_dir, part, "the metrics service") as found_at,
    ):
        port = chosen_port(port)
        exposition, registry = Exposition(), CollectorRegistry()
        server, _ = start_http_server(port, HOST, registry)
        token = parts.token(settings.stack_dir)
        server.set_app(guarded(make_wsgi_app(registry), token))
        registry.register(exposition)  # not before: from its start until here the server asks for no token
        url = f"http://{HOST}:{port}/metrics?token={token}"
        found_at(url)
        event(log, "serving", url=url)
        sources, writer = Sources(settings), Writer(settings)
        try:
            _gather(sources, exposition, writer, stop, every_s)
        finally:
            writer.close()
            sources.close()
            server.shutdown()
    event(log, "stopped", rows=writer.acknowledged)


def _gather(sources: Sources, exposition: Exposition, writer: "Writer", stop: Event, every_s: float) -> None:
    """Ask, show and write until told to stop; then write the windows that are still open."""
    windows = Windows()
    silent: dict[str, str] = {}
    while not stop.is_set():
        gathered = sources.gather()
        _tell_changes(silent, gathered.silent)
        silent = gathered.silent
        exposition.show(gathered)
        now_ms = int(time.time() * 1000)
        windows.add(gathered.figures, now_ms)
        writer.write(windows.closed(now_ms))
        stop.wait(every_s)
    writer.write(windows.closed(None))


class Writer:
    """Writes rows to the topic and never waits. Rows that cannot be encoded or sent yet stay in memory, bounded."""

    def __init__(self, settings: Settings) -> None:
        self._dataset = load_deployed(settings)[DATASET]
        self._registry = Registry(settings.schema_registry_url, timeout_s=2.0, deadline_s=0.0)
        self._encoder: Encoder | None = None
        self._waiting: list[dict[str, object]] = []
        self.acknowledged = 0
        quiet = {"queue.buffering.max.messages": QUEUED_MAX, "log_level": 0}
        self._producer = kafka_client.producer(settings.kafka, quiet)

    def write(self, rows: list[dict[str, object]]) -> None:
        """Send rows, or keep them while the registry does not know the schema or does not answer."""
        self._waiting += rows
        if len(self._waiting) > QUEUED_MAX:
            event(log, "dropped", logging.WARNING, rows=len(self._waiting) - QUEUED_MAX, reason="nobody takes them")
            self._waiting = self._waiting[-QUEUED_MAX:]
        try:
            encoder = self._ready_encoder()
        except SmartmeterError as error:
            event(log, "waiting", logging.WARNING, rows=len(self._waiting), reason=error)
            return
        while self._waiting:
            row = self._waiting[0]
            try:
                key = self._dataset.key.format(**row).encode()
                self._producer.produce(self._dataset.topic, encoder.encode(row), key, on_delivery=self._delivered)
            except BufferError:
                break
            self._waiting.pop(0)
        self._producer.poll(0)

    def close(self) -> None:
        """Give the last rows some seconds to be acknowledged."""
        left = self._producer.flush(FLUSH_S)
        if left or self._waiting:
            event(log, "unsent", logging.WARNING, rows=left + len(self._waiting))

    def _ready_encoder(self) -> Encoder:
        if self._encoder is None:
            record = self._dataset.latest
            self._encoder = Encoder(record, self._registry.id_of(self._dataset.subject, record))
        return self._encoder

    def _delivered(self, error: object, message: Message) -> None:
        if error is not None:
            event(log, "not delivered", logging.ERROR, topic=message.topic(), reason=error)
            return
        self.acknowledged += 1


def _tell_changes(before: dict[str, str], now: dict[str, str]) -> None:
    """One line when a source falls silent, and one when it answers again."""
    for source in now.keys() - before.keys():
        event(log, "silent", logging.WARNING, source=source, reason=now[source])
    for source in before.keys() - now.keys():
        event(log, "answers", source=source)
