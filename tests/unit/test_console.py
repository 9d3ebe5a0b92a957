"""Tables in a pipe."""

import pytest

from infra.base.console import PIPE_WIDTH, stdout_console


def test_a_pipe_has_lines_that_are_not_folded_unless_columns_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert stdout_console().width == PIPE_WIDTH
    monkeypatch.setenv("COLUMNS", "60")
    assert stdout_console().width == 60
