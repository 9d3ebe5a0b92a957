"""The README's commands as they stand there, in a shell, on a data directory that is new."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.base.wait import until
from infra.stack.stack import DEFAULT_PORTS, PARTS, Stack
from tests.system.flow import SILENCE_S
from tests.system.noise import NOISE

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text()
UNTIL_STOPPED = re.compile("^smartmeter (subscribe|verify --watch)")
"""Lines that run until Ctrl-C."""
DIFFERENCES = 2
"""What `smartmeter plan` exits with where something is still to be applied, as its help says."""


def section(heading: str) -> str:
    """The text from a heading up to the next one."""
    return re.split(r"\n#+ ", README.split(f"# {heading}\n", 1)[1])[0]


def blocks(heading: str, language: str = "") -> list[str]:
    """The code blocks below a heading, as they stand."""
    return re.findall(rf"^```{language}\n(.*?)^```", section(heading), re.MULTILINE | re.DOTALL)


def commands(heading: str) -> list[str]:
    """The lines of the shell blocks below a heading."""
    return [line for block in blocks(heading) for line in block.splitlines() if line and not line.startswith("#")]


class Shell:
    """Somebody who gives one command after another in a folder where the system is installed."""

    def __init__(self, folder: Path, data_dir: Path) -> None:
        self.folder = folder
        self.stack = Stack(data_dir)
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SMARTMETER_DATA_DIR": str(data_dir),
            **{f"SMARTMETER_{name.upper().replace('-', '_')}_PORT": "0" for name in DEFAULT_PORTS},
        }
        self.until_stopped: dict[str, subprocess.Popen[bytes]] = {}

    def give(self, line: str) -> str:
        """Run a line to its end, or leave it in the background if it says so; gives what it printed."""
        output = self._output(line)
        with output.open("wb") as file:
            done = subprocess.run(
                ["bash", "-c", line], check=False, cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )
        expected = DIFFERENCES if line.startswith("smartmeter plan") else 0
        assert done.returncode == expected, f"{line}\n{output.read_text()}"
        return output.read_text()

    def begin(self, line: str, command: list[str]) -> None:
        """Start what runs until it is stopped."""
        with self._output(line).open("wb") as file:
            self.until_stopped[line] = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=file, stderr=file
            )

    def interrupt(self, line: str) -> str:
        """Ctrl-C, once it has printed something; gives that."""
        process, output = self.until_stopped.pop(line), self._output(line)
        until(lambda: output.stat().st_size or process.poll() is not None, f"`{line}` to print something", SILENCE_S)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SILENCE_S) in (0, -signal.SIGINT, 130), f"{line}\n{output.read_text()}"
        return output.read_text()

    def _output(self, line: str) -> Path:
        return self.folder / (re.sub("[^a-z0-9]+", "-", line[:80]) + ".out")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, tmp_path / "data")
    yield shell
    for process in shell.until_stopped.values():
        process.kill()
        process.wait()
    shell.stack.down()


def test_the_first_commands_are_those_of_the_launcher_and_of_ci() -> None:
    first = [line.split("#")[0].strip() for line in commands("Two commands")]
    assert first[:2] == ["python3 run demo", "python3 run test"]
    assert "\npython3 run test\n" in (REPOSITORY / ".ci" / "run").read_text()


def test_every_line_of_by_hand_the_log_is_the_truth_and_subscribe_works(shell: Shell) -> None:
    """In the README's order, but that subscribers listen before there is something to hear, and `down` comes last."""
    by_hand, truth, shell_subscriber = (commands(name) for name in ("By hand", "The log is the truth", "Subscribe"))
    (python_subscriber,) = blocks("Subscribe", "python")
    assert by_hand[-1] == "smartmeter down"
    assert len(by_hand) > 10
    assert len(truth) > 5
    for line in by_hand[:-1]:
        if line.startswith("smartmeter ml predict"):
            begin_subscribers(shell, shell_subscriber, python_subscriber)
        printed = shell.give(line)
        assert NOISE.search(printed) is None, f"{line}\n{printed}"
    assert {part.part for part in shell.stack.status() if part.state == "running"} == {
        *PARTS, "stream", "dead-letters", "predict",
    }  # fmt: skip
    for line in truth:
        if UNTIL_STOPPED.match(line):
            shell.begin(line, ["bash", "-c", f"exec {line}"])
            assert "VERIFIED" in shell.interrupt(line)
        else:
            printed = shell.give(line)
            assert NOISE.search(printed) is None, f"{line}\n{printed}"
    for line in shell_subscriber:
        assert '"probability":' in shell.interrupt(line)
    assert re.match(r".*anomaly_prediction_results.* [0-9]+ 20", shell.interrupt("python"))
    shell.give(by_hand[-1])
    assert {part.state for part in shell.stack.status()} == {"stopped"}


def begin_subscribers(shell: Shell, lines: list[str], program: str) -> None:
    for line in lines:
        shell.begin(line, ["bash", "-c", f"exec {line}"])
    (shell.folder / "subscriber.py").write_text(program)
    shell.begin("python", ["python", "-u", "subscriber.py"])
