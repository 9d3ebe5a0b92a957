"""The metrics part against a real stack: Prometheus' port, the rows in ClickHouse, status, and parts that are down."""

import json
import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from click.testing import CliRunner
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from grafana.ask import asking
from grafana.preview import run as preview
from grafana.preview.answers import Wish, answer
from infra.base import parts
from infra.base.clickhouse_client import connect
from infra.base.loopback import free_ports
from infra.base.settings import Settings, load_settings
from infra.base.wait import until
from infra.cli import cli
from infra.operations.metrics.run import PART
from infra.stack import processes
from infra.stack.stack import Stack
from stream_processing.progress import progress_file
from tests.patience import PATIENCE_S

SMARTMETER = str(Path(sys.executable).with_name("smartmeter"))
WITHIN_S = PATIENCE_S
PROGRESS = {
    "grains": {
        "meter_30s": {
            "state": "running",
            "restarts": 0,
            "error": None,
            "progress": {
                **{"batch": 1, "batch_s": 2.5, "rows": 10, "late_rows": 4, "state_rows": 5, "state_bytes": 4096},
                "end_offsets": {"smart-meter-data": {"0": 0, "1": 0, "2": 0, "3": 0}},
            },
        }
    }
}


def smartmeter(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout


@pytest.fixture(scope="module")
def stack(applied: Stack) -> Stack:
    """The applied one, to which nothing was sent yet: the counts here are exact."""
    return applied


@pytest.fixture(scope="module")
def settings(stack: Stack) -> Settings:
    return load_settings(stack.data_dir)


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """Where metrics are served that run as users run them, on a system whose stream has told of one batch."""
    path = progress_file(stack.data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(PROGRESS))
    (port,) = free_ports(1)
    command = [SMARTMETER, "metrics", "--data-dir", str(stack.data_dir), "--port", str(port), "--every", "1"]
    processes.start(stack.data_dir, PART, processes.Launch(command, {"SMARTMETER_LOG": "json"}))
    url = f"http://127.0.0.1:{port}/metrics?token={parts.token(stack.data_dir)}"
    until(lambda: "smartmeter_source_up" in scrape_text(url), "the metrics to be served", WITHIN_S)
    assert url in parts.log_file(stack.data_dir, PART).read_text()
    return url


def scrape_text(url: str) -> str:
    try:
        return requests.get(url, timeout=5).text
    except requests.ConnectionError:
        return ""


def scrape(url: str) -> dict[tuple[str, ...], float]:
    """Values by metric's name and values of labels."""
    families = text_string_to_metric_families(scrape_text(url))
    return {(s.name.removeprefix("smartmeter_"), *s.labels.values()): s.value for f in families for s in f.samples}


def rows(settings: Settings, metric: str) -> list[tuple[Any, ...]]:
    sql = f"SELECT part, target, event_count, value_last FROM pipeline_metrics_latest WHERE metric = '{metric}'"
    with closing(connect(settings, reader=True)) as client:
        return [tuple(row) for row in client.query(sql).result_rows]


def test_every_source_is_told_to_prometheus(url: str) -> None:
    until(lambda: ("lag_messages", "stream-meter_30s", "smart-meter-data") in scrape(url), "every source", WITHIN_S)
    told = scrape(url)
    assert {key[1]: value for key, value in told.items() if key[0] == "source_up"} == dict.fromkeys(
        ("processes", "kafka", "clickhouse", "registry", "stream"), 1.0
    )
    assert told["schema_versions", "registry", "smart-meter-data-value"] == 2
    assert told["state_bytes", "stream", "meter_30s"] == 4096
    assert told["resident_bytes", "kafka", ""] > 2**20
    assert told["unreadable_messages", "clickhouse-raw_data", ""] == 0


def test_nobody_else_is_told(stack: Stack, url: str) -> None:
    """Prometheus brings the token as a bearer's; a page that was rebound, or who has none, is refused."""
    address, _, token = url.partition("?token=")
    bearer = {"Authorization": f"Bearer {token}"}
    assert "smartmeter_source_up" in requests.get(address, headers=bearer, timeout=10).text
    assert requests.get(address, timeout=10).status_code == 401
    assert requests.get(f"{address}?token=wrong", timeout=10).status_code == 401
    assert requests.get(url, headers={"Host": "evil.example"}, timeout=10).status_code == 403
    assert requests.get(url, headers={"Origin": "http://evil.example"}, timeout=10).status_code == 403
    assert stat.S_IMODE((stack.data_dir / "token").stat().st_mode) == 0o600


def test_lag_and_what_was_unreadable_follow_the_log(settings: Settings, url: str) -> None:
    before = scrape(url)["end_offset_messages", "kafka", settings.kafka_topic]
    producer = Producer({"bootstrap.servers": settings.kafka_brokers})
    for number in range(7):
        producer.produce(settings.kafka_topic, f"no Avro at all {number}".encode(), b"building_1")
    assert producer.flush(30) == 0

    def told() -> bool:
        now = scrape(url)
        return now.get(("unreadable_messages", "clickhouse-raw_data", "")) == 7

    until(told, "seven unreadable messages to be counted", WITHIN_S)
    now = scrape(url)
    assert now["end_offset_messages", "kafka", settings.kafka_topic] == before + 7
    assert now["lag_messages", "clickhouse-raw_data", settings.kafka_topic] == 0
    assert now["lag_messages", "stream-meter_30s", settings.kafka_topic] == before + 7
    (reason,) = [key for key in now if key[0] == "unreadable_by_reason_messages"]
    assert now[reason] == 7, "seven reasons that differ in digits alone are one"


def test_figures_go_through_the_log_into_clickhouse(settings: Settings, url: str) -> None:
    assert url
    until(lambda: rows(settings, "batch_duration_s"), "a window to come through Kafka", WITHIN_S)
    assert rows(settings, "batch_duration_s") == [("stream", "meter_30s", 1, 2.5)], "one batch, told once"
    assert rows(settings, "late_rows") == [("stream", "meter_30s", 1, 4.0)]
    assert {part for part, *_ in rows(settings, "resident_bytes")} >= {"kafka", "registry", "clickhouse", PART}


def test_the_dashboard_shows_them(settings: Settings, url: str) -> None:
    assert url
    (page,) = [page for page in preview.pages() if page.uid == "smartmeter-pipeline"]
    with closing(connect(settings, reader=True)) as client:
        ask = asking(client)

        def drawn() -> dict[str, bool]:
            told = answer(page, Wish("now"), ask, preview.datetime.now(preview.UTC))
            assert not [panel["error"] for panel in told["panels"] if panel["error"]]
            return {panel["title"]: panel["body"] is not None for panel in told["panels"] if panel["kind"] != "row"}

        def all_but_the_tables_age() -> bool:
            """No table but the metrics' own has a row here, and that one's age is not shown."""
            return {title for title, has_data in drawn().items() if not has_data} == {"Oldest table"}

        until(all_but_the_tables_age, "every other panel of the pipeline to have data", WITHIN_S)


def test_verify_accounts_for_them(stack: Stack, url: str) -> None:
    assert url
    code, out = smartmeter("verify", "--data-dir", stack.data_dir, "--json", "--wait", 30)
    report = json.loads(out)
    assert report["positions"]["pipeline_metrics"]["messages"] > 0
    assert [failure for failure in report["failures"] if "pipeline_metrics" in failure] == []
    assert code == (1 if report["failures"] else 0)


def test_status_tells_all_of_it(stack: Stack, url: str) -> None:
    assert url
    code, out = smartmeter("status", "--data-dir", stack.data_dir, "--json")
    told = json.loads(out)
    assert code == 0
    assert {part["part"]: part["state"] for part in told["parts"]} == dict.fromkeys(
        ("kafka", "registry", "clickhouse", PART), "running"
    )
    (metrics,) = [part for part in told["parts"] if part["part"] == PART]
    assert (metrics["address"], bool(metrics["version"])) == (url, True)
    assert {"consumer": "clickhouse-raw_data", "topic": "smart-meter-data", "messages": 0} in told["lag"]
    assert {"consumer": "stream-meter_30s", "topic": "smart-meter-data", "messages": 7} in told["lag"]
    assert told["newest_row_age_s"]["pipeline_metrics"] < 300
    assert "raw_data" not in told["newest_row_age_s"], "a table without rows has no newest one"
    assert told["unreadable"] == {"clickhouse-raw_data": 7}
    assert told["late"]["rows"] == 4
    assert told["repeated_readings"] == 0
    assert told["verification"]["at"] > 0
    assert told["silent"] == {}
    code, table = smartmeter("status", "--data-dir", stack.data_dir)
    assert code == 0
    for words in ("unreadable: 7 by clickhouse-raw_data", "last verify:", "stream-meter_30s"):
        assert words in table


def test_a_part_that_is_down_costs_its_own_figures_alone(stack: Stack, url: str) -> None:
    stack.kill("registry")
    try:
        until(lambda: scrape(url)["source_up", "registry"] == 0, "the registry to be told as down", WITHIN_S)
        told = scrape(url)
        assert (told["source_up", "kafka"], told["source_up", "clickhouse"]) == (1, 1)
        assert not [key for key in told if key[0] == "schema_versions"], "absent rather than stale"
        code, out = smartmeter("status", "--data-dir", stack.data_dir, "--json")
        assert code == 1
        assert list(json.loads(out)["silent"]) == ["registry"]
    finally:
        stack.start("registry")
    until(lambda: scrape(url)["source_up", "registry"] == 1, "the registry to be told as up", WITHIN_S)
    events = [json.loads(line) for line in parts.log_file(stack.data_dir, PART).read_text().splitlines()]
    told_of = [(line["event"], line.get("source")) for line in events if line.get("source") == "registry"]
    assert told_of == [("silent", "registry"), ("answers", "registry")]


def test_a_table_that_is_missing_is_told_as_not_known(stack: Stack, settings: Settings) -> None:
    with closing(connect(settings)) as client:
        client.command("DROP VIEW late_readings_latest")
    try:
        code, out = smartmeter("status", "--data-dir", stack.data_dir, "--json")
        assert (code, json.loads(out)["late"], json.loads(out)["silent"]) == (0, None, {})
    finally:
        done = CliRunner().invoke(cli, ["apply", "--data-dir", str(stack.data_dir)])
        assert done.exit_code == 0, done.output


def test_status_works_with_everything_down_or_nothing_there(tmp_path: Path) -> None:
    code, out = smartmeter("status", "--data-dir", tmp_path, "--json")
    assert code == 1
    told = json.loads(out)
    assert {part["state"] for part in told["parts"]} == {"stopped"}
    assert "smartmeter up" in told["silent"]["settings"]
    assert (told["late"], told["unreadable"], told["verification"]) == (None, None, None)
    assert "not known" in smartmeter("status", "--data-dir", tmp_path)[1]


def test_a_second_one_and_a_taken_port_say_so(stack: Stack, url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "SMARTMETER_DATA_DIR": str(stack.data_dir)}
    second = subprocess.run(
        [SMARTMETER, "metrics"], check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (second.returncode, "runs already" in second.stderr) == (1, True)
    (tmp_path / "stack.json").write_text((stack.data_dir / "stack.json").read_text())
    (tmp_path / "secrets.env").write_text((stack.data_dir / "secrets.env").read_text())
    port = urlsplit(url).port
    taken = [SMARTMETER, "metrics", "--data-dir", str(tmp_path), "--port", str(port)]
    third = subprocess.run(taken, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (third.returncode, f"port {port} is taken" in third.stderr) == (1, True)


def test_stopped_it_has_sent_what_it_had(stack: Stack, settings: Settings, url: str) -> None:
    process = parts.find(stack.data_dir, PART)
    assert process is not None
    processes.stop(process, PART)
    last = json.loads(parts.log_file(stack.data_dir, PART).read_text().splitlines()[-1])
    assert (last["event"], last["rows"] > 0) == ("stopped", True)

    def all_there() -> bool:
        with closing(connect(settings, reader=True)) as client:
            return bool(client.command("SELECT uniqExact(offset) FROM pipeline_metrics") == last["rows"])

    until(all_there, "every acknowledged row to be in ClickHouse", WITHIN_S)
    assert scrape_text(url) == ""
