"""Subjects of the schema registry as declared by the contracts, and how they differ from those registered. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from infra.deploy.changes import Action, Change, Detail, RegisterSchema, SetCompatibility, Step
from schemas.avro import without_doc
from schemas.compatibility import transitive_incompatibilities
from schemas.manifest import Dataset


@dataclass(frozen=True)
class Subject:
    """A registered subject: its own level of compatibility, None where it has none, and its schemas, oldest first."""

    name: str
    compatibility: str | None
    schemas: tuple[str, ...]


def subject_change(dataset: Dataset, actual: Subject) -> Change | None:
    """How a subject differs from the dataset's versions, None if it does not; one without schemas does not exist yet.

    Versions are registered in their order, each after the level of compatibility is set. A registered version that
    says something else than the declared one is breaking, since messages written with it are in the topic.
    """
    declared = [_meaning(record.schema) for record in dataset.versions.values()]
    registered = [_meaning(schema) for schema in actual.schemas]
    for number, (ours, theirs) in enumerate(zip(declared, registered, strict=False), start=1):
        if ours != theirs:
            return Change(
                "subject",
                "breaking",
                dataset.subject,
                (Detail(f"version {number}", _shown(theirs, ours), _shown(ours, theirs)),),
                advice=f"a registered version is never changed: restore {dataset.name}.v{number}.avsc as it was "
                "released and declare the change as a new version, or as a new dataset",
            )
    broken = transitive_incompatibilities(dataset) if len(declared) > len(registered) else []
    if broken:
        detail = Detail("versions", str(len(registered)), str(len(declared)))
        return Change("subject", "breaking", dataset.subject, (detail,), advice="; ".join(broken))
    details: list[Detail] = []
    steps: list[Step] = []
    if actual.compatibility != dataset.compatibility:
        details.append(Detail("compatibility", actual.compatibility or "", dataset.compatibility))
        steps.append(SetCompatibility(dataset.subject, dataset.compatibility))
    for number, record in list(dataset.versions.items())[len(registered) :]:
        details.append(Detail(f"version {number}", "", record.name))
        steps.append(RegisterSchema(dataset.subject, number, record))
    action: Action = "change" if registered else "create"
    return Change("subject", action, dataset.subject, tuple(details), tuple(steps)) if details else None


def undeclared_versions(dataset: Dataset, actual: Subject) -> list[str]:
    """Registered versions newer than the newest declared one: an older checkout, or someone else's."""
    return [
        f"subject {dataset.subject} version {number}"
        for number in range(len(dataset.versions) + 1, len(actual.schemas) + 1)
    ]


def _meaning(schema: str) -> Any:
    """The schema without its documentation, which a registry may leave unchanged without a new version."""
    return without_doc(json.loads(schema))


def _shown(schema: Any, other: Any) -> str:
    """The part of a schema in which it differs from the other: its differing fields, else the whole."""
    fields = [field for field in schema.get("fields", ()) if field not in other.get("fields", ())]
    return json.dumps(fields or schema)
