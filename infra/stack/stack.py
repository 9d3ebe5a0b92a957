"""The embedded stack: Kafka, the schema registry and ClickHouse as three processes over one data directory."""

import contextlib
import fcntl
import importlib.metadata
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.base import parts
from infra.base.deployment import deployment_file, load_deployment
from infra.base.errors import SmartmeterError
from infra.base.files import write_whole
from infra.base.loopback import HOST, free_ports, holder, is_free
from infra.base.settings import STACK_FILE, read_stack
from infra.base.wait import until
from infra.stack import processes
from infra.stack.clickhouse import ClickHouseServer
from infra.stack.jars import jars
from infra.stack.kafka import KafkaServer
from infra.stack.processes import Part
from infra.stack.registry import RegistryServer, registry_url

DEFAULT_PORTS = {
    "kafka": 9092,
    "kafka-controller": 9093,
    "registry": 8081,
    "registry-management": 8082,
    "clickhouse": 8123,
}
"""Port name → port; the part that uses it is the name up to the hyphen."""

START_ORDER = (("kafka", "registry"), ("clickhouse",))
"""Parts of one group start at once; the next group starts when they are ready. Stopped in the reverse order."""

PARTS = tuple(name for group in START_ORDER for name in group)
OWN_VERSION = importlib.metadata.version("smartmeter")
"""Of parts that are this distribution's own."""


@dataclass(frozen=True)
class PartStatus:
    """What `status` tells of one part; the fields of a part that does not run are None."""

    part: str
    state: str
    """`running`; `not ready`: the process lives and does not answer; `stopped`."""
    pid: int | None
    address: str
    version: str
    uptime_s: float | None
    resident_bytes: int | None
    log: str


class Stack:
    """The stack of one data directory. Methods that change it hold a lock on the directory, across processes."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        # Kafka takes a comma, and H2 a semicolon, as the end of a path.
        if bad := sorted(set(str(self.data_dir)) & set(",;\n")):
            raise SmartmeterError(f"the data directory {self.data_dir} has {bad} in its path: choose another")

    def up(self, ports: Mapping[str, int] | None = None, deployment: str | None = None) -> list[str]:
        """Start the parts that do not run, and return their names when all are ready.

        `ports` (keys of DEFAULT_PORTS; 0: any free one) wins over the ports of the last `up`, which win over the
        defaults. `deployment`, a name or file, is remembered for commands that name none.
        Raises SmartmeterError when all parts run already, when a port is taken (before anything starts), and when a
        part does not come up (what this call started is stopped again).
        """
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self.data_dir.chmod(0o700)  # whatever made it: the parts' data and the passwords lie in it
        except OSError as error:
            raise SmartmeterError(f"the data directory cannot be made: {error}; choose another (--data-dir)") from error
        with self._locked():
            missing = [name for name in PARTS if self.process(name) is None]
            if not missing:
                raise SmartmeterError(
                    f"the stack in {self.data_dir} is already running: see `smartmeter status`, or stop it with "
                    "`smartmeter down`"
                )
            chosen = choose_ports(self.ports(), ports or {}, missing)
            check_free({name: port for name, port in chosen.items() if part_of(name) in missing})
            self._remember(chosen, remembered_name(deployment) or self.deployment)
            self._start_all(missing)
            return missing

    def down(self) -> list[str]:
        """Stop everything that runs here, the stream too, and return what ran; nothing to stop is not an error."""
        if not self.data_dir.exists():
            return []
        with self._locked():
            others = [name for name in parts.recorded_parts(self.data_dir) if name not in PARTS]
            running = [name for name in (*others, *reversed(PARTS)) if self.process(name) is not None]
            for name in running:
                self._stop(name)
            for name in (*others, *PARTS):
                parts.forget(self.data_dir, name)
            return running

    def start(self, part: str) -> None:
        """Start one part on its remembered port, and return when it is ready; one that runs is left alone."""
        with self._locked():
            if self.process(part) is None:
                check_free({name: port for name, port in self.ports().items() if part_of(name) == part})
                self._start_all([part])

    def kill(self, part: str) -> None:
        """End one part without warning (kill -9), as a fault would; returns when the process is gone."""
        process = self.process(part)
        if process is None:
            raise SmartmeterError(f"{part} does not run in {self.data_dir}: there is nothing to kill")
        process.kill()
        until(lambda: parts.has_ended(process), f"the killed {part} to end", 10)

    def status(self) -> list[PartStatus]:
        """The state of every part, and of other recorded processes such as the stream."""
        others = [name for name in parts.recorded_parts(self.data_dir) if name not in PARTS]
        return [self._status_of(name) for name in (*PARTS, *others)]

    def process(self, part: str) -> psutil.Process | None:
        """The part's running process, or None."""
        return parts.find(self.data_dir, part)

    def ports(self) -> dict[str, int]:
        """The ports of the last `up`, or the defaults."""
        return {**DEFAULT_PORTS, **read_stack(self.data_dir).get("ports", {})}

    @property
    def deployment(self) -> str | None:
        """The name or file of the deployment of the last `up`; None where it named none."""
        return read_stack(self.data_dir).get("deployment")

    def part(self, name: str) -> Part:
        """How the named part is run here."""
        ports = self.ports()
        if name == "kafka":
            return KafkaServer(self.data_dir, ports["kafka"], ports["kafka-controller"])
        if name == "registry":
            return RegistryServer(self.data_dir, ports["registry"], ports["registry-management"])
        if name == "clickhouse":
            return ClickHouseServer(self.data_dir, ports["clickhouse"], registry_url(ports["registry"]))
        raise SmartmeterError(f"no part is named {name!r}: there are {', '.join(PARTS)}")

    def _remember(self, ports: Mapping[str, int], deployment: str | None) -> None:
        stack = {**addresses(ports), "ports": dict(ports), **({"deployment": deployment} if deployment else {})}
        write_whole(self.data_dir / STACK_FILE, json.dumps(stack, indent=2) + "\n")

    def _start_all(self, names: Sequence[str]) -> None:
        """Start the named parts in order; when one fails, stop those again that this call started."""
        for name in names:
            if name in ("kafka", "registry"):
                jars(name)  # one after the other: two progress bars cannot share a terminal
        try:
            for group in START_ORDER:
                with ThreadPoolExecutor(len(group)) as pool:
                    list(pool.map(self._start_one, [name for name in group if name in names]))
        except BaseException:
            for name in reversed(PARTS):
                if name in names and self.process(name) is not None:
                    self._stop(name)
            raise

    def _start_one(self, name: str) -> None:
        part = self.part(name)
        process = processes.start(self.data_dir, name, part.prepare())
        processes.wait_ready(self.data_dir, name, process, part.ready)

    def _stop(self, name: str) -> None:
        process = self.process(name)
        if process is not None:
            processes.stop(process, name)
        parts.forget(self.data_dir, name)

    def _status_of(self, name: str) -> PartStatus:
        process = self.process(name)
        part = self.part(name) if name in PARTS else None
        address = part.address if part else parts.recorded_address(self.data_dir, name)
        version = part.version if part else OWN_VERSION
        log = str(parts.log_file(self.data_dir, name))
        if process is None:
            return PartStatus(name, "stopped", None, address, version, None, None, log)
        state = "running" if part is None or part.ready() else "not ready"
        with contextlib.suppress(psutil.NoSuchProcess):
            uptime_s = time.time() - process.create_time()
            return PartStatus(name, state, process.pid, address, version, uptime_s, resident_bytes(process), log)
        return PartStatus(name, "stopped", None, address, version, None, None, log)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.data_dir / "stack.lock").open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and of all that it started: the stream's is its JVM's."""
    total = int(process.memory_info().rss)
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += int(child.memory_info().rss)
    return total


def remembered_name(deployment: str | None) -> str | None:
    """How a deployment is found again from another folder: its name, or its file's whole path; it must be valid."""
    if deployment is None:
        return None
    name, file = load_deployment(deployment).name, deployment_file(deployment)
    return name if file == deployment_file(name) else str(file)


