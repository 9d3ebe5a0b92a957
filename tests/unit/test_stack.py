"""The stack's own rules, with stand-ins for the parts; the real parts are in tests/integration/test_stack.py."""

import json
import re
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import infra.stack.stack
from infra.base import parts
from infra.base.deployment import DEPLOYMENTS
from infra.base.errors import SmartmeterError
from infra.base.loopback import free_ports
from infra.base.wait import until
from infra.operations.status_table import duration
from infra.stack import processes
from infra.stack.kafka import escaped, server_properties
from infra.stack.processes import Launch
from infra.stack.registry import system_properties
from infra.stack.secret_file import credentials
from infra.stack.stack import DEFAULT_PORTS, PARTS, Stack, addresses, check_free, choose_ports

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
FAIL = "import sys; sys.exit('the disk is full')"


@dataclass(frozen=True)
class StandIn:
    """A part that only sleeps, or fails."""

    data_dir: Path
    name: str
    code: str = SLEEP
    version = "1"
    address = "nowhere"

    def prepare(self) -> Launch:
        return Launch([sys.executable, "-c", self.code])

    def ready(self) -> bool:
        return "up" in parts.log_file(self.data_dir, self.name).read_text()


@pytest.fixture
def code(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each stand-in runs; a test may change it."""
    code = dict.fromkeys(PARTS, SLEEP)
    monkeypatch.setattr(Stack, "part", lambda self, name: StandIn(self.data_dir, name, code[name]))
    monkeypatch.setattr(infra.stack.stack, "jars", Path)
    return code


@pytest.fixture
def stack(tmp_path: Path, code: dict[str, str]) -> Iterator[Stack]:
    assert code
    stack = Stack(tmp_path / "data")
    yield stack
    stack.down()


ANY_FREE = dict.fromkeys(DEFAULT_PORTS, 0)


def pids(stack: Stack) -> dict[str, int]:
    return {part.part: part.pid for part in stack.status() if part.pid is not None}


def test_up_starts_all_parts_and_remembers_the_ports(stack: Stack) -> None:
    assert stack.up(ANY_FREE) == list(PARTS)

    assert [part.state for part in stack.status()] == ["running"] * 3
    ports = stack.ports()
    assert len(set(ports.values())) == len(DEFAULT_PORTS)
    said = json.loads((stack.data_dir / "stack.json").read_text())
    assert said == {**addresses(ports), "ports": ports}
    stack.down()
    stack.up()
    assert stack.ports() == ports


def test_up_remembers_the_deployment_until_another_one_is_named(stack: Stack, tmp_path: Path) -> None:
    elsewhere = tmp_path / "blue.yaml"
    elsewhere.write_text((DEPLOYMENTS / "embedded.yaml").read_text().replace("name: embedded", "name: blue"))
    stack.up(ANY_FREE, str(elsewhere))
    assert stack.deployment == str(elsewhere)
    stack.down()
    stack.up()
    assert stack.deployment == str(elsewhere)
    stack.down()
    stack.up(deployment="embedded")
    assert stack.deployment == "embedded"


def test_an_unknown_deployment_is_refused_before_anything_starts(stack: Stack) -> None:
    with pytest.raises(SmartmeterError, match="no deployment purple: "):
        stack.up(ANY_FREE, "purple")
    assert pids(stack) == {}


def test_a_second_up_is_refused_and_changes_nothing(stack: Stack) -> None:
    stack.up(ANY_FREE)
    before = pids(stack)

    with pytest.raises(SmartmeterError, match=r"is already running: see `smartmeter status`, or .*`smartmeter down`"):
        stack.up()

    assert pids(stack) == before


def test_up_after_a_part_died_starts_just_that(stack: Stack) -> None:
    stack.up(ANY_FREE)
    before = pids(stack)
    stack.kill("registry")
    assert {part.part: part.state for part in stack.status()}["registry"] == "stopped"

    assert stack.up() == ["registry"]

    after = pids(stack)
    assert after.pop("registry") != before.pop("registry")
    assert after == before


def test_start_starts_one_part_and_leaves_one_that_runs(stack: Stack) -> None:
    stack.up(ANY_FREE)
    stack.kill("kafka")

    stack.start("kafka")
    running = pids(stack)
    stack.start("kafka")

    assert running.keys() == set(PARTS)
    assert pids(stack) == running


def test_when_a_part_fails_the_others_of_this_up_are_stopped_and_its_log_is_shown(
    stack: Stack, code: dict[str, str]
) -> None:
    code["clickhouse"] = FAIL

    with pytest.raises(SmartmeterError, match=r"(?s)clickhouse ended while it started.*the disk is full"):
        stack.up(ANY_FREE)

    assert pids(stack) == {}


def test_when_a_part_fails_to_come_back_the_others_stay(stack: Stack, code: dict[str, str]) -> None:
    stack.up(ANY_FREE)
    before = pids(stack)
    stack.kill("clickhouse")
    code["clickhouse"] = FAIL

    with pytest.raises(SmartmeterError, match="clickhouse ended"):
        stack.up()

    assert pids(stack) == {name: pid for name, pid in before.items() if name != "clickhouse"}


def test_down_stops_all_and_the_stream_first_and_can_be_repeated(stack: Stack) -> None:
    stack.up(ANY_FREE)
    processes.start(stack.data_dir, "stream", Launch([sys.executable, "-c", SLEEP]))
    before = pids(stack)
    assert before.keys() == {*PARTS, "stream"}

    assert stack.down() == ["stream", "clickhouse", "registry", "kafka"]

    assert not any(psutil.pid_exists(pid) for pid in before.values())
    assert stack.down() == []


def test_down_where_nothing_ever_was_makes_nothing(tmp_path: Path) -> None:
    assert Stack(tmp_path / "none").down() == []
    assert not (tmp_path / "none").exists()


def test_a_taken_port_is_named_with_its_holder_before_anything_starts(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        expected = rf"port {port} for registry is taken by .+ \(pid \d+\): choose another with --registry-port"
        with pytest.raises(SmartmeterError, match=expected):
            stack.up({**ANY_FREE, "registry": port})

    assert pids(stack) == {}
    assert not (stack.data_dir / "stack.json").exists()


def test_every_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = {"kafka": one.getsockname()[1], "clickhouse": two.getsockname()[1]}
        with pytest.raises(SmartmeterError) as caught:
            check_free(ports)

    assert re.findall(r"--[a-z]+-port", str(caught.value)) == ["--kafka-port", "--clickhouse-port"]


def test_choose_ports() -> None:
    remembered = {**DEFAULT_PORTS, "kafka": 19092}

    chosen = choose_ports(remembered, {"registry": 18081, "clickhouse": 0}, PARTS)

    assert (chosen["kafka"], chosen["registry"], chosen["kafka-controller"]) == (19092, 18081, 9093)
    assert chosen["clickhouse"] not in {0, 8123}


def test_free_ports_are_never_those_of_outgoing_connections() -> None:
    ports = free_ports(50)

    assert len(set(ports)) == 50
    assert max(ports) < 32_768  # where Linux begins; macOS begins later


def test_two_parts_cannot_share_a_port() -> None:
    with pytest.raises(SmartmeterError, match="--kafka-port and --clickhouse-port are both 8123"):
        choose_ports(DEFAULT_PORTS, {"kafka": 8123}, PARTS)


def test_the_port_of_a_part_that_runs_cannot_change() -> None:
    with pytest.raises(SmartmeterError, match="kafka already runs on port 9092"):
        choose_ports(DEFAULT_PORTS, {"kafka": 19092}, ["registry"])
    assert choose_ports(DEFAULT_PORTS, {"kafka": 9092}, ["registry"]) == DEFAULT_PORTS


@pytest.mark.parametrize("name", ["a,b", "a;b"])
def test_a_path_that_a_part_would_split_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SmartmeterError, match="choose another"):
        Stack(tmp_path / name)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(SmartmeterError, match=r"cannot be made: .*file.*--data-dir"):
        Stack(tmp_path / "file" / "data").up(ANY_FREE)


def read_properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines())


def test_kafka_listens_here_only_and_creates_nothing_by_itself() -> None:
    properties = read_properties(server_properties(Path("/data/kafka"), 19092, 19093))

    addresses_of = [listener.rpartition("://")[2] for listener in properties["listeners"].split(",")]
    assert addresses_of == ["127.0.0.1:19092", "127.0.0.1:19093"]
    assert properties["log.dirs"] == "/data/kafka"
    assert properties["auto.create.topics.enable"] == "false"
    replication = {name: value for name, value in properties.items() if name.endswith("replication.factor")}
    assert len(replication) == 3
    assert set(replication.values()) == {"1"}


def test_kafka_keeps_old_readings_and_takes_any_timestamp() -> None:
    properties = read_properties(server_properties(Path("/data"), 1, 2))

    assert properties["log.retention.ms"] == "-1"
    assert int(properties["offsets.retention.minutes"]) >= 365 * 24 * 60
    for side in ("before", "after"):
        assert int(properties[f"log.message.timestamp.{side}.max.ms"]) == 2**63 - 1


@pytest.mark.parametrize(
    ("path", "spelled"),
    [("/a b", "/a b"), ("C:\\x", "C:\\\\x"), ("/zähler", "/z\\u00e4hler"), ("/\U0001f50c", "/\\ud83d\\udd0c")],
)
def test_escaped(path: str, spelled: str) -> None:
    assert escaped(path) == spelled


def test_the_registry_listens_here_only_writes_at_once_and_is_strict() -> None:
    properties = system_properties(Path("/data/registry"), 8081, 18081, 18082)

    assert properties["quarkus.http.host"] == properties["quarkus.management.host"] == "127.0.0.1"
    assert properties["apicurio.datasource.url"] == "jdbc:h2:file:/data/registry/registry;WRITE_DELAY=0"
    assert properties["apicurio.rules.global.compatibility"] == "FULL_TRANSITIVE"


def test_passwords_are_made_once_in_a_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"

    first = credentials(path, {})

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert credentials(path, {}) == first
    assert (first["CLICKHOUSE_USER"], first["CLICKHOUSE_READER_USER"]) == ("admin", "reader")
    assert len({first["CLICKHOUSE_PASSWORD"], first["CLICKHOUSE_READER_PASSWORD"]}) == 2
    assert all(len(first[name]) >= 32 for name in ("CLICKHOUSE_PASSWORD", "CLICKHOUSE_READER_PASSWORD"))


def test_a_password_from_the_environment_wins_and_is_not_written_down(tmp_path: Path) -> None:
    path = tmp_path / "secrets.env"

    given = credentials(path, {"CLICKHOUSE_PASSWORD": "from outside", "CLICKHOUSE_USER": ""})

    assert given["CLICKHOUSE_PASSWORD"] == "from outside"
    assert given["CLICKHOUSE_USER"] == "admin"
    assert "from outside" not in path.read_text()
    later = credentials(path, {"CLICKHOUSE_READER_USER": "guest"})
    assert later["CLICKHOUSE_READER_USER"] == "guest"
    assert later["CLICKHOUSE_READER_PASSWORD"] == given["CLICKHOUSE_READER_PASSWORD"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (185, "3m 05s"), (7620, "2h 07m"), (4 * 86400 + 3 * 3600, "4d 03h")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_killing_what_does_not_run_is_an_error(stack: Stack) -> None:
    with pytest.raises(SmartmeterError, match="kafka does not run"):
        stack.kill("kafka")


def test_a_part_whose_process_lives_and_does_not_answer_is_not_ready(stack: Stack, code: dict[str, str]) -> None:
    stack.up(ANY_FREE)
    log = parts.log_file(stack.data_dir, "kafka")
    log.write_text("")

    assert code
    assert {part.part: part.state for part in stack.status()}["kafka"] == "not ready"
    until(lambda: stack.process("kafka"), "it to be there still", deadline_s=0)
