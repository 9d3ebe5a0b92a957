"""Pieces: all readings, in their order, none across a chunk's end or too large."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infra.base.columns import concatenate, length
from producers.chunks import pieces
from tests.unit.records import unhurried


@unhurried
@given(st.lists(st.integers(0, 40), max_size=60), st.none() | st.integers(1, 20), st.integers(1, 10))
def test_pieces_hold_every_reading_once_and_no_chunks_end(times: list[int], chunk_ms: int | None, most: int) -> None:
    ordered = np.array(sorted(times), dtype=np.int64)
    cut = list(pieces({"timestamp": ordered, "number": np.arange(len(ordered))}, chunk_ms, most))
    assert all(0 < length(piece.columns) <= most for piece in cut)
    joined = concatenate([piece.columns for piece in cut])
    assert joined.get("number", np.empty(0)).tolist() == list(range(len(times)))
    for piece in cut:
        numbers = {ms // chunk_ms if chunk_ms else 0 for ms in piece.columns["timestamp"].tolist()}
        assert numbers == {piece.chunk}


def test_no_more_pieces_than_needed() -> None:
    columns = {"timestamp": np.array([0, 10, 29, 30, 31, 32, 95])}
    cut = list(pieces(columns, 30, 2))
    assert [(piece.chunk, piece.columns["timestamp"].tolist()) for piece in cut] == [
        (0, [0, 10]),
        (0, [29]),
        (1, [30, 31]),
        (1, [32]),
        (3, [95]),
    ]
