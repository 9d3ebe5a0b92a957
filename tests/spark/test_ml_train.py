"""Small trainings: skill beyond every baseline, the same model twice, and serving as Spark says."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import SparkSession

from infra.base.errors import SmartmeterError
from infra.stack.spark import spark_runtime
from ml import model as models
from ml.baselines import BASELINES, SHOWN
from ml.data import Data, simulated, split_table
from ml.evaluate import newest, on_table
from ml.forest import load_forest
from ml.model import FOREST, MANIFEST, PIPELINE
from ml.report import write_page
from ml.spark_forest import ForestParameters, read_trees, spark_probabilities, thinned
from ml.train import Trained, train, train_and_save
from tests.ml_rows import simulated_windows

PARAMETERS = ForestParameters(trees=12, depth=8)
MARGIN = 0.3
"""By how much of average precision the model must beat the best baseline; it beats it by some 0.45."""


@cache
def data() -> Data:
    return simulated(meters=30, days=3.0, seed=0)


@pytest.fixture(scope="module")
def kept(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, Trained]:
    """A trained model, kept as a version."""
    assert spark.version  # its session is the one that trains
    folder = tmp_path_factory.mktemp("ml")
    version, trained = train_and_save(data(), PARAMETERS, spark_runtime(), folder, lambda _: None)
    return folder, version, trained


def test_the_test_is_later_than_training_and_has_meters_that_training_never_saw() -> None:
    split = data()
    assert split.fit.window_start.max() < split.validation.window_start.min()
    assert split.validation.window_start.max() < split.test.window_start.min()
    trained_on = set(split.fit.meter_id.tolist()) | set(split.validation.meter_id.tolist())
    unseen = set(split.test.meter_id[split.test.unseen].tolist())
    assert len(unseen) >= 3
    assert not unseen & trained_on
    assert split.test.positive.mean() == pytest.approx(0.02, abs=0.008)


def test_the_model_beats_every_baseline(kept: tuple[Path, str, Trained]) -> None:
    metrics = kept[2].manifest["metrics"]
    assert set(metrics) == {"model", *SHOWN}
    assert metrics["model"]["average_precision"] > metrics["informed_rules"]["average_precision"] - 0.02
    for key in ("average_precision", "average_precision_with_gaps", "average_precision_unseen_meters"):
        best = max(metrics[name][key] for name in BASELINES)
        assert metrics["model"][key] > best + MARGIN, key
    assert metrics["model"]["average_precision"] > 0.9
    assert metrics["everything"]["average_precision"] == pytest.approx(metrics["model"]["prevalence"])


@pytest.mark.usefixtures("spark")
def test_shuffled_kinds_teach_nothing(tmp_path: Path) -> None:
    """The skill is in the features' link to the kinds. Without it some order is left, as odd windows fall into small
    leaves, whose shares are far from the mean, up or down; it is less than that of the rules."""
    split = data()
    shuffled = np.random.default_rng(0).permutation(split.fit.kind)
    mislabelled = Data(**{**vars(split), "fit": split.fit.__class__(**{**vars(split.fit), "kind": shuffled})})
    metrics = train(mislabelled, PARAMETERS, spark_runtime(), tmp_path / "p", lambda _: None).manifest["metrics"]
    assert metrics["model"]["average_precision"] < metrics["rules"]["average_precision"]


def test_the_same_data_and_seed_give_the_same_model_and_figures(
    kept: tuple[Path, str, Trained], tmp_path: Path
) -> None:
    folder, version, first = kept
    other, again = train_and_save(data(), PARAMETERS, spark_runtime(), tmp_path, lambda _: None)
    assert json.dumps(again.manifest) == json.dumps(first.manifest)
    first_file, second_file = (
        models.folder(root) / name / FOREST for root, name in ((folder, version), (tmp_path, other))
    )
    assert first_file.read_bytes() == second_file.read_bytes()


def test_serving_gives_what_spark_gives_to_the_bit(spark: SparkSession, kept: tuple[Path, str, Trained]) -> None:
    folder, version, _ = kept
    some = data().test.features[::5]
    by_spark = spark_probabilities(spark, models.folder(folder) / version / PIPELINE, some)
    served = load_forest(models.folder(folder) / version / FOREST).probabilities(some)
    assert served.tobytes() == by_spark.tobytes()


def test_a_version_holds_all_that_is_promised(kept: tuple[Path, str, Trained]) -> None:
    folder, version, trained = kept
    path = models.folder(folder) / version
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["contract"] == {"dataset": "anomaly_prediction_features", "versions": [1, 2]}
    assert manifest["parameters"] == {"trees": 12, "depth": 8, "bins": 64, "seed": 7}
    assert {"from", "validated_from", "tested_from", "to", "meters", "unseen_meters"} <= manifest["data"].keys()
    assert manifest["threshold"]["how"]
    assert manifest["metrics"] == trained.manifest["metrics"]
    again = read_trees(path / PIPELINE)
    assert again.votes.tobytes() == trained.forest.votes.tobytes()
    assert newest(folder, None).version == version
    with pytest.raises(SmartmeterError, match=f"no model 2020-01-01.1 .* there are {version}"):
        newest(folder, "2020-01-01.1")


def test_a_table_is_judged_with_its_own_labels_and_shown_on_one_page(
    kept: tuple[Path, str, Trained], tmp_path: Path
) -> None:
    folder, version, trained = kept
    rows = simulated_windows(20, 24, factor=2.0, seed=9)
    evaluation = on_table(newest(folder, version), rows, {"kind": "clickhouse"})
    metrics = evaluation.figures["metrics"]
    best = max(metrics[name]["average_precision"] for name in BASELINES)
    assert metrics["model"]["average_precision"] > best + MARGIN
    json.dumps(evaluation.figures, allow_nan=False)
    page = tmp_path / "reports" / "page.html"
    write_page(evaluation, trained.manifest["importance"], page)
    text = page.read_text(encoding="utf-8")
    assert version in text
    assert "src=" not in text.split("<script", 1)[0]
    for title in ("Precision and recall", "Confusion at the threshold", "Score over time"):
        assert title in text


def test_a_table_without_labels_or_with_too_little_says_so(kept: tuple[Path, str, Trained]) -> None:
    plain = simulated_windows(5, 4, factor=0.0)
    with pytest.raises(SmartmeterError, match="--csv FILE --inject"):
        on_table(newest(kept[0], None), plain, {"kind": "clickhouse"})
    with pytest.raises(SmartmeterError, match=r"the fit split has .* --simulate"):
        split_table(plain, {"kind": "clickhouse"}).check()


def test_ordinary_windows_are_thinned_by_a_power_of_two_and_none_other() -> None:
    kinds = np.array([0] * 100_000 + [2] * 500, dtype=np.int8)
    chosen, weights = thinned(kinds, seed=1)
    assert (kinds[chosen] == 2).sum() == 500
    assert set(weights[kinds[chosen] == 2].tolist()) == {1.0}
    assert set(weights[kinds[chosen] == 0].tolist()) == {16.0}
    assert weights.sum() == pytest.approx(len(kinds), rel=0.05)
