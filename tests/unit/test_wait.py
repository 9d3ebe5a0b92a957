import re
import time

import pytest

from infra.base.wait import until


def test_returns_the_first_truthy_value() -> None:
    values = iter([0, None, "", "there", "later"])

    assert until(lambda: next(values), "a value", deadline_s=10, every_s=0.001) == "there"


def test_a_timeout_names_what_was_awaited_how_long_and_what_was_seen() -> None:
    with pytest.raises(TimeoutError, match=re.escape("s for the tide to turn; last seen: []")) as caught:
        until(lambda: [], "the tide to turn", deadline_s=0.02, every_s=0.001)

    assert re.match(r"waited 0\.\d s ", str(caught.value))


def test_the_condition_is_tried_even_when_there_is_no_time() -> None:
    assert until(lambda: 7, "seven", deadline_s=0) == 7


def test_an_error_in_the_condition_is_not_swallowed() -> None:
    def broken() -> bool:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        until(broken, "nothing", deadline_s=10)


def test_what_moves_is_waited_for_beyond_the_deadline() -> None:
    started = time.monotonic()

    def condition() -> bool:
        return time.monotonic() - started > 0.5

    assert until(condition, "half a second", deadline_s=0.2, every_s=0.01, progress=time.monotonic)


def test_silence_ends_the_wait_though_there_was_progress_before() -> None:
    started = time.monotonic()

    def moves_for_a_while() -> float:
        return min(time.monotonic(), started + 0.2)

    with pytest.raises(TimeoutError):
        until(lambda: False, "nothing", deadline_s=0.1, every_s=0.01, progress=moves_for_a_while)

    assert time.monotonic() - started >= 0.3
