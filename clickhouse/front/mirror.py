"""Schemas by id, for the engine: from disk when known, else from the registry, waiting as long as the registry is down.

The engine gives up on a schema after 1 s without a byte, and then sets the message aside as unreadable and commits
its offset. So while the registry cannot be reached, the answer is begun and kept alive with blanks, which JSON allows
before a value. Only the engine's own requests are held: others could hold all there is.
"""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import psutil
import requests

from infra.base.files import write_whole
from schemas.registry import UNKNOWN_SCHEMA, Registry, RegistryRefused, RegistryUnavailable

FIRST_BYTE_S = 0.4
KEEP_ALIVE_S = 0.3
RETRY_S = 1.0
STRANGERS_WAIT_S = 2.0
MAX_STRANGERS = 4
REGISTRY_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class SchemaMirror:
    """For one event loop. Every id that was ever answered stays on disk: an id's schema never changes.

    The directory belongs to one registry: another registry gives other schemas the same ids.
    """

    def __init__(self, directory: Path, fetch: Callable[[int], str | None]) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._fetch = fetch
        self._writing = threading.Lock()
        # Strangers' questions to a silent registry must not keep the engine's waiting: each have threads of their own.
        self._pools = {
            True: ThreadPoolExecutor(max_workers=8, thread_name_prefix="registry"),
            False: ThreadPoolExecutor(max_workers=2, thread_name_prefix="registry-strangers"),
        }
        self._under_way: dict[tuple[int, bool], asyncio.Future[bytes | None]] = {}
        self._strangers = 0
        self.held = 0
        """How many answers are being kept alive now."""

    def known(self, schema_id: int) -> bytes | None:
        path = self._directory / f"{schema_id}.json"
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            return None
        if not is_schema(body):
            log.warning("%s holds no schema and is ignored", path)
            return None
        return body

    async def answer(
        self, schema_id: int, for_engine: Callable[[], Awaitable[bool]]
    ) -> tuple[HTTPStatus, AsyncGenerator[bytes, None]]:
        """A status and a body.

        `for_engine` tells whether the engine asks. For it the body may take as long as the registry is away, and 404
        comes only when the registry says so. Others get 503 when the registry does not answer at once.
        """
        body = self.known(schema_id)
        if body is not None:
            return HTTPStatus.OK, _one(body)
        try:
            if await for_engine():
                body = await self._ask(schema_id, True, FIRST_BYTE_S)
            else:
                body = await self._ask_for_stranger(schema_id)
        except _StrangerRefusedError:
            return HTTPStatus.SERVICE_UNAVAILABLE, _one(b"")
        except (RegistryUnavailable, TimeoutError) as error:
            log.warning("schema %d: registry unavailable (%s); the engine is kept waiting", schema_id, error)
            return HTTPStatus.OK, self._keep_alive(schema_id)
        return (HTTPStatus.NOT_FOUND, _one(_not_found(schema_id))) if body is None else (HTTPStatus.OK, _one(body))

    async def _ask_for_stranger(self, schema_id: int) -> bytes | None:
        if self._strangers >= MAX_STRANGERS:
            raise _StrangerRefusedError
        self._strangers += 1
        try:
            return await self._ask(schema_id, False, STRANGERS_WAIT_S)
        except (RegistryUnavailable, TimeoutError) as error:
            raise _StrangerRefusedError from error
        finally:
            self._strangers -= 1

    async def _keep_alive(self, schema_id: int) -> AsyncGenerator[bytes, None]:
        """Blanks until the schema is there.

        If it turns out unknown, the body ends without one, which the engine refuses.
        """
        self.held += 1
        try:
            while True:
                yield b" "
                try:
                    body = await self._ask(schema_id, True, KEEP_ALIVE_S)
                except TimeoutError:
                    continue
                except RegistryUnavailable:
                    for _ in range(round(RETRY_S / KEEP_ALIVE_S)):
                        yield b" "
                        await asyncio.sleep(KEEP_ALIVE_S)
                    continue
                if body is None:
                    log.warning("schema %d: the registry is back and does not know it", schema_id)
                else:
                    yield body
                return
        finally:
            self.held -= 1

    async def _ask(self, schema_id: int, ours: bool, timeout_s: float) -> bytes | None:
        """The schema, or None where the registry knows none; TimeoutError when that takes longer than `timeout_s`.

        Requests for one id share one question to the registry.
        """
        key = (schema_id, ours)
        future = self._under_way.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = self._under_way[key] = loop.run_in_executor(self._pools[ours], self._fetch_and_keep, schema_id)
            future.add_done_callback(lambda done: self._forget(key, done))
        done, _ = await asyncio.wait([future], timeout=timeout_s)
        if not done:
            raise TimeoutError(f"no answer within {timeout_s} s")
        return future.result()

    def _forget(self, key: tuple[int, bool], done: "asyncio.Future[bytes | None]") -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at: nobody may be waiting any more

    def _fetch_and_keep(self, schema_id: int) -> bytes | None:
        if (body := self.known(schema_id)) is not None:
            return body
        text = self._fetch(schema_id)
        if text is None:
            return None
        answer = json.dumps({"schema": text})
        try:
            with self._writing:
                write_whole(self._directory / f"{schema_id}.json", answer)
        except OSError:
            # A full disk must not turn good messages into unreadable ones: answer now, keep it next time.
            log.exception("schema %d could not be kept in %s", schema_id, self._directory)
        return answer.encode()


