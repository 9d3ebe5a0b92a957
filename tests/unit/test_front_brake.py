"""Which statements are refused after the engine's process ended, and how long."""

import pytest

from clickhouse.front.brake import Brake
from clickhouse.front.errors import QueryError
from clickhouse.front.limits import BRAKE_S, MAX_BRAKES


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refused(brake: Brake, statement: str) -> bool:
    try:
        brake.judge(statement)
    except QueryError as error:
        assert error.code == 392
        return True
    return False


def test_what_ran_alone_is_refused_for_its_time() -> None:
    brake = Brake(clock := Clock())
    brake.suspect("a", alone=True)
    assert refused(brake, "a")
    assert not refused(brake, "b")
    clock.now = BRAKE_S - 1
    assert refused(brake, "a")
    clock.now = BRAKE_S
    assert not refused(brake, "a")


def test_what_ran_beside_others_is_refused_the_second_time() -> None:
    brake = Brake(clock := Clock())
    brake.suspect("a", alone=False)
    assert not refused(brake, "a")
    clock.now = BRAKE_S + 1  # long after: the first time again
    brake.suspect("a", alone=False)
    assert not refused(brake, "a")
    brake.suspect("a", alone=False)
    assert refused(brake, "a")


def test_the_error_says_why_and_how_long() -> None:
    brake = Brake(Clock())
    brake.suspect("a", alone=True)
    with pytest.raises(QueryError, match="refused to readers for another 300 s: it ended the engine's process"):
        brake.judge("a")


def test_so_many_are_remembered() -> None:
    brake = Brake(Clock())
    for number in range(MAX_BRAKES + 1):
        brake.suspect(str(number), alone=True)
    assert not refused(brake, "0")
    assert refused(brake, "1")
    assert refused(brake, str(MAX_BRAKES))
