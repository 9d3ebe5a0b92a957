"""The topic of features: followed by a thread of its own, and read again to judge old windows.

All of predict's reading is here. It uses `schemas.subscription`, which waits for what is down.
"""

import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from queue import Empty, Full, Queue
from threading import Event, Thread

from infra.base.clock import EPOCH
from infra.base.events import event
from infra.base.settings import Settings
from infra.base.topic_reader import Start
from ml.features import INPUTS
from ml.judge import Spans, feature_rows
from ml.lag_state import FeatureRows
from ml.truth import DATASET
from ml.windows import WINDOW_MS
from schemas.manifest import load_deployed
from schemas.order import CONTENT_VERSION
from schemas.subscription import Received, Unreadable, subscribe

QUEUED = 20_000
POLL_S = 0.2
FIELDS = ("meter_id", "building_id", "window_start", CONTENT_VERSION, *INPUTS)

events = logging.getLogger(__name__)


class Stopped(Exception):  # noqa: N818
    """Told to stop in the middle of a reading that is of use only as a whole."""


class FeatureLog:
    """Rows in the order of each partition. Call `follow` once, then `take`, which raises the reading thread's errors.

    An unreadable row is logged and counted here. ClickHouse's intake, which reads the same topic, keeps it.
    """

    def __init__(self, settings: Settings, stop: Event) -> None:
        self._settings, self._stop = settings, stop
        self.topic = load_deployed(settings)[DATASET].topic
        self._queue: Queue[Received | BaseException] = Queue(QUEUED)
        self._thread: Thread | None = None
        self.unreadable = 0

    def follow(self, from_ms: int | None) -> None:
        """Begin to read at the first row that came into the log at this time or later; None: at the beginning."""
        self._thread = Thread(target=self._read, args=(_start(from_ms),), name="feature-log", daemon=True)
        self._thread.start()

    def take(self, most: int, wait_s: float) -> FeatureRows:
        """Up to `most` rows that are there. Waits up to `wait_s` for the first one."""
        taken: list[Received] = []
        while len(taken) < most:
            try:
                got = self._queue.get(timeout=wait_s) if not taken else self._queue.get_nowait()
            except Empty:
                break
            if isinstance(got, BaseException):
                raise got
            taken.append(got)
        return _rows(taken)

    def reread(self, spans: Spans, until: Mapping[int, int]) -> FeatureRows:
        """All rows of these meters and windows, in each partition those before its offset in `until`."""
        wanted_rows = []
        for got in self._until_end("beginning"):
            span = spans.get(got.values["meter_id"])
            wanted = span is not None and span[0] <= got.values["window_start"] // WINDOW_MS <= span[1]
            if wanted and got.position.offset < until.get(got.position.partition, 0):
                wanted_rows.append(got)
        return _rows(wanted_rows)

    def before(self, from_ms: int | None, until: Mapping[int, int], most: int) -> Iterator[FeatureRows]:
        """The rows that came into the log from this time on, before the offsets in `until`, `most` at once."""
        taken: list[Received] = []
        for got in self._until_end(_start(from_ms)):
            if got.position.offset < until.get(got.position.partition, 0):
                taken.append(got)
            if len(taken) == most:
                yield _rows(taken)
                taken = []
        yield _rows(taken)

    def _until_end(self, start: Start) -> Iterator[Received]:
        """What the topic holds now. Raises Stopped when told to stop before the end."""
        with subscribe(
            DATASET,
            self._settings,
            start=start,
            until_end=True,
            stop=self._stop,
            on_unreadable=lambda _: None,  # told of by the thread that follows
            on_wait=_tell_waiting,
        ) as rows:
            yield from rows
        if self._stop.is_set():
            raise Stopped

    def close(self) -> None:
        """Wait for the reading thread to end; `stop` is set by then."""
        if self._thread is not None:
            self._thread.join()

    def _read(self, start: Start) -> None:
        try:
            with subscribe(
                DATASET,
                self._settings,
                start=start,
                stop=self._stop,
                on_unreadable=self._note_unreadable,
                on_wait=_tell_waiting,
            ) as rows:
                for got in rows:
                    self._put(got)
        except BaseException as error:  # noqa: BLE001 - it is raised where the rows are taken
            self._put(error)

    def _put(self, item: Received | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
                return
            except Full:
                continue

    def _note_unreadable(self, message: Unreadable) -> None:
        self.unreadable += 1
        at = message.position
        place = {"topic": at.topic, "partition": at.partition, "offset": at.offset}
        event(events, "unreadable", logging.WARNING, **place, reason=message.reason)


def _tell_waiting(reason: str) -> None:
    event(events, "waiting", logging.WARNING, reason=reason)


def _start(from_ms: int | None) -> Start:
    return "beginning" if from_ms is None else EPOCH + timedelta(milliseconds=from_ms)


def _rows(received: list[Received]) -> FeatureRows:
    columns: dict[str, list[object]] = {name: [got.values[name] for got in received] for name in FIELDS}
    columns["partition"] = [got.position.partition for got in received]
    columns["offset"] = [got.position.offset for got in received]
    columns["produced_at_ms"] = [got.position.produced_at_ms for got in received]
    return feature_rows(columns)
