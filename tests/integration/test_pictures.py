"""Pictures of each dashboard, in worlds that people have: light and dark, on a small screen, a large one and a phone.

They are written to artifacts/pictures, to be looked at; what a machine can see of them is checked here: that nothing is
blank, cut or wider than its place.
"""

from collections.abc import Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from grafana.preview import run
from grafana.preview.browser import HEIGHT, THEMES, WIDTHS, browser, show, wait_drawn
from tests.integration import panel_scale, panel_world
from tests.integration.front_server import running_front
from tests.integration.test_preview import needs_chromium, settings_of

pytestmark = needs_chromium
FOLDER = Path(__file__).parents[2] / "artifacts" / "pictures"
UIDS = [page.uid for page in run.pages()]
METERS = {"ten": 10, "nothing": 0}
PHONE = WIDTHS[-1]
# What is wrong on the page, in words. Tables may be scrolled on a phone, nothing else may.
DEFECTS = """(isPhone) => {
  const defects = [];
  if (document.documentElement.scrollWidth > innerWidth) defects.push("the page is wider than the screen");
  for (const section of document.querySelectorAll("main section")) {
    const title = section.querySelector("h2 b");
    const say = (words) => defects.push(title.textContent + ": " + words);
    if (title.scrollWidth > title.clientWidth + 1) say("the title is cut");
    if (section.querySelector(".error")) say(section.querySelector(".error").textContent);
    for (const number of section.querySelectorAll(".stats strong, .stats small"))
      if (number.scrollWidth > number.clientWidth + 1) say(number.textContent + " is cut");
    const edge = section.getBoundingClientRect().right;
    for (const number of section.querySelectorAll(".bartext"))
      if (number.getBoundingClientRect().right > edge) say(number.textContent + " is cut");
    const legend = section.querySelector(".legend");
    if (legend && legend.scrollWidth > legend.clientWidth + 1) say("the legend is cut");
    for (const name of section.querySelectorAll(".legend td:first-child"))
      if (name.scrollWidth > name.clientWidth + 1) say(name.textContent + " is cut");
    const table = section.querySelector(".scroll");
    if (table && !isPhone && table.scrollWidth > table.clientWidth + 1) say("columns are off-screen");
    const plot = section.querySelector(".plot");
    if (plot && plot.clientHeight < 90) say("the plot is " + plot.clientHeight + " pixels high");
    if (plot && !plot.querySelector(".trace path, .trace rect, .heatmaplayer image, .barlayer path")) say("blank");
    if (section.getBoundingClientRect().height < 60) say("flat");
  }
  return defects;
}"""
ZEROS = {"Late rows by grain", "Anomalies Count Per Building Per Hour", "Anomaly Detection Per Meter"}
"""Panels with bars of nothing in a world without trouble."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="module", params=METERS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The name of a world, and the address of its preview."""
    name: str = request.param
    with running_front(tmp_path_factory.mktemp(name) / "data") as front:
        panel_world.create(front.run)
        if METERS[name]:
            end = panel_scale.newest_minute()
            panel_scale.fill(front.run, panel_scale.Scale(METERS[name], timedelta(hours=2), end, calm=40))
        with run.serving(settings_of(front, tmp_path_factory.mktemp("settings")), refresh_s=0) as url:
            yield name, url


def pictures(chromium: Browser, url: str, uid: str, name: str, span_s: int | None = None) -> tuple[int, list[str]]:
    """Take a dashboard's pictures; how many of its panels draw something, and what is wrong with them, in words."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    page = chromium.new_page(viewport={"width": WIDTHS[0], "height": HEIGHT})
    show(page, url, uid, THEMES[0])
    if span_s is not None:
        page.evaluate("() => { document.body.dataset.ready = ''; }")
        page.select_option("#span", str(span_s))
        wait_drawn(page, uid)
    drawn = page.evaluate("() => document.querySelectorAll('section[data-drawn=yes]').length")
    defects: list[str] = []
    for width, theme in product(WIDTHS, THEMES):
        page.set_viewport_size({"width": width, "height": HEIGHT})
        page.evaluate("theme => setTheme(theme)", theme)
        wait_drawn(page, uid)
        page.screenshot(path=FOLDER / f"{uid.removeprefix('smartmeter-')}-{name}-{theme}-{width}.png", full_page=True)
        found: list[str] = page.evaluate(DEFECTS, width == PHONE)
        defects += [f"{width} {theme} {each}" for each in found if each.removesuffix(": blank") not in ZEROS]
    page.close()
    return drawn, defects


@pytest.mark.parametrize("uid", UIDS)
def test_nothing_is_blank_cut_or_too_wide(chromium: Browser, world: tuple[str, str], uid: str) -> None:
    name, url = world
    drawn, defects = pictures(chromium, url, uid, name)
    assert (drawn > 0) == (name != "nothing")
    assert defects == []


def test_the_theme_is_that_of_the_page(chromium: Browser, world: tuple[str, str]) -> None:
    _, url = world
    page = chromium.new_page()
    for theme, ground in (("light", "rgb(244, 245, 245)"), ("dark", "rgb(17, 18, 23)")):
        show(page, url, UIDS[0], theme)
        assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == ground
    page.click("#theme")
    wait_drawn(page, UIDS[0])
    assert page.evaluate("() => document.documentElement.dataset.theme") == "light"
    page.close()
