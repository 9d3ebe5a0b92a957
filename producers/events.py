"""Columns of readings to framed Avro messages, without Python per field: the bytes that an Avro encoder would write.

Encoding: https://avro.apache.org/docs/1.12.0/specification/#binary-encoding. Integers are zigzag varints, doubles eight
bytes little-endian, a nullable value is the number of its branch and then the value.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import Column, Columns, length
from infra.base.errors import SmartmeterError
from schemas.avro import Field, Record
from schemas.framing import header

Present = NDArray[np.bool_] | bool
Place = tuple[NDArray[np.uint8] | int, Present]
"""One byte of every message, and which messages have it."""

NULL_BRANCH, VALUE_BRANCH = 0, 2
"""Branches 0 and 1 as zigzag varints."""


def encode(record: Record, schema_id: int, columns: Columns) -> list[bytes]:
    """One framed message per reading, in order. Columns that the record does not have are ignored.

    A nullable field is null where its column is absent or masked (numpy.ma). Values must keep the contract
    (`producers.validation.check`). Raises SmartmeterError for a required field without a column, and for a type that
    has no column form here (string, decimal).
    """
    rows = length(columns)
    places: list[Place] = [(byte, True) for byte in header(schema_id)]
    for field in record.fields:
        places.extend(_field(field, columns.get(field.name)))
    grid = np.empty((rows, len(places)), dtype=np.uint8)
    present = np.empty((rows, len(places)), dtype=np.bool_)
    for number, (byte, has_it) in enumerate(places):
        grid[:, number] = byte
        present[:, number] = has_it
    ends = np.cumsum(present.sum(axis=1)).tolist()
    body = grid[present].tobytes()
    return [body[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _field(field: Field, values: Column | None) -> Iterator[Place]:
    if not field.nullable:
        if values is None:
            raise SmartmeterError(f"field {field.name} has no column, and may not be null; give its values")
        yield from _value(field, values, True)
    elif values is None:
        yield NULL_BRANCH, True
    else:
        given = ~np.ma.getmaskarray(values)
        yield np.where(given, VALUE_BRANCH, NULL_BRANCH).astype(np.uint8), True
        yield from _value(field, np.ma.getdata(values), given)


def _value(field: Field, values: Column, given: Present) -> Iterator[Place]:
    match field.type:
        case "int" | "long" | "timestamp-millis":
            yield from _varint(values.astype(np.int64), given)
        case "double":
            for column in values.astype("<f8").view(np.uint8).reshape(-1, 8).T:
                yield column, given
        case "boolean":
            yield values.astype(np.uint8), given
        case other:
            raise SmartmeterError(f"field {field.name}: a {other} has no column form; extend producers/events.py")


def _varint(values: NDArray[np.int64], given: Present) -> Iterator[Place]:
    """Seven bits a byte, the low ones first; the high bit says that more follow."""
    rest = ((values << 1) ^ (values >> 63)).view(np.uint64)
    while True:
        low = (rest & np.uint64(0x7F)).astype(np.uint8)
        rest = rest >> np.uint64(7)
        more = rest != 0
        yield low | (more.view(np.uint8) << np.uint8(7)), given
        if not more.any():
            return
        given = given & more
