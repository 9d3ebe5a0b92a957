"""Training: fit on the first part, choose the threshold on the second, judge on the third, save as a version."""

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from infra.base.backoff import Tell
from infra.base.columns import F64
from ml import model as models
from ml.baselines import SHOWN
from ml.data import Data
from ml.examples import Examples
from ml.features import FEATURES
from ml.forest import Forest
from ml.metrics import best_threshold, figures, per_run
from ml.model import FOREST, PIPELINE, Model
from ml.spark_forest import ForestParameters, fit, session
from ml.truth import KINDS, NONE
from stream_processing.session import SparkRuntime


@dataclass(frozen=True)
class Trained:
    """A forest with its threshold, and everything that its manifest says of it."""

    forest: Forest
    manifest: dict[str, Any]
    pipeline: Path

    def model(self) -> Model:
        """The model as it judges, not kept as a version yet."""
        return Model(
            "unsaved",
            self.forest,
            np.array(self.manifest["profile"]),
            self.manifest["threshold"]["value"],
            self.manifest,
        )


def train(data: Data, parameters: ForestParameters, runtime: SparkRuntime, pipeline: Path, tell: Tell) -> Trained:
    """Train in a Spark session; the pipeline is saved to the new folder `pipeline`.

    The same data and parameters give the same trees, threshold and figures. Raises SmartmeterError for too little
    history.
    """
    data.check()
    tell(f"fitting {parameters.trees} trees on {len(data.fit)} windows, {int(data.fit.positive.sum())} with an anomaly")
    with session(runtime) as spark:
        fitted = fit(spark, data.fit.features, data.fit.kind, parameters, pipeline)
    validated = score_of(fitted.forest, data.validation.features)
    judged = data.validation.without_gaps
    threshold = best_threshold(data.validation.positive[judged], validated[judged])
    ranked = sorted(zip(FEATURES, fitted.importance.tolist(), strict=True), key=lambda item: -item[1])
    manifest = {
        "made_of": models.described(),
        "contract": models.contract(),
        "classes": list(KINDS),
        "data": data.source,
        "parameters": parameters.model_dump(),
        "profile": data.profile.tolist(),
        "threshold": {"value": threshold, "how": "highest F1 on the validation part, gaps aside"},
        "importance": dict(ranked),
        "metrics": compared(data.before, data.test, score_of(fitted.forest, data.test.features), threshold),
    }
    return Trained(fitted.forest, manifest, pipeline)


def score_of(forest: Forest, features: F64) -> F64:
    """Probability of an anomaly."""
    return 1.0 - forest.probabilities(features)[:, NONE]


def compared(before: Examples, test: Examples, score: F64, threshold: float) -> dict[str, Any]:
    """The model's figures, and each baseline's at the threshold that suits it best on the test itself."""
    judged = test.without_gaps
    by_name = {"model": figures(test, score, threshold)}
    runs = per_run(test, score)
    if len(runs) > 1:
        by_name["model"]["per_run"] = {"runs": len(runs), "lowest": min(runs), "highest": max(runs)}
    for name, baseline in SHOWN.items():
        suspicion = baseline(before, test)
        by_name[name] = figures(test, suspicion, best_threshold(test.positive[judged], suspicion[judged]))
        runs = per_run(test, suspicion)
        if len(runs) > 1:
            by_name[name]["per_run"] = {"runs": len(runs), "lowest": min(runs), "highest": max(runs)}
    return by_name


def train_and_save(
    data: Data, parameters: ForestParameters, runtime: SparkRuntime, data_dir: Path, tell: Tell
) -> tuple[str, Trained]:
    """Train, and save the outcome as a new version below `data_dir`. A failure leaves nothing behind."""
    with TemporaryDirectory(prefix="smartmeter-ml-") as scratch:
        trained = train(data, parameters, runtime, Path(scratch) / PIPELINE, tell)
        now = datetime.now(UTC)

        def write(to: Path) -> None:
            trained.forest.save(to / FOREST)
            shutil.copytree(trained.pipeline, to / PIPELINE)

        manifest = {"created_at": now.isoformat(timespec="seconds"), **trained.manifest}
        version = models.save(models.folder(data_dir), now.date().isoformat(), manifest, write)
    return version, trained
