"""Every unreadable message has exactly one dead letter, equal to the original, and no other letter exists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from clickhouse.ddl import literal, names
from clickhouse.dead_letters.inbox import InboxMessage, read_inbox
from clickhouse.dead_letters.letter import Letter, Origin, original_headers
from infra.base.log import Extent, Log, headers_of, offset_of
from infra.base.query import Query
from schemas.manifest import Dataset

REBUILD = "; `smartmeter rebuild {}` reads the topic again, and the unreadable with it"
FOREIGN = "; no command mends it, retention removes it: see who else writes to the dead-letter topic"
WRITE = " yet; `smartmeter dead-letters run` writes them"
FIRST = 5
"""How many of each kind of difference are named."""


@dataclass
class Letters:
    """The account of one dataset's dead letters: unreadable + outlived = letters, or failures.

    `unreadable` counts unreadable messages. `outlived` counts letters of messages that retention has removed from the
    topic and from ClickHouse. `missing` letters may still come, if the service is behind or not running.
    """

    unreadable: int = 0
    letters: int = 0
    redriven: int = 0
    outlived: int = 0
    missing: int = 0
    failures: list[str] = field(default_factory=list)


def account_letters(dataset: Dataset, extents: Sequence[Extent], query: Query, log: Log) -> Letters:
    """Account for the letters of every message within `extents` of the dataset's topic."""
    account = Letters()
    due = _unreadable(dataset, extents, query)
    account.unreadable = len(due)
    within = {extent.partition: extent for extent in extents}
    letters: dict[Origin, list[InboxMessage]] = {}
    for message in read_inbox(log, dataset.dead_letter_topic):
        if message.redriven is not None:
            account.redriven += 1
        elif message.letter is None:
            account.failures.append(f"{dataset.dead_letter_topic}: {message.where} is no dead letter{FOREIGN}")
        elif _is_later(message.letter.origin, within):
            continue  # found unreadable after this verification began
        else:
            account.letters += 1
            letters.setdefault(message.letter.origin, []).append(message)
    missing = sorted(due - letters.keys())
    account.missing = len(missing)
    _tell(account, [f"{dataset.name}: {origin} is unreadable and has no dead letter{WRITE}" for origin in missing])
    doubled = [
        f"{dataset.name}: {origin} has {len(each)} dead letters{FOREIGN}"
        for origin, each in letters.items()
        if each[1:]
    ]
    _tell(account, doubled)
    surplus = sorted(origin for origin in letters if origin not in due)
    outlived = [origin for origin in surplus if _is_outlived(origin, within)]
    account.outlived = len(outlived)
    unexpected = sorted(set(surplus) - set(outlived))
    _tell(
        account,
        [
            f"{dataset.name}: {origin} has a dead letter and is not unreadable{REBUILD.format(dataset.name)}"
            for origin in unexpected
        ],
    )
    _tell(account, _altered(dataset, within, letters, log))
    return account


def _unreadable(dataset: Dataset, extents: Sequence[Extent], query: Query) -> set[Origin]:
    table, due = names(dataset.name).unreadable, set()
    for extent in extents:
        rows = query(
            f"SELECT DISTINCT offset FROM {table} WHERE topic = {literal(dataset.topic)} "
            f"AND partition = {extent.partition} AND offset < {extent.end}"
        )
        due |= {Origin(dataset.topic, extent.partition, offset) for (offset,) in rows}
    return due


def _is_later(origin: Origin, within: dict[int, Extent]) -> bool:
    extent = within.get(origin.partition)
    return extent is not None and origin.offset >= extent.end


def _is_outlived(origin: Origin, within: dict[int, Extent]) -> bool:
    extent = within.get(origin.partition)
    return extent is None or origin.offset < extent.begin


def _altered(
    dataset: Dataset, within: dict[int, Extent], letters: dict[Origin, list[InboxMessage]], log: Log
) -> list[str]:
    """Letters that differ from their original, as long as the log has it."""
    wrong = []
    for partition, extent in within.items():
        held = sorted(o for o in letters if o.partition == partition and extent.begin <= o.offset < extent.end)
        for message in log.messages(dataset.topic, [Extent(partition, o.offset, o.offset + 1) for o in held]):
            origin = Origin(dataset.topic, partition, offset_of(message))
            original = (message.key(), message.value() or b"", tuple(original_headers(headers_of(message))))
            for kept in letters[origin]:
                assert kept.letter is not None, "only letters are found by origin"
                wrong += [
                    f"{dataset.name}: the dead letter of {origin} differs from the message in its {aspect}{FOREIGN}"
                    for aspect in _differences(kept.letter, original, message.timestamp()[1])
                ]
    return wrong


def _differences(letter: Letter, original: tuple[Any, ...], produced_at_ms: int) -> list[str]:
    copy = (letter.key, letter.value, tuple(letter.headers), letter.produced_at_ms)
    aspects = ("key", "bytes", "headers", "time")
    return [name for name, is_, was in zip(aspects, copy, (*original, produced_at_ms), strict=True) if is_ != was]


def _tell(account: Letters, sentences: list[str]) -> None:
    account.failures += sentences[:FIRST]
    if len(sentences) > FIRST:
        account.failures.append(f"{sentences[-1]}, and {len(sentences) - FIRST - 1} more of the kind")
