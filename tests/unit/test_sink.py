"""Keys of messages; what reaches a broker is proven in tests/integration/test_producers.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.sink import message_keys
from schemas.manifest import load_datasets
from tests.unit.records import unhurried


@unhurried
@given(st.lists(st.integers(0, 2**31 - 1) | st.integers(1, 3), max_size=30))
def test_each_reading_has_its_buildings_key(buildings: list[int]) -> None:
    columns = {"meter_id": np.arange(len(buildings)), "building_id": np.array(buildings, dtype=np.int32)}
    keys = message_keys(load_datasets()["raw_data"].key, columns)
    assert keys == [f"building_{building}".encode() for building in buildings]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{building_id}/{meter_id}", [b"1/7", b"1/8", b"2/7"]),
        ("all", [b"all"] * 3),
        ("{{}}{meter_id:03}", [b"{}007", b"{}008", b"{}007"]),
    ],
)
def test_other_templates(template: str, expected: list[bytes]) -> None:
    columns = {"meter_id": np.array([7, 8, 7]), "building_id": np.array([1, 1, 2])}
    assert message_keys(template, columns) == expected
