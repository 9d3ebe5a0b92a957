"""Going on after a stop: whatever of a chunk arrived, what lacks is sent, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from infra.base.columns import Columns, take
from producers.chunks import pieces
from producers.resume import NOTHING, resume
from tests.unit.records import unhurried

METERS, TICKS, TICK_MS, CHUNK_MS = 4, 30, 5, 20


def source() -> Columns:
    """All readings of a run, ordered by time, then meter."""
    time_ms, meter = np.meshgrid(np.arange(TICKS) * TICK_MS + 7, np.arange(1, METERS + 1), indexing="ij")
    return {"meter_id": meter.ravel().astype(np.int32), "timestamp": time_ms.ravel()}


def pairs(columns: Columns) -> list[tuple[int, int]]:
    return list(zip(columns["meter_id"].tolist(), columns["timestamp"].tolist(), strict=True))


@unhurried
@given(st.data())
def test_runs_that_are_killed_send_each_reading_exactly_once(data: st.DataObject) -> None:
    """Each run gets some way; of its last chunk any meters' readings arrive, each meter's own in order."""
    log: list[tuple[int, int]] = []
    margin_ms = data.draw(st.sampled_from([CHUNK_MS, 3 * CHUNK_MS]), "margin")
    for _ in range(data.draw(st.integers(0, 4), "kills")):
        send(log, data, margin_ms, killed=True)
    send(log, data, margin_ms, killed=False)
    assert sorted(log) == sorted(pairs(source()))


def send(log: list[tuple[int, int]], data: st.DataObject, margin_ms: int, killed: bool) -> None:
    """What one run of a producer adds to the log; of the log it is shown any superset of the margin's readings."""
    held = np.array(log, dtype=np.int64).reshape(-1, 2)
    oldest = held[:, 1].max(initial=0) - data.draw(st.integers(margin_ms, 3 * margin_ms), "looks back")
    shown = held[held[:, 1] > oldest]
    found = resume(shown[:, 0], shown[:, 1], margin_ms)
    chunks: dict[int, list[tuple[int, int]]] = {}
    for piece in pieces(source(), CHUNK_MS, 1000):
        if lacking := pairs(take(piece.columns, found.lacking(piece.columns))):
            chunks[piece.chunk] = lacking
    last = data.draw(st.sampled_from(sorted(chunks)), "killed in") if killed and chunks else None
    for number, readings in chunks.items():
        if number == last:
            arrived = {meter: data.draw(st.integers(0, CHUNK_MS // TICK_MS)) for meter in range(1, METERS + 1)}
            for meter, count in arrived.items():
                log.extend([one for one in readings if one[0] == meter][:count])
            return
        log.extend(readings)


def test_with_one_key_only_the_newest_instant_is_in_doubt() -> None:
    everything = source()
    times = everything["timestamp"]
    for sent in range(1, METERS * TICKS + 1):
        found = resume(everything["meter_id"][:sent], times[:sent], 1)
        assert np.flatnonzero(found.lacking(everything)).tolist() == list(range(sent, METERS * TICKS))
        assert found.newest_ms == times[sent - 1]


def test_an_empty_topic_lacks_everything() -> None:
    assert NOTHING.lacking(source()).all()
    nothing = np.empty(0, dtype=np.int64)
    assert resume(nothing, nothing, 60_000).newest_ms is None


def test_repeated_and_unordered_readings_change_nothing() -> None:
    everything = source()
    held = take(everything, slice(0, 50))
    twice = np.random.default_rng(1).permutation(np.repeat(np.arange(50), 2))
    one = resume(held["meter_id"], held["timestamp"], CHUNK_MS)
    other = resume(held["meter_id"][twice], held["timestamp"][twice], CHUNK_MS)
    assert one.newest_ms == other.newest_ms
    assert (one.lacking(everything) == other.lacking(everything)).all()


def test_the_largest_ids_and_times_are_told_apart() -> None:
    ids = np.array([2**31 - 1, 0, 2**31 - 1], dtype=np.int64)
    times = np.array([4_102_444_799_999, 4_102_444_799_999, 4_102_444_740_000], dtype=np.int64)
    found = resume(ids[:1], times[:1], 60_000)
    assert found.lacking({"meter_id": ids.astype(np.int32), "timestamp": times}).tolist() == [False, True, True]
