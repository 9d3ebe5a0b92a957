"""Records for tests, and Hypothesis strategies for records and their values."""

import json
import math
from collections.abc import Sequence
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from schemas.avro import Record, parse_record

TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 0}
TYPES: tuple[Any, ...] = ("int", "long", "double", "boolean", "string", TIMESTAMP, DECIMAL)
unhurried = settings(deadline=None)  # a busy machine fails no test
NAMES = ("alpha", "beta", "gamma", "delta")


def field(name: str, kind: Any = "long", **keys: Any) -> dict[str, Any]:
    """One field as JSON; `nullable=True` makes it a union with null."""
    if keys.pop("nullable", False):
        return {"name": name, "type": ["null", kind], "default": None, **keys}
    return {"name": name, "type": kind, **keys}


def record(*fields: dict[str, Any], name: str = "Thing") -> Record:
    """A record of these fields."""
    raw = {"type": "record", "name": name, "namespace": "test", "doc": "A thing.", "fields": list(fields)}
    return parse_record(json.dumps(raw), f"{name}.avsc")


@st.composite
def fields(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to four fields of any type, nullable or not."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    return [field(name, draw(st.sampled_from(TYPES)), nullable=draw(st.booleans())) for name in names]


def values(of: Record, nulls: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    """Values of a record in the codec's form, where instants and decimals are ints; without `nulls`, none is null."""
    return st.fixed_dictionaries({field.name: _value(field.type, field.nullable and nulls) for field in of.fields})


def _value(kind: str, nullable: bool) -> st.SearchStrategy[Any]:
    strategy: dict[str, st.SearchStrategy[Any]] = {
        "int": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**63), 2**63 - 1),
        "timestamp-millis": st.integers(-(2**63), 2**63 - 1),
        "double": st.floats(allow_nan=False),
        "boolean": st.booleans(),
        "string": st.text(max_size=20),
        "decimal": st.integers(-(10**38) + 1, 10**38 - 1),
    }
    return st.none() | strategy[kind] if nullable else strategy[kind]


def same(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Equal, where numbers that Avro promoted to double may have lost digits."""
    return all(
        a == b or (isinstance(b, float) and not isinstance(a, str) and math.isclose(float(a), b))
        for a, b in zip(left, right, strict=True)
    )
