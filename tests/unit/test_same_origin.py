"""Requests of other sites' pages are refused, whatever they pretend."""

from collections.abc import Iterable
from typing import Any

import pytest

from infra.base.same_origin import guarded, refusal


@pytest.mark.parametrize(
    ("host", "origin", "site"),
    [
        ("127.0.0.1:8123", None, None),
        ("localhost", None, "none"),
        ("LOCALHOST:1", "http://localhost:1", "same-origin"),
        ("[::1]:8123", "http://[::1]:8123", None),
        (None, None, None),
    ],
)
def test_this_machine_is_answered(host: str | None, origin: str | None, site: str | None) -> None:
    assert refusal(host, origin, site) is None


@pytest.mark.parametrize(
    ("host", "origin", "site"),
    [
        ("evil.example", None, None),
        ("127.0.0.1.evil.example:8123", None, None),
        ("localhost@evil.example", None, None),
        ("[evil", None, None),
        ("localhost:8123", "http://evil.example", None),
        ("localhost:8123", "http://localhost:9999", None),
        ("localhost:8123", "null", None),
        ("localhost:8123", None, "cross-site"),
        ("localhost:8123", "http://localhost:8123", "same-site"),
    ],
)
def test_others_are_not(host: str | None, origin: str | None, site: str | None) -> None:
    assert refusal(host, origin, site)


def test_a_server_of_another_name() -> None:
    assert refusal("clickhouse.example", None, None, {"clickhouse.example"}) is None
    assert refusal("localhost", None, None, {"clickhouse.example"}) == (
        "this server is not 'localhost': address it as clickhouse.example"
    )


def test_a_guarded_application() -> None:
    statuses: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    def ask(host: str) -> bytes:
        return b"".join(guarded(application)({"PATH_INFO": "/a", "HTTP_HOST": host}, lambda s, _: statuses.append(s)))

    assert ask("localhost:1") == b"/a"
    assert b"not 'evil'" in ask("evil")
    assert statuses == ["200 OK", "403 Forbidden"]
