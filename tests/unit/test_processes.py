import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.base import parts
from infra.base.errors import SmartmeterError
from infra.base.parts import find, has_ended, log_file, run_file, this_process_is
from infra.base.wait import until
from infra.stack import processes
from infra.stack.processes import Launch, start, stop, wait_ready

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; print('child', flush=True); time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""


def python(code: str, **environment: str) -> Launch:
    return Launch([sys.executable, "-c", code], environment)


SLEEPER = python("import time; print('ready', flush=True); time.sleep(600)")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory; what a test leaves running in it is killed."""
    yield tmp_path
    for part in parts.recorded_parts(tmp_path):
        if process := find(tmp_path, part):
            stop(process, part, deadline_s=0)


def says(data_dir: Path, part: str, word: str) -> bool:
    return word in log_file(data_dir, part).read_text()


def test_a_started_part_is_found_again_and_stopped(data_dir: Path) -> None:
    process = start(data_dir, "sleeper", SLEEPER)

    found = find(data_dir, "sleeper")
    assert found is not None
    assert found.pid == process.pid
    assert os.getsid(process.pid) == process.pid
    stop(process, "sleeper")
    assert has_ended(process)
    assert not psutil.pid_exists(process.pid)
    assert find(data_dir, "sleeper") is None


def test_a_process_that_only_has_the_same_id_is_not_ours(data_dir: Path) -> None:
    process = start(data_dir, "sleeper", SLEEPER)
    said = json.loads(run_file(data_dir, "sleeper").read_text())
    said["identity"] += "0"
    run_file(data_dir, "sleeper").write_text(json.dumps(said))

    assert find(data_dir, "sleeper") is None
    stop(process, "sleeper")


def test_a_part_that_nobody_started_is_not_found(data_dir: Path) -> None:
    assert find(data_dir, "sleeper") is None


def test_a_killed_part_is_not_found(data_dir: Path) -> None:
    process = start(data_dir, "sleeper", SLEEPER)
    process.kill()

    until(lambda: find(data_dir, "sleeper") is None, "the killed process to be seen as gone", deadline_s=10)


def test_a_process_is_a_part_while_a_context_lasts(data_dir: Path) -> None:
    with pytest.raises(KeyError), this_process_is(data_dir, "stream", "the stream") as found_at:
        assert find(data_dir, "stream") == psutil.Process(os.getpid())
        assert parts.recorded_address(data_dir, "stream") == ""
        found_at("http://127.0.0.1:1/")
        assert parts.recorded_address(data_dir, "stream") == "http://127.0.0.1:1/"
        raise KeyError
    assert find(data_dir, "stream") is None
    assert not run_file(data_dir, "stream").exists()


def test_a_part_that_another_process_is_cannot_be_taken(data_dir: Path) -> None:
    other = start(data_dir, "stream", SLEEPER)
    with (
        pytest.raises(SmartmeterError, match=f"the stream runs already .process {other.pid}"),
        this_process_is(data_dir, "stream", "the stream"),
    ):
        pass
    assert find(data_dir, "stream") == other


def test_of_two_that_begin_at_once_one_goes_on(data_dir: Path) -> None:
    """The other has looked for a record before the first wrote one."""
    with (
        parts.lock(data_dir, "stream") as is_ours,
        pytest.raises(SmartmeterError, match="the stream is being started by another process"),
        this_process_is(data_dir, "stream", "the stream"),
    ):
        pass
    assert is_ours
    with this_process_is(data_dir, "stream", "the stream"), parts.lock(data_dir, "stream") as is_free:
        assert not is_free
    with parts.lock(data_dir, "stream") as is_free:
        assert is_free, "the lock outlives what it stood for"


def test_what_does_not_end_when_asked_is_killed_with_its_children(data_dir: Path) -> None:
    process = start(data_dir, "stubborn", python(STUBBORN))
    until(lambda: says(data_dir, "stubborn", "child") and says(data_dir, "stubborn", "ready"), "both to run", 30)
    family = [process, *process.children()]
    assert len(family) == 2

    stop(process, "stubborn", deadline_s=0.2)

    assert all(has_ended(member) for member in family)


def test_ready_is_waited_for(data_dir: Path) -> None:
    process = start(data_dir, "sleeper", SLEEPER)

    wait_ready(data_dir, "sleeper", process, lambda: says(data_dir, "sleeper", "ready"))

    assert says(data_dir, "sleeper", "ready")


def test_a_part_that_ends_while_it_starts_shows_the_end_of_its_log(data_dir: Path) -> None:
    code = "import sys; print('\\n'.join(f'line {i}' for i in range(100)), flush=True); sys.exit('cannot bind')"
    process = start(data_dir, "broken", python(code))

    with pytest.raises(SmartmeterError, match="broken ended while it started") as caught:
        wait_ready(data_dir, "broken", process, lambda: False)

    lines = str(caught.value).splitlines()
    assert lines[1] == f"the end of {log_file(data_dir, 'broken')}:"
    assert lines[-1] == "  cannot bind"
    assert "  line 99" in lines
    assert "  line 5" not in lines


def test_a_part_that_is_never_ready_is_named_with_its_log(data_dir: Path) -> None:
    process = start(data_dir, "sleeper", SLEEPER)
    until(lambda: says(data_dir, "sleeper", "ready"), "it to print", 30)

    with pytest.raises(SmartmeterError, match=r"waited 0\.\d s for sleeper to be ready.*\n.*\n  ready"):
        wait_ready(data_dir, "sleeper", process, lambda: False, silence_s=0.05)


def test_a_slow_part_is_waited_for_as_long_as_it_works(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing for longer than the silence that is allowed, and works."""
    monkeypatch.setattr(processes, "STEP_CPU_S", 0.02)
    code = "import time\nwhile time.process_time() < 1.5: pass\nprint('ready', flush=True)\ntime.sleep(600)"
    process = start(data_dir, "slow", python(code))

    wait_ready(data_dir, "slow", process, lambda: says(data_dir, "slow", "ready"), silence_s=0.5)

    assert says(data_dir, "slow", "ready")


