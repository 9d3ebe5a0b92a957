"""The preview in this machine's Chromium, without a window: for tests and pictures."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.base.errors import SmartmeterError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
HEIGHT = 900
WIDTHS = (1280, 1920, 390)
"""A small screen, a large one, and a phone."""
THEMES = ("light", "dark")
SIZE = {"width": 1500, "height": HEIGHT}
DRAWN_WITHIN_MS = 120_000


def find_chromium() -> str | None:
    """Where Chromium is; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def browser() -> Iterator["Browser"]:
    """A running Chromium; raises SmartmeterError where it, or the package that drives it, is missing."""
    path = find_chromium()
    if path is None:
        raise SmartmeterError("there is no Chromium on this machine: `apt-get install chromium`")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise SmartmeterError("the package playwright is missing: `pip install -e .[dev]`") from error
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


def show(page: "Page", url: str, uid: str, theme: str = "light") -> None:
    """Go to a dashboard, and return when every panel of it is drawn."""
    page.goto("about:blank")  # else a new fragment alone would not load the page anew
    page.goto(f"{url}{'&' if '?' in url else '?'}theme={theme}#{uid}")
    wait_drawn(page, uid)


def wait_drawn(page: "Page", uid: str) -> None:
    """Return when the dashboard's answer has come and is drawn; raises playwright's TimeoutError otherwise."""
    page.wait_for_function("uid => document.body.dataset.ready === uid", arg=uid, timeout=DRAWN_WITHIN_MS)
