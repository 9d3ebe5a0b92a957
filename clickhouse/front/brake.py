"""Statements of readers that ended the engine's process, refused for a while: each time costs everybody a restart."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from clickhouse.front.errors import QUERY_IS_PROHIBITED, QueryError
from clickhouse.front.limits import BRAKE_S, MAX_BRAKES


@dataclass
class _Record:
    times: int
    until: float


class Brake:
    """Remembers statements by hash. Whoever alters a statement is not held by it: it is for what is asked again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._records: dict[bytes, _Record] = {}

    def suspect(self, statement: str, alone: bool) -> None:
        """The process ended while this ran: it is refused from now on if nothing else ran, else the second time."""
        key, now = _key(statement), self._clock()
        record = self._records.pop(key, None)
        times = 1 + (record.times if record and record.until > now else 0)
        self._records[key] = _Record(times + alone, now + BRAKE_S)
        if len(self._records) > MAX_BRAKES:
            del self._records[next(iter(self._records))]

    def judge(self, statement: str) -> None:
        """Raise error 392 for a statement that is refused now."""
        record = self._records.get(_key(statement))
        left_s = record.until - self._clock() if record and record.times > 1 else 0
        if left_s > 0:
            reason = "it ended the engine's process, which costs everybody a restart"
            raise QueryError(
                QUERY_IS_PROHIBITED, f"this statement is refused to readers for another {left_s:.0f} s: {reason}"
            )


def _key(statement: str) -> bytes:
    return hashlib.sha256(statement.encode(errors="surrogatepass")).digest()
