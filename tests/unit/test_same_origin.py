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
        ("localhost:8123", "http://[", None),
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


def asked(**environ: str) -> tuple[str, bytes]:
    """What a guarded application answers: status and body."""
    statuses: list[str] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    request = {"PATH_INFO": "/a", "HTTP_HOST": "localhost:1", **environ}
    body = b"".join(guarded(application, "t0ken")(request, lambda status, _: statuses.append(status)))
    (status,) = statuses
    return status, body


@pytest.mark.parametrize(
    "brought",
    [
        {"QUERY_STRING": "a=1&token=t0ken"},
        {"HTTP_AUTHORIZATION": "Bearer t0ken"},
        {"HTTP_AUTHORIZATION": "bearer  t0ken", "QUERY_STRING": "token=old"},
    ],
)
def test_who_brings_the_token_is_answered(brought: dict[str, str]) -> None:
    assert asked(**brought) == ("200 OK", b"/a")


@pytest.mark.parametrize(
    "brought",
    [
        {},
        {"QUERY_STRING": "token="},
        {"QUERY_STRING": "token=t0ke"},
        {"QUERY_STRING": "Token=t0ken"},
        {"QUERY_STRING": "token=%ff%ed%a0%80"},
        {"HTTP_AUTHORIZATION": "Basic t0ken"},
        {"HTTP_AUTHORIZATION": "Bearer \xff"},
        {"HTTP_COOKIE": "token=t0ken"},
    ],
)
def test_who_does_not_is_told_how(brought: dict[str, str]) -> None:
    status, body = asked(**brought)
    assert (status, b"as it was printed" in body) == ("401 Unauthorized", True)


@pytest.mark.parametrize(
    "headers",
    [{"HTTP_HOST": "evil"}, {"HTTP_ORIGIN": "http://evil.example"}, {"HTTP_SEC_FETCH_SITE": "cross-site"}],
)
def test_another_sites_page_is_refused_even_with_the_token(headers: dict[str, str]) -> None:
    assert asked(QUERY_STRING="token=t0ken", **headers)[0] == "403 Forbidden"
