"""The values with which rounding is tested tell floor(x * 10^n + 0.5) in double from other ways to round."""

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest

from tests.spark.readings import ROUNDED_POWERS_KW, ROUNDED_VOLTAGES_V, milli

Rounding = Callable[[float, int], int]


def half_to_even(value: float, factor: int) -> int:
    return round(value * factor)


def half_away_from_zero(value: float, factor: int) -> int:
    return int(math.copysign(math.floor(abs(value * factor) + 0.5), value))


def exact(value: float, factor: int) -> int:
    """Of the double's exact value, with halves up."""
    return math.floor(Fraction(value) * factor + Fraction(1, 2))


def of_digits(value: float, factor: int) -> int:
    """Of the shortest digits that give the double, with halves away from zero: Spark's `round`."""
    return int((Decimal(repr(value)) * factor).quantize(Decimal(1), ROUND_HALF_UP))


def by_division(value: float, factor: int) -> int:
    return math.floor(value / (1 / factor) + 0.5)


def truncated(value: float, factor: int) -> int:
    return int(value * factor)


def floored(value: float, factor: int) -> int:
    return math.floor(value * factor)


OTHERS = (half_to_even, half_away_from_zero, exact, of_digits, by_division, truncated, floored)


@pytest.mark.parametrize("rounding", OTHERS)
def test_some_power_tells_the_rounding_apart(rounding: Rounding) -> None:
    assert any(rounding(value, 10**6) != milli(value, 1e6) for value in ROUNDED_POWERS_KW)


@pytest.mark.parametrize("rounding", [rounding for rounding in OTHERS if rounding is not half_away_from_zero])
def test_some_voltage_tells_the_rounding_apart(rounding: Rounding) -> None:
    """No voltage is negative, so away from zero is up."""
    assert any(rounding(value, 10**3) != milli(value, 1e3) for value in ROUNDED_VOLTAGES_V)
