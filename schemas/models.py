"""Pydantic models that follow from records: what a producer may send.

`model_of(record)` is stricter than Avro: bounds, finite numbers, instants in UTC, no text instead of a number, no
unknown fields. A value that the model accepts can be encoded with the record.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, StrictBool, StrictInt, StrictStr, create_model
from pydantic import Field as PydanticField

from infra.base.clock import EPOCH
from schemas.avro import Field, Record

INT_MAX = 2**31 - 1
LONG_MAX = 2**63 - 1


@cache
def model_of(record: Record) -> type[BaseModel]:
    """The model of one version: frozen, unknown fields refused, nullable fields null unless given.

    Instants are aware datetimes: any offset is turned into UTC, naive ones are refused, and what is finer than a
    millisecond is cut off. ISO 8601 text is taken for an instant in JSON only (`model_validate_json`). A decimal of
    scale 0 is an int. Errors name the field and the bound.
    """
    fields: dict[str, Any] = {field.name: _declared(field) for field in record.fields}
    short_name = record.name.rpartition(".")[2]
    config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(short_name, __config__=config, __doc__=record.doc, **fields)


def _declared(field: Field) -> tuple[Any, Any]:
    described: dict[str, Any] = {"description": field.doc, **_bounds(field)}
    if field.unit:
        described["json_schema_extra"] = {"unit": field.unit}
    annotation: Any = Annotated[_python_type(field), PydanticField(**described)]
    return (annotation | None, None) if field.nullable else (annotation, ...)


def _python_type(field: Field) -> Any:
    match field.type:
        case "int" | "long":
            return StrictInt
        case "double":
            return float
        case "boolean":
            return StrictBool
        case "string":
            return StrictStr
        case "timestamp-millis":
            return Annotated[datetime, AfterValidator(_in_utc)]
        case "decimal":
            return StrictInt if field.scale == 0 else Decimal


def _bounds(field: Field) -> dict[str, Any]:
    """The contract's bounds, and those of the type where they are tighter."""
    low, high = _type_bounds(field)
    declared_low, declared_high = field.minimum, field.maximum
    if field.type == "timestamp-millis":
        return {
            key: EPOCH + timedelta(milliseconds=bound)
            for key, bound in (("ge", declared_low), ("le", declared_high))
            if bound is not None
        }
    lows = [bound for bound in (low, declared_low) if bound is not None]
    highs = [bound for bound in (high, declared_high) if bound is not None]
    bounds: dict[str, Any] = {}
    if lows:
        bounds["ge"] = max(lows)
    if highs:
        bounds["le"] = min(highs)
    if field.type == "decimal" and field.scale:
        bounds |= {"max_digits": field.precision, "decimal_places": field.scale}
    return bounds


def _type_bounds(field: Field) -> tuple[int | None, int | None]:
    match field.type:
        case "int":
            return -INT_MAX - 1, INT_MAX
        case "long":
            return -LONG_MAX - 1, LONG_MAX
        case "decimal" if field.scale == 0:
            return -(10**field.precision) + 1, 10**field.precision - 1
        case _:
            return None, None


def _in_utc(instant: datetime) -> datetime:
    """The same instant in UTC, cut to the milliseconds that the contract holds."""
    if instant.tzinfo is None:
        raise ValueError("instant without a time zone; give one, for example 2026-11-24T18:00:00Z")
    instant = instant.astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
