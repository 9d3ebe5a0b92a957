"""The registry's port against web pages: rebound names, other origins, and ways past the gate."""

import json
import socket
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from infra.base.settings import Settings
from infra.stack.stack import Stack

SCHEMA = {"schema": json.dumps({"type": "record", "name": "a", "fields": [], "doc": "x" * 300_000})}


@pytest.fixture
def address(settings: Settings) -> str:
    """Host and port."""
    return urlsplit(settings.schema_registry_url).netloc


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Host": "127.0.0.1.evil.example:8081"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:8888"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_sites_pages_are_refused(settings: Settings, method: str, headers: dict[str, str]) -> None:
    subject = f"{settings.schema_registry_url}/subjects/gate"
    assert requests.post(f"{subject}/versions", json=SCHEMA, timeout=30).ok
    path = f"{subject}/versions" if method == "POST" else subject
    assert requests.request(method, path, headers=headers, json=SCHEMA, timeout=30).status_code == 403
    assert "gate" in requests.get(f"{settings.schema_registry_url}/subjects", timeout=30).json()


def test_a_connection_that_lasts_is_not_used_for_another_origin(settings: Settings) -> None:
    with requests.Session() as session:
        url = f"{settings.schema_registry_url}/subjects"
        assert session.get(url, timeout=30).ok
        assert session.get(url, headers={"Origin": "http://evil.example"}, timeout=30).status_code == 403


def test_two_hosts_in_one_request_are_none(address: str) -> None:
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {address}\r\nHost: evil.example\r\n\r\n".encode())
        assert b" 403 " in client.recv(4096).splitlines()[0]


def test_what_goes_through_is_whole(settings: Settings) -> None:
    """A schema of 300 kB, several requests on one connection."""
    with requests.Session() as session:
        url = f"{settings.schema_registry_url}/subjects/large/versions"
        number = session.post(url, json=SCHEMA, timeout=30).json()["id"]
        told = session.get(f"{settings.schema_registry_url}/schemas/ids/{number}", timeout=30).json()
    assert json.loads(told["schema"]) == json.loads(SCHEMA["schema"])


def test_nobody_talks_past_the_gate(stack: Stack, address: str) -> None:
    """The registry itself listens on a port of its own, and answers no connection that a browser can open."""
    process = stack.process("registry")
    assert process is not None
    known = {int(address.partition(":")[2]), stack.ports()["registry-management"]}
    listening = {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN} - known
    assert len(listening) == 1
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{listening.pop()}/apis/ccompat/v7/subjects", timeout=30)
