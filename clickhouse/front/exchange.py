"""One HTTP exchange over ASGI: the request's body as it is wanted, the answer as the client takes it.

Guarantees: no byte of a body is read before it is asked for; a body that does not come in time, or an answer that is
not taken for UNREAD_S, ends the exchange.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any

from clickhouse.front.compression import Decoder, Encoder
from clickhouse.front.errors import BAD_ARGUMENTS, QueryError
from clickhouse.front.limits import BODY_S, UNREAD_S

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
IN_THE_LOOP_BYTES = 32 << 10
LINGER_S = 2.0
"""A client that finds an error at the end of a broken answer leaves before; others see the connection break."""


class ClientGoneError(Exception):
    """The client closed the connection, or takes nothing of its answer any more."""


class Exchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._all_read = False
        self.begun = False
        """Whether the answer's head was sent: an error can no longer have a status."""

    async def raw(self, by: float | None = None) -> AsyncIterator[bytes]:
        """The body as it comes, all of it until the loop's time `by`.

        Raises ClientGoneError, and QueryError when the client falls silent.
        """
        time = asyncio.get_running_loop().time
        while not self._all_read:
            try:
                async with asyncio.timeout_at(by or time() + BODY_S):
                    message = await self._receive()
            except TimeoutError as error:
                what = "nothing of the body came for" if by is None else "the body did not come within"
                raise QueryError(BAD_ARGUMENTS, f"{what} {BODY_S:.0f} s") from error
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            self._all_read = not message.get("more_body", False)
            yield message.get("body", b"")

    async def body(self, decoder: Decoder, at_once: bool) -> AsyncIterator[bytes]:
        """The body's content, in pieces; with `at_once` all of it must come within BODY_S."""
        by = asyncio.get_running_loop().time() + BODY_S if at_once else None
        async for data in self.raw(by):
            for piece in decoder.feed(data):
                if piece:
                    yield piece
                await asyncio.sleep(0)  # a body that grows much, or to nothing, leaves others their turn
        decoder.end()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Within this context, a client that goes away makes ClientGoneError; after the whole body only."""
        task = asyncio.current_task()
        assert task is not None
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await self._receive())["type"] != "http.disconnect":
                pass
            gone = True
            task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError as error:
            if gone:
                raise ClientGoneError from error
            raise
        finally:
            watcher.cancel()

    async def begin(self, status: HTTPStatus, headers: Sequence[tuple[str, str]]) -> None:
        """Send the answer's head. A connection whose body was not read ends with the answer."""
        encoded = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in headers]
        if not self._all_read and _has_body(self.scope):
            encoded.append((b"connection", b"close"))
        self.begun = True
        await self._send({"type": "http.response.start", "status": status.value, "headers": encoded})

    async def send(self, data: bytes, more: bool) -> None:
        """Send a part of the answer. Raises ClientGoneError when the client does not take what was sent before."""
        try:
            async with asyncio.timeout(UNREAD_S):
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError as error:
            raise ClientGoneError from error

    async def whole(self, status: HTTPStatus, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Send an answer in one piece."""
        await self.begin(status, [*headers, ("Content-Length", str(len(body)))])
        await self.send(body, more=False)

    async def plain(self, status: HTTPStatus, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Send a text."""
        await self.whole(status, [*headers, ("Content-Type", "text/plain; charset=UTF-8")], text.encode())

    async def more(self, data: bytes, encoder: Encoder) -> None:
        """Send more of an answer."""
        await self.send(await packed(encoder, data), more=True)

    async def broken(self, text: bytes, packer: Encoder, in_blocks: bool) -> None:
        """End an answer that failed: the error's text, time for the client to read it, and no proper end.

        After ClickHouse's own blocks the text stands as it is, as servers write it and clients look for it.
        """
        await self.send(text if in_blocks else packer.feed(text) + packer.end(), more=True)
        await asyncio.sleep(LINGER_S)


def _has_body(scope: Scope) -> bool:
    """Whether the client announced a body, as a request of any method may."""
    announced = {bytes(name): bytes(value).strip() for name, value in scope["headers"]}
    return b"transfer-encoding" in announced or announced.get(b"content-length", b"0") != b"0"


async def packed(encoder: Encoder, data: bytes) -> bytes:
    """Encode a piece; large ones outside the event loop."""
    if len(data) <= IN_THE_LOOP_BYTES:
        return encoder.feed(data)
    return await asyncio.to_thread(encoder.feed, data)
