"""The two producers as functions: `simulate` and `import_csv`. They tie sources, resuming and Kafka together."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import NDArray

from infra.base.clock import instant
from infra.base.columns import I64, Columns, length, take
from infra.base.log import Log
from producers.chunks import pieces
from producers.csv_source import Contents, batches, contents
from producers.held import Held, Wanted, held, windows_end_ms
from producers.household import HOUR_MS
from producers.period import backlog
from producers.progress import ProgressDisplay, Silent
from producers.resume import NOTHING, Resume, resume
from producers.settings import CHUNK_MAX_S, CsvOptions, Period, Simulation, SinkSettings, Throttle
from producers.simulator import Simulator
from producers.sink import KafkaSink, message_keys, open_sink, topics
from producers.tail import TailReader
from producers.validation import OutOfContract
from schemas.manifest import RAW, Dataset, load_datasets, with_limits
from schemas.reader import ContractReader
from schemas.registry import Registry

PIECE = 50_000
FIRST_WINDOW_S = 30
"""The stream's first windows: their rows are final once they are closed."""
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
    """Readings left out as the topic held them, of a file with the same values."""
    missing: int
    """Readings that the source lacks: simulated gaps, or `?` in a file."""
    unreadable: int
    """Lines left out with `on_error="skip"`."""
    first_ms: int | None
    last_ms: int | None
    """Event time of the oldest and of the newest reading sent."""
    resumed_after_ms: int | None
    """The newest reading of these meters that the topic held at the start."""
    stopped: bool
    """Whether it was told to stop before its end."""
    elapsed_s: float
    file: "FileReport | None" = None
    """What there is to say of a file beside that."""

    @property
    def readings_per_s(self) -> float:
        """Acknowledged readings per second."""
        return self.acknowledged / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass
class FileReport:
    """What there is to say of a file's readings."""

    compared: bool = True
    """With what the topic held; else everything was sent, whatever was there."""
    repeated: int = 0
    """Lines that said the same as the line before."""
    losses: str = ""
    """What was left out, by kind and by meter."""
    changed: int = 0
    """Readings that the topic held with other values: they were sent, and count from now on."""
    behind: int = 0
    """Readings sent whose windows of 30 s were closed."""
    behind_changed: int = 0
    """Of these, the ones that the topic held with other values."""
    behind_first_ms: int = 0
    behind_last_ms: int = 0

    def note_behind(self, timestamp: I64, changed: NDArray[np.bool_]) -> None:
        """Count readings whose windows are closed."""
        if timestamp.size:
            first, last = int(timestamp.min()), int(timestamp.max())
            self.behind_first_ms = min(self.behind_first_ms, first) if self.behind else first
            self.behind_last_ms = max(self.behind_last_ms, last) if self.behind else last
            self.behind += timestamp.size
            self.behind_changed += int(changed.sum())

    @property
    def remedy(self) -> str | None:
        """The command that recomputes the closed windows; None where there are none.

        A reading that is new makes a count differ, which --late finds; one that is corrected does not.
        """
        if not self.behind:
            return None
        if not self.behind_changed:
            return "smartmeter repair --late"
        start, end = self.behind_first_ms // HOUR_MS * HOUR_MS, (self.behind_last_ms // HOUR_MS + 1) * HOUR_MS
        return f"smartmeter repair --from {instant(start)} --to {instant(end)}"


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
    lateness_s: float = 60.0,
    now_ms: Clock = wall_clock_ms,
) -> SendReport:
    """Send the readings of a CSV file that the topic does not hold, or holds with other values.

    The file is read twice. The first pass checks all of it, so a file with an unreadable line sends nothing and raises
    SmartmeterError. `lateness_s`: how long the stream's windows of 30 s wait in event time; what comes after that is
    told. Raises also what `simulate` raises.
    """
    kafka = _Kafka(settings, stop or Event(), progress)
    latest_ms = now_ms() + kafka.future_tolerance_ms
    whole = contents(path, options, kafka.record, latest_ms)
    progress.note(f"{path}: {whole.readings:,} readings, {whole.missing:,} missing, {whole.unreadable:,} unreadable")
    one_key = len(whole.buildings) <= 1
    report = FileReport(resume_where_topic_ends, whole.repeated, whole.losses)
    there = _There(kafka.holds(whole, resume_where_topic_ends), report, lateness_s)
    sender = _Sender(kafka.open(), there, throttle or Throttle(), one_key, kafka.stop, progress)
    for batch in batches(path, options, kafka.record, latest_ms):
        sender.send(batch.columns)
        if sender.stop.is_set():
            break
    sender.missing, sender.unreadable = whole.missing, whole.unreadable
    return replace(sender.finish(), file=report)


class _There:
    """What the topic holds of a file's readings, and the account of what is sent."""

    def __init__(self, held: Held, report: FileReport, lateness_s: float) -> None:
        self._held, self._report, self._lateness_ms = held, report, int(lateness_s * 1000)
        self._newest_ms = held.newest_ms
        own = [int(of_meter.timestamp[-1]) for of_meter in held.of_meter.values()]
        self.newest_ms = max(own, default=None)

    def lacking(self, columns: Columns) -> NDArray[np.bool_]:
        """Which of these readings are to be sent."""
        there, changed = self._held.compare(columns)
        lacking = ~there | changed
        sent, is_change = columns["timestamp"][lacking], changed[lacking]
        self._report.changed += int(is_change.sum())
        if self._newest_ms is not None:
            behind = windows_end_ms(sent, FIRST_WINDOW_S) <= self._newest_ms - self._lateness_ms
            self._report.note_behind(sent[behind], is_change[behind])
        if sent.size:
            self._newest_ms = max(int(sent.max()), self._newest_ms or 0)
        return lacking


class _Kafka:
    """The topic that readings go to: what it holds, and the way in."""

    def __init__(self, settings: SinkSettings, stop: Event, progress: ProgressDisplay) -> None:
        self._settings, self.stop, self._progress = settings, stop, progress
        self._dataset: Dataset = with_limits(load_datasets(raw_topic=settings.topic), settings.fleet)[RAW]
        self._registry = Registry(settings.schema_registry_url, deadline_s=settings.answer_timeout_s)
        self.record = self._dataset.latest
        self.future_tolerance_ms = int(1000 * self._dataset.parameters["future_tolerance_s"])

    def holds(self, whole: Contents, compare: bool) -> Held:
        """What the topic holds of a file's readings; unless they are compared, only its newest reading."""
        if self._dataset.topic not in topics(self._settings):
            return Held()  # `open` names what is missing
        wanted = None
        if compare and whole.first_ms is not None and whole.last_ms is not None:
            keys = set(message_keys(self._dataset.key, {"building_id": np.array(sorted(whole.buildings))}))
            wanted = Wanted(keys, whole.meters, whole.first_ms, whole.last_ms)
            self._progress.note(f"comparing with what {self._dataset.topic} holds")
        with Log(self._settings.kafka) as log:
            return held(log, self._dataset.topic, ContractReader(self._dataset, self._registry), wanted)

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
        self,
        sink: KafkaSink,
        held: Resume | _There,
        throttle: Throttle,
        one_key: bool,
        stop: Event,
        progress: ProgressDisplay,
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
            if self._chunk is not None and piece.chunk > self._chunk:
                self.flush()
            self._chunk = max(piece.chunk, self._chunk or piece.chunk)
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
        first_ms, last_ms = int(times.min()), int(times.max())
        self._first_ms = first_ms if self._first_ms is None else min(first_ms, self._first_ms)
        self._last_ms = last_ms if self._last_ms is None else max(last_ms, self._last_ms)
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
