"""What a change between two versions breaks, and whom: FULL compatibility, in both directions.

Both directions matter: a replay reads old data with the new reader, and a subscriber that has not been updated reads
new data with the old one. Stricter than Avro's own check, which knows no units, bounds or labels, and takes
microseconds for milliseconds. The order of fields and `doc` break nothing: Avro resolves fields by name.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from typing import Literal

from schemas.avro import Field, Record
from schemas.manifest import Dataset

REPLAY: Literal["replay"] = "replay"
OLD_READERS: Literal["old readers"] = "old readers"
Broken = Literal["replay", "old readers"]
Kind = Literal["name", "missing", "type", "null", "meaning", "bounds", "label"]
BOTH: tuple[Broken, ...] = (OLD_READERS, REPLAY)

# Writer's type → reader's types that Avro widens to (https://avro.apache.org/docs/1.12.0/specification/#schema-resolution).
PROMOTIONS: dict[str, set[str]] = {"int": {"long", "double"}, "long": {"double"}}
PHYSICAL_PROMOTIONS = {**PROMOTIONS, "bytes": {"string"}, "string": {"bytes"}}
NEW_DATASET = "or declare a new dataset"


@dataclass(frozen=True)
class Breakage:
    """One change that breaks somebody. `change` speaks of {older} and {newer}, which `sentence` replaces.

    REPLAY in `broken`: data written with the older version cannot be read rightly with the newer one. OLD_READERS: data
    written with the newer version cannot be read rightly with the older one.
    """

    kind: Kind
    field: str | None
    change: str
    broken: tuple[Broken, ...]
    remedy: str


def incompatibilities(older: Record, newer: Record) -> list[Breakage]:
    """Every breakage between two versions, in the order of the fields; empty when they are FULL compatible."""
    breakages: list[Breakage] = []
    if older.name != newer.name:
        change = f"the record is named {older.name} in {{older}} and {newer.name} in {{newer}}"
        breakages.append(Breakage("name", None, change, BOTH, f"keep the name, {NEW_DATASET}"))
    new_fields = {field.name: field for field in newer.fields}
    for field in older.fields:
        if field.name in new_fields:
            breakages += _field_changes(field, new_fields.pop(field.name))
        elif not field.nullable:
            change = "{older} requires it and {newer} has removed it"
            remedy = f"keep it (only a nullable field may go), {NEW_DATASET}"
            breakages.append(Breakage("missing", field.name, change, (OLD_READERS,), remedy))
    for field in new_fields.values():
        if not field.nullable:
            change = "{newer} requires it and {older} lacks it"
            remedy = f'make it nullable (["null", …] with default null), {NEW_DATASET}'
            breakages.append(Breakage("missing", field.name, change, (REPLAY,), remedy))
    return breakages


def transitive_incompatibilities(dataset: Dataset) -> list[str]:
    """Sentences for every pair of a dataset's versions, not only neighbours: FULL_TRANSITIVE."""
    return [
        sentence(breakage, dataset, f"v{older}", f"v{newer}")
        for older, newer in combinations(sorted(dataset.versions), 2)
        for breakage in incompatibilities(dataset.versions[older], dataset.versions[newer])
    ]


def misread(writer: Record, reader: Record) -> list[Breakage]:
    """Why data of this writer cannot be read rightly with this reader; empty when it can.

    For consumers, which meet whatever was registered. Bounds and labels do not matter to reading.
    """
    return [
        breakage
        for breakage in incompatibilities(writer, reader)
        if REPLAY in breakage.broken and breakage.kind not in ("bounds", "label")
    ]


def sentence(breakage: Breakage, dataset: Dataset, older: str, newer: str) -> str:
    """The breakage for people: which field of which version, who breaks and how, what to do."""
    subject = f"field {breakage.field}" if breakage.field else "record"
    change = breakage.change.format(older=older, newer=newer)
    readers = ", ".join(dataset.consumers)
    verb = {"bounds": "refuses", "label": "misuses", "meaning": "misreads"}.get(breakage.kind, "cannot read")
    victims = {
        OLD_READERS: f"a consumer still on {older} ({readers}) {verb} what {newer} writes",
        REPLAY: f"a replay with {newer} ({readers}) {verb} what {older} wrote",
    }
    harm = "; ".join(victims[broken] for broken in breakage.broken)
    return f"{dataset.name}: {subject}: {change}: {harm}. To mend it, {breakage.remedy}."


