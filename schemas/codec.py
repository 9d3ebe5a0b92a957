"""Framed Avro to Python values and back, one message at a time, with the writer's schema resolved per id.

In both directions the values are the numbers that the log holds: instants are ints in ms since 1970 (UTC), decimals of
scale 0 are ints. `with_datetimes` turns the instants into datetimes, which is what the models take.
"""

import json
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from io import BytesIO
from numbers import Real
from typing import Any, Protocol

import fastavro
from fastavro.types import Schema

from infra.base.clock import EPOCH
from schemas.avro import ContractError, Field, Record, parse_record
from schemas.compatibility import misread
from schemas.framing import NotFramed, header, unframe
from schemas.models import INT_MAX

Values = dict[str, Any]


class Undecodable(ValueError):  # noqa: N818
    """A message that can never be read, by its own fault: dead-letter it. The text is the reason."""


class KnowsSchemas(Protocol):
    """What the decoder needs of a registry; `schemas.registry.Registry` is one."""

    def schema_by_id(self, schema_id: int) -> str | None: ...


class Decoder:
    """Decodes the messages of one topic, whatever versions wrote them, to the fields of `reader`.

    A field that the writer did not know is null. The decoder asks the registry for each new id, so it learns versions
    that are registered meanwhile. It keeps an id's schema, even a faulty one. It does not keep the answer "unknown".
    """

    def __init__(self, reader: Record, registry: KnowsSchemas) -> None:
        self._reader = reader
        self._registry = registry
        self._reader_schema = _physical_schema(reader)
        self._writers: dict[int, Schema | Undecodable] = {}
        self._convert = {f.name: _decode_decimal(f) for f in reader.fields if f.type == "decimal"}
        self._ints = [field.name for field in reader.fields if field.type == "int"]

    def decode(self, message: bytes | None) -> Values:
        """The record in `message`, with exactly the reader's fields.

        Raises Undecodable (dead-letter it) or RegistryUnavailable (keep it and try again: nothing is wrong with it).
        """
        try:
            schema_id, body = unframe(message)
        except NotFramed as error:
            raise Undecodable(str(error)) from error
        writer = self._writer(schema_id)
        stream = BytesIO(body)
        try:
            values: Any = fastavro.schemaless_reader(stream, writer, self._reader_schema)
        except (EOFError, IndexError) as error:
            raise Undecodable(f"body ends before the record of schema {schema_id} does") from error
        except ValueError as error:
            raise Undecodable(f"body does not hold a record of schema {schema_id}: {error}") from error
        if stream.tell() != len(body):
            raise Undecodable(f"{len(body) - stream.tell()} bytes follow the record of schema {schema_id}")
        return self._in_range(values, schema_id)

    def _in_range(self, values: Values, schema_id: int) -> Values:
        for name in self._ints:  # fastavro does not notice an int that exceeds 32 bits
            if values[name] is not None and not -INT_MAX - 1 <= values[name] <= INT_MAX:
                raise Undecodable(f"field {name} of schema {schema_id} is an int and holds {values[name]}")
        for name, convert in self._convert.items():
            if values[name] is not None:
                values[name] = convert(values[name])
        return values

    def _writer(self, schema_id: int) -> Schema:
        writer = self._writers.get(schema_id)
        if writer is None:
            text = self._registry.schema_by_id(schema_id)
            if text is None:
                raise Undecodable(f"schema id {schema_id} is unknown to the registry")
            writer = self._writers[schema_id] = self._resolved(schema_id, text)
        if isinstance(writer, Undecodable):
            raise Undecodable(*writer.args)
        return writer

    def _resolved(self, schema_id: int, text: str) -> Schema | Undecodable:
        try:
            record = parse_record(text, f"schema {schema_id}")
        except ContractError as error:
            return Undecodable(str(error))
        faults = misread(record, self._reader)
        if faults:
            change = faults[0].change.format(older=f"schema {schema_id}", newer="the reader")
            return Undecodable(f"{faults[0].field or self._reader.name}: {change}")
        return _physical_schema(record)


