"""Datasets as declared: one manifest and its Avro files, found by glob.

A dataset is one stem in `schemas/contracts`: `<dataset>.yaml`, `<dataset>.v<N>.avsc`, `<dataset>.v<N>.json` (examples).
Adding a dataset adds files there and edits none.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from infra.base.deployment import Deployment, Fleet
from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from schemas.avro import ContractError, Record, read_record

CONTRACTS = Path(__file__).parent / "contracts"
DEAD_LETTER_SUFFIX = "-dead-letters"
DEAD_LETTER_MAX_BYTES = 2 * 1024 * 1024
"""A dead letter carries a whole message of up to the broker's default limit, and headers that say why it is there."""
MANIFEST_SCHEMA = Path(__file__).parent / "manifest.schema.json"
RAW = "raw_data"
RETIRED = {"partitions": "how many is said by the deployment (infra/deployments)"}
"""Keys that released manifests may still have, and why no other may."""


@dataclass(frozen=True)
class Dataset:
    """One declared dataset; `versions` maps each version's number to its record, oldest first.

    As a contract alone it has neither prefix nor partitions; `deployed` gives it those of a deployment.
    """

    name: str
    description: str
    owner: str
    producer: str
    consumers: tuple[str, ...]
    topic: str
    key: str
    retention_days: int | None
    compatibility: str
    dead_letter_topic: str
    order_by: tuple[str, ...]
    version_by: str
    ttl_days: int | None
    versions: Mapping[int, Record]
    parameters: Mapping[str, float] = field(default_factory=dict)
    prefix: str = ""
    partitions: int = 0

    @property
    def subject(self) -> str:
        """Subject in the registry, by TopicNameStrategy."""
        return f"{self.topic}-value"

    @property
    def latest(self) -> Record:
        """The newest version: the reader of everything, and what ClickHouse stores."""
        return self.versions[max(self.versions)]


def load_datasets(folder: Path = CONTRACTS, raw_topic: str | None = None, released: bool = False) -> dict[str, Dataset]:
    """Every dataset in `folder` by name, sorted, as a contract; `raw_topic` replaces raw_data's topic.

    `released`: the manifests may have keys that have been retired since; these are ignored.
    Raises ContractError naming the file and the key for anything misspelt, missing or orphaned.
    """
    for stray in strays(folder):
        raise ContractError(stray)
    datasets = {path.stem: load_dataset(path, released) for path in sorted(folder.glob("*.yaml"))}
    if not datasets:
        raise ContractError(f"{folder}: no manifests (*.yaml) there")
    return _with_raw_topic(datasets, raw_topic)


def load_deployed(settings: Settings) -> dict[str, Dataset]:
    """Every dataset by name as it is deployed: with the topics, groups and partitions of the settings' deployment.

    Raises ContractError as `load_datasets` does, and SmartmeterError where the deployment names an unknown dataset.
    """
    datasets, deployment = load_datasets(), settings.deployment
    if unknown := sorted(deployment.kafka.partitions.datasets.keys() - datasets.keys()):
        raise SmartmeterError(
            f"deployment {deployment.name}: kafka.partitions.datasets.{unknown[0]}: no such dataset; "
            f"there are {', '.join(datasets)}"
        )
    return _with_raw_topic(deployed(datasets, deployment), settings.kafka_topic)


def deployed(datasets: Mapping[str, Dataset], deployment: Deployment) -> dict[str, Dataset]:
    """The datasets with the names, the numbers of partitions and the limits that a deployment gives them."""
    return {
        name: replace(
            dataset,
            topic=deployment.named(dataset.topic),
            dead_letter_topic=deployment.named(dataset.dead_letter_topic),
            prefix=deployment.prefix,
            partitions=deployment.kafka.partitions.of(name),
        )
        for name, dataset in with_limits(datasets, deployment.fleet).items()
    }


def with_limits(datasets: Mapping[str, Dataset], fleet: Fleet) -> dict[str, Dataset]:
    """The datasets with a fleet's limits in the place of the contracts': for producers, the stream and ClickHouse."""
    limited = {}
    for name, dataset in datasets.items():
        said = {key: value for key, value in fleet.parameters.items() if key in dataset.parameters}
        versions = dataset.versions
        if name == RAW and fleet.power_max_kw is not None:
            versions = {number: _with_power(record, fleet.power_max_kw) for number, record in versions.items()}
        limited[name] = replace(dataset, versions=versions, parameters={**dataset.parameters, **said})
    return limited


