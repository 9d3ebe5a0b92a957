"""What the front does when the engine's process cannot be started again at once."""

import asyncio
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from clickhouse.front.errors import ABORTED, QueryError
from clickhouse.front.supervisor import Supervisor


@pytest.mark.parametrize("error", [OSError(28, "no space"), BlockingIOError(11, "fork"), QueryError(ABORTED, "no")])
def test_it_tries_until_the_engine_is_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    supervisor = Supervisor(tmp_path / "data", 1)
    start = AsyncMock(side_effect=[error, None])
    monkeypatch.setattr(supervisor, "start", start)
    ended = AsyncMock()
    ended.wait.return_value = -9
    asyncio.run(supervisor._restart_when_it_ends(ended))
    assert start.await_count == 2
