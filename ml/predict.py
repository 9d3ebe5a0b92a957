"""`smartmeter ml predict`: rows of features in, predictions out, until it is told to stop.

It emits results first and writes progress after them. So if the process ends in between, the next one judges those
windows again, from the same lag state, with the same results.
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
    """Predict until `stop` is set. Raises SmartmeterError when predict already runs, or when Kafka rejects a request
    and retrying cannot help."""
    with parts.this_process_is(settings.stack_dir, settings.deployment.named(PART), "`smartmeter ml predict`"):
        shelf = Shelf(models.folder(settings.data_dir))
        if not _wait_for_model(shelf, stop):
            return
        log = FeatureLog(settings, stop)
        Predictor(shelf, log, ResultLog(settings, stop), progress_file(settings.data_dir)).run(stop)
    event(events, "stopped")


def _wait_for_model(shelf: "Shelf", stop: Event) -> bool:
    """Wait for a model. False when told to stop first."""
    if not shelf.look():
        event(events, "no model yet", folder=shelf.folder, advice="`smartmeter ml train` makes one; waiting for it")
    while not shelf.models:
        if stop.wait(WAIT_S):
            return False
        shelf.look()
    return True


class Shelf:
    """The versions in a model's folder that can judge. A version that is refused is logged once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, Model] = {}
        self._refused: set[str] = set()

    def look(self) -> bool:
        """Look for new versions and forget those that are gone. True if anything changed."""
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
    """The loop: read, judge, emit, remember."""

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
        """Run until `stop` is set. Everything taken by then is judged, emitted and remembered."""
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
        """Rebuild the lag state as it was when progress was written."""
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
        new_rows = rows.chosen(fresh)
        for suspects in self._judge.judge(new_rows, self._profiles()):
            self._emit(suspects)
        for partition in np.unique(new_rows.partition).tolist():
            self._positions[partition] = int(new_rows.offset[new_rows.partition == partition].max()) + 1

    def _settle(self, idle: bool) -> None:
        """Wait until everything emitted is in the log, write progress, and look for new versions.

        Windows to be judged from the log wait until no other rows come. Until then progress is not written.
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
        """Let the newest versions judge from now on. True if they are others than before."""
        newest = dict(list(self._shelf.models.items())[-JUDGING_VERSIONS:])
        if not newest or newest.keys() == self._judging.keys():
            return False
        self._judging = newest
        return True

    def _emit(self, suspects: Mapping[str, Suspects]) -> None:
        for version, of_version in suspects.items():
            self._count += self._results.emit(self._judging[version], of_version)

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
