"""Judging a model beside the baselines: on the platform's own table, or on real readings with injections."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from infra.base.clock import instant
from infra.base.columns import F64, Columns, length
from infra.base.errors import SmartmeterError
from ml import model as models
from ml.data import Data, unseen_of
from ml.examples import Examples, examples, labelled_rows
from ml.model import Model
from ml.spark_forest import ForestParameters
from ml.train import compared, score_of, train
from ml.windows import WINDOW_MS
from stream_processing.session import SparkRuntime


@dataclass(frozen=True)
class Evaluation:
    """The figures, and what the plots are drawn from."""

    figures: dict[str, Any]
    """As JSON has it: `model`, `data`, `threshold`, and under `metrics` the model and each baseline."""
    before: Examples
    test: Examples
    score: F64


def newest(data_dir: Path, version: str | None) -> Model:
    """The version asked for, or the newest; raises SmartmeterError where there is none."""
    folder = models.folder(data_dir)
    versions = models.versions(folder)
    if not versions or (version is not None and version not in versions):
        there = f"there are {', '.join(versions)}" if versions else "`smartmeter ml train` makes one"
        raise SmartmeterError(f"no model {version or ''} in {folder}: {there}".replace("model  in", "model in"))
    return models.load(folder, version or versions[-1])


def on_table(model: Model, rows: Columns, source: dict[str, Any]) -> Evaluation:
    """Judge a model on the table of features.

    A model that learned from this table is judged on rows later than its training. Another model is judged on all rows;
    the baselines may then learn from all rows too, which favours them.
    """
    if not length(rows):
        raise SmartmeterError("nothing to judge by: the table of features is empty; send readings first")
    table = labelled_rows(rows)
    start, learned = table.merged.window_start, model.manifest["data"]
    everything = np.ones(len(table.kind), dtype=np.bool_)
    tested, known, unseen = everything, everything, np.unique(table.merged.meter_id)
    if learned["kind"] == source["kind"]:
        from_ms = int(datetime.fromisoformat(learned["tested_from"]).timestamp() * 1000)
        tested, known = start >= from_ms, start < from_ms
        unseen = unseen_of(table.merged.meter_id)
    test = examples([(table, tested)], model.profile, unseen)
    if not (test.positive & test.without_gaps).any():
        raise SmartmeterError(
            f"nothing to judge by: none of the {len(test)} windows holds an anomaly that its status bits report; only "
            "simulated readings have such bits. For real readings: --csv FILE --inject"
        )
    before = examples([(table, known)], model.profile, unseen, with_features=False)
    score = score_of(model.forest, test.features)
    period = {"from": instant(int(test.window_start.min())), "to": instant(int(test.window_start.max()) + WINDOW_MS)}
    data = {**source, **period, "meters": len(np.unique(test.meter_id)), "windows": test.by_kind()}
    metrics = compared(before, test, score, model.threshold)
    named = {"name": model.name, "version": model.version, "learned_from": learned["kind"]}
    return Evaluation(_figures(named, data, model.threshold, metrics), before, test, score)


def on_injected(
    data: Data, parameters: ForestParameters, runtime: SparkRuntime, tell: Callable[[str], None]
) -> Evaluation:
    """Train on the first days and judge on the last ones; the model is not kept."""
    with TemporaryDirectory(prefix="smartmeter-ml-") as scratch:
        trained = train(data, parameters, runtime, Path(scratch) / models.PIPELINE, tell)
    manifest = trained.manifest
    score = score_of(trained.forest, data.test.features)
    named = {
        "name": models.NAME,
        "version": None,
        "learned_from": "the first days",
        "importance": manifest["importance"],
    }
    figures = _figures(named, data.source, manifest["threshold"]["value"], manifest["metrics"])
    return Evaluation(figures, data.before, data.test, score)


def _figures(model: dict[str, Any], data: dict[str, Any], threshold: float, metrics: dict[str, Any]) -> dict[str, Any]:
    return {"model": model, "data": data, "threshold": threshold, "metrics": metrics}
