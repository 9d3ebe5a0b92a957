"""How the front and the engine's process talk: one socket pair a statement, frames of a kind, a length and bytes.

The front sends one JOB. The engine's process answers with any number of DATA, then END or ERROR. The front stops a
statement by shutting down its side; the engine's process ends by closing its own, so its end is always seen.
"""

import socket
import struct
from enum import IntEnum

HEADER = struct.Struct(">BI")
ROWS = struct.Struct(">Q")
"""Before the bytes of DATA: how many rows the engine has given so far."""


class Kind(IntEnum):
    JOB = 1
    DATA = 2
    END = 3
    ERROR = 4


def frame(kind: Kind, *parts: bytes) -> bytes:
    """One frame, whole."""
    return HEADER.pack(kind, sum(map(len, parts))) + b"".join(parts)


def send(connection: socket.socket, kind: Kind, *parts: bytes | memoryview) -> None:
    """Send one frame; blocks while the other side does not read. Raises OSError when it is gone."""
    connection.sendall(HEADER.pack(kind, sum(map(len, parts))))
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket) -> tuple[Kind, bytes]:
    """The next frame. Raises EOFError when the other side is gone."""
    kind, size = HEADER.unpack(_exactly(connection, HEADER.size))
    return Kind(kind), _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        part = connection.recv(min(size, 1 << 20))
        if not part:
            raise EOFError("the other side closed the connection within a frame")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
