import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.framing import NotFramed, frame, unframe
from tests.unit.records import unhurried


@unhurried
@given(st.integers(0, 2**32 - 1), st.binary())
def test_frame_is_magic_byte_id_body_and_unframe_undoes_it(schema_id: int, body: bytes) -> None:
    message = frame(schema_id, body)
    assert message == bytes([0]) + schema_id.to_bytes(4, "big") + body
    assert unframe(message) == (schema_id, body)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty value"),
        (b"\x00\x00\x00\x01", "4 bytes, too short"),
        (b'{"meter_id": 1}', "first byte is 0x7b"),
    ],
)
def test_what_is_not_framed_is_named(message: bytes | None, reason: str) -> None:
    with pytest.raises(NotFramed, match=reason):
        unframe(message)
