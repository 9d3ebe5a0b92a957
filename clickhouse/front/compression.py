"""Bodies under compression, piece by piece: HTTP's encodings and the blocks of ClickHouse's own, both ways.

A decoder gives at most PIECE_BYTES at a time, however much a few bytes would grow to, and something, if it is nothing,
for each member of a body, however many come to nothing: so whoever reads can stop, and let others have their turn.
"""

import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import lz4.block  # type: ignore[import-untyped]
import lz4.frame  # type: ignore[import-untyped]
from clickhouse_cityhash.cityhash import CityHash128

from clickhouse.front.errors import BAD_ARGUMENTS, NOT_IMPLEMENTED, QueryError
from clickhouse.front.limits import ADMIN_MAX_BLOCK_BYTES, PIECE_BYTES, READER_MAX_BLOCK_BYTES

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MEMBER_WINDOW_BYTES = 32 << 10
"""What is decoded at once of a body of members: what follows each member is copied, and members may have 8 bytes."""

HTTP_ENCODINGS = ("zstd", "lz4", "gzip", "deflate")
"""In the order of preference, among those that a client takes."""

_LZ4, _ZSTD, _NONE = 0x82, 0x90, 0x02
_BLOCK = struct.Struct("<BII")
"""Method, size with this header, size without compression; before it stands a checksum of 16 bytes."""

_CHECKSUM_BYTES = 16
_WRONG = (EOFError, OSError, RuntimeError, ValueError, zlib.error, zstd.ZstdError, lz4.block.LZ4BlockError)


class Decoder(Protocol):
    """Turns the pieces of a body into its content."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next piece. Raises QueryError 36 when it is not what was announced."""

    def end(self) -> None:
        """Raises QueryError 36 when the body ended too early."""


class Encoder(Protocol):
    """Turns the pieces of an answer into its body."""

    def feed(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


@dataclass(frozen=True)
class Bounds:
    """What a decoder may hold of a body: `block_bytes` of one block, packed or not, and a window of Zstandard's."""

    block_bytes: int
    zstd_window_log: int


ADMIN_BOUNDS = Bounds(ADMIN_MAX_BLOCK_BYTES, zstd_window_log=27)
READER_BOUNDS = Bounds(READER_MAX_BLOCK_BYTES, zstd_window_log=23)
"""A window of 8 MiB is what RFC 9659 allows over HTTP."""


def decoder(encoding: str, in_blocks: bool, bounds: Bounds) -> Decoder:
    """The decoder of a request: Content-Encoding, then ClickHouse's blocks if `in_blocks`.

    It refuses what is beyond `bounds` when it reads how large it would be, before it holds any of it.
    """
    outer: Decoder = _Plain() if encoding in {"", "identity"} else _Stream(encoding, bounds.zstd_window_log)
    return _Chain(outer, _Blocks(bounds.block_bytes)) if in_blocks else outer


def encoder(encoding: str, block_method: str) -> Encoder:
    """The encoder of an answer: ClickHouse's blocks by `block_method` (lz4 or zstd), else HTTP's `encoding`."""
    if block_method:
        return _BlockEncoder(block_method)
    if encoding in {"gzip", "deflate"}:
        return _ZlibEncoder(31 if encoding == "gzip" else zlib.MAX_WBITS)
    if encoding == "zstd":
        return _ZstdEncoder()
    return _Lz4Encoder() if encoding == "lz4" else _PlainEncoder()


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        return


class _Stream:
    """A frame format: gzip, zlib, LZ4 or Zstandard, of several members too."""

    def __init__(self, encoding: str, zstd_window_log: int) -> None:
        if encoding not in {"gzip", "x-gzip", "deflate", "lz4", "zstd"}:
            wanted = "send gzip, deflate, lz4 or zstd"
            raise QueryError(NOT_IMPLEMENTED, f"Content-Encoding {encoding} is not supported: {wanted}")
        self._encoding = encoding
        self._zstd_window_log = zstd_window_log
        self._member = self._new()
        self._begun = False

    def _new(self) -> "_Zlib | _Lz4 | _Zstd":
        if self._encoding == "lz4":
            return _Lz4()
        if self._encoding == "zstd":
            return _Zstd(self._zstd_window_log)
        return _Zlib(zlib.MAX_WBITS if self._encoding == "deflate" else 31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        for begin in range(0, len(data), MEMBER_WINDOW_BYTES):
            yield from self._feed(data[begin : begin + MEMBER_WINDOW_BYTES])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data or self._member.has_more:
                if self._member.eof:
                    self._member = self._new()
                self._begun = True
                piece = self._member.decompress(data)
                data = self._member.unused if self._member.eof else b""
                yield piece
        except _WRONG as error:
            raise QueryError(BAD_ARGUMENTS, f"the body does not match its Content-Encoding: {error}") from error

    def end(self) -> None:
        if self._begun and not self._member.eof:
            raise QueryError(BAD_ARGUMENTS, "the body does not match its Content-Encoding: it ends too early")


class _Zlib:
    def __init__(self, bits: int) -> None:
        self._inner = zlib.decompressobj(bits)

    def decompress(self, data: bytes) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, PIECE_BYTES)

    @property
    def has_more(self) -> bool:
        return bool(self._inner.unconsumed_tail)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data


class _Lz4:
    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameDecompressor()

    def decompress(self, data: bytes) -> bytes:
        return bytes(self._inner.decompress(data, PIECE_BYTES))

    @property
    def has_more(self) -> bool:
        return not self._inner.eof and not self._inner.needs_input

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data or b""


class _Zstd:
    def __init__(self, window_log: int) -> None:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: window_log}
        self._inner = zstd.ZstdDecompressor(options=options)

    def decompress(self, data: bytes) -> bytes:
        return self._inner.decompress(data, PIECE_BYTES)

    @property
    def has_more(self) -> bool:
        return not self._inner.eof and not self._inner.needs_input

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data


