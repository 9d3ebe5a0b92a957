"""`smartmeter ml predict`: rows of features in, predictions out, until it is told to stop.

Results are emitted first and progress is written after, so whatever ends the process, the windows in between are judged
again, from the same lag state, to the same results.
"""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Event

import numpy as np

from infra.base import parts
from infra.base.columns import F64
from infra.base.events import event
from infra.base.settings import Settings
from ml import model as models
from ml.feature_log import FeatureLog, Stopped
from ml.judge import Judge, Suspects
from ml.lag_state import FeatureRows
from ml.model import Model, ModelRefused
from ml.progress import Progress, progress_file, read_progress, write_progress
from ml.result_log import ResultLog

PART = "predict"
MOST_ROWS = 5_000
WAIT_S = 0.5
SETTLE_EVERY_S = 2.0
LATE_WAITS_S = 30.0
TELL_EVERY_S = 30.0
JUDGING_VERSIONS = 2
"""So many of the newest versions judge; the older one goes on, so that two can be compared on the same windows."""

events = logging.getLogger(__name__)


def run_predict(settings: Settings, stop: Event) -> None:
    """Predict until `stop` is set. Raises SmartmeterError when it runs already, or Kafka refuses what waiting mends
    not."""
    with parts.this_process_is(settings.data_dir, PART, "`smartmeter ml predict`"):
        shelf = Shelf(models.folder(settings.data_dir))
        if not _wait_for_model(shelf, stop):
            return
        log = FeatureLog(settings, stop)
        Predictor(shelf, log, ResultLog(settings, stop), progress_file(settings.data_dir)).run(stop)
    event(events, "stopped")


def _wait_for_model(shelf: "Shelf", stop: Event) -> bool:
    """Whether there is one; False when told to stop before."""
    if not shelf.look():
        event(events, "no model yet", folder=shelf.folder, advice="`smartmeter ml train` makes one; waiting for it")
    while not shelf.models:
        if stop.wait(WAIT_S):
            return False
        shelf.look()
    return True


class Shelf:
    """The versions that can judge, looked for in a model's folder; one that is refused is told of once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, Model] = {}
        self._refused: set[str] = set()

    def look(self) -> bool:
        """Look for new versions, and forget those that are gone; True when there was a change."""
        there = models.versions(self.folder)
        before = list(self.models)
        for version in there:
            if version in self.models or version in self._refused:
                continue
            try:
                self.models[version] = models.load(self.folder, version)
            except ModelRefused as error:
                self._refused.add(version)
                event(events, "refused", logging.WARNING, model=version, reason=error)
        self.models = {version: self.models[version] for version in there if version in self.models}
        return list(self.models) != before


class Predictor:
    """The loop of reading, judging, emitting and remembering."""

    def __init__(self, shelf: Shelf, log: FeatureLog, results: ResultLog, path: Path) -> None:
        self._shelf, self._log, self._results, self._path = shelf, log, results, path
        self._judge = Judge()
        self._progress = read_progress(path)
        self._positions = dict(self._progress.positions)
        self._count = self._progress.results
        self._judging: dict[str, Model] = {}
        self._settled_at = self._told_at = time.monotonic()
        self._late_since: float | None = None

    def run(self, stop: Event) -> None:
        """Until `stop` is set; what was taken by then is judged, emitted and remembered."""
        known = [self._shelf.models[version] for version in self._progress.versions if version in self._shelf.models]
        self._judging = {model.version: model for model in known}
        if not self._judging:
            self._choose()
        event(events, "judging", models=", ".join(self._judging))
        try:
            self._remember()
            self._log.follow(self._progress.rebuild_from_ms)
            while not stop.is_set():
                rows = self._log.take(MOST_ROWS, WAIT_S)
                self._take(rows)
                if not len(rows) or time.monotonic() - self._settled_at > SETTLE_EVERY_S:
                    self._settle(idle=not len(rows))
            self._log.close()
            self._settle(idle=False)
        except Stopped:
            event(events, "stopped while reading the log again; that is done anew at the next start")

    def _remember(self) -> None:
        """The lag state as it was when progress was written."""
        if not self._positions:
            return
        for rows in self._log.before(self._progress.rebuild_from_ms, self._positions, MOST_ROWS):
            self._judge.remember(rows)
        event(events, "lag state rebuilt from the topic", meters=len(self._judge.state), **self._reached())

    def _take(self, rows: FeatureRows) -> None:
        """Judge the rows that were not judged before."""
        places = zip(rows.partition.tolist(), rows.offset.tolist(), strict=True)
        fresh = np.array([not self._progress.is_judged(*place) for place in places], dtype=np.bool_)
        if not fresh.any():
            return
        own = rows.chosen(fresh)
        for suspects in self._judge.judge(own, self._profiles()):
            self._emit(suspects)
        for partition in np.unique(own.partition).tolist():
            self._positions[partition] = int(own.offset[own.partition == partition].max()) + 1

    def _settle(self, idle: bool) -> None:
        """See that everything emitted is in the log, and write that down; then look for new versions.

        What is judged from the log waits until nothing else comes; until then nothing is written down.
        """
        self._settled_at = time.monotonic()
        if self._judge.late_meters:
            self._late_since = self._late_since or time.monotonic()
            if not idle and time.monotonic() - self._late_since < LATE_WAITS_S:
                return
            self._late_since = None
            event(events, "judging windows of late rows from the log", meters=self._judge.late_meters)
            for suspects in self._judge.judge_late(
                lambda spans: self._log.reread(spans, self._positions), self._profiles()
            ):
                self._emit(suspects)
        self._results.flush()
        self._shelf.look()
        if self._choose():
            event(events, "judging", models=", ".join(self._judging))
        self._write()
        if time.monotonic() - self._told_at > TELL_EVERY_S:
            self._told_at = time.monotonic()
            state = self._judge.state
            event(
                events,
                "judged",
                results=self._count,
                meters=len(state),
                state_bytes=state.bytes,
                **self._reached(),
            )

    def _choose(self) -> bool:
        """The newest versions judge from now on; True when that is a change."""
        newest = dict(list(self._shelf.models.items())[-JUDGING_VERSIONS:])
        if not newest or newest.keys() == self._judging.keys():
            return False
        self._judging = newest
        return True

    def _emit(self, suspects: Mapping[str, Suspects]) -> None:
        for version, own in suspects.items():
            self._count += self._results.emit(self._judging[version], own)

    def _profiles(self) -> dict[str, F64]:
        return {version: model.profile for version, model in self._judging.items()}

    def _reached(self) -> dict[str, int]:
        """What is read next, as fields of an event."""
        return {f"{self._log.topic}/{partition}": offset for partition, offset in sorted(self._positions.items())}

    def _write(self) -> None:
        rebuild_from_ms = self._judge.state.needed_from_ms()
        now = Progress(dict(self._positions), rebuild_from_ms, tuple(self._judging), self._count)
        if now != self._progress:
            write_progress(self._path, now)
            self._progress = now
