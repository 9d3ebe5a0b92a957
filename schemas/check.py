"""Whether the declared contracts keep their promises: to themselves, to every version, and to what was released.

Works offline, without registry or broker. The rules are functions on datasets; `schemas.released` reads released
datasets from git.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json import loads
from pathlib import Path
from typing import Any

from schemas.avro import ContractError, Record, without_doc
from schemas.compatibility import incompatibilities, sentence, transitive_incompatibilities
from schemas.examples import load_examples
from schemas.manifest import CONTRACTS, Dataset, load_dataset, strays

Datasets = Mapping[str, Dataset]

# Keys of a manifest that cannot change once released, and what a change would do.
FIXED = {
    "topic": "consumers would read a topic that is no longer written",
    "dead_letter_topic": "dead letters would be split over two topics",
    "key": "readings of one key would move to another partition, and their order would be lost",
    "compatibility": "consumers were promised it",
    "order_by": "rows that were one row would become two, or two one",
    "version_by": "another row would win than the one that wins now",
}
# Keys that may change, with what people should know when one does.
NOTED = {
    "ttl_days": "rows in the table live for another time",
    "parameters": "a replay gives other rows than those already written; repair or replay what should agree",
}


@dataclass(frozen=True)
class Findings:
    """What breaks (any of it fails the check), and what is allowed but should be known."""

    breaking: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(self.breaking + other.breaking, self.notes + other.notes)


def load_all(folder: Path = CONTRACTS) -> tuple[dict[str, Dataset], list[str]]:
    """Every dataset that can be loaded, and a sentence for each file that cannot: all of them, not only the first."""
    datasets: dict[str, Dataset] = {}
    sentences = strays(folder)
    for path in sorted(folder.glob("*.yaml")):
        try:
            datasets[path.stem] = load_dataset(path)
        except ContractError as error:
            sentences.append(str(error))
    if not datasets and not sentences:
        sentences.append(f"{folder}: no manifests (*.yaml) there")
    return datasets, sentences


def check_declared(datasets: Datasets, folder: Path = CONTRACTS) -> Findings:
    """Every version has valid examples, every pair of versions is compatible, no topic has two datasets."""
    breaking = _shared_topics(datasets)
    for dataset in datasets.values():
        breaking += transitive_incompatibilities(dataset)
        for version in dataset.versions:
            try:
                load_examples(dataset, version, folder)
            except ContractError as error:
                breaking.append(str(error))
    return Findings(tuple(breaking))


def check_released(declared: Datasets, released: Datasets, where: str) -> Findings:
    """What the declared datasets break of the released ones; `where` names the release in the sentences."""
    findings = Findings()
    for name, old in released.items():
        new = declared.get(name)
        if new is None:
            gone = f"{name}: released in {where} and gone now: its consumers ({', '.join(old.consumers)}) lose it"
            findings += Findings((f"{gone}. Restore its manifest; a dataset that nobody needs stays declared.",))
        else:
            findings += _versions_released(new, old, where) + _manifest_released(new, old, where)
    return findings


def _shared_topics(datasets: Datasets) -> list[str]:
    owners: dict[str, str] = {}
    sentences = []
    for dataset in datasets.values():
        for topic in (dataset.topic, dataset.dead_letter_topic):
            if topic in owners:
                sentences.append(f"{dataset.name}: topic {topic} belongs to {owners[topic]} already; name another")
            owners[topic] = dataset.name
    return sentences


def _versions_released(new: Dataset, old: Dataset, where: str) -> Findings:
    breaking: list[str] = []
    for number, record in old.versions.items():
        file = f"{old.name}.v{number}.avsc"
        if number not in new.versions:
            lost = f"{file}: released in {where} and gone now: what was written with v{number} cannot be replayed"
            breaking.append(f"{lost} ({', '.join(old.consumers)}). Restore it.")
        elif _meaning(record) != _meaning(new.versions[number]):
            breaking += _changed_file(new, record, number, where)
    return Findings(tuple(breaking))


def _changed_file(new: Dataset, record: Record, number: int, where: str) -> list[str]:
    """Sentences about a released Avro file that was edited: whom it breaks, if anyone. It is forbidden in any case."""
    file = f"{new.name}.v{number}.avsc"
    rule = f"{file} was released in {where}, and a released version never changes (except doc)"
    remedy = f"Restore it, and put the change into v{max(new.versions) + 1}."
    harms = [
        sentence(breakage, new, f"v{number} as released", f"v{number} as it is now")
        for breakage in incompatibilities(record, new.versions[number])
    ]
    return [f"{rule}. {remedy}", *harms]


def _manifest_released(new: Dataset, old: Dataset, where: str) -> Findings:
    breaking, notes = [], []
    for key in (*FIXED, *NOTED):
        was, now = getattr(old, key), getattr(new, key)
        if was != now:
            change = f"{new.name}.yaml: {key} was {_shown(was)} in {where} and is {_shown(now)} now"
            if key in FIXED:
                breaking.append(
                    f"{change}: {FIXED[key]} ({', '.join(old.consumers)}). Restore it, or declare a new dataset."
                )
            else:
                notes.append(f"{change}: {NOTED[key]}.")
    return Findings(tuple(breaking), tuple(notes)) + _retention(new, old, where)


def _retention(new: Dataset, old: Dataset, where: str) -> Findings:
    longest = float("inf")
    was, now = (longest if days is None else days for days in (old.retention_days, new.retention_days))
    if was == now:
        return Findings()
    change = f"{new.name}.yaml: retention_days was {_shown(old.retention_days)} in {where}"
    reach = "less far back: what falls out of the log is lost" if now < was else "further back, from now on"
    return Findings(notes=(f"{change} and is {_shown(new.retention_days)} now: a replay reaches {reach}.",))


def _meaning(record: Record) -> Any:
    """The schema without `doc`, the one key that may change after a release."""
    return without_doc(loads(record.schema))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number:g}" for key, number in value.items()) or "none"
    if isinstance(value, tuple):
        return ", ".join(value)
    return "unlimited" if value is None else str(value)
