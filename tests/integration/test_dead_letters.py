"""Dead letters on the shared stack: written once, whatever is killed; the table over them; and the way back."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from clickhouse.dead_letters import service as service_module
from clickhouse.dead_letters.letter import Letter, Origin, all_headers
from clickhouse.dead_letters.redrive import Redrive
from clickhouse.dead_letters.run import lazy_query
from clickhouse.dead_letters.service import Service, run
from clickhouse.dead_letters.transactions import ReplacedByAnother
from clickhouse.verify.dead_letters import WRITE, Letters, account_letters
from infra.base.errors import SmartmeterError
from infra.base.log import Extent, Log
from infra.base.settings import Settings
from infra.base.share_limit import ShareLimit, TooManyUnreadable
from infra.base.wait import until
from infra.stack.stack import Stack
from schemas.manifest import Dataset
from tests.integration.trial import Trial, reading
from tests.patience import PATIENCE_S

NO_LIMIT = ShareLimit(max_share=1.0)
KEY, HEADERS = b"building_\xfe", [("trace", b"\x00\xff"), ("trace", b"2"), ("none", None)]
AT_MS = int(time.time()) * 1000 - 60_000
"""The log's time of what is sent; recent, as tables and topics forget what is old."""
Message = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]


@pytest.fixture
def raw(trial: Trial) -> Dataset:
    return trial.datasets[trial.readings]


def bad_values(trial: Trial) -> list[bytes]:
    """One of each kind that is unreadable."""
    good = trial.encoder(trial.readings, 2).encode(reading(1))
    out_of_contract = trial.encoder(trial.readings, 2).encode(reading(1, power_kw=1e9))
    return [b'{"meter_id": 1}', b"\x00\x3b\x9a\xca\x00" + good[5:], good[:9], out_of_contract]