def _field_changes(older: Field, newer: Field) -> list[Breakage]:
    changes = [_type_change(older, newer), _null_change(older, newer), *_meaning_changes(older, newer)]
    return [change for change in changes if change is not None] + _bound_changes(older, newer)


def _type_change(older: Field, newer: Field) -> Breakage | None:
    if _shown_type(older) == _shown_type(newer):
        return None
    change = f"its type is {_shown_type(older)} in {{older}} and {_shown_type(newer)} in {{newer}}"
    broken: tuple[Broken, ...] = BOTH
    if newer.type in PROMOTIONS.get(older.type, ()):
        broken = (OLD_READERS,)
    elif older.type in PROMOTIONS.get(newer.type, ()):
        broken = (REPLAY,)
    # Avro's own resolution sees physical types only: where those resolve, it reads without complaint, and wrongly.
    silent = (OLD_READERS in broken and _resolves(newer, older)) or (REPLAY in broken and _resolves(older, newer))
    kind: Kind = "meaning" if silent else "type"
    remedy = f"keep the type and add a nullable field of another name, {NEW_DATASET}"
    return Breakage(kind, older.name, change, broken, remedy)


def _null_change(older: Field, newer: Field) -> Breakage | None:
    if older.nullable == newer.nullable:
        return None
    nullable, required = ("{older}", "{newer}") if older.nullable else ("{newer}", "{older}")
    change = f"it may be null in {nullable} and not in {required}"
    broken: tuple[Broken, ...] = (REPLAY,) if older.nullable else (OLD_READERS,)
    return Breakage("null", older.name, change, broken, f"keep it as it was, {NEW_DATASET}")


def _meaning_changes(older: Field, newer: Field) -> Sequence[Breakage]:
    changes = []
    if older.unit != newer.unit:
        change = f"its unit is {older.unit or 'not stated'} in {{older}} and {newer.unit or 'not stated'} in {{newer}}"
        remedy = f"keep the unit and add a nullable field with the other one, {NEW_DATASET}"
        changes.append(Breakage("meaning", older.name, change, BOTH, remedy))
    if older.label != newer.label:
        label, feature = ("{older}", "{newer}") if older.label else ("{newer}", "{older}")
        change = f"it is a label, hidden from models, in {label} and not in {feature}"
        changes.append(Breakage("label", older.name, change, BOTH, f"keep the flag, {NEW_DATASET}"))
    return changes


def _bound_changes(older: Field, newer: Field) -> list[Breakage]:
    """Narrower bounds refuse old values; wider ones send values for which old readers were never made."""
    changes = []
    for name, old, new, sign in (
        ("minimum", older.minimum, newer.minimum, -1),
        ("maximum", older.maximum, newer.maximum, 1),
    ):
        reach_old, reach_new = (inf if bound is None else sign * bound for bound in (old, new))
        if reach_old != reach_new:
            shown = ["none" if bound is None else f"{bound:g}" for bound in (old, new)]
            change = f"its {name} is {shown[0]} in {{older}} and {shown[1]} in {{newer}}"
            broken: tuple[Broken, ...] = (REPLAY,) if reach_new < reach_old else (OLD_READERS,)
            changes.append(Breakage("bounds", older.name, change, broken, f"keep the bound, {NEW_DATASET}"))
    return changes


def _shown_type(field: Field) -> str:
    return f"decimal({field.precision}, {field.scale})" if field.type == "decimal" else field.type


def _resolves(writer: Field, reader: Field) -> bool:
    physical = {"timestamp-millis": "long", "decimal": "bytes"}
    wrote, read = physical.get(writer.type, writer.type), physical.get(reader.type, reader.type)
    return wrote == read or read in PHYSICAL_PROMOTIONS.get(wrote, ())
