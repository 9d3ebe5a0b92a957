"""How pure code asks ClickHouse: by a function that somebody else gives it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

ResultRows = Sequence[Sequence[Any]]


class Query(Protocol):
    """Runs a query and gives its rows. `parameters` are the values of `{name:Type}` in its text."""

    def __call__(self, sql: str, parameters: Mapping[str, float] | None = None, /) -> ResultRows: ...
