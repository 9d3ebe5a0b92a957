"""What the streaming application keeps of what its queries tell."""

from stream_processing.application import after

BATCH = {"batch": 2, "rows": 120, "watermark": "2026-01-05T18:00:00.000Z", "end_offsets": {"t": {"0": 120}}}
IDLE = {"batch": 4, "rows": 0, "watermark": None, "end_offsets": {"t": {"0": 180}}}


def test_an_idle_query_tells_only_how_far_it_is() -> None:
    assert after(BATCH, IDLE) == {**BATCH, "end_offsets": {"t": {"0": 180}}}


def test_a_batch_tells_everything() -> None:
    assert after(BATCH, {**BATCH, "batch": 3, "rows": 7}) == {**BATCH, "batch": 3, "rows": 7}
    assert after({}, IDLE) == IDLE
