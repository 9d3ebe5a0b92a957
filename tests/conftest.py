"""For all tests: properties are checked without a deadline, with a seed that is drawn for each run and printed.

A new seed each time looks at new examples each time, in CI, too. `pytest --hypothesis-seed=N` repeats a run.
"""

import random
import signal

import pytest
from hypothesis import settings

# A busy machine is no reason to fail.
settings.register_profile("tests", deadline=None)
# Where the same properties are checked in full elsewhere, as by .ci/pythons.
settings.register_profile("few", deadline=None, max_examples=10)
settings.load_profile("tests")
# Somebody who ends the run, as `timeout` does, gets what Ctrl-C gets: servers that tests have started are stopped.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Draw the seed where none is given, before Hypothesis reads it."""
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.SystemRandom().randrange(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"properties: --hypothesis-seed={config.option.hypothesis_seed}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the seed again where somebody will look for it, -q or not."""
    if terminalreporter.stats.get("failed"):
        terminalreporter.line(f"properties were drawn with --hypothesis-seed={config.option.hypothesis_seed}")
