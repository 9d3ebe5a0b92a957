"""Apicurio Registry, which speaks Confluent's API, as a part of the embedded stack; its store is an H2 file."""

import sys
from dataclasses import dataclass
from pathlib import Path

from infra.base.loopback import HOST, accepts, free_ports, get
from infra.stack.jars import REGISTRY_VERSION, jars
from infra.stack.java import java_binary
from infra.stack.processes import Launch

API_PATH = "/apis/ccompat/v7"


@dataclass(frozen=True)
class RegistryServer:
    """The schema registry of a data directory; its data are in `<data-dir>/registry`."""

    data_dir: Path
    port: int
    management_port: int

    name = "registry"
    version = REGISTRY_VERSION

    @property
    def address(self) -> str:
        return registry_url(self.port)

    def prepare(self) -> Launch:
        storage = self.data_dir / "registry"
        storage.mkdir(parents=True, exist_ok=True)
        (backend,) = free_ports(1)
        options = system_properties(storage, self.port, backend, self.management_port)
        # -P: a folder named infra where the command is given must not stand in for the package.
        gate = [sys.executable, "-P", "-m", "infra.stack.registry_gate", str(self.port), str(backend)]
        return Launch(
            [
                *gate,
                str(java_binary(21)),
                "-Xmx192m",
                "-XX:+UseSerialGC",
                "-XX:+ExitOnOutOfMemoryError",
                "-Djava.net.preferIPv4Stack=true",
                *(f"-D{name}={value}" for name, value in options.items()),
                "-jar",
                str(jars("registry") / "quarkus-run.jar"),
            ]
        )

    def ready(self) -> bool:
        """Whether it says of itself that it is ready, its store included, and its gate is open."""
        answer = get(f"http://{HOST}:{self.management_port}/health/ready")
        return answer is not None and answer.ok and accepts(self.port)


def registry_url(port: int) -> str:
    """What clients of Confluent's API are given."""
    return f"http://{HOST}:{port}{API_PATH}"


def system_properties(storage: Path, port: int, backend: int, management_port: int) -> dict[str, str]:
    """The registry's settings. It listens on port `backend`, behind its gate on `port`.

    WRITE_DELAY=0 makes H2 write a registration before it is acknowledged: without it a killed registry forgets the
    last ones. The management port has no password, so it too is for this machine only.
    """
    return {
        "quarkus.http.host": HOST,
        "quarkus.http.port": str(backend),
        "quarkus.http.proxy.use-proxy-protocol": "true",  # so only its gate can talk to it
        "quarkus.http.cors.origins": f"http://{HOST}:{port},http://localhost:{port}",
        "quarkus.management.host": HOST,
        "quarkus.management.port": str(management_port),
        "apicurio.storage.kind": "sql",
        "apicurio.storage.sql.kind": "h2",
        "apicurio.datasource.url": f"jdbc:h2:file:{storage / 'registry'};WRITE_DELAY=0",
        "apicurio.rules.global.compatibility": "FULL_TRANSITIVE",
    }
