import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from infra.base.clock import EPOCH
from schemas.avro import Record
from schemas.codec import Encoder, Undecodable, with_datetimes
from schemas.manifest import load_datasets
from schemas.models import model_of
from schemas.reader import FIRST_MS, LAST_MS, ContractReader, fault_finder
from tests.unit.records import TIMESTAMP, field, fields, record, unhurried, values

RAW = load_datasets()["raw_data"]
BOUNDED = record(
    field("amount", "double", minimum=-1, maximum=2.5),
    field("count", "int", minimum=0),
    field("at", TIMESTAMP, maximum=4_102_444_799_999, nullable=True),
)


class Schemas:
    def schema_by_id(self, schema_id: int) -> str | None:
        return RAW.versions[schema_id].schema


def model_takes(of: Record, drawn: dict[str, Any]) -> bool:
    try:
        model_of(of)(**with_datetimes(drawn, of))
    except (ValidationError, OverflowError):
        return False
    return True


@unhurried
@given(st.data(), fields())
def test_values_without_a_fault_are_those_that_the_model_takes(
    data: st.DataObject, drawn: list[dict[str, Any]]
) -> None:
    of = record(*drawn)
    one = data.draw(values(of))
    assert (fault_finder(of)(one) is None) == model_takes(of, one)


@unhurried
@example({"amount": math.nan, "count": 0, "at": None})
@example({"amount": 2.5, "count": 0, "at": 4_102_444_799_999})
@example({"amount": 2.5, "count": 0, "at": 4_102_444_800_000})
@given(
    st.fixed_dictionaries(
        {
            "amount": st.floats(-2, 4) | st.sampled_from([math.inf, -math.inf, math.nan]),
            "count": st.integers(-3, 3),
            "at": st.none() | st.integers(FIRST_MS - 3, LAST_MS + 3),
        }
    )
)
def test_bounds_are_those_of_the_model(one: dict[str, Any]) -> None:
    assert (fault_finder(BOUNDED)(one) is None) == model_takes(BOUNDED, one)


@pytest.mark.parametrize("bound_ms", [FIRST_MS, LAST_MS])
def test_the_years_that_a_datetime_holds(bound_ms: int) -> None:
    of = record(field("at", TIMESTAMP))
    assert EPOCH + timedelta(milliseconds=bound_ms)
    assert fault_finder(of)({"at": bound_ms}) is None
    beyond = bound_ms - 1 if bound_ms < 0 else bound_ms + 1
    assert fault_finder(of)({"at": beyond}) == "at is out of contract: no timestamp-millis that can be used"


def test_the_fault_names_the_field_and_what_it_must_be() -> None:
    fault = fault_finder(BOUNDED)
    assert fault({"amount": 3.0, "count": 0, "at": None}) == (
        "amount is out of contract: it must be at least -1 and at most 2.5"
    )
    assert fault({"amount": 0.0, "count": -1, "at": None}) == "count is out of contract: it must be at least 0"


def test_a_clock_that_is_fast_is_judged_by_the_time_of_the_log() -> None:
    reader = ContractReader(RAW, Schemas())
    values = {"meter_id": 1, "building_id": 1, "power_kw": 0.5, "voltage_v": 230.0, "status": 0}
    message = Encoder(RAW.versions[1], 1).encode({**values, "timestamp": 1_700_003_600_000})
    assert reader.read(message, 1_700_000_000_000) == {**values, "timestamp": 1_700_003_600_000, "sequence": None}
    with pytest.raises(Undecodable, match="timestamp is more than 3600 s ahead of the log's time"):
        reader.read(message, 1_699_999_999_999)
