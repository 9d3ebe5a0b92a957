"""Bodies that decode to nothing: whoever decodes them has a turn for each member, in time that grows with length."""

import gzip
import struct
import time
import zlib

import lz4.frame  # type: ignore[import-untyped]
import pytest

from clickhouse.front.compression import READER_BOUNDS, decoder

SKIPPED = b"\x50\x2a\x4d\x18" + struct.pack("<I", 0)
EMPTY = [
    ("gzip", gzip.compress(b"")),
    ("deflate", zlib.compress(b"")),
    ("zstd", b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"),
    ("zstd", SKIPPED),
    ("lz4", lz4.frame.compress(b"")),
]


@pytest.mark.parametrize("in_blocks", [False, True])
@pytest.mark.parametrize(("encoding", "member"), EMPTY)
def test_every_empty_member_is_a_turn(encoding: str, member: bytes, in_blocks: bool) -> None:
    decoding = decoder(encoding, in_blocks, READER_BOUNDS)
    assert sum(1 for piece in decoding.feed(member * 1000) if not piece) >= 1000


def test_a_turn_does_not_grow_with_what_came() -> None:
    longest, last = 0.0, time.process_time()
    for _ in decoder("zstd", False, READER_BOUNDS).feed(SKIPPED * 32_768):
        now = time.process_time()
        longest, last = max(longest, now - last), now
    assert longest < 0.1
