"""Columns to Avro: the same bytes as fastavro, and the same refusals as the model of one event."""

import io
import json
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.base.columns import Column
from infra.base.errors import SmartmeterError
from producers.events import encode
from producers.validation import OutOfContract, check
from schemas.avro import Record
from schemas.codec import with_datetimes
from schemas.framing import unframe
from schemas.manifest import load_datasets
from schemas.models import model_of
from tests.unit.records import TIMESTAMP, field, record, unhurried, values

RAW = load_datasets()["raw_data"]
DTYPES = {"int": np.int32, "long": np.int64, "timestamp-millis": np.int64, "double": np.float64, "boolean": np.bool_}
KINDS = ("int", "long", "double", "boolean", TIMESTAMP)


def columns_of(of: Record, rows: list[dict[str, Any]]) -> dict[str, Column]:
    """Rows as columns; nulls are masked."""
    columns: dict[str, Column] = {}
    for one in of.fields:
        cells = [row[one.name] for row in rows]
        filled: Column = np.array([0 if cell is None else cell for cell in cells], dtype=DTYPES[one.type])
        columns[one.name] = np.ma.masked_array(filled, [c is None for c in cells]) if one.nullable else filled
    return columns


def fastavro_bytes(of: Record, row: dict[str, Any]) -> bytes:
    raw = json.loads(of.schema)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(raw), row)
    return stream.getvalue()


@st.composite
def records_and_rows(draw: st.DrawFn) -> tuple[Record, list[dict[str, Any]]]:
    kinds = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=5))
    of = record(*(field(f"f{number}", kind, nullable=null) for number, (kind, null) in enumerate(kinds)))
    return of, draw(st.lists(values(of), min_size=1, max_size=20))


@unhurried
@given(records_and_rows(), st.integers(0, 2**32 - 1))
def test_bytes_are_those_of_fastavro(drawn: tuple[Record, list[dict[str, Any]]], schema_id: int) -> None:
    of, rows = drawn
    messages = encode(of, schema_id, columns_of(of, rows))
    assert [unframe(message) for message in messages] == [(schema_id, fastavro_bytes(of, row)) for row in rows]


@pytest.mark.parametrize("version", [1, 2])
@unhurried
@given(data=st.data())
def test_both_versions_of_the_reading_are_encoded_alike(version: int, data: st.DataObject) -> None:
    of = RAW.versions[version]
    rows = data.draw(st.lists(values(RAW.versions[2]), min_size=1, max_size=10))
    messages = encode(of, 9, columns_of(RAW.versions[2], rows))  # v1 leaves `sequence` out
    own = [{one.name: row[one.name] for one in of.fields} for row in rows]
    assert [unframe(message)[1] for message in messages] == [fastavro_bytes(of, row) for row in own]


def test_no_rows_give_no_messages() -> None:
    assert encode(RAW.versions[2], 1, columns_of(RAW.versions[2], [])) == []


def test_an_absent_column_is_null_where_it_may_be_and_named_where_it_may_not() -> None:
    of = record(field("a"), field("b", nullable=True))
    assert encode(of, 1, {"a": np.array([3])})[0][5:] == fastavro_bytes(of, {"a": 3, "b": None})
    with pytest.raises(SmartmeterError, match="field a has no column"):
        encode(of, 1, {"b": np.array([3])})


def test_a_type_without_column_form_is_named() -> None:
    with pytest.raises(SmartmeterError, match="field a: a string"):
        encode(record(field("a", "string")), 1, {"a": np.array([b"x"])})


READING: dict[str, Any] = {
    "meter_id": 5,
    "building_id": 1,
    "timestamp": 1_767_225_600_000,
    "power_kw": 0.5,
    "voltage_v": 230.0,
    "status": 0,
    "sequence": 1,
}
BAD = [
    ("power_kw", float("nan"), "not a finite number"),
    ("voltage_v", float("inf"), "not a finite number"),
    ("power_kw", 1000.001, "above the contract's maximum 1000"),
    ("voltage_v", -0.5, "below the contract's minimum 0"),
    ("status", 16, "above the contract's maximum 15"),
    ("meter_id", -1, "below the contract's minimum 0"),
    ("meter_id", 2**31, "too large for the contract's int"),
    ("timestamp", 4_102_444_800_000, "above the contract's maximum"),
    ("sequence", -1, "below the contract's minimum 0"),
]


def wide(rows: list[dict[str, Any]]) -> dict[str, Column]:
    """Columns of 64 bits, which can hold what does not fit the contract."""
    names = rows[0]
    return {
        name: np.array([row[name] for row in rows], dtype=np.float64 if name.endswith(("kw", "_v")) else np.int64)
        for name in names
    }


@pytest.mark.parametrize(("name", "value", "rule"), BAD)
def test_a_value_out_of_contract_is_refused_by_name_meter_and_time(name: str, value: float, rule: str) -> None:
    rows = [READING | {"meter_id": 4}, READING | {name: value}]
    with pytest.raises(OutOfContract) as caught:
        check(RAW.versions[2], wide(rows))
    meter = value if name == "meter_id" else 5
    assert str(caught.value).startswith(f"{name} of meter {meter} at ")
    assert rule in str(caught.value)
    if name != "timestamp":
        assert "at 2026-01-01T00:00:00Z" in str(caught.value)


NEAR = {
    "meter_id": st.integers(-3, 3) | st.integers(2**31 - 3, 2**31 + 3),
    "building_id": st.integers(-3, 3),
    "timestamp": st.integers(-3, 3) | st.integers(4_102_444_799_997, 4_102_444_800_003),
    "power_kw": st.floats(-1001, 1001) | st.sampled_from([float("nan"), float("inf"), -1000.0, 1000.0]),
    "voltage_v": st.floats(-1, 1001),
    "status": st.integers(-1, 17),
    "sequence": st.integers(-2, 2),
}


@unhurried
@given(st.fixed_dictionaries({}, optional=NEAR))
def test_columns_and_the_model_of_one_event_agree(changes: dict[str, Any]) -> None:
    row, of = READING | changes, RAW.versions[2]
    try:
        model_of(of).model_validate(with_datetimes(row, of))
    except ValidationError as error:
        with pytest.raises(OutOfContract) as caught:
            check(of, wide([row]))
        assert str(caught.value).split()[0] in {str(e["loc"][0]) for e in error.errors()}
    else:
        check(of, wide([row]))


def test_wrong_types_nulls_and_missing_columns_are_refused() -> None:
    of, good = RAW.versions[2], wide([READING])
    check(of, good)
    check(of, good | {"sequence": np.ma.masked_array([0], [True])})
    with pytest.raises(OutOfContract, match="column status is of type float64, the contract has int"):
        check(of, good | {"status": np.array([0.0])})
    with pytest.raises(OutOfContract, match=r"status of meter 5 .* null"):
        check(of, good | {"status": np.ma.masked_array([0], [True])})
    with pytest.raises(OutOfContract, match="field status has no column"):
        check(of, {name: column for name, column in good.items() if name != "status"})


def test_the_number_of_bad_readings_is_told() -> None:
    with pytest.raises(OutOfContract, match=r"2 of 3 readings\); not sent"):
        check(RAW.versions[2], wide([READING, READING | {"status": 99}, READING | {"status": 98}]))
