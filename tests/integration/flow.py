"""A whole system of its own, stream included, for tests that break it."""

import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from clickhouse.dead_letters.run import PART as DEAD_LETTERS
from clickhouse.verify.run import Report
from infra.base import parts
from infra.base.clickhouse_client import connect
from infra.base.settings import load_settings
from infra.base.wait import until
from infra.operations.verify import verify
from infra.stack import processes
from infra.stack.stack import DEFAULT_PORTS, Stack
from stream_processing.run import PART, read_progress

SMARTMETER = str(Path(sys.executable).with_name("smartmeter"))
STARTS_WITHIN_S = 240.0
BACK_WITHIN_S = 120.0
ELSEWHERE = "America/St_Johns"
"""The zone of commands, half an hour off every hour of the servers': nothing may depend on it."""


class System:
    """Kafka, registry, ClickHouse and the stream in one data directory, on free ports."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.stack = Stack(data_dir)

    def up(self) -> None:
        self.stack.up(dict.fromkeys(DEFAULT_PORTS, 0))
        self.settings = load_settings(self.data_dir)
        self.command("apply")
        self.start_dead_letters()
        self.start_stream()

    def start_dead_letters(self) -> None:
        """Start the service that writes dead letters; it waits for whatever is down."""
        launch = processes.Launch([SMARTMETER, "dead-letters", "run", "--data-dir", str(self.data_dir)])
        processes.start(self.data_dir, DEAD_LETTERS, launch)

    def start_stream(self) -> None:
        """Start it anew after a kill, or for the first time; returns when every query runs."""
        started_after = read_progress(self.data_dir).get("at", 0.0)
        launch = processes.Launch(
            [SMARTMETER, "stream", "--data-dir", str(self.data_dir)], {"STREAM_TRIGGER_S": "2", "TZ": ELSEWHERE}
        )
        process = processes.start(self.data_dir, PART, launch)

        def runs() -> bool:
            assert not parts.has_ended(process), processes.log_tail(self.data_dir, PART)
            progress = read_progress(self.data_dir)
            grains = progress.get("grains", {}).values()
            return progress.get("at", 0.0) > started_after and all(grain["state"] == "running" for grain in grains)

        until(runs, "every query to run", STARTS_WITHIN_S, every_s=0.5)

    def kill(self, part: str) -> None:
        """kill -9, and for Spark its JVM too: it would else go on until it notices."""
        process = parts.find(self.data_dir, part)
        if process is None:
            record = parts.run_file(self.data_dir, part)
            said = record.read_text() if record.exists() else "no record"
            raise AssertionError(f"{part} does not run: {said}\n{processes.log_tail(self.data_dir, part)}")
        everything = [process, *process.children(recursive=True)]
        for one in everything:
            one.kill()
        psutil.wait_procs(everything, timeout=30)

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `smartmeter ARGUMENTS` to its end."""
        done = subprocess.run(
            [SMARTMETER, *arguments, "--data-dir", str(self.data_dir)],
            check=False,
            capture_output=True,
            text=True,
            timeout=400,
            env={**os.environ, "STREAM_DRIVER_MEMORY": "1g", "TZ": ELSEWHERE},
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `smartmeter ARGUMENTS` in the background."""
        return subprocess.Popen([SMARTMETER, *arguments, "--data-dir", str(self.data_dir)], stderr=subprocess.DEVNULL)

    def send(self, values: Iterable[bytes | None], key: bytes = b"building_1") -> None:
        """Write values to the raw topic as they are."""
        producer = Producer({"bootstrap.servers": self.settings.kafka_brokers, "partitioner": "murmur2_random"})
        for value in values:
            producer.produce(self.settings.kafka_topic, value, key)
        assert producer.flush(30) == 0

    def query(self, sql: str) -> Sequence[Sequence[Any]]:
        """Rows, as the administrator."""
        with closing(connect(self.settings)) as client:
            rows: Sequence[Sequence[Any]] = client.query(sql).result_rows
            return rows

    def execute(self, sql: str) -> None:
        """Run a statement, as the administrator."""
        with closing(connect(self.settings)) as client:
            client.command(sql)

    def verify(self, wait_s: float = BACK_WITHIN_S) -> Report:
        return verify(self.settings, wait_s, progress=lambda _: None)

    def down(self) -> None:
        self.stack.down()
