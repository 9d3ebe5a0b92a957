"""Schemas by id, for the engine: from disk when known, else from the registry, waiting as long as the registry is down.

The engine gives up on a schema after 1 s without a byte, and then sets the message aside as unreadable and commits
its offset. So while the registry cannot be reached, the answer is begun and kept alive with blanks, which JSON allows
before a value.
"""

import json
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from http import HTTPStatus
from pathlib import Path

import requests

FIRST_BYTE_S = 0.4
KEEP_ALIVE_S = 0.3
RETRY_S = 1.0
REGISTRY_TIMEOUT_S = (2.0, 10.0)
_SCHEMA_NOT_FOUND = 40403

log = logging.getLogger(__name__)


class UnknownSchemaError(Exception):
    """The registry answered that it has no schema of this id."""


class RegistryUnavailableError(Exception):
    """No usable answer: nothing can be said about the id."""


class SchemaMirror:
    """Thread-safe. Every id that was ever answered stays on disk: an id's schema never changes.

    The directory belongs to one registry: another registry gives other schemas the same ids.
    """

    def __init__(self, directory: Path, fetch: Callable[[int], bytes]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._fetch = fetch
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="registry")
        self._lock = threading.Lock()
        self._under_way: dict[int, Future[bytes]] = {}
        self._held = 0

    @property
    def held(self) -> int:
        """How many answers are being kept alive now."""
        return self._held

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

    def answer(self, schema_id: int) -> tuple[HTTPStatus, Iterator[bytes]]:
        """A status and a body.

        The body may take as long as the registry is away. 404 only when the registry says so.
        """
        body = self.known(schema_id)
        if body is not None:
            return HTTPStatus.OK, iter([body])
        try:
            return HTTPStatus.OK, iter([self._ask(schema_id, FIRST_BYTE_S)])
        except UnknownSchemaError:
            return HTTPStatus.NOT_FOUND, iter([_not_found(schema_id)])
        except (RegistryUnavailableError, TimeoutError) as error:
            log.warning("schema %d: registry unavailable (%s); the engine is kept waiting", schema_id, error)
            return HTTPStatus.OK, self._keep_alive(schema_id)

    def _keep_alive(self, schema_id: int) -> Iterator[bytes]:
        """Blanks until the schema is there.

        If it turns out unknown, the body ends without one, which the engine refuses.
        """
        with self._lock:
            self._held += 1
        try:
            while True:
                yield b" "
                try:
                    yield self._ask(schema_id, KEEP_ALIVE_S)
                except TimeoutError:
                    continue
                except RegistryUnavailableError:
                    for _ in range(round(RETRY_S / KEEP_ALIVE_S)):
                        yield b" "
                        threading.Event().wait(KEEP_ALIVE_S)
                    continue
                except UnknownSchemaError:
                    log.warning("schema %d: the registry is back and does not know it", schema_id)
                return
        finally:
            with self._lock:
                self._held -= 1

    def _ask(self, schema_id: int, timeout_s: float) -> bytes:
        """The schema within `timeout_s`, else TimeoutError; requests for one id share one question to the registry."""
        with self._lock:
            future = self._under_way.get(schema_id)
            if future is None:
                future = self._under_way[schema_id] = self._pool.submit(self._fetch_and_keep, schema_id)
        if not wait([future], timeout_s).done:
            raise TimeoutError(f"no answer within {timeout_s} s")
        return future.result()

    def _fetch_and_keep(self, schema_id: int) -> bytes:
        try:
            if (body := self.known(schema_id)) is not None:
                return body
            body = self._fetch(schema_id)
            try:
                write_atomically(self._directory / f"{schema_id}.json", body)
            except OSError:
                # A full disk must not turn good messages into unreadable ones: answer now, keep it next time.
                log.exception("schema %d could not be kept in %s", schema_id, self._directory)
            return body
        finally:
            with self._lock:
                del self._under_way[schema_id]


def registry_fetch(url: str) -> Callable[[int], bytes]:
    """A function that asks the registry at `url`.

    Its answer is bytes, UnknownSchemaError or RegistryUnavailableError.
    """
    base = url.rstrip("/")

    def fetch(schema_id: int) -> bytes:
        with requests.Session() as session:
            session.trust_env = False
            try:
                response = session.get(f"{base}/schemas/ids/{schema_id}", timeout=REGISTRY_TIMEOUT_S)
            except requests.RequestException as error:
                raise RegistryUnavailableError(type(error).__name__) from error
        return read_answer(response.status_code, response.content)

    return fetch


def read_answer(status: int, body: bytes) -> bytes:
    """Tell a schema from a certain "unknown" (404 with code 40403) and from an answer that settles nothing."""
    if status == HTTPStatus.OK and is_schema(body):
        return body
    if status == HTTPStatus.NOT_FOUND and _json_field(body, "error_code") == _SCHEMA_NOT_FOUND:
        raise UnknownSchemaError
    raise RegistryUnavailableError(f"HTTP {status}")


def is_schema(body: bytes) -> bool:
    return isinstance(_json_field(body, "schema"), str)


def write_atomically(path: Path, body: bytes) -> None:
    """Whole or not at all, also after a crash of the machine."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)


def _not_found(schema_id: int) -> bytes:
    return json.dumps({"error_code": _SCHEMA_NOT_FOUND, "message": f"Schema {schema_id} not found"}).encode()


def _json_field(body: bytes, name: str) -> object:
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value.get(name) if isinstance(value, dict) else None
