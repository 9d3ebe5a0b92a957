"""The front attacked without pause while the whole pipeline runs: nothing is lost, and the administrator is served.

A minute in CI; `tox run -e attacks -- --minutes 20` for longer. The attackers are a reader's clients and strangers
without a password, with what once stopped an earlier front for minutes or for ever.
"""

import gzip
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from infra.base import parts
from infra.base.settings import Settings, load_settings
from infra.stack import processes
from infra.stack.stack import DEFAULT_PORTS
from tests.system.flow import System

ATTACKERS = 12
WAITS_AT_MOST_S = 5.0
"""Beside a restart of the engine's process, which takes half a second, and several on a machine that is very busy."""

HELD_S = 25.0
"""So long an attacker holds what it has; the front lets go of it before."""

CTES = ", ".join(f"c{i + 1} AS (SELECT l.x FROM c{i} AS l, c{i} AS r)" for i in range(15))
SLOW = {
    "analysis": f"WITH c0 AS (SELECT 1 AS x), {CTES} SELECT count() FROM c15",
    "one block": "SELECT editDistance(repeat('ab', 15000 + number), repeat('cd', 15000)) FROM numbers(64)",
    "memory": "SELECT count() FROM (SELECT number FROM numbers(1000000000) ORDER BY sipHash64(number))",
    "processor": "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))",
    "long name": "SELECT " + "a" * 240_000,
    "open quotes": "INSERT '" + "\\'" * 120_000,
    "brackets": "SELECT " + "(" * 120_000,
    "lambdas": "SELECT " + "arrayMap(x -> " * 200 + "1" + ", [1])" * 200,
    "history": "SELECT meter_id, quantiles(0.1, 0.9)(power_kw) FROM raw_data GROUP BY meter_id",
}
GROWS = gzip.compress(b" " * 60_000_000)


@dataclass
class Attack:
    """What attackers do to one front until they are told to stop, and what they were answered."""

    url: str
    user: str
    password: str
    over: threading.Event = field(default_factory=threading.Event)
    answers: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def go_on(self, seed: int) -> None:
        """One attacker: one thing after another, drawn by the seed."""
        draw = random.Random(seed)
        while not self.over.is_set():
            kind, act = draw.choice(self.acts())
            try:
                answer = act()
            except (OSError, requests.RequestException) as error:
                answer = type(error).__name__
            with self.lock:
                self.answers[f"{kind}: {answer}"] += 1

    def acts(self) -> list[tuple[str, Callable[[], str]]]:
        """Every kind of attack by name."""
        asking = [(name, lambda sql=sql: self._ask(sql)) for name, sql in SLOW.items()]
        return [
            *asking,
            ("leaves", self._leave),
            ("never reads", self._never_read),
            ("grows", lambda: self._ask(GROWS, {"Content-Encoding": "gzip"})),
            ("schemas", self._ask_for_schemas),
            ("endless body", self._send_endlessly),
            ("slow body", self._send_slowly),
        ]

    def _ask(self, sql: str | bytes, headers: dict[str, str] | None = None) -> str:
        body = sql.encode() if isinstance(sql, str) else sql
        limit = {"max_execution_time": "2"}
        auth = (self.user, self.password)
        response = requests.post(self.url, body, params=limit, auth=auth, headers=headers, timeout=300)
        return response.headers.get("X-ClickHouse-Exception-Code", "answered")

    def _connection(self) -> socket.socket:
        address = urlsplit(self.url)
        return socket.create_connection((address.hostname, address.port), timeout=HELD_S)

    def _head(self, length: str) -> bytes:
        who = f"user={self.user}&password={self.password}"
        return f"POST /?{who} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\n".encode()

    def _leave(self) -> str:
        sql = SLOW["processor"].encode()
        with self._connection() as client:
            client.sendall(self._head(f"Content-Length: {len(sql)}") + sql)
            self.over.wait(0.5)
        return "left"

    def _never_read(self) -> str:
        sql = b"SELECT repeat('x', 1000) FROM numbers(100000000)"
        with self._connection() as client:
            client.sendall(self._head(f"Content-Length: {len(sql)}") + sql)
            self.over.wait(HELD_S)
        return "held"

    def _ask_for_schemas(self) -> str:
        number = random.randrange(700_000, 800_000)
        return str(requests.get(f"{self.url}/schema-registry/schemas/ids/{number}", timeout=60).status_code)

    def _send_endlessly(self) -> str:
        with self._connection() as client:
            client.sendall(
                b"POST /?query=SELECT+1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n"
            )
            for _ in range(1000):
                client.sendall(b"x" * 65536)
        return "all was taken"

    def _send_slowly(self) -> str:
        with self._connection() as client:
            client.sendall(self._head("Content-Length: 1000"))
            for _ in range(10):
                client.sendall(b" ")
                if self.over.wait(1):
                    break
        return "held"


