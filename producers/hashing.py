"""Random numbers by counting: each is a function of a seed and of the counters that name it, of no other number.

The generator is splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014). Only
integer operations and exact conversions are used, so every machine gives the same numbers.
"""

import numpy as np
from numpy.typing import ArrayLike

from infra.base.columns import F64, U64

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_CHANNEL_STEP = 0x632BE59BD9B4E019
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_16_BITS = np.uint64(0xFFFF)
_SUM_MEAN = 2.0 * 65535
_SUM_DEVIATION = 37837.22722
"""Of the sum of four uniform 16-bit integers: sqrt(4 · (65536² − 1) / 12)."""


def draw(seed: int, channel: int, *counters: ArrayLike) -> U64:
    """64 random bits for each combination of the counters, which broadcast against each other.

    Channels keep apart what is drawn for different ends. The counters are mixed in from left to right, so those of a
    small shape come first.
    """
    state = _mix(np.array([(seed + channel * _CHANNEL_STEP) % 2**64], dtype=np.uint64))
    for counter in counters:
        state = _mix(state + np.asarray(counter).astype(np.uint64) * _GOLDEN)
    return state


def field(bits: U64, number: int) -> F64:
    """The 16-bit field 0, 1, 2 or 3 of each draw as a uniform number in [0, 1)."""
    share: F64 = ((bits >> np.uint64(16 * number)) & _16_BITS).astype(np.float64) / 65536.0
    return share


def normal(bits: U64) -> F64:
    """A number of mean 0 and deviation 1 from each draw, near normal, never beyond ±3.47.

    The sum of four uniform numbers (Irwin–Hall), as it needs no logarithm, whose last bit differs between machines.
    """
    total = bits & _16_BITS
    for shift in (16, 32, 48):
        total = total + ((bits >> np.uint64(shift)) & _16_BITS)
    deviate: F64 = (total.astype(np.float64) - _SUM_MEAN) / _SUM_DEVIATION
    return deviate


def _mix(state: U64) -> U64:
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    mixed: U64 = state ^ (state >> np.uint64(31))
    return mixed
