"""What the dead-letter topics hold, read from the topics themselves."""

from collections.abc import Iterator
from dataclasses import dataclass

from clickhouse.dead_letters.letter import Letter, NotALetter, parse_letter, redriven_from
from infra.base.log import Log, headers_of, offset_of, partition_of


@dataclass(frozen=True)
class InboxMessage:
    """One message of a dead-letter topic: a letter, the note of a redrive (`redriven`), or neither."""

    partition: int
    offset: int
    letter: Letter | None
    redriven: str | None = None

    @property
    def where(self) -> str:
        return f"partition {self.partition} offset {self.offset}"


def read_inbox(log: Log, topic: str) -> Iterator[InboxMessage]:
    """Every message of a dead-letter topic that is committed now, in order; raises SmartmeterError as the log does."""
    for message in log.messages(topic, log.extents(topic)):
        headers = headers_of(message)
        position = (partition_of(message), offset_of(message))
        redriven = redriven_from(headers)
        if redriven is not None:
            yield InboxMessage(*position, None, redriven)
            continue
        try:
            yield InboxMessage(*position, parse_letter(message.key(), message.value(), headers, message.timestamp()[1]))
        except NotALetter:
            yield InboxMessage(*position, None)
