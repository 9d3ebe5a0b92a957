"""Readings as columns: one array per field of the contract, all of one length."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]
Columns = Mapping[str, Column]
"""Field name → values. `timestamp` is in ms since 1970, UTC. A column that is absent is null in every row."""


def length(columns: Columns) -> int:
    """Number of readings."""
    return len(next(iter(columns.values()))) if columns else 0


def take(columns: Columns, rows: slice | NDArray[np.bool_] | NDArray[np.intp]) -> dict[str, Column]:
    """The chosen readings, in their order."""
    return {name: values[rows] for name, values in columns.items()}


def concatenate(parts: Sequence[Columns]) -> dict[str, Column]:
    """The parts one after the other; they have the same columns."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}


def instant(timestamp_ms: int) -> str:
    """ISO 8601 in UTC, for people; a number of ms that no calendar holds is shown as it is."""
    try:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{timestamp_ms} ms"
