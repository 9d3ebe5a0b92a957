"""The demo: the commands that a user would give, one after another, and a summary of what they proved."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from clickhouse.dead_letters.run import PART as DEAD_LETTERS
from grafana.preview.run import PART as PREVIEW
from infra.base import parts
from infra.base.console import progress_line
from infra.base.deployment import EMBEDDED
from infra.base.errors import SmartmeterError
from infra.operations.metrics.run import PART as METRICS
from infra.stack import processes
from infra.stack.stack import DEFAULT_PORTS, Stack
from ml.predict import PART as PREDICT
from stream_processing.progress import PART as STREAM
from stream_processing.progress import read_progress

MARKER = "demo"
SMARTMETER = Path(sys.executable).with_name("smartmeter")
UNCHANGED_S = "300"
"""How long verify waits for consumers that are still behind, when nothing changes meanwhile."""


@dataclass(frozen=True)
class Source:
    """What is measured: two hours of simulated meters and some seconds live, or the readings of a file."""

    csv: Path | None = None
    backfill_hours: float = 2.0
    live_s: float = 60.0

    @property
    def past(self) -> tuple[str, list[str]]:
        """Title and command of what is sent as fast as possible."""
        if self.csv is not None:
            return "import", ["import", str(self.csv.absolute())]
        return "backfill", ["simulate", "--backfill", f"{self.backfill_hours:g}"]

    @property
    def present(self) -> tuple[str, list[str]] | None:
        """Title and command of what is sent live; a file has no present."""
        return None if self.csv else ("live", ["simulate", "--live", "--for", f"{self.live_s:g}"])


@dataclass
class Demo:
    """One run in a data directory of its own."""

    data_dir: Path
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, source: Source, keep: bool) -> bool:
        """Everything from an empty directory to a verdict; True when verified. Stops what it started, unless `keep`."""
        self._clear()
        stack = Stack(self.data_dir)
        try:
            self._up(stack)
            self._command("apply", ["apply"])
            self._start_services()
            self._tell_preview()
            self._command(*source.past)
            if source.present is not None:
                # Two hours hold too few anomalies to learn from: the model learns from days simulated for it.
                self._command("train", ["ml", "train", "--simulate"])
                self.console.print()
                self._start_part(PREDICT, "ml", "predict")
                self._command(*source.present)
            self._command("repair", ["repair", "--open"])
            report = self._verify()
            if source.present is not None:
                self._command("evaluate", ["ml", "evaluate"])
            page = self.data_dir / "dashboards.html"
            self._command("dashboards", ["dashboards", "preview", "--output", str(page)])
            self._summary(report, stack)
            self.console.print(f"Dashboards: {page.as_uri()}", highlight=False, soft_wrap=True)
            if keep:
                self._tell_preview()
        finally:
            if not keep:
                self._down(stack)
        if keep:
            command = "smartmeter" if shutil.which("smartmeter") else str(SMARTMETER)
            self.console.print(f"Running on: `{command} status --data-dir {self.data_dir}`; `down` stops it.")
        return bool(report["verified"])

    def _clear(self) -> None:
        """Begin with nothing; only a directory that a demo made is ever emptied."""
        running = [part for part in parts.recorded_parts(self.data_dir) if parts.find(self.data_dir, part)]
        if running:
            raise SmartmeterError(
                f"{', '.join(running)} of an earlier demo still run in {self.data_dir}: "
                f"`smartmeter down --data-dir {self.data_dir}` stops them"
            )
        if self.data_dir.exists() and any(self.data_dir.iterdir()):
            if not (self.data_dir / MARKER).exists():
                raise SmartmeterError(f"{self.data_dir} holds something that no demo made; name another --data-dir")
            shutil.rmtree(self.data_dir)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        (self.data_dir / MARKER).write_text("A demo may empty this directory.\n")

    @property
    def _where(self) -> list[str]:
        """Its own directory, and the embedded deployment whatever the environment names."""
        return ["--data-dir", str(self.data_dir), "--deployment", EMBEDDED]

    def _up(self, stack: Stack) -> None:
        with self._timed("up"), progress_line() as line:
            self._show("up")
            line("starting Kafka, the schema registry and ClickHouse")
            started = stack.up(dict.fromkeys(DEFAULT_PORTS, 0))
        self.console.print(f"started {', '.join(started)} in {self.seconds['up']:.0f} s", highlight=False)

    def _start_services(self) -> None:
        """What runs in the background until the end; returns when every query of the stream runs."""
        self.console.print()
        with self._timed("stream starts"), progress_line() as line:
            self._start_part(DEAD_LETTERS, "dead-letters", "run")
            self._start_part(METRICS, "metrics", "--port", "0")
            preview = self._start_part(PREVIEW, "dashboards", "preview", "--port", "0")
            stream = self._start_part(STREAM, "stream")
            line("starting Spark's queries")
            processes.wait_ready(self.data_dir, STREAM, stream, self._stream_runs)
            line("starting the dashboards")
            processes.wait_ready(self.data_dir, PREVIEW, preview, lambda: bool(self._preview()))
        self.console.print(f"the stream runs after {self.seconds['stream starts']:.0f} s", highlight=False)

    def _down(self, stack: Stack) -> None:
        """Stop everything, however often somebody presses Ctrl-C meanwhile."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with progress_line() as line:
                line("stopping everything")
                stack.down()
        finally:
            signal.signal(signal.SIGINT, before)

    def _stream_runs(self) -> bool:
        grains = read_progress(self.data_dir).get("grains", {})
        return bool(grains) and all(grain["state"] == "running" for grain in grains.values())

    def _start_part(self, part: str, *arguments: str) -> psutil.Process:
        """Start `smartmeter ARGUMENTS` in the background, as the part that it records itself as."""
        self._show(*arguments, "&")
        launch = processes.Launch([str(SMARTMETER), *arguments, *self._where])
        return processes.start(self.data_dir, part, launch)

    def _preview(self) -> str:
        """Where the dashboards are served; empty as long as they are not."""
        return parts.recorded_address(self.data_dir, PREVIEW)

    def _tell_preview(self) -> None:
        """Name the address of the dashboards, which refresh themselves."""
        self.console.print(f"Dashboards, while it runs: {self._preview()}", highlight=False)

    def _command(self, title: str, arguments: Sequence[str]) -> None:
        with self._timed(title):
            self.console.print()
            self._show(*arguments)
            code, _ = self._run(arguments)
            if code:
                raise SmartmeterError(f"`smartmeter {' '.join(arguments)}` ended with exit code {code}")

    def _verify(self) -> dict[str, Any]:
        with self._timed("verify"):
            self.console.print()
            self._show("verify")
            code, output = self._run(["verify", "--json", "--wait", UNCHANGED_S], stdout=subprocess.PIPE)
            if not output:
                raise SmartmeterError(f"`smartmeter verify` ended with exit code {code}")
        report: dict[str, Any] = json.loads(output)
        return report

    def _run(self, arguments: Sequence[str], stdout: int | None = None) -> tuple[int, str]:
        """The exit code of `smartmeter ARGUMENTS`, and its output if `stdout` is a pipe.

        Ctrl-C in the terminal comes to the demo alone, which asks the command to end: Python would show a traceback
        for one that came while it starts.
        """
        command = [str(SMARTMETER), *arguments, *self._where]
        with subprocess.Popen(command, stdout=stdout, text=True, process_group=0) as process:
            try:
                output, _ = process.communicate()
            except BaseException:
                process.terminate()
                raise
        return process.returncode, output or ""

    def _show(self, *arguments: str) -> None:
        self.console.print(f"[bold]$ smartmeter {' '.join(arguments)}[/bold]", highlight=False, soft_wrap=True)

    @contextmanager
    def _timed(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[title] = time.monotonic() - started

    def _summary(self, report: dict[str, Any], stack: Stack) -> None:
        rows = []
        for name, counts in report["positions"].items():
            values = report["values"].get(name)
            if counts["messages"]:
                compared = [f"{values['equal']:,}", f"{values['open']:,}"] if values else ["", ""]
                rows.append([name, *(f"{counts[key]:,}" for key in ("messages", "rows", "superseded")), *compared])
        table = Table(title="What was counted, and recomputed from the readings", box=box.SIMPLE_HEAD)
        table.add_column("topic and table", no_wrap=True)
        for column, title in enumerate(("messages", "rows", "replaced", "equal", "open"), 1):
            # On a narrow terminal names are cut, and no number is.
            width = max(len(text) for text in (title, *(row[column] for row in rows)))
            table.add_column(title, justify="right", no_wrap=True, min_width=width)
        for row in rows:
            table.add_row(*row)
        self.console.print()
        self.console.print(table)
        for failure in report["failures"]:
            self.console.print(f"[red]✗[/red] {failure}", soft_wrap=True, highlight=False)
        times = ", ".join(f"{title} {seconds:.0f} s" for title, seconds in self.seconds.items())
        memory = sum(status.resident_bytes or 0 for status in stack.status())
        self.console.print(f"{times}; {memory / 2**30:.1f} GiB resident", highlight=False, soft_wrap=True)
        verdict = "[green]VERIFIED[/green]" if report["verified"] else "[red]NOT VERIFIED[/red]"
        self.console.print(f"{verdict}: every message accounted for, every row recomputed", highlight=False)
