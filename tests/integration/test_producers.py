"""The producers against a real broker and registry: each reading once, whoever is killed."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Producer

from infra.base.columns import Columns, take
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.settings import Settings
from infra.base.wait import until
from infra.stack.stack import Stack
from producers.run import SendReport, import_csv, simulate
from producers.settings import CsvOptions, Period, Simulation, Throttle
from producers.simulator import Simulator
from producers.sink import Unacknowledged, open_sink
from producers.validation import OutOfContract
from tests.integration.raw_topic import DEADLINE_S, RawTopic, Row
from tests.patience import PATIENCE_S

BEGIN = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
HOUR = 3_600_000
FLEET = Simulation(buildings=7, meters_per_building=5, seed=11)


@pytest.fixture
def topic(settings: Settings) -> RawTopic:
    return RawTopic(settings)


def simulated(fleet: Simulation, from_ms: int, to_ms: int) -> list[Row]:
    """The readings of a span as the simulator has them, one after the other."""
    source = Simulator(fleet)
    return as_rows(source.readings(source.tick_at(from_ms), source.tick_at(to_ms)))


def as_rows(columns: Columns) -> list[Row]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*(c.tolist() for c in columns.values()), strict=True)
    ]


def identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("meter_id", "timestamp", "building_id", "power_kw", "voltage_v", "status"))


def assert_each_once(topic: RawTopic, expected: list[Row]) -> list[Row]:
    """The topic holds these readings, each once, and those of one key in one partition and in this order."""
    rows = topic.rows()
    assert len(rows) == len(expected)
    assert sorted(map(identity, rows)) == sorted(map(identity, expected))
    of_key: dict[bytes, list[Row]] = {}
    for row in rows:
        of_key.setdefault(row["key"], []).append(row)
    by_building = sorted(expected, key=itemgetter("building_id"))
    for building, own in groupby(by_building, key=itemgetter("building_id")):
        sent = of_key.pop(f"building_{building}".encode())
        assert len({row["partition"] for row in sent}) == 1
        assert list(map(identity, sent)) == list(map(identity, own))
    assert not of_key
    return rows


def smartmeter(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from infra.cli import main; main()", *arguments]


def environment(topic: RawTopic) -> dict[str, str]:
    return {**os.environ, "SMARTMETER_DATA_DIR": str(topic.stack_settings.data_dir), "KAFKA_TOPIC": topic.name}


def run(topic: RawTopic, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        smartmeter(*arguments),
        env=environment(topic),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def span_of(hours: float, fleet: Simulation = FLEET) -> tuple[str, ...]:
    """Options of `smartmeter simulate` for the first hours of the year."""
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(BEGIN / 1000 + 3600 * hours))
    return (
        *("--from", "2026-01-01", "--to", end, "--seed", str(fleet.seed)),
        *("--buildings", str(fleet.buildings), "--meters-per-building", str(fleet.meters_per_building)),
    )


@pytest.mark.parametrize("version", [1, 2])
def test_simulate_sends_exactly_the_simulators_readings(topic: RawTopic, version: int) -> None:
    done = run(topic, "simulate", *span_of(0.5), "--schema-version", str(version))
    assert done.returncode == 0, done.stderr
    expected = simulated(FLEET, BEGIN, BEGIN + HOUR // 2)
    rows = assert_each_once(topic, expected)
    if version == 2:
        assert all(row["sequence"] * 5000 == row["timestamp"] for row in rows)
    else:
        assert all("sequence" not in row for row in rows)
    assert re.search(rf"readings sent +{len(expected):,}\b", done.stdout), done.stdout
    assert re.search(rf"acknowledged +{len(expected):,}\b", done.stdout), done.stdout


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(settings: Settings) -> None:
    """Ids of schemas may differ from topic to topic, so the bytes are compared after the framing."""
    period = Period(from_ms=BEGIN, to_ms=BEGIN + 10 * 60_000)
    sent = []
    for seed, chunk_s in ((11, 30.0), (11, 7.0), (12, 30.0)):
        topic = RawTopic(settings)
        simulate(FLEET.model_copy(update={"seed": seed}), topic.sink(), period, Throttle(chunk_s=chunk_s))
        messages = sorted(topic.messages(), key=lambda one: one.key)  # stable: in order within each key
        sent.append([(one.key, one.partition, one.value[5:]) for one in messages])
    assert sent[0] == sent[1]
    assert sent[0] != sent[2]


def killed(topic: RawTopic, after: int, *arguments: str) -> int:
    """Start a producer, kill -9 it when the topic holds more than `after` messages; how many it holds then."""
    process = subprocess.Popen(
        smartmeter(*arguments), env=environment(topic), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:

        def far_enough() -> bool:
            assert process.poll() is None, "it ended before it could be killed"
            return topic.count() > after

        until(far_enough, f"more than {after} messages", DEADLINE_S, every_s=0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    return topic.count()


def test_a_producer_that_is_killed_twice_and_started_again_sends_each_reading_once(topic: RawTopic) -> None:
    options = ("simulate", *span_of(1))
    expected = simulated(FLEET, BEGIN, BEGIN + HOUR)
    held = killed(topic, 1_000, *options, "--rate-limit", "4000")
    held = killed(topic, held + 1_000, *options, "--rate-limit", "4000")
    assert held < len(expected)
    done = run(topic, *options)
    assert done.returncode == 0, done.stderr
    assert "going on there" in done.stderr
    assert_each_once(topic, expected)
    again = simulate(FLEET, topic.sink(), Period(from_ms=BEGIN, to_ms=BEGIN + HOUR))
    assert again.sent == 0
    assert topic.count() == len(expected)


def test_of_a_chunk_that_arrived_in_part_the_rest_is_sent(topic: RawTopic) -> None:
    """A kill may leave the partitions apart by a chunk at most: here two buildings are ahead of the others."""
    source = Simulator(FLEET)
    columns = source.readings(source.tick_at(BEGIN), source.tick_at(BEGIN + 60_000))
    first_chunk = columns["timestamp"] < BEGIN + 30_000
    came = np.isin(columns["building_id"], (3, 5)) & (columns["timestamp"] < BEGIN + 50_000)
    sink = open_sink(topic.sink(), topic.dataset, topic.registry, Event())
    sink.send(take(columns, first_chunk | came))
    sink.flush()
    report = simulate(FLEET, topic.sink(), Period(from_ms=BEGIN, to_ms=BEGIN + HOUR // 4))
    assert report.already_there == sink.sent
    assert_each_once(topic, simulated(FLEET, BEGIN, BEGIN + HOUR // 4))


def in_thread(work: Callable[[], SendReport]) -> tuple[Thread, list[SendReport | BaseException]]:
    """Start work; the list holds its outcome when the thread has ended."""
    outcome: list[SendReport | BaseException] = []

    def guarded() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - handed to the test
            outcome.append(error)

    thread = Thread(target=guarded)
    thread.start()
    return thread, outcome


class Notes:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.acknowledged = 0

    def at(self, event_ms: int, acknowledged: int) -> None:  # noqa: ARG002 - ProgressDisplay's signature
        self.acknowledged = acknowledged

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def broker_down(stack: Stack) -> Iterator[Callable[[], None]]:
    """Takes the broker down; it is up again when the test ends."""
    yield lambda: stack.kill("kafka")
    if stack.process("kafka") is None:
        stack.up()


def test_a_broker_that_is_down_is_waited_for_and_everything_arrives_once(
    settings: Settings, stack: Stack, broker_down: Callable[[], None]
) -> None:
    """Two producers: one waits until the broker is back, the other is told to stop and says what it cannot know."""
    topic, other = RawTopic(settings), RawTopic(settings)
    stop, period, throttle = Event(), Period(from_ms=BEGIN, to_ms=BEGIN + HOUR), Throttle(rate_limit=5000.0)
    told, others = Notes(), Notes()
    thread, outcome = in_thread(lambda: simulate(FLEET, topic.sink(), period, throttle, progress=told))
    sink = other.sink(stop_timeout_s=0.5)
    other_thread, other_outcome = in_thread(lambda: simulate(FLEET, sink, period, throttle, stop, others))
    until(lambda: min(told.acknowledged, others.acknowledged) > 2_000, "both to be under way", DEADLINE_S)
    broker_down()
    for notes in (told.notes, others.notes):
        until(lambda: any("waiting for" in note for note in notes), "the producer to say that it waits", DEADLINE_S)  # noqa: B023

    stop.set()
    other_thread.join(DEADLINE_S)
    assert isinstance(other_outcome[0], Unacknowledged)
    assert re.search(r"stopped, and \d+ readings are not acknowledged after 0.5 s", str(other_outcome[0]))

    assert thread.is_alive()
    stack.up()
    thread.join(DEADLINE_S)
    expected = simulated(FLEET, BEGIN, BEGIN + HOUR)
    report = outcome[0]
    assert isinstance(report, SendReport), report
    assert report.sent == report.acknowledged == len(expected)
    assert_each_once(topic, expected)


class Clock:
    """The clock of a live simulation: real time, moved to where a test wants it."""

    def __init__(self, at_ms: int) -> None:
        self.move(at_ms)

    def move(self, at_ms: int) -> None:
        self._offset = at_ms - time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self._offset


@pytest.mark.parametrize("skip_missed", [False, True])
def test_a_live_simulator_goes_on_where_the_topic_ends(topic: RawTopic, skip_missed: bool) -> None:
    fast = FLEET.model_copy(update={"interval_ms": 100})
    clock = Clock(BEGIN + 50)
    first = simulate(fast, topic.sink(), Period(live=True, live_s=1.0), now_ms=clock)
    assert first.first_ms is not None
    assert first.last_ms is not None
    assert BEGIN + 50 <= first.first_ms < first.last_ms
    assert_each_once(topic, simulated(fast, first.first_ms, first.last_ms + 1))

    clock.move(BEGIN + 120_050)
    period = Period(live=True, live_s=1.0, skip_missed=skip_missed)
    second = simulate(fast, topic.sink(), period, now_ms=clock)
    assert second.resumed_after_ms == first.last_ms
    assert second.first_ms is not None
    assert second.last_ms is not None
    if skip_missed:
        assert 0 <= second.first_ms - (BEGIN + 120_050) < DEADLINE_S * 1000
        expected = simulated(fast, first.first_ms, first.last_ms + 1)
        expected += simulated(fast, second.first_ms, second.last_ms + 1)
    else:
        assert second.first_ms == first.last_ms + 100
        expected = simulated(fast, first.first_ms, second.last_ms + 1)
    assert_each_once(topic, expected)


def test_a_live_simulator_stops_in_order(topic: RawTopic) -> None:
    process = subprocess.Popen(
        smartmeter("simulate", "--live", "--interval", "0.1", "--buildings", "2"),
        env=environment(topic),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: topic.count() > 40 or process.poll() is not None, "readings", DEADLINE_S)
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "stopped before the end" in out
    assert re.search(rf"acknowledged +{topic.count():,}\b", out), out


def test_what_is_not_there_gives_a_sentence(topic: RawTopic) -> None:
    period = Period(from_ms=BEGIN, to_ms=BEGIN + 60_000)
    absent = topic.sink().model_copy(update={"topic": f"absent-{uuid.uuid4().hex[:8]}"})
    with pytest.raises(SmartmeterError, match=r"no topic absent-.*: run `smartmeter apply`"):
        simulate(FLEET, absent, period)
    with pytest.raises(SmartmeterError, match="raw_data has no version 9; it has 1, 2"):
        simulate(FLEET, topic.sink(schema_version=9), period)
    unregistered = RawTopic(topic.stack_settings, registered=False)
    with pytest.raises(SmartmeterError, match="smartmeter apply"):
        simulate(FLEET, unregistered.sink(), period)
    nobody = topic.sink(answer_timeout_s=0.5).model_copy(update={"kafka": KafkaConnection(brokers="127.0.0.1:1")})
    with pytest.raises(SmartmeterError, match=r"Kafka at 127\.0\.0\.1:1 did not answer in 0\.5 s .*smartmeter up"):
        simulate(FLEET, nobody, period)
    no_registry = topic.sink(answer_timeout_s=0.5).model_copy(update={"schema_registry_url": "http://127.0.0.1:1"})
    with pytest.raises(SmartmeterError, match=r"127\.0\.0\.1:1"):
        simulate(FLEET, no_registry, period)
    assert topic.count() == 0
    done = subprocess.run(
        smartmeter("simulate", *span_of(0.1)),
        env={**environment(topic), "KAFKA_TOPIC": absent.topic},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: no topic absent-"), done.stderr


def test_values_out_of_contract_are_refused_before_any_of_them_is_sent(topic: RawTopic) -> None:
    sink = open_sink(topic.sink(), topic.dataset, topic.registry, Event())
    source = Simulator(FLEET)
    tick = source.tick_at(BEGIN)
    columns = source.readings(tick, tick + 200)
    columns["voltage_v"][-1] = np.inf
    with pytest.raises(OutOfContract, match=r"voltage_v of meter 35 at 2026-01-01T00:16:35Z is inf, not a finite"):
        sink.send(columns)
    sink.flush()
    assert (sink.sent, topic.count()) == (0, 0)


CSV_HEADER = "ts,kw,volt,meter,house\n"
CSV_OPTIONS = (
    *("--separator", ",", "--date-column", "ts", "--date-format", "iso", "--time-column", "", "--power-column", "kw"),
    *("--voltage-column", "volt", "--meter-column", "meter", "--building-column", "house"),
)


def csv_lines(instants: int) -> list[tuple[str, Row]]:
    """Lines of four meters in two houses, a few without a reading (None in the row)."""
    lines = []
    for number in range(4 * instants):
        second, meter = divmod(number, 4)
        timestamp = BEGIN + 10_000 * second
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(timestamp / 1000))
        power = "?" if number % 97 == 5 else repr(round(0.3 + number / 7000, 6))
        row = {"meter_id": 500 + meter, "building_id": 50 + meter // 2, "timestamp": timestamp, "status": 0}
        row |= {"voltage_v": 231.5, "power_kw": None if power == "?" else float(power), "sequence": second}
        lines.append((f"{moment},{power},231.5,{500 + meter},{50 + meter // 2}\n", row))
    return lines


def test_a_csv_file_is_sent_once_and_goes_on_after_a_kill(topic: RawTopic, tmp_path: Path) -> None:
    lines = csv_lines(2_000)
    file = tmp_path / "meters.csv"
    file.write_text(CSV_HEADER + "".join(text for text, _ in lines))
    expected = [row for _, row in lines if row["power_kw"] is not None]
    held = killed(topic, 500, "import", str(file), *CSV_OPTIONS, "--rate-limit", "1500")
    assert held < len(expected)
    done = run(topic, "import", str(file), *CSV_OPTIONS)
    assert done.returncode == 0, done.stderr
    rows = assert_each_once(topic, expected)
    assert all(row["sequence"] * 10_000 == row["timestamp"] - BEGIN for row in rows)
    assert re.search(rf"readings sent +{len(expected) - held:,}\b", done.stdout), done.stdout
    assert re.search(rf"there already, the same +{held:,}\b", done.stdout), done.stdout
    assert re.search(rf"missing in the source +{len(lines) - len(expected):,}\b", done.stdout), done.stdout

    longer = csv_lines(2_010)
    file.write_text(CSV_HEADER + "".join(text for text, _ in longer))
    import_csv(file, csv_options(), topic.sink())
    assert_each_once(topic, [row for _, row in longer if row["power_kw"] is not None])

    file.write_text(CSV_HEADER + "".join(text for text, _ in longer[:40]))
    shorter = import_csv(file, csv_options(), topic.sink())
    assert (shorter.sent, shorter.already_there) == (0, sum(row["power_kw"] is not None for _, row in longer[:40]))


CASES = Path(__file__).parents[1] / "cases"
ONE_COLUMN: dict[str, Any] = {
    "separator": ",",
    "date_format": "iso",
    "time_column": None,
    "voltage_column": None,
    "voltage_v": 230.0,
}


def values(topic: RawTopic) -> dict[int, float]:
    """Power by instant: of several readings the one that came last."""
    return {row["timestamp"]: row["power_kw"] for row in topic.rows()}


def test_a_corrected_file_sends_what_is_changed_and_says_so(topic: RawTopic) -> None:
    options = CsvOptions(**ONE_COLUMN, date_column="time", power_column="kw")
    first = import_csv(CASES / "b03_first.csv", options, topic.sink())
    assert first.file is not None
    assert (first.sent, first.file.changed, first.file.remedy) == (40, 0, None)
    again = import_csv(CASES / "b03_corrected.csv", options, topic.sink())
    assert again.file is not None
    assert (again.sent, again.file.changed, again.already_there, topic.count()) == (5, 5, 35, 45)
    assert max(values(topic).values()) == 1.02
    assert again.file.behind_changed == 5
    assert again.file.remedy == "smartmeter repair --from 2025-07-01T12:00:00Z --to 2025-07-01T13:00:00Z"
    third = import_csv(CASES / "b03_corrected.csv", options, topic.sink())
    assert (third.sent, third.already_there) == (0, 40)
    done = run(
        topic,
        *("import", str(CASES / "b03_first.csv"), "--separator", ",", "--date-column", "time", "--date-format"),
        *("iso", "--time-column", "", "--power-column", "kw", "--voltage", "230"),
    )
    assert re.search(r"of these, changed +5\b", done.stdout), done.stdout + done.stderr
    assert "5 readings, of 2025-07-01T12:05:00Z to 2025-07-01T12:09:00Z, are behind the watermark" in done.stdout


def test_history_of_another_house_is_told_to_be_behind_the_watermark(topic: RawTopic) -> None:
    newer = CsvOptions(**ONE_COLUMN, date_column="time", power_column="kw")
    import_csv(CASES / "b03_first.csv", newer, topic.sink())
    form: dict[str, Any] = {**ONE_COLUMN, "date_column": "Time", "date_format": "%Y-%m-%d %H:%M:%S"}
    options = CsvOptions(**form, power_column="Aggregate", power_unit="W", meter_id=2, building_id=2)
    report = import_csv(CASES / "b02_refit_house2.csv", options, topic.sink())
    assert report.file is not None
    assert (report.sent, report.file.behind, report.file.behind_changed) == (40, 40, 0)
    assert report.file.remedy == "smartmeter repair --late"
    alone = RawTopic(topic.stack_settings)
    report = import_csv(CASES / "b02_refit_house2.csv", options, alone.sink())
    assert report.file is not None
    assert report.file.behind == 0


def test_a_quarter_hour_is_sent_as_readings_that_hold_its_mean(topic: RawTopic) -> None:
    form: dict[str, Any] = {**ONE_COLUMN, "date_column": "Start", "power_column": "Consumption (kwh)"}
    import_csv(CASES / "f11_octopus.csv", CsvOptions(**form, power_unit="kWh", interval_s=1800), topic.sink())
    rows = topic.rows()
    assert len(rows) == 5 * 6
    assert {b["timestamp"] - a["timestamp"] for a, b in pairwise(rows)} == {300_000}
    assert sum(row["power_kw"] for row in rows) * 300 / 3600 == pytest.approx(0.108 + 0.127 + 0.105 + 0.2 + 0.3)


def test_a_csv_file_with_an_unreadable_line_sends_nothing(topic: RawTopic, tmp_path: Path) -> None:
    text = "".join(line for line, _ in csv_lines(100))
    file = tmp_path / "meters.csv"
    file.write_text(CSV_HEADER + text + "2026-01-01T01:00:00Z,1000.5,231.5,500,50\n")
    done = run(topic, "import", str(file), *CSV_OPTIONS)
    assert (done.returncode, done.stdout) == (1, "")
    assert "meters.csv line 402: power_kw is '1000.5': above the contract's maximum 1000" in done.stderr
    assert topic.count() == 0
    skipped = import_csv(file, csv_options(on_error="skip"), topic.sink())
    assert (skipped.sent, skipped.unreadable) == (topic.count(), 1)


def csv_options(**more: Any) -> CsvOptions:
    return CsvOptions(
        separator=",",
        date_column="ts",
        date_format="iso",
        time_column=None,
        power_column="kw",
        voltage_column="volt",
        meter_column="meter",
        building_column="house",
        **more,
    )


def test_both_versions_and_foreign_messages_in_one_topic_do_not_disturb_resuming(topic: RawTopic) -> None:
    """Half an hour as version 1, bytes that nobody can read, another fleet's readings, then the rest as version 2."""
    simulate(FLEET, topic.sink(schema_version=1), Period(from_ms=BEGIN, to_ms=BEGIN + HOUR // 2))
    held = topic.count()
    foreign = Producer({"bootstrap.servers": topic.stack_settings.kafka_brokers, "partitioner": "murmur2_random"})
    bad = [b"no framing", b"\x00\x3b\x9a\xca\x00abc", b"", None]
    for value in bad:
        foreign.produce(topic.name, value, key=b"building_1")
    assert foreign.flush(30) == 0
    report = simulate(FLEET, topic.sink(), Period(from_ms=BEGIN, to_ms=BEGIN + HOUR))
    expected = simulated(FLEET, BEGIN, BEGIN + HOUR)
    assert report.sent == len(expected) - held
    assert topic.count() == len(expected) + len(bad)
    values = [one.value for one in topic.messages() if one.value not in bad and one.value]
    versions = [int.from_bytes(value[1:5], "big") for value in values]
    first, second = topic.ids
    assert (versions.count(first), versions.count(second)) == (held, len(expected) - held)
