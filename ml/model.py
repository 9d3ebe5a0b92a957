"""Models on disk: `<data-dir>/models/<name>/<version>/`, each complete from the moment its folder is there.

    manifest.json   what it is, what it learned from and how good it is
    forest.npz      the trees, which is what serving reads
    pipeline/       the same as a Spark ML pipeline

Versions are `YYYY-MM-DD.N` and sort by date, then number. A version never changes.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from infra.base.columns import F64
from infra.base.errors import SmartmeterError
from ml.features import FEATURES, INPUTS, LOOK_BACK
from ml.forest import Forest, load_forest
from ml.truth import DATASET, KINDS, NONE, forbidden
from schemas.manifest import load_datasets

NAME = "spike_rf_model"
MANIFEST, FOREST, PIPELINE = "manifest.json", "forest.npz", "pipeline"
_VERSION = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)")


class ModelRefused(SmartmeterError):  # noqa: N818
    """A model that does not fit this program or contract; the message names both sides."""


@dataclass(frozen=True)
class Model:
    """A model ready to judge."""

    version: str
    forest: Forest
    profile: F64
    threshold: float
    manifest: dict[str, Any]
    name: str = NAME

    def judge(self, features: F64) -> tuple[F64, list[str | None]]:
        """Probability of an anomaly in each window, and its likeliest kind where that reaches the threshold."""
        by_class = self.forest.probabilities(features)
        probability = 1.0 - by_class[:, NONE]
        likeliest = by_class[:, NONE + 1 :].argmax(axis=1) + NONE + 1
        kinds = [
            KINDS[kind] if suspect else None
            for kind, suspect in zip(likeliest.tolist(), (probability >= self.threshold).tolist(), strict=True)
        ]
        return probability, kinds


def folder(data_dir: Path, name: str = NAME) -> Path:
    """Where the versions of a model are."""
    return data_dir / "models" / name


def versions(models: Path) -> list[str]:
    """Complete versions, the oldest first."""
    if not models.is_dir():
        return []
    names = [path.name for path in models.iterdir() if _VERSION.fullmatch(path.name)]
    return sorted(names, key=_order)


def _order(version: str) -> tuple[str, int]:
    date, _, number = version.partition(".")
    return date, int(number)


def contract() -> dict[str, Any]:
    """The contract that this program's features are made of, as a manifest names it."""
    return {"dataset": DATASET, "versions": sorted(load_datasets()[DATASET].versions)}


def described() -> dict[str, Any]:
    """What a manifest says of the features. A model fits this program if both are equal."""
    return {
        "contract": contract()["dataset"],
        "inputs": list(INPUTS),
        "features": list(FEATURES),
        "look_back": LOOK_BACK,
    }


def save(models: Path, date: str, manifest: dict[str, Any], write: Callable[[Path], None]) -> str:
    """Make a new version of this date: `write` fills the folder, which then gets its name in one step. Returns the
    version."""
    models.mkdir(parents=True, exist_ok=True)
    taken = [int(_order(version)[1]) for version in versions(models) if version.startswith(f"{date}.")]
    version = f"{date}.{max(taken, default=0) + 1}"
    partial = models / f".partial-{version}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write(partial)
    complete = {"name": models.name, "version": version, **manifest, "forest_sha256": _sha256(partial / FOREST)}
    (partial / MANIFEST).write_text(json.dumps(complete, indent=2) + "\n", encoding="utf-8")
    partial.rename(models / version)
    return version


def load(models: Path, version: str) -> Model:
    """Load a version. Raises ModelRefused if files are missing or altered, or its features are not this program's."""
    path = models / version
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if _sha256(path / FOREST) != manifest["forest_sha256"]:
            raise ModelRefused(f"{path / FOREST} is not the file that its manifest names; train again")
        check(manifest, f"model {models.name} {version}")
        forest = load_forest(path / FOREST)
        return Model(
            version, forest, np.array(manifest["profile"]), manifest["threshold"]["value"], manifest, models.name
        )
    except (OSError, KeyError, ValueError) as error:
        raise ModelRefused(f"{path} is no complete model ({type(error).__name__}: {error}); train again") from error


def check(manifest: dict[str, Any], what: str) -> None:
    """Raise ModelRefused for a model made of other features, of labels, or of fields that the contract lacks."""
    mine, its = described(), manifest["made_of"]
    for key, ours in mine.items():
        if its.get(key) != ours:
            difference = _difference(ours, its.get(key))
            raise ModelRefused(f"{what} does not fit this program: its {key} {difference}; train again")
    record = load_datasets()[DATASET].latest
    fields = {field.name for field in record.fields}
    if absent := sorted(set(its["inputs"]) - fields):
        raise ModelRefused(
            f"{what} does not fit the contract: it reads {', '.join(absent)}, and {DATASET} "
            f"v{max(load_datasets()[DATASET].versions)} ({record.name}) has no such field; train again"
        )
    if labels := sorted(set(its["inputs"]) & forbidden()):
        raise ModelRefused(f"{what} reads {', '.join(labels)}, labels of {DATASET} that no model may look at")


def _difference(ours: Any, its: Any) -> str:
    if isinstance(ours, list) and isinstance(its, list):
        more, fewer = sorted(set(its) - set(ours)), sorted(set(ours) - set(its))
        phrases = [f"have {', '.join(more)} besides" if more else "", f"lack {', '.join(fewer)}" if fewer else ""]
        return " and ".join(phrase for phrase in phrases if phrase) or "are in another order"
    return f"is {its}, here it is {ours}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
