"""Connections that no request holds: bounded in number, time and bytes, so that nobody's absence keeps others out.

Who opens a connection is known only when a request's head is whole. So nobody is turned away at the door: of the
connections that wait for a head, or for the next one, the one that waits longest makes room for the newest. A client
that means it sends its head at once, and gets in however many others hold theirs back.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from clickhouse.front.limits import HEAD_S, MAX_WAITING_CONNECTIONS, MAX_WAITING_HEADS_BYTES


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
