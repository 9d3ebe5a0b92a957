import json
from typing import Any

import fastavro
import pytest
from hypothesis import given

from schemas.avro import ContractError, parse_record
from tests.unit.records import DECIMAL, TIMESTAMP, field, fields, record, unhurried


def test_every_key_of_a_field_is_read() -> None:
    parsed = record(
        field("power_kw", "double", unit="kW", minimum=-1, maximum=2.5, doc="Power.", label=True),
        field("seen", TIMESTAMP, nullable=True),
        field("squares", DECIMAL),
    )
    power, seen, squares = parsed.fields
    assert (parsed.name, parsed.doc) == ("test.Thing", "A thing.")
    assert (power.type, power.unit, power.minimum, power.maximum, power.doc, power.label, power.nullable) == (
        *("double", "kW", -1, 2.5, "Power.", True, False),
    )
    assert (seen.type, seen.nullable, seen.label) == ("timestamp-millis", True, False)
    assert (squares.type, squares.precision, squares.scale) == ("decimal", 38, 0)
    assert parsed.field("seen") is seen
    with pytest.raises(KeyError):
        parsed.field("unseen")


@unhurried
@given(fields())
def test_what_is_parsed_is_a_schema_for_avro_with_the_same_fields(drawn: list[dict[str, Any]]) -> None:
    parsed = record(*drawn)
    schema: Any = fastavro.parse_schema(json.loads(parsed.schema))
    assert [f["name"] for f in schema["fields"]] == [f.name for f in parsed.fields]
    assert [isinstance(f["type"], list) for f in schema["fields"]] == [f.nullable for f in parsed.fields]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (field("a", "float"), '"float" is not one that contracts use'),
        (field("a", {"type": "long", "logicalType": "timestamp-micros"}), "is not one that contracts use"),
        (field("a", {"type": "array", "items": "long"}), "is not one that contracts use"),
        ({"name": "a", "type": ["null", "long"]}, "with default null"),
        ({"name": "a", "type": ["long", "null"], "default": 0}, "with default null"),
        ({"name": "a", "type": ["null", "long", "string"], "default": None}, "with default null"),
        ({"name": "a", "type": "long", "default": 0}, "only a nullable field has a default"),
        (field("a", minimun=0), "unknown key minimun"),
        (field("a", minimum="0"), 'minimum is "0", of the wrong type'),
        (field("a", label=1), "label is 1, of the wrong type"),
        (field("a", unit=True), "unit is true, of the wrong type"),
        (field("a", minimum=2, maximum=1), "minimum 2 is above maximum 1"),
        (field("a", "string", maximum=1), "a string has no minimum or maximum"),
        (field("meterId"), "snake_case"),
        ({"name": "a"}, "lacks type"),
    ],
)
def test_what_is_outside_the_contracts_part_of_avro_is_refused_by_name(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ContractError) as error:
        record(wrong)
    assert complaint in str(error.value)
    assert str(error.value).startswith(f"Thing.avsc: field {wrong['name']}")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "is an Avro record"),
        ('{"type": "record", "name": "A", "namespace": "b"}', "lacks fields"),
        ('{"type": "record", "name": "A", "namespace": "b", "fields": [], "aliases": []}', "unknown key aliases"),
    ],
)
def test_a_file_that_is_no_record_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        parse_record(text, "file.avsc")


def test_a_field_declared_twice_is_refused() -> None:
    with pytest.raises(ContractError, match="field a is declared twice"):
        record(field("a"), field("a", "int"))
