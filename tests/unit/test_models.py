import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.manifest import Dataset, load_datasets
from schemas.models import model_of
from tests.unit.records import DECIMAL, TIMESTAMP, field, record

EVENT = model_of(load_datasets()["raw_data"].versions[2])
READING: dict[str, Any] = {
    "meter_id": 1203,
    "building_id": 12,
    "timestamp": datetime(2026, 11, 23, 19, tzinfo=UTC),
    "power_kw": 0.4,
    "voltage_v": 230.5,
    "status": 0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"status": 15},
        {"sequence": 0},
        {"sequence": 2**63 - 1},
        {"sequence": None},
        {"power_kw": -1000.0},
        {"power_kw": 1},  # an int is a number
        {"meter_id": 2**31 - 1},
        {"timestamp": datetime(1970, 1, 1, tzinfo=UTC)},
        {"timestamp": datetime(2099, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)},
    ],
)
def test_what_the_contract_allows_is_accepted(change: dict[str, Any]) -> None:
    values = EVENT(**(READING | change)).model_dump()
    assert values == {**READING, "sequence": None, **change}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("status", wrong) for wrong in (16, -1, "3", 3.0, True, None)),
        *(("meter_id", wrong) for wrong in (2**31, -1, "7")),
        *(("sequence", wrong) for wrong in (2**63, -1, "7")),
        *(("power_kw", wrong) for wrong in (float("nan"), float("inf"), 1000.1, -1000.1, "1.0", True)),
        *(("voltage_v", wrong) for wrong in (-0.1, 1000.5)),
        ("timestamp", datetime(2026, 11, 23)),
        ("timestamp", datetime(1969, 12, 31, tzinfo=UTC)),
        ("timestamp", datetime(2100, 1, 1, tzinfo=UTC)),
        ("timestamp", "2026-11-23T19:00:00Z"),
        ("timestamp", 1_795_000_000_000),
        ("colour", "red"),
    ],
)
def test_what_the_contract_forbids_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as error:
        EVENT(**(READING | {name: value}))
    assert [problem["loc"][0] for problem in error.value.errors()] == [name]


@pytest.mark.parametrize("name", READING)
def test_every_field_that_is_not_nullable_is_required(name: str) -> None:
    with pytest.raises(ValidationError) as error:
        EVENT(**{key: value for key, value in READING.items() if key != name})
    assert [(problem["loc"], problem["type"]) for problem in error.value.errors()] == [((name,), "missing")]


def test_instants_become_utc_in_milliseconds() -> None:
    local = datetime(2026, 11, 23, 20, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    event: Any = EVENT(**(READING | {"timestamp": local}))
    assert event.timestamp == datetime(2026, 11, 23, 19, 0, 0, 123_000, tzinfo=UTC)
    assert event.timestamp.tzinfo is UTC


def test_json_takes_instants_as_text_and_numbers_only_as_numbers() -> None:
    as_json = READING | {"timestamp": "2026-11-23T20:00:00+01:00"}
    event: Any = EVENT.model_validate_json(json.dumps(as_json))
    assert event.timestamp == READING["timestamp"]
    with pytest.raises(ValidationError):
        EVENT.model_validate_json(json.dumps(as_json | {"power_kw": "0.4"}))


def test_an_event_cannot_be_changed() -> None:
    event: Any = EVENT(**READING)
    with pytest.raises(ValidationError):
        event.status = 1


@pytest.mark.parametrize(
    ("kind", "fits", "exceeds"),
    [
        ("int", [-(2**31), 2**31 - 1], [-(2**31) - 1, 2**31]),
        ("long", [-(2**63), 2**63 - 1], [-(2**63) - 1, 2**63]),
        (DECIMAL, [1 - 10**38, 10**38 - 1], [-(10**38), 10**38]),
        ("double", [-1.7e308, 5e-324], [float("nan"), float("inf"), float("-inf")]),
        (TIMESTAMP, [datetime(1, 1, 1, tzinfo=UTC)], [0]),
        ("boolean", [True], [1, "true"]),
        ("string", ["", "1"], [1]),
    ],
)
def test_a_type_sets_its_own_limits(kind: Any, fits: list[Any], exceeds: list[Any]) -> None:
    model = model_of(record(field("a", kind)))
    for value in fits:
        assert model(a=value).model_dump() == {"a": value}
    for value in exceeds:
        with pytest.raises(ValidationError):
            model(a=value)


@pytest.mark.parametrize("dataset", load_datasets().values(), ids=lambda dataset: dataset.name)
def test_a_model_has_the_fields_of_its_record(dataset: Dataset) -> None:
    for version in dataset.versions.values():
        fields = model_of(version).model_fields
        assert list(fields) == [f.name for f in version.fields]
        assert [name for name, f in fields.items() if not f.is_required()] == [
            f.name for f in version.fields if f.nullable
        ]
