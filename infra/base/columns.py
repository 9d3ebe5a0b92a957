"""Columns: one array per field of a contract, all of one length."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Column = NDArray[Any]
Columns = Mapping[str, Column]
"""Field name → values. `timestamp` is in ms since 1970, UTC. A column that is absent is null in every row."""


def length(columns: Columns) -> int:
    """Number of rows."""
    return len(next(iter(columns.values()))) if columns else 0


def take(columns: Columns, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> dict[str, Column]:
    """The chosen rows, in their order."""
    return {name: values[rows] for name, values in columns.items()}


def concatenate(batches: Sequence[Columns]) -> dict[str, Column]:
    """The batches one after the other; they have the same columns."""
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]} if batches else {}
