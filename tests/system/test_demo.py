"""The README's demo as a person sees it: on a terminal, on simulated meters, from nothing to a verdict."""

import os
import re
import sys
from pathlib import Path

import psutil

from tests.system.noise import NOISE
from tests.system.terminal import Terminal, shown

SMARTMETER = str(Path(sys.executable).with_name("smartmeter"))
MOVING = re.compile("waiting for|sent until|starting|fetching|recomputed, |[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]")


def test_the_demo_ends_verified_and_leaves_a_clean_screen_and_nothing_that_runs(tmp_path: Path) -> None:
    data_dir = tmp_path / "demo"
    with Terminal([SMARTMETER, "demo", "--data-dir", str(data_dir)], os.environ) as terminal:
        code, written = terminal.wait(), terminal.written
    screen = "\n".join(shown(written))

    assert code == 0, screen
    assert screen.rstrip().splitlines()[-2].startswith("VERIFIED: every message accounted for, every row recomputed")
    assert re.search(r"raw_data +14[0-9],[0-9]{3} ", screen)
    model, rules = (precision(screen, name) for name in ("model", "rules"))
    assert model > rules
    assert NOISE.search(written) is None, NOISE.search(written)
    assert MOVING.search(written), "no line told what goes on"
    assert MOVING.search(screen) is None, MOVING.search(screen)
    assert len(screen.splitlines()) < 140
    assert (data_dir / "dashboards.html").stat().st_size > 100_000
    assert still_running(data_dir) == []


def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path) -> None:
    """However often somebody presses Ctrl-C."""
    data_dir = tmp_path / "demo"
    with Terminal([SMARTMETER, "demo", "--data-dir", str(data_dir)], os.environ) as terminal:
        terminal.read_until("$ smartmeter apply")
        assert len(still_running(data_dir)) > 3
        terminal.press(b"\x03")
        terminal.read_until("stopping everything")
        terminal.press(b"\x03")
        assert terminal.wait() != 0
        assert "Traceback" not in terminal.written
    assert still_running(data_dir) == []


def still_running(data_dir: Path) -> list[int]:
    """Processes that belong to a data directory."""
    return [process.pid for process in psutil.process_iter() if str(data_dir) in " ".join(command_line(process))]


def precision(screen: str, name: str) -> float:
    """The average precision that the last table of scores tells for a name."""
    found = re.findall(rf"^ +{name} +([01]\.[0-9]+) ", screen, re.MULTILINE)
    return float(found[-1])


def command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
