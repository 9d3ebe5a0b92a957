"""Waiting for a reader of a topic."""

import pytest

from infra.base.errors import SmartmeterError
from infra.operations.lag import await_read


def test_each_change_of_what_is_left_is_told_once() -> None:
    told: list[str] = []
    left = iter([30, 30, 1_200, 0])
    await_read(lambda: next(left), "ClickHouse to have read it", 60, told.append)
    assert told == [f"waiting for ClickHouse to have read it: {n} messages left" for n in ("30", "1,200")]


def test_a_reader_that_does_not_come_is_named() -> None:
    with pytest.raises(SmartmeterError, match=r"ClickHouse to have read it.*smartmeter status"):
        await_read(lambda: 7, "ClickHouse to have read it", 0, lambda _: None)
