"""The part of Avro that the contracts use: flat records of primitive fields, with units and bounds.

A contract's field carries, besides Avro's own keys, `unit`, `minimum`, `maximum` and `label` (what a model is judged by
and may not look at). Avro ignores them; the compatibility check, the models, the documentation and verify do not.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from infra.base.errors import SmartmeterError

FieldType = Literal["int", "long", "double", "boolean", "string", "timestamp-millis", "decimal"]
RECORD_KEYS = {"type", "name", "namespace", "doc", "fields"}
FIELD_KEYS = {"name", "type", "doc", "default", "unit", "minimum", "maximum", "label"}
VALUE_TYPES: dict[str, type | tuple[type, ...]] = {
    "doc": str,
    "unit": str,
    "minimum": (int, float),
    "maximum": (int, float),
    "label": bool,
}
BOUNDED = {"int", "long", "double", "timestamp-millis", "decimal"}


class ContractError(SmartmeterError):
    """A contract that cannot be used; the message names the file, the field and what to do."""


@dataclass(frozen=True)
class Field:
    """One field of a record; `precision` and `scale` are those of a decimal, 0 otherwise."""

    name: str
    type: FieldType
    nullable: bool
    doc: str
    unit: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    label: bool = False
    precision: int = 0
    scale: int = 0


@dataclass(frozen=True)
class Record:
    """One version of a contract: its name, its fields in order, and the schema's JSON as Avro reads it."""

    name: str
    doc: str
    fields: tuple[Field, ...]
    schema: str

    def field(self, name: str) -> Field:
        """The field of that name; KeyError if the record has none."""
        return {field.name: field for field in self.fields}[name]


def parse_record(text: str, where: str) -> Record:
    """Parse the text of an Avro file; `where` names it in errors.

    Raises ContractError for anything outside the contracts' part of Avro: nested records, unions other than
    ["null", T] with default null, unknown keys or types.
    """
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise ContractError(f"{where}: not JSON ({error}); mend the file") from error
    if not isinstance(raw, dict) or raw.get("type") != "record":
        raise ContractError(f"{where}: a contract is an Avro record")
    _check_keys(raw, RECORD_KEYS, {"name", "namespace", "fields"}, where)
    fields = tuple(_parse_field(field, where) for field in raw["fields"])
    names = [field.name for field in fields]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ContractError(f"{where}: field {min(twice)} is declared twice; keep one")
    return Record(f"{raw['namespace']}.{raw['name']}", raw.get("doc", ""), fields, json.dumps(raw))


def read_record(path: Path) -> Record:
    """Read and parse one Avro file."""
    return parse_record(path.read_text(encoding="utf-8"), path.name)


def without_doc(schema: Any) -> Any:
    """A schema as JSON values, without `doc` at any depth."""
    if isinstance(schema, dict):
        return {key: without_doc(value) for key, value in schema.items() if key != "doc"}
    return [without_doc(item) for item in schema] if isinstance(schema, list) else schema


def _parse_field(raw: dict[str, Any], where: str) -> Field:
    where = f"{where}: field {raw.get('name')}"
    _check_keys(raw, FIELD_KEYS, {"name", "type"}, where)
    for key, types in VALUE_TYPES.items():
        if key in raw and (not isinstance(raw[key], types) or (key != "label" and isinstance(raw[key], bool))):
            raise ContractError(f"{where}: {key} is {json.dumps(raw[key])}, of the wrong type; mend it")
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", raw["name"]):
        raise ContractError(f"{where}: names of fields are snake_case; rename it")
    declared = raw["type"]
    nullable = isinstance(declared, list)
    if nullable:
        if len(declared) != 2 or declared[0] != "null" or raw.get("default", ...) is not None:
            raise ContractError(f'{where}: a union is written ["null", TYPE] with default null')
        declared = declared[1]
    elif "default" in raw:
        raise ContractError(f"{where}: only a nullable field has a default (ClickHouse ignores Avro's others)")
    kind, precision, scale = _parse_type(declared, where)
    low, high = raw.get("minimum"), raw.get("maximum")
    if kind not in BOUNDED and (low is not None or high is not None):
        raise ContractError(f"{where}: a {kind} has no minimum or maximum; remove it")
    if low is not None and high is not None and low > high:
        raise ContractError(f"{where}: minimum {low} is above maximum {high}; mend them")
    return Field(
        raw["name"],
        kind,
        nullable,
        raw.get("doc", ""),
        raw.get("unit"),
        low,
        high,
        raw.get("label", False),
        precision,
        scale,
    )


def _check_keys(raw: dict[str, Any], known: set[str], required: set[str], where: str) -> None:
    unknown, missing = raw.keys() - known, required - raw.keys()
    if unknown:
        raise ContractError(f"{where}: unknown key {min(unknown)}; known are {', '.join(sorted(known))}")
    if missing:
        raise ContractError(f"{where}: lacks {min(missing)}; add it")


def _parse_type(declared: object, where: str) -> tuple[FieldType, int, int]:
    if isinstance(declared, dict):
        match declared:
            case {"type": "long", "logicalType": "timestamp-millis", **rest} if not rest:
                return "timestamp-millis", 0, 0
            case {
                "type": "bytes",
                "logicalType": "decimal",
                "precision": int(precision),
                "scale": int(scale),
                **rest,
            } if not rest:
                return "decimal", precision, scale
    for kind in get_args(FieldType):
        if declared == kind and kind not in ("timestamp-millis", "decimal"):
            return kind, 0, 0
    raise ContractError(
        f"{where}: type {json.dumps(declared)} is not one that contracts use: int, long, double, boolean, string, "
        "timestamp-millis on long, decimal on bytes"
    )
