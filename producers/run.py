"""The two producers as functions: `simulate` and `import_csv`. They tie sources, resuming and Kafka together."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np

from infra.base.clock import instant
from infra.base.columns import Columns, length, take
from infra.base.errors import SmartmeterError
from producers.chunks import pieces
from producers.csv_source import batches, contents
from producers.period import backlog
from producers.progress import ProgressDisplay, Silent
from producers.resume import NOTHING, Resume, resume
from producers.settings import CHUNK_MAX_S, CsvOptions, Period, Simulation, SinkSettings, Throttle
from producers.simulator import Simulator
from producers.sink import KafkaSink, message_keys, open_sink, topics
from producers.tail import TailReader
from producers.validation import OutOfContract
from schemas.manifest import RAW, Dataset, load_datasets
from schemas.reader import ContractReader
from schemas.registry import Registry

PIECE = 50_000
SILENT = Silent()
Clock = Callable[[], int]


def wall_clock_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class SendReport:
    """What a producer did. It acknowledged everything it sent; otherwise the producer raises Unacknowledged."""

    sent: int
    acknowledged: int
    already_there: int
    """Readings left out as the topic held them."""
    missing: int
    """Readings that the source lacks: simulated gaps, or `?` in a file."""
    unreadable: int
    """Lines left out with `on_error="skip"`."""
    first_ms: int | None
    last_ms: int | None
    """Event time of the first and of the last reading sent."""
    resumed_after_ms: int | None
    """The newest reading of these meters that the topic held at the start."""
    stopped: bool
    """Whether it was told to stop before its end."""
    elapsed_s: float

    @property
    def readings_per_s(self) -> float:
        """Acknowledged readings per second."""
        return self.acknowledged / self.elapsed_s if self.elapsed_s > 0 else 0.0


def simulate(
    simulation: Simulation,
    settings: SinkSettings,
    period: Period,
    throttle: Throttle | None = None,
    stop: Event | None = None,
    progress: ProgressDisplay = SILENT,
    now_ms: Clock = wall_clock_ms,
) -> SendReport:
    """Send simulated readings until the period ends or `stop` is set. A later run goes on where the topic ends.

    A run with another seed or fleet goes unnoticed: its readings follow the earlier ones. Raises SmartmeterError; among
    others Unacknowledged, NotRegistered, and, at the start, RegistryUnavailable.
    """
    kafka = _Kafka(settings, stop or Event(), progress)
    source = Simulator(simulation)
    one_key = simulation.buildings == 1
    buildings = range(1, simulation.buildings + 1)
    held = NOTHING
    if period.resume:
        held = kafka.held(buildings, lambda meter: 1 <= meter <= simulation.meters, one_key)
    unsent = backlog(period, held, now_ms())
    sender = _Sender(kafka.open(), held, throttle or Throttle(), one_key, kafka.stop, progress)
    tick = sender.send_ticks(source, source.tick_at(unsent.first_ms), source.tick_at(unsent.end_ms))
    if period.live:
        _send_live(source, sender, tick, period.live_s, now_ms)
    return sender.finish()


def _send_live(source: Simulator, sender: "_Sender", tick: int, live_s: float | None, now_ms: Clock) -> None:
    """Send each tick from `tick` on when its time comes, and at once if its time has passed."""
    end_ms = None if live_s is None else now_ms() + int(1000 * live_s)
    while not sender.stop.is_set():
        now = now_ms()
        limit = now if end_ms is None else min(now, end_ms)
        due = source.tick_at(limit + 1)
        if due > tick:
            tick = sender.send_ticks(source, tick, due)
            sender.flush()
        elif end_ms is not None and now >= end_ms:
            break
        else:
            next_ms = tick * source.settings.interval_ms
            sender.stop.wait(max(1, min(next_ms, end_ms or next_ms) - now) / 1000)


def import_csv(
    path: Path,
    options: CsvOptions,
    settings: SinkSettings,
    throttle: Throttle | None = None,
    resume_where_topic_ends: bool = True,
    stop: Event | None = None,
    progress: ProgressDisplay = SILENT,
) -> SendReport:
    """Send the readings of a CSV file. A later run goes on where the topic ends.

    The file is read twice. The first pass checks all of it, so a file with an unreadable line sends nothing and raises
    SmartmeterError. So does a topic that holds later readings of these meters. Raises also what `simulate` raises.
    """
    kafka = _Kafka(settings, stop or Event(), progress)
    whole = contents(path, options, kafka.record)
    progress.note(f"{path}: {whole.readings:,} readings, {whole.missing:,} missing, {whole.unreadable:,} unreadable")
    one_key = len(whole.buildings) <= 1
    held = NOTHING
    if resume_where_topic_ends and whole.readings:
        held = kafka.held(whole.buildings, lambda meter: meter in whole.meters, one_key)
    if held.newest_ms is not None and whole.last_ms is not None and held.newest_ms > whole.last_ms:
        raise SmartmeterError(
            f"the topic holds readings of these meters until {instant(held.newest_ms)}, {path} ends at "
            f"{instant(whole.last_ms)}; so it cannot be told which of the file's are there. Give the file a meter of "
            "its own, or send all with --no-resume: those that are there then come twice, which changes no aggregate"
        )
    sender = _Sender(kafka.open(), held, throttle or Throttle(), one_key, kafka.stop, progress)
    for batch in batches(path, options, kafka.record):
        sender.send(batch.columns)
        if sender.stop.is_set():
            break
    sender.missing, sender.unreadable = whole.missing, whole.unreadable
    return sender.finish()


class _Kafka:
    """The topic that readings go to: what it holds, and the way in."""

    def __init__(self, settings: SinkSettings, stop: Event, progress: ProgressDisplay) -> None:
        self._settings, self.stop, self._progress = settings, stop, progress
        self._dataset: Dataset = load_datasets(raw_topic=settings.topic)[RAW]
        self._registry = Registry(settings.schema_registry_url, deadline_s=settings.answer_timeout_s)
        self.record = self._dataset.latest

    def open(self) -> KafkaSink:
        """The sink."""
        return open_sink(self._settings, self._dataset, self._registry, self.stop, self._progress.note)

    def held(self, buildings: "range | frozenset[int]", wanted: Callable[[int], bool], one_key: bool) -> Resume:
        """What the topic holds of the wanted meters of these buildings."""
        partitions = topics(self._settings).get(self._dataset.topic, [])  # none: `open` names what is missing
        keys = set(message_keys(self._dataset.key, {"building_id": np.array(sorted(buildings))}))
        contract = ContractReader(self._dataset, self._registry)
        margin_ms = 1 if one_key else int(1000 * CHUNK_MAX_S)
        reader = TailReader(self._settings, self._dataset.topic, contract, self._progress.note)
        held = resume(*reader.read(partitions, keys, wanted, margin_ms), margin_ms)
        if held.newest_ms is not None:
            self._progress.note(
                f"the topic holds these meters' readings until {instant(held.newest_ms)}: going on there"
            )
        return held


class _Sender:
    """Sends readings chunk by chunk, skips what the topic holds, and counts."""

    def __init__(
        self, sink: KafkaSink, held: Resume, throttle: Throttle, one_key: bool, stop: Event, progress: ProgressDisplay
    ) -> None:
        self._sink, self._held, self._throttle, self._progress = sink, held, throttle, progress
        self.stop = stop
        # One key is one partition, and that cannot run ahead of itself.
        self._chunk_ms = None if one_key else int(1000 * throttle.chunk_s)
        self._chunk: int | None = None
        self._started = time.monotonic()
        self._first_ms: int | None = None
        self._last_ms: int | None = None
        self.already_there = self.missing = self.unreadable = 0

    def send_ticks(self, source: Simulator, first_tick: int, end_tick: int) -> int:
        """Send the simulated readings of these ticks; returns the first tick that is still to be sent."""
        for block in source.blocks(first_tick, end_tick):
            if self.stop.is_set():
                return block.first_tick
            self.missing += block.missing
            self.send(block.columns)
        return max(first_tick, end_tick)

    def send(self, columns: Columns) -> None:
        """Send readings; a chunk begins when the one before is acknowledged."""
        rate = self._throttle.rate_limit
        for piece in pieces(columns, self._chunk_ms, PIECE if rate is None else max(1, min(PIECE, int(rate)))):
            if self.stop.is_set():
                return
            if self._chunk is not None and piece.chunk != self._chunk:
                self.flush()
            self._chunk = piece.chunk
            lacking = take(piece.columns, self._held.lacking(piece.columns))
            self.already_there += length(piece.columns) - length(lacking)
            if length(lacking):
                self._send_now(lacking)

    def _send_now(self, columns: Columns) -> None:
        try:
            self._sink.send(columns)
        except OutOfContract:
            self.flush()
            raise
        times = columns["timestamp"]
        self._first_ms = int(times[0]) if self._first_ms is None else self._first_ms
        self._last_ms = int(times[-1])
        self._progress.at(self._last_ms, self._sink.acknowledged)
        if self._throttle.rate_limit is not None:
            ahead_s = self._sink.sent / self._throttle.rate_limit - (time.monotonic() - self._started)
            self.stop.wait(max(0.0, ahead_s))

    def flush(self) -> None:
        """Wait until everything sent is acknowledged."""
        self._sink.flush()

    def finish(self) -> SendReport:
        """Wait for the last acknowledgements and report."""
        self.flush()
        return SendReport(
            self._sink.sent,
            self._sink.acknowledged,
            self.already_there,
            self.missing,
            self.unreadable,
            self._first_ms,
            self._last_ms,
            self._held.newest_ms,
            self.stop.is_set(),
            time.monotonic() - self._started,
        )
