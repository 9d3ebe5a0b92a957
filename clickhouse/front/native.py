"""Two blocks of ClickHouse's Native format that the engine does not write itself."""

from collections.abc import Sequence

_BLOCK_INFO = b"\x01\x00\x02\xff\xff\xff\xff\x00"  # field 1: is_overflows = 0, field 2: bucket_num = -1, end of fields
_CUSTOM_SERIALIZATION_REVISION = 54454


def empty_block(columns: Sequence[tuple[str, str]]) -> bytes:
    """A block without rows in plain Native (revision 0).

    The names and types of an empty result, which has no bytes else.
    """
    return varuint(len(columns)) + varuint(0) + b"".join(_string(name) + _string(kind) for name, kind in columns)


def handshake_block(revision: int, display_name: str, version: str, timezone: str) -> bytes:
    """The answer to `SELECT displayName(), version(), revision(), timezone()`, framed for a client of `revision`.

    It states revision 0, so that clickhouse-go reads everything after it as plain Native, which is what the engine
    writes.
    """
    flag = b"\x00" if revision >= _CUSTOM_SERIALIZATION_REVISION else b""
    columns = (
        ("displayName()", "String", _string(display_name)),
        ("version()", "String", _string(version)),
        ("revision()", "UInt32", (0).to_bytes(4, "little")),
        ("timezone()", "String", _string(timezone)),
    )
    body = b"".join(_string(name) + _string(kind) + flag + value for name, kind, value in columns)
    return _BLOCK_INFO + varuint(len(columns)) + varuint(1) + body


def varuint(value: int) -> bytes:
    """LEB128, as everywhere in Native."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def read_varuint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and the position after it; raises IndexError when the data ends within it."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position


def _string(text: str) -> bytes:
    encoded = text.encode()
    return varuint(len(encoded)) + encoded