@dataclass
class Administrator:
    """Asks all the while, one question after another, and keeps how long each answer took, in seconds."""

    settings: Settings
    waits: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def ask_until(self, over: threading.Event) -> None:
        url, password = self.settings.clickhouse_url, self.settings.clickhouse_password.get_secret_value()
        questions = ["SELECT 1", "SELECT count() > 0 FROM raw_data", "SELECT max(offset) >= 0 FROM raw_data"]
        while not over.wait(0.2):
            sql = questions[len(self.waits) % len(questions)]
            started = time.monotonic()
            answer = requests.post(url, sql, auth=(self.settings.clickhouse_user, password), timeout=300)
            self.waits.append(time.monotonic() - started)
            if answer.text.strip() not in {"1", "true"}:
                self.wrong.append(answer.text)


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A new stack with every contract, its stream, and a hundred meters that live."""
    system = System(tmp_path / "attacked")
    try:
        system.stack.up(dict.fromkeys(DEFAULT_PORTS, 0))
        system.settings = load_settings(system.data_dir)
        system.command("apply")
        system.start_stream()
        yield system
    finally:
        system.down()


def test_nothing_is_lost_and_the_administrator_waits_for_nobody(system: System, request: pytest.FixtureRequest) -> None:
    minutes = float(request.config.getoption("--minutes"))
    settings = system.settings
    live = system.begin("simulate", "--live", "--interval", "1")
    system.await_rows("SELECT count() FROM raw_data", lambda rows: rows[0][0] > 100)
    attack = Attack(
        settings.clickhouse_url, settings.clickhouse_reader_user, settings.clickhouse_reader_password.get_secret_value()
    )
    administrator = Administrator(settings)
    started = time.monotonic()
    with ThreadPoolExecutor(ATTACKERS + 1) as pool:
        attackers = [pool.submit(attack.go_on, seed) for seed in range(ATTACKERS)]
        asking = pool.submit(administrator.ask_until, attack.over)
        try:
            while time.monotonic() - started < minutes * 60 and live.poll() is None and not asking.done():
                time.sleep(0.5)
        finally:
            attack.over.set()
        for each in [*attackers, asking]:
            each.result()
    assert live.poll() is None, "the simulator ended"
    live.terminate()
    assert live.wait(60) == 0
    log = processes_log(system)
    replaced = log.count("replacing the engine's process")
    waits = sorted(administrator.waits)
    restarts = sorted(float(seconds) for seconds in re.findall(r"the engine is back after ([\d.]+) s", log))
    print(  # for whoever attacks longer than CI does
        f"{minutes} min, {sum(attack.answers.values())} attacks, the engine replaced {replaced} times; the "
        f"administrator asked {len(waits)} times and waited {waits[len(waits) // 2]:.3f} s in the middle, "
        f"{waits[-1]:.2f} s at most; a restart of the engine took {restarts[-1] if restarts else 0:.1f} s at most"
    )
    for kind, count in sorted(attack.answers.items()):
        print(f"  {count:6} {kind}")
    assert not administrator.wrong
    assert replaced > 0, "no attack was as bad as it should be"
    assert "Traceback" not in log
    assert not [answer for answer in attack.answers if answer.endswith((" 1002", "all was taken"))]
    system.command("repair", "--open")
    report = system.verify()
    assert not report.failures
    assert waits[-1] < WAITS_AT_MOST_S + restarts[-1]
    with closing(requests.Session()) as session:
        assert session.get(f"{settings.clickhouse_url}/ping", timeout=10).text == "Ok.\n"


def processes_log(system: System) -> str:
    """All that the front has written since it began."""
    process = parts.find(system.data_dir, "clickhouse")
    assert process is not None, processes.log_tail(system.data_dir, "clickhouse")
    return parts.log_file(system.data_dir, "clickhouse").read_text()
