"""Pauses grow to a limit and never overflow; sentences come when they are due; a stop ends a pause."""

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from infra.base.backoff import Backoff

MILLION = 1_000_000


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_the_limit() -> None:
    backoff = Backoff(first_s=1.0, longest_s=60.0)
    assert [backoff.failed("x") for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff.failures == 8


def test_a_success_begins_anew() -> None:
    backoff = Backoff(first_s=0.5, longest_s=60.0)
    backoff.failed("x"), backoff.failed("x")
    backoff.succeeded()
    assert backoff.failures == 0
    assert [backoff.failed("x"), backoff.failed("x")] == [0.5, 1.0]


def test_a_million_failures_do_not_overflow() -> None:
    backoff = Backoff(first_s=0.1, longest_s=2.0)
    for _ in range(MILLION):
        pause_s = backoff.failed("x")
    assert (pause_s, backoff.failures) == (2.0, MILLION)


@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 200))
def test_a_pause_is_never_shorter_than_the_one_before_or_longer_than_the_limit(
    first_s: float, longest_s: float, failures: int
) -> None:
    backoff = Backoff(first_s, longest_s)
    pauses = [backoff.failed("x") for _ in range(failures)]
    assert pauses == sorted(pauses)
    assert pauses[0] == min(first_s, longest_s)
    assert max(pauses) <= longest_s


def test_a_sentence_at_once_and_then_every_ten_seconds() -> None:
    clock, told = Clock(), list[str]()
    backoff = Backoff(1.0, 1.0, told.append, tell_every_s=10.0, clock=clock)
    for second in range(25):
        clock.now = 1000.0 + second
        backoff.failed(f"broker is down {second}")
    assert told == [
        "waiting: broker is down 0",
        "waiting for 10 s: broker is down 10",
        "waiting for 20 s: broker is down 20",
    ]


def test_what_is_over_soon_is_not_told() -> None:
    clock, told = Clock(), list[str]()
    backoff = Backoff(1.0, 1.0, told.append, tell_after_s=3.0, tell_every_s=10.0, clock=clock)
    for second in (0, 1, 2):
        clock.now = 1000.0 + second
        backoff.failed("x")
    backoff.succeeded()
    clock.now = 1010.0
    backoff.failed("again")
    assert told == []  # three seconds are counted from the first failure after the success
    clock.now = 1013.0
    backoff.failed("again")
    assert told == ["waiting for 3 s: again"]


def test_of_an_error_its_first_line_is_told() -> None:
    told = list[str]()
    backoff = Backoff(1.0, 1.0, told.append)
    backoff.failed(OSError("no route\nto host"))
    backoff.failed(TimeoutError())
    assert told == ["waiting: no route", "waiting: TimeoutError"]


def test_wait_pauses_and_a_stop_ends_it() -> None:
    stop = threading.Event()
    backoff = Backoff(first_s=0.02, longest_s=60.0)
    started = time.monotonic()
    assert backoff.wait("x", stop)
    assert time.monotonic() - started >= 0.02
    endless = Backoff(first_s=600.0, longest_s=600.0)
    threading.Timer(0.05, stop.set).start()
    assert not endless.wait("x", stop)
    assert time.monotonic() - started < 60
    assert not endless.wait("x", stop)
