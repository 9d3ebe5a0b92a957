"""The preview's page: served live on this machine, or written whole as a snapshot."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from plotly.offline import get_plotlyjs

from grafana.data import Ask
from grafana.panels import Page
from grafana.preview.answers import Wish, answer
from infra.base.errors import SmartmeterError

FOLDER = Path(__file__).parent
REFRESH_S = 10
log = logging.getLogger(__name__)

Environ = Mapping[str, Any]
StartResponse = Callable[..., Any]


def html(pages: Sequence[Page], answers: Mapping[str, Any] | None = None, refresh_s: int = REFRESH_S) -> str:
    """The whole page, with the plotting library in it; with `answers` it is a snapshot that needs no server."""
    told = {
        "dashboards": [{"uid": page.uid, "title": page.title} for page in pages],
        "answers": answers,
        "refresh": refresh_s,
    }
    # In a script element nothing but its end tag has a meaning.
    safe = json.dumps(told).replace("</", "<\\/")
    text = (FOLDER / "page.html").read_text(encoding="utf-8")
    parts = {
        "/*STYLE*/": (FOLDER / "page.css").read_text(encoding="utf-8"),
        "/*PAGE*/null": safe,
        "/*SCRIPT*/": (FOLDER / "page.js").read_text(encoding="utf-8"),
        "/*PLOTLY*/": get_plotlyjs(),
    }
    for mark, part in parts.items():
        text = text.replace(mark, part)
    return text


def snapshot(pages: Sequence[Page], wish: Wish, ask: Ask, now: datetime) -> str:
    """The page with every dashboard's answer in it."""
    return html(pages, {page.uid: answer(page, wish, ask, now) for page in pages})


class Preview:
    """The WSGI application: the page, and one dashboard's answer as JSON. It only reads."""

    def __init__(self, pages: Sequence[Page], ask: Ask, refresh_s: int = REFRESH_S, zone: str = "utc") -> None:
        self._zone = zone
        self._pages = {page.uid: page for page in pages}
        self._ask = ask
        self._html = html(pages, refresh_s=refresh_s).encode()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/":
            return _reply(start_response, HTTPStatus.OK, "text/html; charset=utf-8", self._html)
        page = self._pages.get(path.removeprefix("/dashboard/"))
        if page is None:
            return _reply(start_response, HTTPStatus.NOT_FOUND, "text/plain", f"nothing at {path}\n".encode())
        try:
            told = answer(page, _wish(environ["QUERY_STRING"], self._zone), self._ask, datetime.now(UTC))
        except SmartmeterError as error:
            log.warning("%s: %s", page.uid, error)
            told = {"error": str(error)}
        return _reply(start_response, HTTPStatus.OK, "application/json", json.dumps(told).encode())


def _wish(query: str, zone: str) -> Wish:
    given = parse_qs(query)
    span = given.get("span", [""])[0]
    if span and not re.fullmatch("[0-9]{1,9}", span):
        raise SmartmeterError(f"span {span[:100]!r} is not a number of seconds")
    chosen = {name.removeprefix("var-"): values for name, values in given.items() if name.startswith("var-")}
    return Wish(given.get("until", ["auto"])[0], int(span) if span else None, chosen, zone)


def _reply(start_response: StartResponse, status: HTTPStatus, kind: str, body: bytes) -> Iterable[bytes]:
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(f"{status.value} {status.phrase}", headers)
    return [body]
