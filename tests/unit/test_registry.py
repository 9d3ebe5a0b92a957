"""The registry client against answers made here: no network."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from schemas.registry import INCOMPATIBLE, NotRegistered, Registry, RegistryRefused, RegistryUnavailable
from tests.unit.records import field, record

URL = "http://user:secret@registry:8081/apis/ccompat/v7"
THING = record(field("a"))
Answer = tuple[int, Any] | Exception


class Scripted(BaseAdapter):
    """Gives the listed answers in turn, the last one again and again, and keeps what was asked."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[tuple[str, str, Any]] = []

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        del stream, verify, cert, proxies
        assert timeout, "a request without a timeout may wait for ever"
        body = json.loads(request.body) if request.body else None
        self.asked.append((str(request.method), str(request.url), body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, content = answer
        text = content if isinstance(content, str) else json.dumps(content)
        response._content = text.encode()
        return response

    def close(self) -> None:
        pass


def registry(script: Scripted, deadline_s: float = 0) -> Registry:
    http = requests.Session()
    http.mount("http://", script)
    return Registry(f"{URL}/", deadline_s=deadline_s, http=http)


def error(status: int, code: int) -> Answer:
    return status, {"error_code": code, "message": "No."}


def test_a_schema_is_asked_for_once() -> None:
    script = Scripted((200, {"schema": "text"}), error(404, 40403))
    client = registry(script)
    assert [client.schema_by_id(7), client.schema_by_id(7)] == ["text", "text"]
    assert script.asked == [("GET", f"{URL}/schemas/ids/7", None)]


def test_unknown_is_an_answer_and_is_not_kept() -> None:
    script = Scripted(error(404, 40403), (200, {"schema": "text"}))
    client = registry(script)
    assert [client.schema_by_id(7), client.schema_by_id(7)] == [None, "text"]


@pytest.mark.parametrize(
    "fault",
    [
        requests.ConnectionError("refused"),
        requests.ReadTimeout("slow"),
        error(500, 50001),
        error(503, 503),
        error(429, 429),
        (404, "<html>not here</html>"),
        (200, ""),
        (404, "[40403]"),
        (200, {"id": 7}),
        (200, ["text"]),
        (200, {"schema": None}),
    ],
)
def test_down_is_not_unknown(fault: Answer) -> None:
    with pytest.raises(RegistryUnavailable, match="registry at http://registry:8081/apis/ccompat/v7 cannot be asked"):
        registry(Scripted(fault)).schema_by_id(7)


def test_a_fault_that_passes_before_the_deadline_is_not_seen() -> None:
    script = Scripted(requests.ConnectionError("refused"), error(503, 503), (200, {"schema": "text"}))
    assert registry(script, deadline_s=30).schema_by_id(7) == "text"
    assert len(script.asked) == 3


@pytest.mark.parametrize("answer", [error(401, 401), error(403, 40301), error(404, 40401), error(422, 42201)])
def test_a_refusal_is_neither_unknown_nor_down(answer: Answer) -> None:
    script = Scripted(answer)
    with pytest.raises(RegistryRefused, match="No"):
        registry(script, deadline_s=30).schema_by_id(7)
    assert len(script.asked) == 1


def test_the_password_is_in_no_message() -> None:
    for answer in (requests.ConnectionError("refused"), error(401, 401)):
        with pytest.raises((RegistryUnavailable, RegistryRefused)) as raised:
            registry(Scripted(answer)).subjects()
        assert "secret" not in str(raised.value)


def test_the_id_of_a_registered_record_is_asked_for_once() -> None:
    script = Scripted((200, {"id": 3, "version": 1}))
    client = registry(script)
    assert [client.id_of("things-value", THING), client.id_of("things-value", THING)] == [3, 3]
    body = {"schema": THING.schema, "schemaType": "AVRO"}
    assert script.asked == [("POST", f"{URL}/subjects/things-value", body)]


@pytest.mark.parametrize("code", [40401, 40403])
def test_a_record_that_is_not_registered_names_what_to_do(code: int) -> None:
    client = registry(Scripted(error(404, code), (200, {"id": 3})))
    with pytest.raises(NotRegistered, match=r"test.Thing.*things-value.*run `smartmeter apply`"):
        client.id_of("things-value", THING)
    assert client.id_of("things-value", THING) == 3


def test_the_versions_of_a_subject_come_oldest_first() -> None:
    versions = [(200, {"id": 9, "schema": "old"}), (200, {"id": 4, "schema": "new"})]
    script = Scripted((200, [2, 1]), *versions)
    assert list(registry(script).ids_of("things-value").items()) == [(9, "old"), (4, "new")]
    assert [url.rpartition("/")[2] for _, url, _ in script.asked] == ["versions", "1", "2"]
    assert registry(Scripted(error(404, 40401))).ids_of("things-value") == {}


def test_an_incompatible_record_is_refused_with_its_code() -> None:
    with pytest.raises(RegistryRefused) as raised:
        registry(Scripted(error(409, 409))).register("things-value", THING)
    assert raised.value.code == INCOMPATIBLE


def test_a_subject_without_its_own_compatibility_has_none() -> None:
    assert registry(Scripted(error(404, 40408))).compatibility("things-value") is None
    assert registry(Scripted(error(404, 40401))).compatibility("things-value") is None
    assert registry(Scripted((200, {"compatibilityLevel": "FULL"}))).compatibility("things-value") == "FULL"


def test_the_loopback_is_never_asked_through_a_proxy() -> None:
    for host, uses_proxy in (("127.0.0.1", False), ("localhost", False), ("registry.example", True)):
        http = requests.Session()
        Registry(f"http://{host}:8081", http=http)
        assert http.trust_env is uses_proxy
