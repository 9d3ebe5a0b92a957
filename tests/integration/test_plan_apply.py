"""plan and apply on the real stack: from nothing to declared, through changes, kills and what must not be done."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from infra.base.wait import until
from infra.deploy.changes import Step
from schemas.avro import parse_record
from schemas.examples import load_examples
from schemas.registry import Registry
from tests.integration.trial import DEADLINE_S, Trial, reading
from tests.patience import PATIENCE_S


@pytest.fixture
def trial(tmp_path: Path, settings: Settings) -> Iterator[Trial]:
    trial = Trial(tmp_path, settings)
    yield trial
    trial.stop_reading()


def smartmeter(settings: Settings, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from infra.cli import main; main()", *arguments]
    environment = {**os.environ, "SMARTMETER_DATA_DIR": str(settings.data_dir), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False)


def test_from_nothing_to_declared_and_no_further(trial: Trial) -> None:
    assert trial.plan().exit_code == 2
    done = [change for change in trial.apply() if change.name != "dead_letters"]  # what all datasets share
    assert [change.action for change in done] == [
        "create"
    ] * 8  # two datasets: four topics, two subjects, two of tables
    assert trial.plan().exit_code == 0
    assert trial.apply() == []


def test_the_commands_exit_codes(settings: Settings) -> None:
    first = smartmeter(settings, "apply")
    assert first.returncode == 0, first.stderr
    plan = smartmeter(settings, "plan")
    assert (plan.returncode, plan.stdout) == (0, plan.stdout), plan.stderr
    assert "No differences" in plan.stdout
    assert smartmeter(settings, "apply").stdout == "Nothing to apply: all is as declared.\n"

    topic = f"other-readings-{uuid.uuid4().hex[:8]}"
    elsewhere = smartmeter(settings, "plan", KAFKA_TOPIC=topic)
    assert elsewhere.returncode == 2, elsewhere.stderr
    assert f"+ {topic}" in elsewhere.stdout
    assert "raw_data_queue: setting kafka_topic_list: 'smart-meter-data' → " in elsewhere.stdout
    told = json.loads(smartmeter(settings, "plan", "--json", KAFKA_TOPIC=topic).stdout)
    assert [change["name"] for change in told["changes"] if change["kind"] == "topic"] == [
        topic,
        f"{topic}-dead-letters",
    ]


def test_what_is_breaking_is_left_and_the_rest_applied(settings: Settings) -> None:
    topic = f"narrow-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": settings.kafka_brokers})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    until(lambda: topic in admin.list_topics(timeout=10).topics, f"topic {topic}", DEADLINE_S)

    plan = smartmeter(settings, "plan", KAFKA_TOPIC=topic)
    assert plan.returncode == 1
    assert f"! {topic}" in plan.stdout
    assert "set partitions to 1 in the deployment" in plan.stdout
    apply = smartmeter(settings, "apply", KAFKA_TOPIC=topic)
    assert apply.returncode == 1
    left = f"but not topic {topic}, which cannot be changed in place. See `smartmeter plan`"
    assert left in " ".join(apply.stderr.split())
    topics = admin.list_topics(timeout=10).topics
    assert f"{topic}-dead-letters" in topics
    assert len(topics[topic].partitions) == 1
    again = smartmeter(settings, "apply", KAFKA_TOPIC=topic)
    assert (again.returncode, left in " ".join(again.stderr.split())) == (1, True)
    assert "nothing was applied" in again.stderr
    smartmeter(settings, "apply")  # the shared tables read the usual topic again


def test_tables_wait_for_a_schema_that_cannot_be_registered(trial: Trial) -> None:
    """Version 1 of the readings differs from the registered one; the tables of the trend come all the same."""
    raw = trial.datasets[trial.readings]
    Registry(trial.settings.schema_registry_url).register(
        raw.subject, parse_record(raw.versions[1].schema.replace('"unit": "kW"', '"unit": "W"'), "v1")
    )
    assert trial.plan().exit_code == 1
    with pytest.raises(SmartmeterError) as caught:
        trial.apply()
    assert f"but not subject {raw.subject}, which cannot be changed in place; " in str(caught.value)
    assert f"table {trial.readings}, which waits for subject {raw.subject}" in str(caught.value)
    assert trial.plan().applicable == ()
    tables = {name for (name,) in trial.rows("SHOW TABLES")}
    assert {trial.trend, f"{trial.trend}_intake"} <= tables
    assert not {name for name in tables if name.startswith(trial.readings)}
    trend = trial.encoder(trial.trend, 1)
    values = load_examples(trial.datasets[trial.trend], 1, trial.folder)[0].model_dump()
    trial.send(trial.trend, [trend.encode(values)])
    trial.await_rows("SELECT count() FROM {trend}_latest", [(1,)])


def test_a_run_killed_after_any_step_is_finished_by_the_next(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run is stopped after one step, the next after two, and so on until one comes to its end."""
    perform = trial.services.perform
    steps_left = 0

    def until_stopped(step: Step) -> None:
        nonlocal steps_left
        if steps_left == 0:
            raise KeyboardInterrupt
        steps_left -= 1
        perform(step)

    monkeypatch.setattr(trial.services, "perform", until_stopped)
    stopped = 0
    while trial.plan().changes:
        steps_left = stopped = stopped + 1
        with contextlib.suppress(KeyboardInterrupt):
            trial.apply()
    assert stopped > 5
    trial.send(trial.readings, [trial.encoder(trial.readings, 1).encode(reading())])
    trial.await_rows("SELECT count() FROM {readings}_latest", [(1,)])


