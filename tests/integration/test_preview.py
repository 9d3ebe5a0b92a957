"""The preview in a real browser: every panel draws, controls work, nothing complains; a snapshot needs no server."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Page

from grafana.panels import ROW
from grafana.preview import run
from grafana.preview.browser import SIZE, browser, find_chromium, show, wait_drawn
from infra.base.deployment import load_deployment
from infra.base.errors import SmartmeterError
from infra.base.settings import RAW_TOPIC, Settings
from tests.integration import panel_world as world
from tests.integration.front_server import ADMIN, READER, FrontServer, running_front

needs_chromium = pytest.mark.skipif(
    find_chromium() is None and not os.environ.get("CI"),
    reason="no Chromium on this machine: `apt-get install chromium`; in CI these tests must run",
)
UIDS = [page.uid for page in run.pages()]
CALM = {"Silent meters", "Anomalies found", "What the models say"}
"""Panels with nothing to show: no meter is silent, and in the world's last hour nothing was found."""
UNTIL = f"{world.END:%Y-%m-%dT%H:%M}"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontServer]:
    with running_front(tmp_path_factory.mktemp("preview") / "data") as front:
        world.create(front.run)
        world.insert(front.run)
        yield front


@pytest.fixture(scope="module")
def settings(front: FrontServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_of(front, tmp_path_factory.mktemp("data"))


def settings_of(front: FrontServer, data_dir: Path) -> Settings:
    return Settings.model_validate(
        {
            "stack_dir": data_dir,
            "data_dir": data_dir,
            "deployment": load_deployment(),
            "kafka_brokers": "127.0.0.1:1",
            "kafka_topic": RAW_TOPIC,
            "schema_registry_url": front.registry_url,
            "clickhouse_schema_registry_url": front.registry_url,
            "clickhouse_url": front.url,
            "clickhouse_user": ADMIN[0],
            "clickhouse_password": ADMIN[1],
            "clickhouse_reader_user": READER[0],
            "clickhouse_reader_password": READER[1],
        }
    )


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    with run.serving(settings, refresh_s=0) as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as chromium:
        yield chromium


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A fresh page; whatever it complains of fails the test."""
    page = chromium.new_page(viewport=SIZE)  # type: ignore[arg-type]
    complaints: list[str] = []
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
    page.on("response", lambda response: complaints.append(response.url) if response.status >= 400 else None)
    yield page
    page.close()
    assert complaints == []


def at_the_worlds_end(page: Page, uid: str) -> None:
    """The known rows end at noon yesterday, and the figures of the pipeline too."""
    page.select_option("#until", "custom")
    wait_drawn(page, uid)
    page.fill("#at", UNTIL)
    page.dispatch_event("#at", "change")
    page.wait_for_function(
        "end => document.getElementById('state').textContent.includes(end)", arg=f"{world.END:%Y-%m-%d %H:%M}"
    )
    wait_drawn(page, uid)


def panels(page: Page) -> dict[str, bool]:
    """Panel titles, and whether the panel draws something."""
    found: dict[str, bool] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('main section')].map((section) => [
            section.querySelector('h2 b').textContent,
            section.dataset.drawn === 'yes' && section.querySelector('.plot svg path, .stats strong, td') !== null]))"""
    )
    return found


def panel_id(title: str) -> str:
    """The panel's element on the page."""
    (found,) = [panel.id for dashboard in run.pages() for panel in dashboard.panels if panel.title == title]
    return f"#panel-{found}"


@needs_chromium
@pytest.mark.parametrize("uid", UIDS)
def test_every_panel_draws_data(page: Page, url: str, uid: str) -> None:
    show(page, url, uid)
    at_the_worlds_end(page, uid)
    (dashboard,) = [each for each in run.pages() if each.uid == uid]
    titles = [panel.title for panel in dashboard.panels if panel.kind != ROW]
    assert panels(page) == {title: title not in CALM for title in titles}


@needs_chromium
def test_a_meter_follows_its_building_and_the_lines_follow_both(page: Page, url: str) -> None:
    show(page, url, UIDS[0])
    at_the_worlds_end(page, UIDS[0])
    assert lines(page) == ["Meter 11", "Meter 12", "Meter 21"]
    pick(page, "building_id", "Building 2")
    assert options(page, "meter_id") == ["All", "Meter 21"]
    assert lines(page) == ["Meter 21"]


