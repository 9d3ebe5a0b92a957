"""The Schema Registry over HTTP (Confluent's API). A registry that is down has not said "unknown".

RegistryUnavailable: no answer in time. The caller asks again later and never blames a message. RegistryRefused: the
answer is no (wrong password, incompatible schema). The caller stops. Anything else is the answer. A registered schema
never changes, so ids and schemas are cached for ever; "unknown" is never cached.

API: https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import time
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from infra.base.backoff import Backoff
from infra.base.errors import SmartmeterError
from schemas.avro import Record

UNKNOWN_SUBJECT, UNKNOWN_VERSION, UNKNOWN_SCHEMA, NO_OWN_COMPATIBILITY = 40401, 40402, 40403, 40408
INCOMPATIBLE = 409
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class RegistryUnavailable(SmartmeterError):  # noqa: N818
    """The registry could not be asked: unreachable, too slow, or failing. Ask again later; nothing is lost."""


class RegistryRefused(SmartmeterError):  # noqa: N818
    """The registry answered no, and asking again gives the same answer. `code` is its error code, for example 409."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class NotRegistered(SmartmeterError):  # noqa: N818
    """A schema that is declared here and not registered there: `smartmeter apply` has not run."""


class Registry:
    """A client that threads may share.

    `url` may carry a path and `user:password@`. Every call asks again until `deadline_s` have passed (0: one attempt),
    each attempt for at most `timeout_s`, and then raises RegistryUnavailable. Every call may raise RegistryRefused.
    `http` may bring certificates or, in tests, answers of its own.
    """

    def __init__(
        self, url: str, timeout_s: float = 5.0, deadline_s: float = 30.0, http: requests.Session | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._where = _without_password(self._url)
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._http = http or requests.Session()
        self._http.trust_env = urlsplit(url).hostname not in LOOPBACK  # a proxy cannot reach this machine's loopback
        self._schemas: dict[int, str] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def id_of(self, subject: str, record: Record) -> int:
        """The id under which this record is registered in this subject; raises NotRegistered."""
        known = (subject, record.schema)
        if known not in self._ids:
            path = f"/subjects/{quote(subject, safe='')}"
            answer = self._ask("POST", path, _avro(record), unknown=(UNKNOWN_SUBJECT, UNKNOWN_SCHEMA))
            if answer is None:
                raise NotRegistered(
                    f"{record.name} as declared is not registered in subject {subject} at {self._where}: "
                    "run `smartmeter apply`"
                )
            self._ids[known] = int(answer["id"])
        return self._ids[known]

    def schema_by_id(self, schema_id: int) -> str | None:
        """The text of the schema with this id; None when the registry says that it knows no such id."""
        if schema_id not in self._schemas:
            answer = self._ask("GET", f"/schemas/ids/{schema_id}", unknown=(UNKNOWN_SCHEMA,))
            if answer is None:
                return None
            text = answer.get("schema") if isinstance(answer, dict) else None
            if not isinstance(text, str):
                raise RegistryUnavailable(
                    f"registry at {self._where} cannot be asked: no schema in its answer for id {schema_id}"
                )
            self._schemas[schema_id] = text
        return self._schemas[schema_id]

    def ids_of(self, subject: str) -> dict[int, str]:
        """Every version of a subject, oldest first: id → text of its schema; empty if there is no such subject."""
        path = f"/subjects/{quote(subject, safe='')}/versions"
        numbers = self._ask("GET", path, unknown=(UNKNOWN_SUBJECT,)) or []
        versions = [self._ask("GET", f"{path}/{number}", unknown=(UNKNOWN_VERSION,)) for number in sorted(numbers)]
        return {int(version["id"]): str(version["schema"]) for version in versions if version is not None}

    def register(self, subject: str, record: Record) -> int:
        """Register the record in the subject, and return its id. A record that is already registered keeps its id.

        For `apply` only: two that race on a new subject may register twice. An incompatible record raises
        RegistryRefused with code INCOMPATIBLE.
        """
        answer = self._ask("POST", f"/subjects/{quote(subject, safe='')}/versions", _avro(record))
        return int(answer["id"])

    def subjects(self) -> list[str]:
        """Names of all subjects, sorted."""
        return sorted(self._ask("GET", "/subjects"))

    def compatibility(self, subject: str | None = None) -> str | None:
        """The subject's own level of compatibility, None where it has none; without a subject, the registry's level."""
        path = "/config" if subject is None else f"/config/{quote(subject, safe='')}"
        answer = self._ask("GET", path, unknown=(UNKNOWN_SUBJECT, NO_OWN_COMPATIBILITY))
        return None if answer is None else str(answer["compatibilityLevel"])

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the subject's own level, for example FULL_TRANSITIVE; harmless when it is set already."""
        self._ask("PUT", f"/config/{quote(subject, safe='')}", {"compatibility": level})

    def _ask(self, method: str, path: str, body: object = None, unknown: tuple[int, ...] = ()) -> Any:
        """The decoded answer; None when the registry answers with one of the error codes in `unknown`."""
        give_up_at = time.monotonic() + self._deadline_s
        backoff = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        while True:
            try:
                return self._attempt(method, path, body, unknown)
            except RegistryUnavailable as error:
                pause_s = backoff.failed(error)
                if time.monotonic() + pause_s > give_up_at:
                    raise RegistryUnavailable(
                        f"registry at {self._where} cannot be asked ({error}), tried for {self._deadline_s:g} s; "
                        "is it running? `smartmeter status` tells"
                    ) from error
            time.sleep(pause_s)

    def _attempt(self, method: str, path: str, body: object, unknown: tuple[int, ...]) -> Any:
        try:
            response = self._http.request(method, self._url + path, json=body, timeout=self._timeout_s)
            answer = response.json()
        except requests.JSONDecodeError as error:
            raise RegistryUnavailable(f"status {response.status_code}, and no JSON: not a registry's answer") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise RegistryUnavailable(type(error).__name__) from error
        if response.ok:
            return answer
        if not isinstance(answer, dict):
            raise RegistryUnavailable(f"status {response.status_code}, and no error's JSON: not a registry's answer")
        code = answer.get("error_code", response.status_code)
        if code in unknown:
            return None
        reason = f"{answer.get('message', response.reason)} (status {response.status_code}, code {code})"
        if response.status_code >= 500 or response.status_code in (408, 429):
            raise RegistryUnavailable(reason)
        raise RegistryRefused(f"registry at {self._where} refused {method} {path}: {reason}", code)


def _avro(record: Record) -> dict[str, str]:
    return {"schema": record.schema, "schemaType": "AVRO"}


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
