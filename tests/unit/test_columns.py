"""Columns of readings."""

import numpy as np
import pytest

from infra.base.clock import instant
from infra.base.columns import concatenate, length, take

COLUMNS = {"meter_id": np.array([1, 2, 3], dtype=np.int32), "power_kw": np.array([0.5, 1.0, 1.5])}


def test_length_is_that_of_any_column() -> None:
    assert length(COLUMNS) == 3
    assert length({}) == 0


@pytest.mark.parametrize(
    "rows", [slice(1, 3), np.array([False, True, True]), np.array([1, 2])], ids=["slice", "mask", "numbers"]
)
def test_take_keeps_order_and_types(rows: slice) -> None:
    taken = take(COLUMNS, rows)
    assert taken["meter_id"].tolist() == [2, 3]
    assert taken["power_kw"].tolist() == [1.0, 1.5]
    assert taken["meter_id"].dtype == np.int32


def test_concatenate_joins_in_order() -> None:
    joined = concatenate([take(COLUMNS, slice(2, 3)), take(COLUMNS, slice(0, 2))])
    assert joined["meter_id"].tolist() == [3, 1, 2]
    assert concatenate([]) == {}


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_166_313_600_500, "2006-12-17T00:00:00.500000Z"),
        (2**62, f"{2**62} ms"),
        (-(2**62), f"{-(2**62)} ms"),
    ],
)
def test_instant(ms: int, text: str) -> None:
    assert instant(ms) == text