def pick(page: Page, variable: str, text: str) -> None:
    page.evaluate("() => { document.body.dataset.ready = ''; }")
    page.click(f"#var-{variable} summary")
    page.click(f"#var-{variable} label:has-text('{text}') input")
    page.click("#about")
    wait_drawn(page, UIDS[0])


def options(page: Page, variable: str) -> list[str]:
    found: list[str] = page.evaluate(
        "name => [...document.querySelectorAll(`#var-${name} div div label`)].map((each) => each.textContent)", variable
    )
    return found


def lines(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        "id => document.querySelector(id + ' .plot').data.map((trace) => trace.name)",
        panel_id("Meter Minute-level Power Trend"),
    )
    return found


@needs_chromium
def test_from_a_building_to_a_meters_readings_by_clicks(page: Page, url: str) -> None:
    show(page, url, "smartmeter-buildings")
    at_the_worlds_end(page, "smartmeter-buildings")
    page.click(f"{panel_id('Buildings')} td a:text-is('2')")
    page.wait_for_function("() => location.hash.startsWith('#smartmeter-meters')")
    wait_drawn(page, "smartmeter-meters")
    assert lines(page) == ["Meter 21"]
    page.click(f"{panel_id('The meters drawn')} td a:text-is('21')")
    wait_drawn(page, "smartmeter-readings")
    assert page.input_value("#var-meter_id") == "21"
    assert "21:" not in (page.text_content(f"{panel_id('Anomalies found')} td") or "")
    assert "low consumption" in (page.text_content(f"{panel_id('Anomalies found')} table") or "")


@needs_chromium
def test_limits_and_anomalies_are_drawn(page: Page, url: str) -> None:
    show(page, url, "smartmeter-readings")
    at_the_worlds_end(page, "smartmeter-readings")
    page.select_option("#span", "21600")
    page.wait_for_function("id => document.querySelectorAll(id + ' td').length > 0", arg=panel_id("Anomalies found"))
    wait_drawn(page, "smartmeter-readings")
    layout: dict[str, Any] = page.evaluate("id => document.querySelector(id + ' .plot').layout", panel_id("Voltage"))
    assert [shape["y0"] for shape in layout["shapes"] if shape["type"] == "line"] == [210, 250]
    assert [shape["type"] for shape in layout["shapes"]].count("rect") == 2


@needs_chromium
def test_a_time_without_data_says_so(page: Page, url: str) -> None:
    show(page, url, "smartmeter-pipeline")
    page.select_option("#until", "now")
    wait_drawn(page, "smartmeter-pipeline")
    assert not any(panels(page).values())
    assert "No data in this time" in (page.text_content(panel_id("Lag by consumer")) or "")
    about = page.get_attribute(f"{panel_id('Lag by consumer')} h2 span", "title") or ""
    assert "smartmeter metrics" in about


@needs_chromium
def test_the_page_asks_again_by_itself(chromium: Browser, settings: Settings, front: FrontServer) -> None:
    with run.serving(settings, refresh_s=1) as url:
        page = chromium.new_page()
        show(page, url, UIDS[0])
        page.select_option("#until", "newest")
        wait_drawn(page, UIDS[0])
        later = world.END + timedelta(hours=3, minutes=1)
        assert f"{later:%H:%M}" in (page.text_content("#state") or "")
        moved = ", ".join(f"{name} + toIntervalMinute(30) AS {name}" for name in ("window_start", "window_end"))
        front.run(
            f"INSERT INTO meter_minute_trend SELECT * REPLACE ({moved}) FROM "
            f"(SELECT * FROM meter_minute_trend WHERE window_end = '{later:%F %T}')"
        )
        awaited = f"{later + timedelta(minutes=30):%H:%M}"
        page.wait_for_function("end => document.getElementById('state').textContent.includes(end)", arg=awaited)
        page.close()
        front.run(
            f"ALTER TABLE meter_minute_trend DELETE WHERE window_start > '{later:%F %T}' SETTINGS mutations_sync = 1"
        )


