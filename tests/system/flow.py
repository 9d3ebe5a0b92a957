"""A whole system, stream included, for tests that break it: what the demo leaves running with --keep."""

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from clickhouse.verify.run import Report
from grafana.preview.run import PART as PREVIEW
from infra.base import parts
from infra.base.clickhouse_client import connect
from infra.base.settings import load_settings
from infra.base.wait import until
from infra.cli import cli
from infra.operations.metrics.run import PART as METRICS
from infra.operations.verify import verify
from infra.stack import processes
from infra.stack.stack import Stack
from stream_processing.progress import PART as STREAM
from stream_processing.progress import read_progress

SMARTMETER = str(Path(sys.executable).with_name("smartmeter"))
SILENCE_S = 300.0
"""What has not moved for so long will not; slowness alone fails no test."""


class System:
    """Kafka, registry, ClickHouse, dead letters and the stream in one data directory, on free ports."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.stack = Stack(data_dir)
        self.demo_output = ""

    def demo(self, csv: Path) -> None:
        """Run the demo on a file and leave it running, as somebody would in a pipe."""
        command = [SMARTMETER, "demo", "--csv", str(csv), "--keep", "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.demo_output = done.stdout
        assert done.returncode == 0, done.stdout
        self.settings = load_settings(self.data_dir)
        for part in (METRICS, PREVIEW):  # they write and read beside the tests, which compare every row
            process = parts.find(self.data_dir, part)
            assert process is not None
            processes.stop(process, part)
            parts.forget(self.data_dir, part)

    def start_stream(self) -> None:
        """Start it anew after a kill; returns when every query runs."""
        started_after = read_progress(self.data_dir).get("at", 0.0)
        process = processes.start(
            self.data_dir, STREAM, processes.Launch([SMARTMETER, "stream", "--data-dir", str(self.data_dir)])
        )

        def runs() -> bool:
            progress = read_progress(self.data_dir)
            grains = progress.get("grains", {}).values()
            return progress.get("at", 0.0) > started_after and all(grain["state"] == "running" for grain in grains)

        processes.wait_ready(self.data_dir, STREAM, process, runs)

    def kill(self, part: str) -> None:
        """kill -9, and for Spark its JVM too: it would else go on until it notices."""
        process = parts.find(self.data_dir, part)
        if process is None:
            record = parts.run_file(self.data_dir, part)
            recorded = record.read_text() if record.exists() else "no record"
            raise AssertionError(f"{part} does not run: {recorded}\n{processes.log_tail(self.data_dir, part)}")
        family = [process, *process.children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, timeout=60)

    def kill_jvm(self) -> str:
        """kill -9 of Spark's JVM alone; gives what the stream, which then ends by itself, wrote to its log."""
        stream = parts.find(self.data_dir, STREAM)
        assert stream is not None
        for child in stream.children(recursive=True):
            child.kill()
        until(lambda: parts.has_ended(stream), "the stream to end after its JVM", SILENCE_S)
        return processes.log_tail(self.data_dir, STREAM)

    def command(self, *arguments: str, check: bool = True) -> Result:
        """Run `smartmeter ARGUMENTS` to its end, in this process: those that need Spark share one JVM."""
        result = CliRunner().invoke(cli, [*arguments, "--data-dir", str(self.data_dir)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if check:
            assert result.exit_code == 0, result.output
        return result

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `smartmeter ARGUMENTS` in the background."""
        return subprocess.Popen([SMARTMETER, *arguments, "--data-dir", str(self.data_dir)], stderr=subprocess.DEVNULL)

    def send(self, values: Iterable[bytes | None], key: bytes = b"building_1") -> None:
        """Write values to the raw topic as they are."""
        producer = Producer({"bootstrap.servers": self.settings.kafka_brokers, "partitioner": "murmur2_random"})
        for value in values:
            producer.produce(self.settings.kafka_topic, value, key)
        assert producer.flush(120) == 0

    def read(self) -> int:
        """Messages of the raw topic that the stream's first grain has read."""
        grain = read_progress(self.data_dir)["grains"]["meter_30s"]
        offsets = grain["progress"].get("end_offsets") or {}
        return sum(offsets.get(self.settings.kafka_topic, {}).values())

    def await_read(self, messages: int) -> None:
        """Wait until the stream's first grain has read so many messages, as long as it reads."""
        awaited = f"the stream to have read {messages} messages"
        until(lambda: self.read() >= messages, awaited, SILENCE_S, progress=self.read)

    def await_rows(self, sql: str, enough: Callable[[Sequence[Sequence[Any]]], bool], every_s: float = 0.1) -> None:
        """Wait until the rows of a query are `enough`, as long as they change."""
        until(lambda: enough(self.query(sql)), sql, SILENCE_S, every_s, progress=lambda: self.query(sql))

    def query(self, sql: str) -> Sequence[Sequence[Any]]:
        """Rows, as the administrator."""
        with closing(connect(self.settings)) as client:
            rows: Sequence[Sequence[Any]] = client.query(sql).result_rows
            return rows

    def execute(self, sql: str) -> None:
        """Run a statement, as the administrator."""
        with closing(connect(self.settings)) as client:
            client.command(sql)

    def verify(self, wait_s: float = SILENCE_S) -> Report:
        return verify(self.settings, wait_s, progress=lambda _: None)

    def down(self) -> None:
        self.stack.down()
