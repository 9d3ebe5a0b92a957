"""The ClickHouse engine behind its HTTP front, as a part of the embedded stack."""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from clickhouse.front import confine
from infra.base.loopback import HOST, get
from infra.base.settings import SECRETS_FILE
from infra.stack.processes import Launch
from infra.stack.secret_file import credentials


@dataclass(frozen=True)
class ClickHouseServer:
    """The engine of a data directory; its data are in `<data-dir>/clickhouse`."""

    data_dir: Path
    port: int
    schema_registry_url: str

    name = "clickhouse"

    @property
    def version(self) -> str:
        """The engine's; where this kernel cannot confine the engine, it says so."""
        confined = "" if confine.version() else f", {confine.describe()}"
        return f"chdb {version('chdb-core')}{confined}"

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> Launch:
        # -P: a folder named clickhouse where the command is given must not stand in for the package.
        command = [sys.executable, "-P", "-m", "clickhouse.front"]
        command += ["--path", str(self.data_dir / "clickhouse"), "--port", str(self.port)]
        command += ["--schema-registry-url", self.schema_registry_url]
        command += ["--schema-cache", str(self.data_dir / "clickhouse-schemas")]
        # UTC: what has no zone of its own means the same on every machine.
        return Launch(command, {"TZ": "UTC", **credentials(self.data_dir / SECRETS_FILE, os.environ)})

    def ready(self) -> bool:
        """Whether it answers /ping as ClickHouse does."""
        answer = get(f"{self.address}/ping")
        return answer is not None and answer.ok and answer.content.strip() == b"Ok."
