"""Models on disk: complete or not there, refused where they do not fit, and progress that survives."""

import json
from pathlib import Path

import numpy as np
import pytest

from infra.base.errors import SmartmeterError
from ml import model as models
from ml.features import FEATURES, PROFILE_CELLS
from ml.forest import load_forest
from ml.model import FOREST, MANIFEST, NAME, ModelRefused
from ml.predict import Shelf
from ml.progress import Progress, read_progress, write_progress
from ml.truth import KINDS
from tests.ml_rows import random_forest

X = np.random.default_rng(1).random((50, len(FEATURES)))


def keep(data_dir: Path, seed: int = 1, date: str = "2026-11-20", **said: object) -> str:
    manifest = {
        "made_of": models.described(),
        "threshold": {"value": 0.8},
        "profile": [1.0] * PROFILE_CELLS,
        **said,
    }
    forest = random_forest(seed, X)
    return models.save(models.folder(data_dir), date, manifest, lambda to: forest.save(to / FOREST))


def test_versions_of_a_day_are_numbered_and_sorted(tmp_path: Path) -> None:
    assert [keep(tmp_path) for _ in range(11)] == [f"2026-11-20.{number}" for number in range(1, 12)]
    keep(tmp_path, date="2026-11-19")
    found = models.versions(models.folder(tmp_path))
    assert (found[0], found[-1]) == ("2026-11-19.1", "2026-11-20.11")


def test_a_version_that_could_not_be_written_is_not_there(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        models.save(models.folder(tmp_path), "2026-11-20", {}, fail)
    assert models.versions(models.folder(tmp_path)) == []


def test_a_model_judges_as_the_one_that_was_saved(tmp_path: Path) -> None:
    version = keep(tmp_path)
    model = models.load(models.folder(tmp_path), version)
    by_class = random_forest(1, X).probabilities(X)
    probability, kinds = model.judge(X)
    assert probability.tolist() == (1 - by_class[:, 0]).tolist()
    for row, kind in enumerate(kinds):
        likeliest = KINDS[1 + int(by_class[row, 1:].argmax())]
        assert kind == (likeliest if probability[row] >= 0.8 else None)
    assert None in kinds
    assert any(kinds)


def test_the_same_forest_gives_the_same_bytes_and_walks_its_trees(tmp_path: Path) -> None:
    forest = random_forest(3, X)
    forest.save(tmp_path / "a.npz")
    load_forest(tmp_path / "a.npz").save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    for row in X[:5]:
        votes = np.zeros(len(KINDS))
        for root in forest.roots:
            node = root
            while forest.feature[node] >= 0:
                goes_left = row[forest.feature[node]] <= forest.threshold[node]
                node = forest.left[node] if goes_left else forest.right[node]
            votes += forest.votes[node]
        assert forest.probabilities(row[None])[0] == pytest.approx(votes / votes.sum())


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("features", [*FEATURES, "temperature_c"], "have temperature_c besides"),
        ("features", list(FEATURES[1:]), f"lack {FEATURES[0]}"),
        ("features", list(FEATURES[::-1]), "another order"),
        ("look_back", 12, "is 12, here it is 72"),
        ("contract", "meter_minute_trend", "is meter_minute_trend, here it is anomaly_prediction_features"),
    ],
)
def test_a_model_of_other_features_is_refused_with_both_named(
    tmp_path: Path, key: str, value: object, named: str
) -> None:
    version = keep(tmp_path, made_of={**models.described(), key: value})
    with pytest.raises(ModelRefused, match=named) as refused:
        models.load(models.folder(tmp_path), version)
    assert version in str(refused.value)


def test_a_model_of_fields_that_the_contract_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "INPUTS", (*models.INPUTS, "temperature_c"))
    version = keep(tmp_path)
    with pytest.raises(ModelRefused, match=r"reads temperature_c, and anomaly_prediction_features v2 .* no such field"):
        models.load(models.folder(tmp_path), version)


def test_a_model_of_labels_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "INPUTS", (*models.INPUTS, "spike_count"))
    version = keep(tmp_path)
    with pytest.raises(ModelRefused, match="spike_count, labels"):
        models.load(models.folder(tmp_path), version)


@pytest.mark.parametrize("harm", ["no forest", "another forest", "no manifest", "half a manifest"])
def test_a_damaged_model_is_refused(tmp_path: Path, harm: str) -> None:
    version = keep(tmp_path)
    path = models.folder(tmp_path) / version
    match harm:
        case "no forest":
            (path / FOREST).unlink()
        case "another forest":
            random_forest(2, X).save(path / FOREST)
        case "no manifest":
            (path / MANIFEST).unlink()
        case "half a manifest":
            (path / MANIFEST).write_text((path / MANIFEST).read_text()[:100])
    with pytest.raises(ModelRefused, match=version):
        models.load(models.folder(tmp_path), version)


def test_the_shelf_finds_new_versions_forgets_old_ones_and_tells_of_a_refused_one_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = Shelf(models.folder(tmp_path))
    assert not shelf.look()
    first = keep(tmp_path)
    bad = keep(tmp_path, made_of={**models.described(), "look_back": 1})
    assert shelf.look()
    assert not shelf.look()
    assert list(shelf.models) == [first]
    assert [(record.message, vars(record)["fields"]["model"]) for record in caplog.records] == [("refused", bad)]
    second = keep(tmp_path, seed=2)
    assert shelf.look()
    assert list(shelf.models) == [first, second]
    (models.folder(tmp_path) / first).rename(tmp_path / "gone")
    assert shelf.look()
    assert list(shelf.models) == [second]


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "ml" / "predict.json"
    assert read_progress(path) == Progress()
    progress = Progress({0: 17, 3: 4}, 1_700_000_000_000, ("2026-11-20.1", "2026-11-20.2"), 21)
    write_progress(path, progress)
    assert read_progress(path) == progress
    assert progress.is_judged(0, 16)
    assert not progress.is_judged(0, 17)
    assert not progress.is_judged(2, 0)


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"positions": 3})])
def test_damaged_progress_says_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "predict.json").write_text(text)
    with pytest.raises(SmartmeterError, match="remove it"):
        read_progress(tmp_path / "predict.json")


def test_the_folder_is_named_after_the_model(tmp_path: Path) -> None:
    assert models.folder(tmp_path) == tmp_path / "models" / NAME
