"""`smartmeter ml predict` on a real stack: whatever happens to it, the results table is what a batch gives."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from infra.base import parts
from infra.base.clickhouse_client import connect
from infra.base.columns import Column, take
from infra.base.settings import Settings, load_settings
from infra.base.wait import until
from infra.stack import processes
from infra.stack.stack import Stack
from ml import model as models
from ml.features import FEATURES, PROFILE_CELLS
from ml.history import features_of, merged
from ml.model import FOREST, Model
from ml.predict import PART
from ml.progress import progress_file, read_progress
from ml.table import TABLE, read_table
from schemas.codec import Encoder
from schemas.manifest import load_datasets
from schemas.registry import Registry
from schemas.subscription import subscribe
from tests.ml_rows import random_forest, simulated_windows
from tests.patience import PATIENCE_S

SMARTMETER = str(Path(sys.executable).with_name("smartmeter"))
FEATURES_SET, RESULTS_SET = "anomaly_prediction_features", "anomaly_prediction_results"
WITHIN_S = PATIENCE_S
RESULT_FIELDS = "event_count, probability, prediction, kind, threshold, feature_partition, feature_offset"

Rows = dict[str, Column]
Results = dict[tuple[int, int], tuple[Any, ...]]


@pytest.fixture(scope="module")
def own_settings(applied: Stack) -> Settings:
    """The stack whose table of features no other test writes to."""
    return load_settings(applied.data_dir)


class Service:
    """The service and its surroundings."""

    def __init__(self, settings: Settings, meters_from: int) -> None:
        self.settings, self.meters_from = settings, meters_from
        dataset = load_datasets()[FEATURES_SET]
        schema_id = Registry(settings.schema_registry_url).id_of(dataset.subject, dataset.latest)
        self._encoder, self._dataset = Encoder(dataset.latest, schema_id), dataset

    def start(self) -> None:
        launch = processes.Launch([SMARTMETER, "ml", "predict", "--data-dir", str(self.settings.data_dir)])
        processes.start(self.settings.data_dir, PART, launch)

    def kill(self) -> None:
        process = parts.find(self.settings.data_dir, PART)
        assert process is not None, processes.log_tail(self.settings.data_dir, PART)
        process.kill()
        until(lambda: parts.has_ended(process), "the killed service to end", PATIENCE_S)

    def stop(self) -> None:
        process = parts.find(self.settings.data_dir, PART)
        if process is not None:
            processes.stop(process, PART)

    def says(self, text: str) -> None:
        until(lambda: text in processes.log_tail(self.settings.data_dir, PART, 1000), f"{text!r} in the log", WITHIN_S)

    def train(self, seed: int, **said: Any) -> Model:
        """A new version, of a forest that was not trained, as that takes no Spark."""
        features = np.random.default_rng(seed).normal(size=(500, len(FEATURES)))
        forest = random_forest(seed, features, trees=20, depth=6)
        profile = np.linspace(0.5, 1.5, PROFILE_CELLS) + seed
        manifest = {
            "made_of": models.described(),
            "threshold": {"value": 0.84},
            "profile": profile.tolist(),
            **said,
        }
        folder = models.folder(self.settings.data_dir)
        version = models.save(folder, "2026-11-20", manifest, lambda to: forest.save(to / FOREST))
        return Model(version, forest, profile, 0.84, manifest)

    def send(self, rows: Rows, order: Sequence[int]) -> None:
        """Emit windows in this order, keyed as the stream keys them."""
        producer = Producer({"bootstrap.servers": self.settings.kafka_brokers, "partitioner": "murmur2_random"})
        names = [field.name for field in self._dataset.latest.fields if field.name in rows]
        for row in order:
            values = {name: rows[name][row].item() for name in names}
            values["meter_id"] += self.meters_from
            values["building_id"] += self.meters_from
            values["gap_count"] = int(values["gap_count"])
            producer.produce(self._dataset.topic, self._encoder.encode(values), f"building_{values['building_id']}")
            producer.poll(0)
        assert producer.flush(30) == 0

    def results(self, version: str) -> Results:
        """What the results table says now."""
        return self._by_window(
            f"SELECT meter_id, toUnixTimestamp64Milli(window_start), {RESULT_FIELDS} FROM {RESULTS_SET}_latest "
            f"WHERE model_version = '{version}'"
        )

    def expected(self, model: Model) -> Results:
        """The batch computation over the table of features, as it is now."""
        rows, _ = read_table(self.settings, 10**9)
        own = take(rows, rows["meter_id"] > self.meters_from)
        table, chosen = merged(own)
        probability, kinds = model.judge(features_of(table, np.arange(len(chosen)), model.profile))
        places = self._by_window(
            f"SELECT meter_id, toUnixTimestamp64Milli(window_start), partition, offset FROM {TABLE}"
        )
        found = {}
        for row, (meter, start) in enumerate(zip(table.meter_id.tolist(), table.window_start.tolist(), strict=True)):
            judged = (own["event_count"][chosen[row]].item(), probability[row].item(), bool(probability[row] >= 0.84))
            found[meter, start] = (*judged, kinds[row], model.threshold, *places[meter, start])
        return found

    def await_results(self, model: Model, windows: int) -> None:
        """Wait until every window has its result, and all are what a batch gives."""
        until(lambda: len(self._windows()) == windows, f"{windows} windows in {TABLE}", WITHIN_S, every_s=0.5)
        wanted = self.expected(model)
        try:
            until(lambda: self.results(model.version) == wanted, "the results of a batch", WITHIN_S, every_s=0.5)
        except TimeoutError:
            found = self.results(model.version)
            differing = [key for key in wanted if found.get(key) != wanted[key]]
            shown = [(key, found.get(key), wanted[key]) for key in differing[:3]]
            pytest.fail(f"{len(differing)} of {len(wanted)} differ, as {shown}; the log: {self._log()}")

    def _windows(self) -> Results:
        return self._by_window(f"SELECT meter_id, toUnixTimestamp64Milli(window_start), offset FROM {TABLE}")

    def _log(self) -> str:
        return processes.log_tail(self.settings.data_dir, PART)

    def _by_window(self, sql: str) -> Results:
        with closing(connect(self.settings, reader=True)) as client:
            rows = client.query(sql).result_rows
        return {(row[0], row[1]): tuple(row[2:]) for row in rows if row[0] > self.meters_from}


@pytest.fixture
def service(own_settings: Settings, request: pytest.FixtureRequest) -> Iterator[Service]:
    """The service without a model or progress, and meters that no other test of this file has, newer ones above."""
    folder = models.folder(own_settings.data_dir)
    for version in models.versions(folder):
        (folder / version).rename(folder / f".gone-{time.monotonic_ns()}")
    progress_file(own_settings.data_dir).unlink(missing_ok=True)
    service = Service(own_settings, 1000 * (1 + request.session.items.index(request.node)))
    yield service
    service.stop()


def disorder(rows: Rows, seed: int) -> tuple[Rows, list[int]]:
    """The windows, a tenth of them with fewer events at first, and an order in which some come hours late."""
    rng = np.random.default_rng(seed)
    count = len(rows["meter_id"])
    early = np.flatnonzero(rng.random(count) < 0.1)
    both = {name: np.concatenate([values, values[early]]) for name, values in rows.items()}
    both["event_count"][count:] -= 1
    both["power_max_kw"][count:] *= 0.5
    window = both["window_start"] // 300_000
    late = 60 * (rng.random(len(window)) < 0.03) + rng.integers(0, 3, len(window))
    late[count:] -= 5
    return both, np.argsort(window + late, kind="stable").tolist()


def test_killed_and_started_again_it_gives_what_an_undisturbed_run_gives(service: Service) -> None:
    windows = simulated_windows(12, 20)
    rows, order = disorder(windows, seed=5)
    model = service.train(1)
    service.start()
    pieces = np.array_split(np.array(order), 6)
    for number, piece in enumerate(pieces):
        service.send(rows, piece.tolist())
        if number in (0, 2, 3):
            sent = sum(len(one) for one in pieces[: number + 1])
            until(lambda sent=sent: len(service.results(model.version)) > sent // 3, "results", WITHIN_S)
            service.kill()
            service.start()
    service.await_results(model, len(windows["meter_id"]))
    assert len({result[3] for result in service.results(model.version).values()}) > 1
    service.stop()  # in order, and started again with nothing to do
    before = read_progress(progress_file(service.settings.data_dir))
    service.start()
    service.says("lag state rebuilt from the topic")
    more = simulated_windows(12, 21)
    last = np.flatnonzero(more["window_start"] > windows["window_start"].max()).tolist()
    service.send(more, last)
    service.await_results(model, len(more["meter_id"]))
    assert before.rebuild_from_ms is not None

    def counted() -> int:
        """Results since the start in order, by the service's own progress, which it writes after emitting them."""
        return read_progress(progress_file(service.settings.data_dir)).results - before.results

    until(lambda: counted() >= len(last), "the progress to tell of the new results", WITHIN_S)