def send(trial: Trial, raw: Dataset, values: list[bytes], partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": trial.settings.kafka_brokers, "enable.idempotence": True})
    for value in values:
        producer.produce(raw.topic, value, KEY, partition, headers=HEADERS, timestamp=AT_MS)
    assert producer.flush(30) == 0


def logged_ms(trial: Trial, raw: Dataset, partition: int, offset: int) -> int:
    """The log's time of a message: the broker's, whatever time the producer gave it."""
    with Log(trial.settings.kafka) as log:
        [entry] = log.entries(raw.topic, [Extent(partition, offset, offset + 1)])
    assert entry.produced_at_ms > AT_MS
    return entry.produced_at_ms


def send_mixed(trial: Trial, raw: Dataset, good: int = 3) -> int:
    """Good and bad readings in two partitions; how many are bad."""
    bad = bad_values(trial)
    encoder = trial.encoder(trial.readings, 2)
    for partition in (0, 1):
        for number, value in enumerate(bad):
            send(trial, raw, [*(encoder.encode(reading(number * good + n)) for n in range(good)), value], partition)
    return 2 * len(bad)


def await_unreadable(trial: Trial, count: int) -> None:
    trial.await_rows("SELECT uniqExact(partition, offset) FROM {readings}_unreadable", [(count,)])


def service(trial: Trial, limit: ShareLimit = NO_LIMIT) -> Service:
    return Service(trial.datasets, trial.settings.kafka, lazy_query(trial.settings), limit)


def write_all(trial: Trial) -> int:
    return run(service(trial), threading.Event(), once=True)


def messages(settings: Settings, topic: str) -> list[Message]:
    """Committed messages of partition 0, read by nothing of ours."""
    consumer = Consumer({"bootstrap.servers": settings.kafka_brokers, "group.id": "x", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[Message] = []
    try:
        while True:
            message = consumer.poll(20)
            assert message is not None
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF
                return found
            headers: Any = message.headers() or []
            found.append((message.key(), message.value(), tuple(headers)))
    finally:
        consumer.close()


def account(trial: Trial, raw: Dataset) -> Letters:
    with Log(trial.settings.kafka) as log:
        return account_letters(raw, log.extents(raw.topic), lazy_query(trial.settings), log)


def test_each_bad_message_becomes_one_letter_with_all_that_it_was(trial: Trial, raw: Dataset) -> None:
    count = send_mixed(trial, raw)
    await_unreadable(trial, count)
    assert write_all(trial) == count
    assert write_all(trial) == 0, "another run finds nothing left"
    letters = messages(trial.settings, raw.dead_letter_topic)
    assert Counter(value for _, value, _ in letters) == Counter(2 * bad_values(trial))
    origins = set()
    for key, _, headers in letters:
        assert (key, headers[:3]) == (KEY, tuple(HEADERS))
        said = {name.removeprefix("__connect.errors."): value.decode() for name, value in headers[3:] if value}
        assert said["topic"] == raw.topic
        assert said["exception.message"]
        origins.add((int(said["partition"]), int(said["offset"])))
    assert origins == {(partition, 4 * number + 3) for partition in (0, 1) for number in range(4)}
    found = account(trial, raw)
    assert (found.failures, found.unreadable, found.letters) == ([], count, count)


def test_the_table_holds_them_with_headers_and_reads_back_as_declared(trial: Trial, raw: Dataset) -> None:
    count = send_mixed(trial, raw)
    await_unreadable(trial, count)
    write_all(trial)
    where = f"topic = '{raw.topic}'"
    trial.await_rows(f"SELECT count(), uniqExact(partition, offset) FROM dead_letters_latest WHERE {where}", [(8, 8)])
    rows = trial.rows(
        "SELECT hex(key), hex(message), headers.name, arrayMap(v -> hex(v), headers.value), consumer, produced_at, "
        f"redriven_at FROM dead_letters_latest WHERE {where} AND partition = 1 AND offset = 3"
    )
    [(key, message, names, values, consumer, produced_at, redriven_at)] = rows
    assert (bytes.fromhex(key), bytes.fromhex(message)) == (KEY, bad_values(trial)[0])
    assert (list(names), list(values)) == (["trace", "trace", "none"], ["00FF", "32", ""])
    assert consumer == f"clickhouse-{trial.readings}"
    assert (produced_at.replace(tzinfo=UTC).timestamp() * 1000, redriven_at) == (logged_ms(trial, raw, 1, 3), None)
    assert trial.plan().changes == ()


SERVE = """
import sys, threading
from pathlib import Path
from clickhouse.dead_letters.run import lazy_query
from clickhouse.dead_letters.service import Service, run
from infra.base.settings import load_settings
from infra.base.share_limit import ShareLimit
from schemas.manifest import deployed, load_datasets

settings = load_settings(Path(sys.argv[1]))
datasets = deployed(load_datasets(Path(sys.argv[2])), settings.deployment)
service = Service(datasets, settings.kafka, lazy_query(settings), ShareLimit(max_share=1.0))
run(service, threading.Event(), once=True)
"""


def test_killed_in_the_middle_each_message_has_exactly_one_letter(trial: Trial, raw: Dataset) -> None:
    bad = [b"bad %d" % number for number in range(6000)]
    send(trial, raw, bad)
    await_unreadable(trial, len(bad))
    kills = 0
    for after in (200, 1500, 3000):
        process = subprocess.Popen([sys.executable, "-c", SERVE, str(trial.settings.data_dir), str(trial.folder)])
        try:
            until(lambda: end(trial, raw) > after or process.poll() is not None, "letters", PATIENCE_S, 0.005)  # noqa: B023
            kills += process.poll() is None
            process.kill()
        finally:
            process.wait(30)
    assert kills >= 2, "it was in the middle"
    before = len(messages(trial.settings, raw.dead_letter_topic))
    assert 0 < before < len(bad)
    assert write_all(trial) == len(bad) - before
    assert sorted(value or b"" for _, value, _ in messages(trial.settings, raw.dead_letter_topic)) == sorted(bad)
    assert account(trial, raw).failures == []


def end(trial: Trial, raw: Dataset) -> int:
    """The end of the dead-letter topic, what is not committed included."""
    consumer = Consumer(
        {"bootstrap.servers": trial.settings.kafka_brokers, "group.id": "x", "isolation.level": "read_uncommitted"}
    )
    with closing(consumer):
        return int(consumer.get_watermark_offsets(TopicPartition(raw.dead_letter_topic, 0), timeout=20)[1])


def test_the_later_of_two_services_ends_the_earlier(trial: Trial, raw: Dataset) -> None:
    earlier, later = service(trial), service(trial)
    earlier.open()
    later.open()
    send(trial, raw, [b"bad"])
    await_unreadable(trial, 1)
    with pytest.raises(ReplacedByAnother, match="another process does the same"):
        earlier.sweep()
    assert later.sweep() == 1
    assert account(trial, raw).failures == []


def test_too_many_bad_messages_write_nothing_until_somebody_says_so(trial: Trial, raw: Dataset) -> None:
    send(trial, raw, [b"bad"] * 8)
    await_unreadable(trial, 8)
    strict = ShareLimit(max_share=0.05, window=100, minimum=100)
    with pytest.raises(TooManyUnreadable, match="6 of the last 6 messages of partition 0 up to offset 5"):
        run(service(trial, strict), threading.Event(), once=True)
    assert messages(trial.settings, raw.dead_letter_topic) == []
    assert write_all(trial) == 8


def test_where_retention_was_faster_the_letter_is_what_clickhouse_kept(trial: Trial, raw: Dataset) -> None:
    unparsed, out_of_contract = bad_values(trial)[0], bad_values(trial)[3]
    send(trial, raw, [unparsed, out_of_contract, unparsed])
    await_unreadable(trial, 3)
    admin = AdminClient({"bootstrap.servers": trial.settings.kafka_brokers})
    [done] = admin.delete_records([TopicPartition(raw.topic, 0, 2)]).values()
    done.result(30)
    assert write_all(trial) == 3
    letters = messages(trial.settings, raw.dead_letter_topic)
    reasons = [dict(headers)["__connect.errors.exception.message"] for _, _, headers in letters]
    assert [key for key, _, _ in letters] == [None, None, KEY]
    assert [letters[0][1], letters[2][1]] == [unparsed, unparsed]
    assert b"ClickHouse kept these bytes" in (reasons[0] or b"")
    assert b"kept no bytes of it" in (reasons[1] or b"")
    assert b"retention" not in (reasons[2] or b"")
    assert account(trial, raw).failures == []
    outcomes = {outcome.name: outcome.sent for outcome in redrive(trial, raw)}
    assert outcomes == {f"{raw.topic}:0:0": True, f"{raw.topic}:0:1": False, f"{raw.topic}:0:2": True}


def redrive(trial: Trial, raw: Dataset, again: bool = False) -> list[Any]:
    return list(Redrive(trial.datasets, trial.settings.kafka).run(None, raw.topic, again))


def test_a_redriven_message_is_the_original_once_and_comes_back_if_it_is_still_bad(trial: Trial, raw: Dataset) -> None:
    [bad] = bad_values(trial)[:1]
    send(trial, raw, [bad])
    await_unreadable(trial, 1)
    write_all(trial)
    assert [(outcome.name, outcome.sent) for outcome in redrive(trial, raw)] == [(f"{raw.topic}:0:0", True)]
    assert [outcome.sent for outcome in redrive(trial, raw)] == [False], "redriven before"
    assert messages(trial.settings, raw.topic) == 2 * [(KEY, bad, tuple(HEADERS))]
    await_unreadable(trial, 2)
    assert write_all(trial) == 1
    found = account(trial, raw)
    assert (found.failures, found.letters, found.redriven) == ([], 2, 1)
    where = f"topic = '{raw.topic}'"
    trial.await_rows(
        f"SELECT offset, redriven_at IS NULL FROM dead_letters_latest WHERE {where} ORDER BY offset",
        [(0, 0), (1, 1)],
    )


def test_verify_notices_a_letter_missing_doubled_altered_or_made_up(trial: Trial, raw: Dataset) -> None:
    send(trial, raw, [b"bad 0", b"bad 1", *[trial.encoder(trial.readings, 2).encode(reading(1))]])
    await_unreadable(trial, 2)
    assert account(trial, raw).failures == [
        f"{trial.readings}: {raw.topic}:0:{offset} is unreadable and has no dead letter{WRITE}" for offset in (0, 1)
    ]
    write_all(trial)
    assert account(trial, raw).failures == []

    def forge(origin: Origin, value: bytes) -> None:
        at_ms = logged_ms(trial, raw, origin.partition, origin.offset)
        letter = Letter(origin, KEY, value, HEADERS, at_ms, "forged", "forged")
        producer = Producer({"bootstrap.servers": trial.settings.kafka_brokers})
        producer.produce(raw.dead_letter_topic, value, KEY, headers=all_headers(letter), timestamp=at_ms)
        assert producer.flush(30) == 0

    def told() -> list[str]:
        """The failures, without what can be done."""
        return [failure.split(";")[0] for failure in account(trial, raw).failures]

    forge(Origin(raw.topic, 0, 0), b"bad 0")
    assert told() == [f"{trial.readings}: {raw.topic}:0:0 has 2 dead letters"]
    forge(Origin(raw.topic, 0, 1), b"bad ?")
    assert f"{trial.readings}: the dead letter of {raw.topic}:0:1 differs from the message in its bytes" in told()
    forge(Origin(raw.topic, 0, 2), b"good")
    assert f"{trial.readings}: {raw.topic}:0:2 has a dead letter and is not unreadable" in told()


def test_what_is_down_is_waited_for(trial: Trial, raw: Dataset, stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="clickhouse")
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(service(trial), stop))

    def is_told() -> bool:
        return "waiting" in caplog.messages

    send(trial, raw, [b"bad 0"])
    await_unreadable(trial, 1)
    stack.kill("kafka")
    try:
        thread.start()
        until(is_told, "to be told that Kafka is down", PATIENCE_S)
    finally:
        stack.start("kafka")
    try:
        until(lambda: "written" in caplog.messages, "the first letter", PATIENCE_S)
        caplog.clear()
        stack.kill("clickhouse")
        until(is_told, "to be told that ClickHouse is down", PATIENCE_S)
        stack.start("clickhouse")
        send(trial, raw, [b"bad 1"])
        until(lambda: both_written(trial, raw), "both letters", PATIENCE_S, every_s=0.5)
    finally:
        stop.set()
        thread.join(60)
    assert account(trial, raw).failures == []


def both_written(trial: Trial, raw: Dataset) -> bool:
    try:
        return account(trial, raw).letters == 2
    except SmartmeterError:  # a broker that has just started is not the leader of its partitions yet
        return False


def test_the_commands(settings: Settings, trial: Trial) -> None:
    smartmeter = str(Path(sys.executable).with_name("smartmeter"))
    name = f"readings-{uuid.uuid4().hex[:8]}"
    environment = {**os.environ, "SMARTMETER_DATA_DIR": str(settings.data_dir)}

    def command(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [smartmeter, "dead-letters", *arguments],
            env={**environment, **more},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    assert command("list", "--topic", name).stdout == ""
    unknown = command("show", f"{name}:0:1")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no dead letter is named" in unknown.stderr
    assert "they are named topic:partition:offset" in command("show", "nonsense").stderr
    raw = trial.datasets[trial.readings]
    send(trial, raw, [b"bad\x00"])
    await_unreadable(trial, 1)
    write_all(trial)
    trial.await_rows(f"SELECT count() FROM dead_letters_latest WHERE topic = '{raw.topic}'", [(1,)])
    listed = command("list", "--topic", raw.topic)
    assert listed.stdout.startswith(
        f"{raw.topic}:0:0  {datetime.fromtimestamp(logged_ms(trial, raw, 0, 0) / 1000, UTC):%Y-%m-%dT%H:%M:%S}Z  "
    )
    shown = command("show", f"{raw.topic}:0:0").stdout
    assert "key        b'building_\\xfe'" in shown
    assert "header     trace: b'\\x00\\xff'" in shown
    assert "00000000  62 61 64 00" in shown


def test_the_service_is_a_part_that_status_shows_and_a_signal_ends(
    stack: Stack, settings: Settings, trial: Trial
) -> None:
    assert trial.datasets, "applied, so that the topics of all readers are there"
    smartmeter = str(Path(sys.executable).with_name("smartmeter"))
    process = subprocess.Popen(
        [smartmeter, "dead-letters", "run", "--data-dir", str(settings.data_dir)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        until(
            lambda: any(one.part == "dead-letters" and one.pid == process.pid for one in stack.status()),
            "it",
            PATIENCE_S,
        )
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
    assert (process.returncode, output) == (0, "0 dead letters written\n")
    assert all(one.part != "dead-letters" for one in stack.status())


assert service_module.BATCH < 3000, "the test that kills needs more than one batch"