def part_of(port_name: str) -> str:
    """The part that listens on a port of DEFAULT_PORTS."""
    return port_name.partition("-")[0]


def addresses(ports: Mapping[str, int]) -> dict[str, str]:
    """Where clients find the parts: the fields of `Settings` that a stack on these ports answers for.

    ClickHouse asks its own front for schemas: the front remembers them, so that a registry that is down does not turn
    good messages into unreadable ones.
    """
    clickhouse_url = f"http://{HOST}:{ports['clickhouse']}"
    return {
        "kafka_brokers": f"{HOST}:{ports['kafka']}",
        "schema_registry_url": registry_url(ports["registry"]),
        "clickhouse_url": clickhouse_url,
        "clickhouse_schema_registry_url": f"{clickhouse_url}/schema-registry",
    }


def choose_ports(remembered: Mapping[str, int], wanted: Mapping[str, int], starting: Sequence[str]) -> dict[str, int]:
    """The ports to use: `wanted` over `remembered`, and a free one for each 0.

    Raises SmartmeterError for a port that two share, and for a wish to move a part that runs already.
    """
    for name, port in wanted.items():
        if part_of(name) not in starting and port != remembered[name]:
            raise SmartmeterError(
                f"{part_of(name)} already runs on port {remembered[name]}: stop the stack with `smartmeter down` "
                f"before you change --{name}-port"
            )
    ports = {**remembered, **wanted}
    unset = [name for name, port in ports.items() if port == 0]
    ports |= dict(zip(unset, free_ports(len(unset)), strict=True))
    for (name, port), (other, other_port) in itertools.combinations(ports.items(), 2):
        if port == other_port:
            raise SmartmeterError(f"--{name}-port and --{other}-port are both {port}: give each its own")
    return ports


def check_free(ports: Mapping[str, int]) -> None:
    """Raise SmartmeterError that names every port on which somebody else already listens."""
    taken = [
        f"port {port} for {part_of(name)} is taken by {holder(port)}: choose another with --{name}-port"
        for name, port in ports.items()
        if not is_free(port)
    ]
    if taken:
        raise SmartmeterError("; ".join(taken) + " (0: any free one)")
