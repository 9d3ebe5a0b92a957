"""Confluent's framing of a Kafka value: one zero byte, the schema's id as four bytes big-endian, then the Avro body.

Format: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

import struct

MAGIC = 0
_HEADER = struct.Struct(">BI")
HEADER_BYTES = _HEADER.size


class NotFramed(ValueError):  # noqa: N818
    """A value that is not framed; the fault is the message's own, so it belongs with the dead letters."""


def frame(schema_id: int, body: bytes) -> bytes:
    """The value to send: header and body."""
    return header(schema_id) + body


def header(schema_id: int) -> bytes:
    """The five bytes that stand before every body written with this schema."""
    return _HEADER.pack(MAGIC, schema_id)


def unframe(message: bytes | None) -> tuple[int, bytes]:
    """The schema's id and the Avro body (which may be empty: a record without fields).

    Raises NotFramed, saying why, for a tombstone, an empty value, a wrong first byte or fewer than five bytes.
    """
    if message is None:
        raise NotFramed("tombstone: no value")
    if not message:
        raise NotFramed("empty value: 0 bytes, a framed one has at least 5")
    if message[0] != MAGIC:
        raise NotFramed(f"first byte is 0x{message[0]:02x}, not the magic byte 0x00: not in Confluent framing")
    if len(message) < HEADER_BYTES:
        raise NotFramed(f"{len(message)} bytes, too short for the 5 bytes of magic byte and schema id")
    return _HEADER.unpack_from(message)[1], message[HEADER_BYTES:]