@needs_chromium
def test_a_snapshot_is_one_file_and_needs_no_server(page: Page, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "dashboards.html"
    run.write(settings, file)
    for uid in UIDS[:2]:
        show(page, f"file://{file}", uid)
        assert any(panels(page).values())
    assert "a snapshot" in (page.text_content("#state") or "")
    assert "http" not in {
        word.split("://")[0] for word in page.evaluate("performance.getEntriesByType('resource').map(e => e.name)")
    }


@needs_chromium
def test_pictures_of_all_dashboards(settings: Settings, tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:  # a thread of its own, as one thread drives one browser
        paths = pool.submit(lambda: list(run.take_pictures(settings, tmp_path / "images", "dark", 1280))).result()
    assert [path.name for path in paths] == [f"{uid.removeprefix('smartmeter-')}.png" for uid in UIDS]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000 for path in paths)


def get(url: str, path: str, parameters: dict[str, str] | None = None) -> requests.Response:
    """Ask for a path of the server that was opened at `url`, with the token that is in it."""
    base, _, token = url.partition("?token=")
    return requests.get(base + path, params={**(parameters or {}), "token": token}, timeout=60)


def test_what_the_server_refuses(url: str) -> None:
    assert get(url, "nothing").status_code == 404
    assert get(url, "dashboard/nothing").status_code == 404


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("until", "soon", "until 'soon'"),
        ("until", "0001-01-01T00:00", "a year from 1972"),
        ("until", "9999-12-31T23:59", "a year from 1972"),
        ("until", "1" * 5000, "until '111"),
        ("span", "1d", "span '1d'"),
        ("span", "9" * 5000, "is not a number of seconds"),
        ("span", "9" * 10, "is not a number of seconds"),
        ("span", "٣", "is not a number of seconds"),
    ],
)
def test_a_time_that_is_none_is_answered_with_a_sentence(url: str, name: str, value: str, words: str) -> None:
    answer = get(url, f"dashboard/{UIDS[0]}", {name: value})
    assert (answer.status_code, words in answer.json()["error"]) == (200, True)
    assert len(answer.text) < 500


@pytest.mark.parametrize(
    "parameters",
    [
        {"span": "999999999"},
        {"span": "1"},
        {"span": "999999999", "until": "1972-01-01T00:00"},
        {"span": "999999999", "until": "2104-12-31T23:59"},
    ],
)
def test_the_ends_of_time_are_drawn(url: str, parameters: dict[str, str]) -> None:
    for uid in UIDS:
        told = get(url, f"dashboard/{uid}", parameters).json()
        assert [panel["error"] for panel in told["panels"] if panel["error"]] == []


def test_only_who_was_told_the_address_is_answered(url: str) -> None:
    base = url.partition("?")[0]
    for path in ("", "?token=wrong", f"dashboard/{UIDS[0]}"):
        assert requests.get(base + path, timeout=10).status_code == 401
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert requests.get(url, headers=headers, timeout=10).status_code == 403


def test_a_value_that_is_no_option_is_not_put_into_the_sql(url: str) -> None:
    evil = get(url, f"dashboard/{UIDS[0]}", {"until": UNTIL, "var-meter_id": "1) OR (1=1"}).json()
    assert evil["variables"][1]["all"], "as if nothing was chosen"
    assert not any(panel["error"] for panel in evil["panels"])


def test_a_panel_that_fails_says_so_and_the_others_are_drawn(front: FrontServer, url: str) -> None:
    front.run("RENAME TABLE meter_hourly_voltage_monitoring TO away")
    try:
        told = get(url, f"dashboard/{UIDS[0]}", {"until": UNTIL}).json()
    finally:
        front.run("RENAME TABLE away TO meter_hourly_voltage_monitoring")
    failed = {panel["title"]: panel["error"] for panel in told["panels"] if panel["error"]}
    assert list(failed) == ["Voltage Monitoring Per Meter Per Hour"]
    assert "UNKNOWN_TABLE" in failed["Voltage Monitoring Per Meter Per Hour"]


def test_a_taken_port_is_named(settings: Settings, url: str) -> None:
    port = urlsplit(url).port or 0
    with pytest.raises(SmartmeterError, match=f"port {port} for|port {port} is taken"), run.serving(settings, port):
        pass