def test_it_waits_for_a_model_refuses_a_foreign_one_and_takes_up_new_versions(service: Service) -> None:
    windows = simulated_windows(4, 10)
    half = windows["window_start"] <= np.median(windows["window_start"])
    service.send(windows, np.flatnonzero(half).tolist())
    service.start()
    service.says("no model yet")
    foreign = service.train(2, made_of={**models.described(), "features": ["temperature_c"]})
    service.says(f"{foreign.version} does not fit this program: its features have temperature_c besides")
    assert service.results(foreign.version) == {}
    first = service.train(3)
    service.says(f"judging models={first.version}")
    service.await_results(first, int(half.sum()))
    second = service.train(4)
    service.says(f'judging models="{first.version}, {second.version}"')
    service.kill()
    service.start()
    service.says(f'judging models="{first.version}, {second.version}"')
    service.send(windows, np.flatnonzero(~half).tolist())
    service.await_results(first, len(windows["meter_id"]))
    by_second = service.expected(second)
    later = {key: value for key, value in by_second.items() if key[1] > np.median(windows["window_start"])}
    until(lambda: service.results(second.version) == later, "the second version's results", WITHIN_S)
    service.stop()
    third = service.train(5)  # while it does not run
    service.start()
    service.says(f'judging models="{second.version}, {third.version}"')


def test_results_are_keyed_by_building_and_readable_by_subscribers(service: Service) -> None:
    model = service.train(6)
    windows = simulated_windows(2, 2)
    service.send(windows, range(len(windows["meter_id"])))
    service.start()
    service.await_results(model, len(windows["meter_id"]))
    with subscribe(RESULTS_SET, service.settings, start="beginning", until_end=True) as rows:
        own = [got for got in rows if got.values["meter_id"] > service.meters_from]
    assert {got.key for got in own} == {f"building_{got.values['building_id']}".encode() for got in own}
    assert {(got.record.model_name, got.record.model_version) for got in own} == {("spike_rf_model", model.version)}
    assert {(got.values["window_end"] - got.values["window_start"]) for got in own} == {300_000}


def test_a_second_one_is_refused_while_it_runs(service: Service) -> None:
    service.train(7)
    service.start()
    service.says("judging models=")
    command = [SMARTMETER, "ml", "predict", "--data-dir", str(service.settings.data_dir)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert "runs already" in done.stderr
    status = subprocess.run(
        [SMARTMETER, "status", *command[3:]], check=False, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert PART in status.stdout
