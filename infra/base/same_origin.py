"""Who may use a server on this machine: the checks that an HTTP port makes first.

A browser sends requests to 127.0.0.1 for any page that asks, and a page's own host name may resolve to 127.0.0.1
(DNS rebinding). So a server here answers only requests that name it as it is known, from its own pages or from none.
Other users of the machine reach the port as well: servers that know no passwords ask for the data directory's token.
"""

import hmac
from collections.abc import Callable, Collection, Iterable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", ""})
"""Names of this machine for itself; empty: a client older than HTTP/1.1, which no browser is."""


def refusal(
    host: str | None, origin: str | None, fetch_site: str | None, names: Collection[str] = LOOPBACK_NAMES
) -> str | None:
    """Why a request with these headers (Host, Origin, Sec-Fetch-Site) is refused; None where it is not.

    `names` are host names without a port under which this server may be addressed.
    """
    name = host_name(host or "")
    if name not in names:
        return f"this server is not {name[:200]!r}: address it as {' or '.join(sorted(filter(None, names)))}"
    if fetch_site in {"cross-site", "same-site"}:
        return "this server answers no requests of other sites' pages"
    if origin is not None and _place(origin) != (host or "").lower():
        return f"this server answers no requests of pages from {origin[:200]!r}"
    return None


def guarded(application: Application, token: str) -> Application:
    """A WSGI application that answers requests for this machine that bring the token, and nobody else.

    Other hosts' names and other sites' pages get 403. Without the token, as `Authorization: Bearer` or in the URL as
    `token`, the answer is 401.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        refused = refusal(environ.get("HTTP_HOST"), environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE"))
        if refused is None and brings(environ, token):
            return application(environ, start_response)
        status = HTTPStatus.FORBIDDEN if refused else HTTPStatus.UNAUTHORIZED
        body = (
            f"{refused or 'open the address as it was printed: its token is missing here, or another one'}\n".encode()
        )
        headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        start_response(
            f"{status.value} {status.phrase}", headers + ([] if refused else [("WWW-Authenticate", "Bearer")])
        )
        return [body]

    return answer


def brings(environ: Mapping[str, Any], token: str) -> bool:
    """Whether a request brings the token; how much of it is right does not show in the time."""
    scheme, _, bearer = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += parse_qs(environ.get("QUERY_STRING", "")).get("token", [])
    return any(hmac.compare_digest(each.encode(errors="replace"), token.encode()) for each in given)


def _place(origin: str) -> str | None:
    """Host and port of an Origin header; None for what is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without port and brackets, in small letters."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return host.lower()
