"""Readings cut into pieces of one chunk of event time each. The pieces of a chunk may be under way together."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from infra.base.columns import Columns, length, take


@dataclass(frozen=True)
class Piece:
    """Readings of one chunk; a chunk may come in several pieces, one after the other."""

    chunk: int
    columns: Columns


def pieces(columns: Columns, chunk_ms: int | None, most: int) -> Iterator[Piece]:
    """Cut readings, mostly ordered by time, where a chunk of event time ends and after `most` readings.

    Chunk n is the event time [n · `chunk_ms`, (n + 1) · `chunk_ms`), and what comes after it though it is older. If
    `chunk_ms` is None, all time is chunk 0.
    """
    rows = length(columns)
    if rows == 0:
        return
    newest_so_far = np.maximum.accumulate(columns["timestamp"])
    chunk = newest_so_far // chunk_ms if chunk_ms else np.zeros(rows, dtype=np.int64)
    starts = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), rows]
    for start, end in pairwise(starts):
        for first in range(start, end, most):
            yield Piece(int(chunk[first]), take(columns, slice(first, min(first + most, end))))
