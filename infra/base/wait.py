"""Waiting on a condition with a deadline, instead of sleeping and hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(
    condition: Callable[[], T],
    awaited: str,
    deadline_s: float,
    every_s: float = 0.1,
    progress: Callable[[], object] | None = None,
) -> T:
    """Call `condition` every `every_s` seconds and return its first truthy value.

    With `progress` the deadline is for silence and not for slowness: the seconds count from the last time that its
    value changed. The condition is tried at least once, and once more at the deadline. An exception that either raises
    goes to the caller at once. Raises TimeoutError, which names `awaited`, the time waited in seconds and the last
    value seen.
    """
    started = moved_at = time.monotonic()
    seen = progress() if progress else None
    while True:
        value = condition()
        if value:
            return value
        if progress and (now_seen := progress()) != seen:
            seen, moved_at = now_seen, time.monotonic()
        left_s = moved_at + deadline_s - time.monotonic()
        if left_s <= 0:
            waited_s = time.monotonic() - started
            raise TimeoutError(f"waited {waited_s:.1f} s for {awaited}; last seen: {value!r}")
        time.sleep(min(every_s, left_s))
