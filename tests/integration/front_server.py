"""A front of a test's own, as a process, on a free port."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from infra.base.loopback import HOST, free_ports, get
from infra.base.wait import until

ADMIN = ("admin", "a-secret")
READER = ("reader", "r-secret")
READY_DEADLINE_S = 120


class FrontServer:
    """One front over one folder; `start` after `kill` or `terminate` reopens the folder on the same port."""

    def __init__(self, folder: Path, registry_url: str = "http://127.0.0.1:1") -> None:
        self.folder = folder
        self.registry_url = registry_url
        (self.port,) = free_ports(1)
        self.url = f"http://{HOST}:{self.port}"
        self.log = folder.with_name(f"{folder.name}.log")
        self.process: psutil.Popen | None = None

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "clickhouse.front", "--path", str(self.folder), "--port", str(self.port)]
        command += ["--schema-registry-url", self.registry_url]
        command += ["--schema-cache", str(self.folder.with_name(f"{self.folder.name}-schemas")), "--threads", "4"]
        environment = os.environ | dict(
            zip(("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"), ADMIN, strict=True),
            CLICKHOUSE_READER_USER=READER[0],
            CLICKHOUSE_READER_PASSWORD=READER[1],
        )
        with self.log.open("ab") as log:
            self.process = psutil.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        until(self.ready, f"the front on port {self.port} to answer /ping, see {self.log}", READY_DEADLINE_S)

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        answer = get(f"{self.url}/ping")
        return answer is not None and answer.text == "Ok.\n"

    def terminate(self) -> int:
        """Ask it to end, and return its exit code."""
        assert self.process is not None
        self.process.terminate()
        return int(self.process.wait(40))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def post(
        self, sql: str | bytes, user: tuple[str, str] = ADMIN, headers: dict[str, str] | None = None, **url: Any
    ) -> requests.Response:
        """POST a body; keyword arguments are URL parameters."""
        body = sql.encode() if isinstance(sql, str) else sql
        sent = {"X-ClickHouse-User": user[0], "X-ClickHouse-Key": user[1], **(headers or {})}
        return requests.post(self.url, data=body, params={k: str(v) for k, v in url.items()}, headers=sent, timeout=120)

    def run(self, sql: str | bytes, user: tuple[str, str] = ADMIN, **url: Any) -> str:
        """The text of a successful answer, without the last line break."""
        response = self.post(sql, user, None, **url)
        assert response.status_code == 200, response.text
        return response.text.removesuffix("\n")

    def code(self, sql: str | bytes, user: tuple[str, str] = ADMIN, **url: Any) -> int:
        """The engine's code of a failed answer."""
        response = self.post(sql, user, None, **url)
        assert response.status_code != 200, f"{sql!r} was answered: {response.text}"
        assert response.text.startswith(f"Code: {response.headers['X-ClickHouse-Exception-Code']}. DB::Exception: ")
        return int(response.headers["X-ClickHouse-Exception-Code"])


@contextmanager
def running_front(folder: Path, registry_url: str = "http://127.0.0.1:1") -> Iterator[FrontServer]:
    front = FrontServer(folder, registry_url)
    try:
        front.start()
        yield front
    finally:
        if front.process is not None and front.process.poll() is None:
            front.terminate()
