"""What a producer may send: every value of every column within the contract, or nothing is sent.

The same rules as the model of one event (`schemas.models.model_of`), for whole columns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from infra.base.clock import instant
from infra.base.columns import Column, Columns, length
from infra.base.errors import SmartmeterError
from schemas.avro import Field, Record
from schemas.models import INT_MAX, LONG_MAX

INTEGER_LIMITS = {"int": INT_MAX, "long": LONG_MAX, "timestamp-millis": LONG_MAX}


class OutOfContract(SmartmeterError):  # noqa: N818
    """Readings that break the contract. Nothing of their batch was sent."""


@dataclass(frozen=True)
class Violation:
    """One rule that some readings break."""

    field: str
    rows: NDArray[np.intp]
    rule: str


def check(record: Record, columns: Columns) -> None:
    """Raise OutOfContract with field, value, rule, meter and time of the first reading that breaks the contract."""
    for violation in violations(record, columns):
        row = int(violation.rows[0])
        where = [f"meter {columns['meter_id'][row]}"] if "meter_id" in columns else []
        where += [f"at {instant(int(np.ma.getdata(columns['timestamp'])[row]))}"] if "timestamp" in columns else []
        others = f" ({len(violation.rows)} of {length(columns)} readings)" if len(violation.rows) > 1 else ""
        raise OutOfContract(
            f"{violation.field} of {' '.join(where) or f'reading {row}'} is {columns[violation.field][row]}, "
            f"{violation.rule}{others}; not sent: mend the source"
        )


def violations(record: Record, columns: Columns) -> Iterator[Violation]:
    """Every broken rule with its rows, field by field in the record's order.

    Raises OutOfContract for a column that is missing, or whose type is not the field's (a float for an int, say).
    """
    for field in record.fields:
        values = columns.get(field.name)
        if values is None:
            if not field.nullable:
                raise OutOfContract(f"field {field.name} has no column, and may not be null; give its values")
            continue
        given = ~np.ma.getmaskarray(values)
        if not field.nullable and not given.all():
            yield Violation(field.name, np.flatnonzero(~given), "null, and may not be")
        yield from broken_rules(field, np.ma.getdata(values), given)


def broken_rules(field: Field, values: Column, given: NDArray[np.bool_]) -> Iterator[Violation]:
    """Every rule of one field that some of the given values break; raises as `violations` does for a wrong type."""
    if values.dtype.kind not in _kinds(field):
        raise OutOfContract(f"column {field.name} is of type {values.dtype}, the contract has {field.type}; convert it")
    rules: list[tuple[NDArray[np.bool_], str]] = []
    if field.type == "double":
        rules.append((~np.isfinite(values), "not a finite number"))
    elif field.type in INTEGER_LIMITS:
        limit = INTEGER_LIMITS[field.type]
        rules.append(((values > limit) | (values < -limit - 1), f"too large for the contract's {field.type}"))
    if field.minimum is not None:
        rules.append((values < field.minimum, f"below the contract's minimum {field.minimum}"))
    if field.maximum is not None:
        rules.append((values > field.maximum, f"above the contract's maximum {field.maximum}"))
    for broken, rule in rules:
        rows = np.flatnonzero(broken & given)
        if rows.size:
            yield Violation(field.name, rows, rule)


def _kinds(field: Field) -> str:
    """The kinds of numpy's types that may hold the field."""
    return {"double": "f", "boolean": "b"}.get(field.type, "iu" if field.type in INTEGER_LIMITS else "")