class _StrangerRefusedError(Exception):
    """Somebody who is not the engine gets no answer now."""


class EnginesConnections:
    """Tells the engine's requests from strangers': one look at its process serves all who came before it began.

    However many ask, one look is under way and one is to come, in a thread that nothing else uses. So a crowd of
    strangers costs the engine's own request two looks at most.
    """

    def __init__(self, look: Callable[[], Container[int] | None]) -> None:
        """`look` gives the ports of the engine's connections, None where the system does not tell."""
        self._look = look
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ports")
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Container[int] | None] | None = None

    async def has(self, port: int) -> bool:
        """Whether a connection from this port is the engine's.

        Where the system does not tell, it is: the engine would set good messages aside.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._look_next())
        ports = await asyncio.shield(self._next)
        return ports is None or port in ports

    async def _look_next(self) -> Container[int] | None:
        async with self._turn:
            self._next = None  # who comes from now on may have connected after this look
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._look)


def ports_of(process_id: int | None) -> frozenset[int] | None:
    """The local ports of a process's TCP connections, as the system tells; None where it does not."""
    try:
        connections = psutil.Process(process_id).net_connections("tcp") if process_id is not None else []
    except psutil.NoSuchProcess:
        return frozenset()
    except psutil.AccessDenied:
        return None
    return frozenset(connection.laddr.port for connection in connections if connection.laddr)


async def _one(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def registry_fetch(url: str) -> Callable[[int], str | None]:
    """A function that asks the registry at `url` once; any number of threads may call it.

    It gives the schema's text, or None where the registry says that it has none of this id. Raises RegistryUnavailable
    for every other answer: a registry that refuses has not said that a message is unreadable.
    """
    registry = Registry(url, timeout_s=REGISTRY_TIMEOUT_S, deadline_s=0.0)

    def fetch(schema_id: int) -> str | None:
        try:
            return registry.schema_by_id(schema_id)
        except (RegistryRefused, requests.RequestException) as error:
            raise RegistryUnavailable(str(error)) from error

    return fetch


def is_schema(body: bytes) -> bool:
    try:
        value = json.loads(body)
    except ValueError:
        return False
    return isinstance(value, dict) and isinstance(value.get("schema"), str)


def _not_found(schema_id: int) -> bytes:
    return json.dumps({"error_code": UNKNOWN_SCHEMA, "message": f"Schema {schema_id} not found"}).encode()
