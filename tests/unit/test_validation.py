"""Rules for columns, against the pydantic models of the same contracts: row by row the same verdict."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from producers.validation import OutOfContract, check, violations
from schemas.avro import Record
from schemas.codec import with_datetimes
from schemas.manifest import load_datasets
from schemas.models import model_of
from tests.unit import records
from tests.unit.records import unhurried

RAW = load_datasets()["raw_data"]
LIMITED = records.record(
    records.field("any", "int"),
    records.field("count", "int", minimum=-5, maximum=2**31 - 1),
    records.field("total", "long", nullable=True, minimum=-(2**63), maximum=7),
    records.field("share", "double", minimum=0, maximum=1),
    records.field("level", "double", nullable=True, minimum=-0.5),
    records.field("at", records.TIMESTAMP, minimum=0, maximum=4_102_444_799_999),
    records.field("valid", "boolean"),
    name="Limited",
)
EDGES = st.sampled_from(
    [0, 1, 15, 16, 1000, 1001, -1000, -1001, 2**31 - 1, 2**31, 4_102_444_799_999, 4_102_444_800_000]
)
INTEGERS = EDGES | EDGES.map(lambda edge: -edge - 1) | st.integers(-(2**40), 2**40)
DOUBLES = EDGES.map(float) | st.floats() | st.floats(-1001, 1001) | st.sampled_from([0.0, -0.0, 1000.0000000000001])


def value(kind: str) -> st.SearchStrategy[Any]:
    return {"double": DOUBLES, "boolean": st.booleans()}.get(kind, INTEGERS)


def rows_of(record: Record) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows, in contract or not; nulls in any field."""
    fields = {field.name: st.none() | value(field.type) for field in record.fields}
    required = {field.name: value(field.type) for field in record.fields}
    return st.lists(st.fixed_dictionaries(required) | st.fixed_dictionaries(fields), min_size=1, max_size=8)


def as_columns(record: Record, rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {}
    for field in record.fields:
        dtype = {"double": np.float64, "boolean": np.bool_}.get(field.type, np.int64)
        given_values = [row[field.name] for row in rows]
        data = np.array([0 if one is None else one for one in given_values], dtype=dtype)
        columns[field.name] = np.ma.array(data, mask=[one is None for one in given_values])
    return columns


def verdicts_of_models(record: Record, rows: list[dict[str, Any]]) -> set[tuple[str, int]]:
    """Field and row of every fault that the pydantic model finds."""
    found = set()
    for number, row in enumerate(rows):
        try:
            model_of(record).model_validate(with_datetimes(row, record))
        except ValidationError as error:
            found |= {(str(fault["loc"][0]), number) for fault in error.errors()}
    return found


@pytest.mark.parametrize("record", [*RAW.versions.values(), LIMITED], ids=["v1", "v2", "limited"])
def test_columns_and_models_agree_on_every_row(record: Record) -> None:
    @unhurried
    @given(rows_of(record))
    def agree(rows: list[dict[str, Any]]) -> None:
        found = violations(record, as_columns(record, rows))
        of_columns = {(broken.field, int(row)) for broken in found for row in broken.rows}
        assert of_columns == verdicts_of_models(record, rows)

    agree()


def readings(**changes: Any) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "meter_id": np.array([5, 6, 7], dtype=np.int32),
        "building_id": np.array([1, 1, 1], dtype=np.int32),
        "timestamp": np.array([1_166_313_600_000] * 3),
        "power_kw": np.array([0.5, 0.6, 0.7]),
        "voltage_v": np.array([230.0, 231.0, 232.0]),
        "status": np.array([0, 1, 15], dtype=np.int32),
        "sequence": np.array([1, 2, 3]),
    }
    return {**columns, **changes}


def test_what_is_in_contract_passes() -> None:
    check(RAW.latest, readings())
    check(RAW.latest, readings(sequence=None))
    check(RAW.versions[1], readings())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"power_kw": np.array([0.5, 1000.5, 2000.0])},
            r"power_kw of meter 6 at 2006-12-17T00:00:00Z is 1000\.5, above the contract's maximum 1000 "
            r"\(2 of 3 readings\); not sent: mend the source",
        ),
        ({"voltage_v": np.array([230.0, 230.0, np.nan])}, "voltage_v of meter 7 .* is nan, not a finite number; not"),
        ({"status": np.array([0, -1, 0])}, "status of meter 6 .* is -1, below the contract's minimum 0"),
        ({"meter_id": np.array([0, 2**31, 1])}, "meter_id of meter 2147483648 .* too large for the contract's int"),
        ({"timestamp": np.array([0, 0, 2**62])}, f"timestamp of meter 7 at {2**62} ms is {2**62}, above"),
        (
            {"timestamp": np.ma.array([0, 1, 2], mask=[False, True, False])},
            "timestamp of meter 6 .* null, and may not be",
        ),
        ({"power_kw": None}, "power_kw has no column, and may not be null"),
        ({"meter_id": np.array([1.0, 2.0, 3.0])}, "column meter_id is of type float64, the contract has int"),
        ({"power_kw": np.array(["1", "2", "3"])}, "column power_kw is of type <U1, the contract has double"),
        ({"power_kw": np.array([1, 2, 3])}, "column power_kw is of type int64, the contract has double"),
    ],
)
def test_what_is_out_of_contract_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OutOfContract, match=message):
        check(RAW.latest, readings(**changes))


def test_unsigned_numbers_beyond_64_signed_bits_are_too_large() -> None:
    with pytest.raises(OutOfContract, match=r"sequence of meter 5 .* too large for the contract's long"):
        check(RAW.latest, readings(sequence=np.array([2**63, 1, 2], dtype=np.uint64)))