class Encoder:
    """Encodes records of one version, registered under `schema_id`."""

    def __init__(self, record: Record, schema_id: int) -> None:
        self._header = header(schema_id)
        self._schema = _physical_schema(record)
        self._convert = {field.name: _encoder(field) for field in record.fields}

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """The framed message. Instants may be ints in ms or aware datetimes; nullable fields may be missing.

        Raises ValueError or TypeError for a missing or unknown field, or a value that the type cannot hold. Bounds are
        the model's to check (`schemas.models.model_of`).
        """
        converted = dict(values)
        for name, convert in self._convert.items():
            if converted.get(name) is not None:
                converted[name] = convert(converted[name])
        stream = BytesIO()
        stream.write(self._header)
        fastavro.schemaless_writer(stream, self._schema, converted, strict_allow_default=True)
        return stream.getvalue()


def with_datetimes(values: Mapping[str, Any], record: Record) -> Values:
    """The same values, with instants as datetimes in UTC; OverflowError beyond the year 9999."""
    instants = {field.name for field in record.fields if field.type == "timestamp-millis"}
    return {
        name: EPOCH + timedelta(milliseconds=value) if name in instants and value is not None else value
        for name, value in values.items()
    }


def to_millis(instant: datetime | int) -> int:
    """Milliseconds since 1970 of an aware datetime (what is finer is cut off), or the int itself."""
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise ValueError(f"instant {instant} without a time zone; give one")
        return (instant.astimezone(UTC) - EPOCH) // timedelta(milliseconds=1)
    return operator.index(instant)


def _physical_schema(record: Record) -> Schema:
    """The schema without logical types, so that instants stay ints and any 64-bit value can be read."""
    raw = json.loads(record.schema)
    for field in raw["fields"]:
        if isinstance(field["type"], dict):
            field["type"] = field["type"]["type"]
        elif isinstance(field["type"], list):
            field["type"] = [kind["type"] if isinstance(kind, dict) else kind for kind in field["type"]]
    return fastavro.parse_schema(raw)


def _decode_decimal(field: Field) -> Callable[[bytes], int | Decimal]:
    def decode(unscaled: bytes) -> int | Decimal:
        number = int.from_bytes(unscaled, "big", signed=True)
        return Decimal(f"{number}e-{field.scale}") if field.scale else number

    return decode


def _encoder(field: Field) -> Callable[[Any], Any]:
    match field.type:
        case "int":
            return _checked_int
        case "long":
            return operator.index
        case "timestamp-millis":
            return to_millis
        case "decimal":
            return lambda value: _decimal_bytes(value, field)
        case "double" | "boolean" | "string":
            kind = {"double": Real, "boolean": bool, "string": str}[field.type]
            return lambda value: _checked(value, kind, field)


def _checked(value: Any, kind: type, field: Field) -> Any:
    """The value itself; fastavro would make a number of a text, and a truth value of anything."""
    if not isinstance(value, kind):
        raise TypeError(f"{field.name} {value!r} is no {field.type}")
    return value


def _checked_int(value: Any) -> int:
    number = operator.index(value)  # fastavro would cut a fraction off and let more than 32 bits pass
    if not -INT_MAX - 1 <= number <= INT_MAX:
        raise ValueError(f"{number} does not fit an int of 32 bits")
    return number


def _decimal_bytes(value: int | Decimal, field: Field) -> bytes:
    """Two's complement, big-endian, in the fewest bytes: what Java's BigInteger.toByteArray gives."""
    unscaled = Fraction(value) * 10**field.scale
    number = int(unscaled)
    if number != unscaled or abs(number) >= 10**field.precision:
        raise ValueError(f"{field.name} {value} does not fit decimal({field.precision}, {field.scale})")
    length = (number if number >= 0 else ~number).bit_length() // 8 + 1
    return number.to_bytes(length, "big", signed=True)