def test_a_later_version_adds_a_column_while_readings_flow(trial: Trial) -> None:
    trial.only_version_1()
    trial.apply()
    encoder = trial.encoder(trial.readings, 1)
    trial.send(trial.readings, [encoder.encode(reading(i)) for i in range(100)])
    trial.await_rows("SELECT count() FROM {readings}", [(100,)])
    trial.version_2()
    (subject, table) = trial.plan().changes
    assert [detail.what for detail in subject.details] == ["version 2"]
    assert f"{trial.readings}: column sequence" in [detail.what for detail in table.details]

    stop = threading.Event()
    sent = [100]

    def produce() -> None:
        while not stop.is_set():
            trial.send(trial.readings, [encoder.encode(reading(sent[0] + i)) for i in range(50)], partition=1)
            sent[0] += 50

    flow = threading.Thread(target=produce)
    flow.start()
    try:
        trial.apply()
    finally:
        stop.set()
        flow.join()
    assert trial.plan().exit_code == 0
    newer = trial.encoder(trial.readings, 2)
    trial.send(trial.readings, [newer.encode(reading(10**6 + i, sequence=i)) for i in range(10)], partition=2)
    everything = [(sent[0] + 10, sent[0] + 10, 10, 45)]
    trial.await_rows(
        "SELECT count(), uniqExact(partition, offset), count(sequence), sum(sequence) FROM {readings}_latest",
        everything,
    )


def test_a_changed_reader_goes_on_where_the_old_one_stopped(trial: Trial) -> None:
    """Nothing is lost and nothing counts twice, garbage included."""
    trial.apply()
    encoder = trial.encoder(trial.readings, 2)
    stop, sent = threading.Event(), [0]

    def produce() -> None:
        while not stop.is_set():
            batch = [encoder.encode(reading(sent[0] + i)) for i in range(20)]
            trial.send(trial.readings, [*batch, b"garbage"], partition=sent[0] // 20 % 4)
            sent[0] += 20

    flow = threading.Thread(target=produce)
    flow.start()
    try:
        for name in ("_intake", "_queue", "_view", "_unreadable_view"):
            for dependent in dict.fromkeys(("_intake", name)):
                trial.admin().command(f"DROP TABLE IF EXISTS {trial.readings}{dependent}")
            (change,) = trial.apply()
            assert change.action == "change"
    finally:
        stop.set()
        flow.join()
    good, bad = sent[0], sent[0] // 20
    trial.await_rows("SELECT count(), uniqExact(partition, offset) FROM {readings}_latest", [(good, good)])
    trial.await_rows("SELECT count(), uniqExact(partition, offset) FROM {readings}_unreadable FINAL", [(bad, bad)])


@pytest.mark.parametrize("table", ["", "_unreadable"])
def test_a_dropped_table_is_filled_from_its_topic_again(trial: Trial, table: str) -> None:
    trial.apply()
    encoder = trial.encoder(trial.readings, 1)
    trial.send(trial.readings, [*(encoder.encode(reading(i)) for i in range(500)), b"garbage"], partition=3)
    stored = [
        ("SELECT count() FROM {readings}_latest", [(500,)]),
        ("SELECT count() FROM {readings}_unreadable FINAL", [(1,)]),
    ]
    for sql, rows in stored:
        trial.await_rows(sql, rows)
    trial.admin().command(f"DROP TABLE {trial.readings}{table}")
    trial.apply()
    for sql, rows in stored:
        trial.await_rows(sql, rows)


def test_what_others_made_is_listed_and_kept(trial: Trial) -> None:
    trial.apply()
    notes = f"{trial.readings}_notes"
    trial.admin().command(f"CREATE TABLE {notes} (line String) ENGINE = MergeTree ORDER BY line")
    trial.admin().command(f"ALTER TABLE {trial.readings} ADD COLUMN mine Nullable(String)")
    plan = trial.plan()
    assert (plan.exit_code, plan.unmanaged) == (0, (f"table {notes}", f"column {trial.readings}.mine"))
    trial.apply()
    assert trial.rows(f"SELECT count() FROM {notes}") == [(0,)]


def test_without_kafka_the_error_says_where(settings: Settings) -> None:
    answer = smartmeter(settings, "plan", KAFKA_BROKERS="127.0.0.1:1")
    assert answer.returncode == 1
    assert "Kafka at 127.0.0.1:1" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_without_clickhouse_the_error_says_where(settings: Settings) -> None:
    answer = smartmeter(settings, "plan", CLICKHOUSE_URL="http://127.0.0.1:1")
    assert answer.returncode == 1
    assert "ClickHouse at http://127.0.0.1:1" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_step_that_fails_names_the_statement(trial: Trial) -> None:
    from infra.deploy.changes import RunSql

    with pytest.raises(SmartmeterError, match="DROP TABLE there_is_none"):
        trial.services.perform(RunSql("DROP TABLE there_is_none"))