def test_a_part_whose_log_grows_is_waited_for(data_dir: Path) -> None:
    code = "import time\nfor n in [*range(15), 'ready']: print(n, flush=True); time.sleep(0.1)\ntime.sleep(600)"
    process = start(data_dir, "talker", python(code))
    until(lambda: says(data_dir, "talker", "0"), "it to begin", 30)

    wait_ready(data_dir, "talker", process, lambda: says(data_dir, "talker", "ready"), silence_s=1.0)


def test_a_part_that_works_and_works_is_given_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STEP_CPU_S", 0.02)
    monkeypatch.setattr(processes, "WORK_S", 0.5)
    process = start(data_dir, "spinner", python("while True: pass"))

    with pytest.raises(SmartmeterError, match="spinner worked 1 s and is not ready"):
        wait_ready(data_dir, "spinner", process, lambda: False)


def test_a_part_gets_the_passwords_of_its_launch_and_no_others(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", "inherited")
    monkeypatch.setenv("ORDINARY", "inherited")
    names = ["CLICKHOUSE_PASSWORD", "OTHER_PASSWORD", "ORDINARY"]
    code = f"import json, os; print(json.dumps([os.environ.get(name) for name in {names}]))"

    process = start(data_dir, "teller", python(code, OTHER_PASSWORD="given"))
    until(lambda: has_ended(process), "it to print and end", 30)

    assert json.loads(log_file(data_dir, "teller").read_text()) == [None, "given", "inherited"]


def test_the_log_of_the_run_before_is_kept(data_dir: Path) -> None:
    for word in ("first", "second"):
        start(data_dir, "teller", python(f"print('{word}')"))
        until(lambda: find(data_dir, "teller") is None, "it to print and end", 30)

    assert log_file(data_dir, "teller").read_text() == "second\n"
    assert (data_dir / "logs" / "teller.log.1").read_text() == "first\n"
