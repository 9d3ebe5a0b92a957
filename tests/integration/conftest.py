"""The real stacks of a run of the integration tests: an empty one, and one with every contract applied."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from infra.base.settings import Settings, load_settings
from infra.cli import cli
from infra.stack.stack import DEFAULT_PORTS, Stack
from tests.integration.trial import Trial, applied_trial


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What stands in this folder needs the real stack, and is marked so."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session", autouse=True)
def own_environment() -> Iterator[None]:
    """Tests talk to their own stack alone, whatever this environment names."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in (
            *(field.upper() for field in Settings.model_fields),
            "SMARTMETER_DATA_DIR",
            "SMARTMETER_DEPLOYMENT",
        ):
            monkeypatch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that runs on free ports; shared, so a test that stops a part starts it again."""
    stack = Stack(tmp_path_factory.mktemp("stack"))
    stack.up(dict.fromkeys(DEFAULT_PORTS, 0))
    yield stack
    stack.down()


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with every topic, schema and table under its name, for tests of parts that know no other names."""
    stack = Stack(tmp_path_factory.mktemp("applied"))
    stack.up(dict.fromkeys(DEFAULT_PORTS, 0))
    try:
        done = CliRunner().invoke(cli, ["apply", "--data-dir", str(stack.data_dir)])
        assert done.exit_code == 0, done.output
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    """Where the shared stack is and how to log in."""
    return load_settings(stack.data_dir)


@pytest.fixture
def trial(tmp_path: Path, settings: Settings) -> Iterator[Trial]:
    """Two datasets of its own, applied and read; nobody else sees them."""
    with applied_trial(tmp_path, settings) as trial:
        yield trial