class _Blocks:
    """ClickHouse's own blocks: checksum, header, data."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._waiting += data
        while len(self._waiting) >= _CHECKSUM_BYTES + _BLOCK.size:
            method, size, plain_size = _BLOCK.unpack_from(self._waiting, _CHECKSUM_BYTES)
            if not _BLOCK.size <= size <= self._max_bytes or plain_size > self._max_bytes:
                raise QueryError(BAD_ARGUMENTS, f"a compressed block may have {self._max_bytes} bytes")
            if len(self._waiting) < _CHECKSUM_BYTES + size:
                return
            block = bytes(self._waiting[: _CHECKSUM_BYTES + size])
            del self._waiting[: _CHECKSUM_BYTES + size]
            yield _decode_block(block, method, plain_size)

    def end(self) -> None:
        if self._waiting:
            raise QueryError(BAD_ARGUMENTS, "the body ends within a compressed block")


def _decode_block(block: bytes, method: int, plain_size: int) -> bytes:
    checked = block[_CHECKSUM_BYTES:]
    if _checksum(checked) != block[:_CHECKSUM_BYTES]:
        raise QueryError(BAD_ARGUMENTS, "the checksum of a compressed block is wrong")
    data = checked[_BLOCK.size :]
    try:
        if method == _LZ4:
            plain = bytes(lz4.block.decompress(data, uncompressed_size=plain_size))
        elif method == _ZSTD:
            plain = zstd.ZstdDecompressor().decompress(data, plain_size + 1)
        elif method == _NONE:
            plain = data
        else:
            raise QueryError(NOT_IMPLEMENTED, f"compression method {method:#x} of a block is not supported")
    except _WRONG as error:
        raise QueryError(BAD_ARGUMENTS, f"a compressed block cannot be read: {error}") from error
    if len(plain) != plain_size:
        raise QueryError(BAD_ARGUMENTS, "a compressed block has another size than it says")
    return plain


def _checksum(data: bytes) -> bytes:
    """ClickHouse's CityHash128, its two halves in the order that ClickHouse writes."""
    value = CityHash128(data)
    return struct.pack("<QQ", value >> 64, value & 0xFFFFFFFFFFFFFFFF)


class _Chain:
    def __init__(self, outer: Decoder, inner: Decoder) -> None:
        self._outer, self._inner = outer, inner

    def feed(self, data: bytes) -> Iterator[bytes]:
        for piece in self._outer.feed(data):
            yield from self._inner.feed(piece)
            yield b""  # a turn also for pieces in which no block ends

    def end(self) -> None:
        self._outer.end()
        self._inner.end()


class _PlainEncoder:
    def feed(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class _ZlibEncoder:
    """Every piece can be read when it arrives: so can an error that comes in mid-stream."""

    def __init__(self, bits: int) -> None:
        self._inner = zlib.compressobj(level=1, wbits=bits)

    def feed(self, data: bytes) -> bytes:
        return self._inner.compress(data) + self._inner.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._inner.flush()


class _ZstdEncoder:
    def __init__(self) -> None:
        self._inner = zstd.ZstdCompressor(level=1)

    def feed(self, data: bytes) -> bytes:
        return self._inner.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._inner.flush(zstd.ZstdCompressor.FLUSH_FRAME)


class _Lz4Encoder:
    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameCompressor(auto_flush=True)
        self._header = bytes(self._inner.begin())

    def feed(self, data: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(self._inner.compress(data))

    def end(self) -> bytes:
        header, self._header = self._header, b""
        return header + bytes(self._inner.flush())


class _BlockEncoder:
    def __init__(self, method: str) -> None:
        self._method = _ZSTD if method == "zstd" else _LZ4

    def feed(self, data: bytes) -> bytes:
        in_zstd = self._method == _ZSTD
        packed = zstd.compress(data, 1) if in_zstd else bytes(lz4.block.compress(data, store_size=False))
        checked = _BLOCK.pack(self._method, _BLOCK.size + len(packed), len(data)) + packed
        return _checksum(checked) + checked

    def end(self) -> bytes:
        return b""