def _with_power(record: Record, most_kw: float) -> Record:
    """The record with another bound of power; the schema as Avro reads it stays, as bounds are not Avro's."""
    fields = (
        replace(field, minimum=-most_kw, maximum=most_kw) if field.name == "power_kw" else field
        for field in record.fields
    )
    return replace(record, fields=tuple(fields))


def _with_raw_topic(datasets: dict[str, Dataset], topic: str | None) -> dict[str, Dataset]:
    if not topic or RAW not in datasets:
        return datasets
    raw = replace(datasets[RAW], topic=topic, dead_letter_topic=f"{topic}{DEAD_LETTER_SUFFIX}")
    return {**datasets, RAW: raw}


def strays(folder: Path) -> list[str]:
    """A sentence for each file that belongs to no declared dataset and version."""
    sentences = []
    for path in sorted(path for path in folder.glob("[!.]*") if path.suffix != ".yaml"):
        stem, _, rest = path.name.partition(".")
        if not re.fullmatch(r"v[1-9][0-9]*\.(avsc|json)", rest):
            sentences.append(
                f"{path.name}: not DATASET.yaml, DATASET.v<N>.avsc or DATASET.v<N>.json; rename or remove it"
            )
        elif not (folder / f"{stem}.yaml").exists():
            sentences.append(f"{path.name}: no manifest {stem}.yaml beside it; add one")
        elif path.suffix == ".json" and not path.with_suffix(".avsc").exists():
            sentences.append(f"{path.name}: examples of a version without Avro file {path.stem}.avsc; add that")
    return sentences


def load_dataset(path: Path, released: bool = False) -> Dataset:
    """The dataset of one manifest, with the Avro files beside it; as `load_datasets`, which see."""
    try:
        raw = _validated(yaml.safe_load(path.read_text(encoding="utf-8")), path.name, released)
    except yaml.YAMLError as error:
        raise ContractError(f"{path.name}: not YAML ({error}); mend the file") from error
    if raw["dataset"] != path.stem:
        raise ContractError(f"{path.name}: dataset is {raw['dataset']}; it must be the file's stem, {path.stem}")
    files = {int(p.suffixes[-2][2:]): p for p in path.parent.glob(f"{path.stem}.v[1-9]*.avsc")}
    numbers = sorted(raw["versions"])
    if numbers != list(range(1, len(numbers) + 1)) or numbers != sorted(files):
        raise ContractError(
            f"{path.name}: versions {numbers}, Avro files {sorted(files)}; both must be 1, 2, … without a gap"
        )
    dataset = Dataset(
        name=raw["dataset"],
        versions={number: read_record(files[number]) for number in numbers},
        consumers=tuple(raw["consumers"]),
        **{key: raw[key] for key in ("description", "owner", "producer", "topic", "key")},
        **{key: raw[key] for key in ("retention_days", "compatibility", "dead_letter_topic")},
        order_by=tuple(raw["clickhouse"]["order_by"]),
        version_by=raw["clickhouse"]["version_by"],
        ttl_days=raw["clickhouse"]["ttl_days"],
        parameters=raw.get("parameters", {}),
    )
    _check_fields(dataset, path.name)
    return dataset


def _validated(raw: Any, where: str, released: bool) -> dict[str, Any]:
    for key in RETIRED.keys() & (raw if isinstance(raw, dict) else {}):
        if not released:
            raise ContractError(f"{where}: $.{key}: {RETIRED[key]}; remove it here")
        raw = {name: value for name, value in raw.items() if name != key}
    errors = sorted(_validator().iter_errors(raw), key=lambda error: error.json_path)
    if errors:
        raise ContractError(f"{where}: {errors[0].json_path}: {errors[0].message}")
    manifest: dict[str, Any] = raw
    return manifest


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(MANIFEST_SCHEMA.read_text(encoding="utf-8")))


def _check_fields(dataset: Dataset, where: str) -> None:
    """Every field that the manifest names must be in every version, and not null."""
    named = {*dataset.order_by, *re.findall(r"\{(\w+)\}", dataset.key)}
    if dataset.version_by != "offset":
        named.add(dataset.version_by)
    for number, record in dataset.versions.items():
        required = {f.name for f in record.fields if not f.nullable}
        missing = named - required
        if missing:
            raise ContractError(
                f"{where}: key, order_by and version_by name {min(missing)}, which v{number} lacks or lets be null"
            )
    log_days, row_days = dataset.retention_days, dataset.ttl_days
    if log_days is not None and (row_days is None or row_days > log_days):
        raise ContractError(
            f"{where}: ttl_days {row_days}, retention_days {log_days}: "
            "the table could not be rebuilt from its topic; keep rows no longer than the log"
        )
