"""The registry's port: checks by which name and from which page it is asked, and hands the bytes on.

Apicurio answers any Host, so a web page whose name resolves to 127.0.0.1 could read and delete schemas. Behind this
gate it takes only connections that begin with a PROXY header, which no browser can send. A check for each connection
is enough: a browser uses one for the host alone for which it was opened, and Apicurio refuses other origins' pages.

`python -m infra.stack.registry_gate PORT BACKEND_PORT COMMAND…` becomes COMMAND, the registry. Its gate is a child that
ends with it, however it ends.
"""

import asyncio
import contextlib
import os
import socket
import sys

from infra.base.same_origin import refusal

HOST = "127.0.0.1"
HEAD_BYTES = 64 << 10
HEAD_S = 30.0
"""A request's headers arrive within this time."""

LINGER_S = 2.0
PIECE_BYTES = 64 << 10


def main() -> None:
    port, backend, *command = sys.argv[1:]
    listening = socket.create_server((HOST, int(port)), backlog=128)
    alive, registrys = os.pipe()
    if os.fork() == 0:
        os.close(registrys)
        asyncio.run(_serve(listening, int(backend), alive))
    os.set_inheritable(registrys, True)  # open as long as the registry lives: then the gate sees its end
    os.execv(command[0], command)


async def _serve(listening: socket.socket, backend: int, alive: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _pass(reader, writer, backend)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # it has gone, or sent no request
        finally:
            writer.close()

    asyncio.get_running_loop().add_reader(alive, os._exit, 0)
    await (await asyncio.start_server(connected, sock=listening, limit=HEAD_BYTES)).serve_forever()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, backend: int) -> None:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_S)
    refused = refusal_of(head)
    if refused is not None:
        return await _refuse(reader, writer, "403 Forbidden", refused)
    try:
        from_registry, to_registry = await asyncio.open_connection(HOST, backend)
    except OSError:
        return await _refuse(reader, writer, "503 Service Unavailable", "the registry is starting")
    try:
        to_registry.write(
            f"PROXY TCP4 {HOST} {HOST} {writer.get_extra_info('peername')[1]} {backend}\r\n".encode() + head
        )
        there = asyncio.create_task(_pump(reader, to_registry))
        await _pump(from_registry, writer)
        there.cancel()
    finally:
        to_registry.close()
    return None


def refusal_of(head: bytes) -> str | None:
    """Why the request with this head is refused; None where it is not."""
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if headers.setdefault(name, value) != value and name in {"host", "origin", "sec-fetch-site"}:
            return f"this server takes one header {name}, not several"
    return refusal(headers.get("host"), headers.get("origin"), headers.get("sec-fetch-site"))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # one of the two has gone: the other learns it by the end of its connection
        while data := await source.read(PIECE_BYTES):
            target.write(data)
            await target.drain()
        target.write_eof()


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, status: str, text: str) -> None:
    body = f"{text}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    writer.write_eof()
    # A body that nobody reads would break the connection before the answer is read.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(PIECE_BYTES):
                pass


if __name__ == "__main__":
    main()
