"""The preview's entry points: serve it, write it, take its pictures."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import waitress

from grafana.ask import asking
from grafana.panels import Page, read_page
from grafana.preview.answers import Wish
from grafana.preview.browser import HEIGHT, SIZE, browser, show
from grafana.preview.serve import REFRESH_S, Preview, snapshot
from grafana.render import load
from infra.base import parts
from infra.base.clickhouse_client import connect
from infra.base.errors import SmartmeterError
from infra.base.loopback import HOST, chosen_port
from infra.base.same_origin import guarded
from infra.base.settings import Settings
from infra.base.signals import stopped_by_signals

PART = "preview"
THREADS = 4
STOP_WITHIN_S = 5.0


def grafanas_name(zone: str) -> str:
    """A time zone as Grafana names it; raises SmartmeterError for one that is none."""
    try:
        return "utc" if ZoneInfo(zone).key == "UTC" else zone
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise SmartmeterError(f"no time zone is named {zone!r}; give an IANA name such as Europe/Paris") from error


def pages() -> list[Page]:
    """The committed dashboards."""
    return [read_page(dashboard) for dashboard in load()]


def serve(settings: Settings, port: int, refresh_s: int, zone: str, started: Callable[[str], None]) -> None:
    """Serve the page until SIGTERM or SIGINT, recorded as a part of the data directory; `started` gets its address."""
    with (
        stopped_by_signals() as stop,
        parts.this_process_is(settings.stack_dir, settings.deployment.named(PART), "the preview") as found_at,
        serving(settings, port, refresh_s, zone) as url,
    ):
        found_at(url)
        started(url)
        stop.wait()


@contextmanager
def serving(settings: Settings, port: int = 0, refresh_s: int = REFRESH_S, zone: str = "utc") -> Iterator[str]:
    """The page served on this machine while the context lasts; its address, with the token that it asks for."""
    port, token = chosen_port(port), parts.token(settings.stack_dir)
    preview = Preview(pages(), asking(connect(settings, reader=True)), refresh_s, zone)
    server = waitress.create_server(guarded(preview, token), host=HOST, port=port, threads=THREADS, ident=None)
    serving_thread = threading.Thread(target=server.run, name="preview", daemon=True)
    serving_thread.start()
    try:
        yield f"http://{HOST}:{port}/?token={token}"
    finally:
        # In the server's own thread: it would trip over sockets that another one closes.
        server.trigger.pull_trigger(lambda: _close(server))
        serving_thread.join(STOP_WITHIN_S)


def _close(server: Any) -> None:
    for channel in list(server.active_channels.values()):
        channel.handle_close()
    server.close()


def write(settings: Settings, path: Path, zone: str = "utc") -> None:
    """The page as one file, with what the dashboards show now."""
    text = snapshot(pages(), Wish(zone=zone), asking(connect(settings, reader=True)), datetime.now(UTC))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def take_pictures(settings: Settings, folder: Path, theme: str = "light", width: int = SIZE["width"]) -> Iterator[Path]:
    """A picture of each whole dashboard; yields each file as soon as it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    with serving(settings, refresh_s=0) as url, browser() as chromium:
        page = chromium.new_page(viewport={"width": width, "height": HEIGHT})
        for each in pages():
            show(page, url, each.uid, theme)
            path = folder / f"{each.uid.removeprefix('smartmeter-')}.png"
            page.screenshot(path=path, full_page=True)
            yield path
