"""Connections that no request holds: bounded in number, time and bytes, so that nobody's absence keeps others out.

Who opens a connection is known only when a request's head is whole. So nobody is turned away at the door: of the
connections that wait for a head, or for the next one, the one that waits longest makes room for the newest. A client
that means it sends its head at once, and gets in however many others hold theirs back.

h11 itself takes time by the square of a header's blanks, and microseconds for each header: who needs no password could
stop the loop for everybody. Both are mended here, in h11's own reader.
"""

import asyncio
import re
from collections.abc import Iterable
from typing import Any, ClassVar

import h11
from h11 import _abnf, _readers
from uvicorn.protocols.http.h11_impl import H11Protocol

from clickhouse.front.limits import HEAD_S, MAX_HEADERS, MAX_WAITING_CONNECTIONS, MAX_WAITING_HEADS_BYTES, READ_BYTES

_decode_header_lines = _readers._decode_header_lines


def _bounded_header_lines(lines: Iterable[bytes]) -> Any:
    if len(found := list(lines)) > MAX_HEADERS:
        raise h11.LocalProtocolError(f"a head may have {MAX_HEADERS} headers")
    return _decode_header_lines(found)


# Blanks before a value are the value's to give back in h11's pattern, one by one, and those after it take them again.
_readers.header_field_re = re.compile(_abnf.header_field.replace(f":{_abnf.OWS}", f":{_abnf.OWS}+", 1).encode())
_readers._decode_header_lines = _bounded_header_lines


class BoundedConnection(H11Protocol):
    """uvicorn's connection, with a deadline for the head and a place among those that wait for one.

    The deadline runs from the connection's begin, or from the first byte after an answer: between two requests
    uvicorn's own, longer one counts. For one event loop a process.
    """

    _waiting: ClassVar["dict[BoundedConnection, int]"] = {}
    """Bytes that came of each one's head; those that wait longest come first."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if hasattr(transport, "max_size"):  # of asyncio's own: what is read, and so worked through, at once
            transport.max_size = READ_BYTES
        super().connection_made(transport)
        self._wait()
        self._start_deadline()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self in self._waiting:  # and not for what follows an answer, which is dropped as it comes
            self._waiting[self] += len(data)
        self._settle()
        if self in self._waiting:
            self._start_deadline()
            while sum(self._waiting.values()) > MAX_WAITING_HEADS_BYTES:
                self._make_room(max(self._waiting, key=lambda each: self._waiting[each]))

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._settle()

    def _settle(self) -> None:
        """Wait if no request is under way; otherwise hold no place."""
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._stop_waiting()
        elif self not in self._waiting:
            self._wait()

    def _wait(self) -> None:
        self._waiting[self] = 0
        if len(self._waiting) > MAX_WAITING_CONNECTIONS:
            self._make_room(next(iter(self._waiting)))

    def _stop_waiting(self) -> None:
        self._waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _start_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._make_room, self)

    @staticmethod
    def _make_room(connection: "BoundedConnection") -> None:
        connection._stop_waiting()
        connection.transport.abort()  # at once, whatever the other side leaves unread
