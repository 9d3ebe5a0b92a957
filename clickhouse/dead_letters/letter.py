"""A dead letter as a Kafka message: the original's key, value and headers, and why it is here. Pure.

The headers that say why are Kafka Connect's, so that tools for its dead letters read ours, and one of our own.
Names: those that `DeadLetterQueueReporter` of Kafka Connect writes, `__connect.errors.*`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from infra.base.errors import SmartmeterError

Headers = Sequence[tuple[str, bytes | None]]

CONNECT = "__connect.errors."
OWN = "smartmeter."
VALUE_FROM = f"{OWN}value.from"
REDRIVEN = f"{OWN}redriven.from"
"""On the note that a redrive leaves in the dead-letter topic: the position of the letter's original."""
ValueFrom = Literal["log", "clickhouse", "nowhere"]
GONE = {
    "log": "",
    "clickhouse": " (retention has removed the message; ClickHouse kept these bytes, and neither key nor headers)",
    "nowhere": " (retention has removed the message and ClickHouse kept no bytes of it: this value is a substitute)",
}


class NotALetter(ValueError):  # noqa: N818
    """A message in a dead-letter topic that does not say where it comes from."""


class Origin(NamedTuple):
    """Where the original of a letter stands, written `topic:partition:offset`: a letter's name."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True)
class Letter:
    """An unreadable message as it goes to the dead-letter topic. `produced_at_ms` is the original's."""

    origin: Origin
    key: bytes | None
    value: bytes
    headers: Headers
    """The original's own."""
    produced_at_ms: int
    consumer: str
    reason: str
    value_from: ValueFrom = "log"


def all_headers(letter: Letter) -> list[tuple[str, bytes | None]]:
    """The original's headers, then those that say why the message is here."""
    reasons = {
        "topic": letter.origin.topic,
        "partition": str(letter.origin.partition),
        "offset": str(letter.origin.offset),
        "connector.name": letter.consumer,
        "task.id": "0",
        "stage": "VALUE_CONVERTER",
        "class.name": "AvroConfluent",
        "exception.class.name": "Undecodable",
        "exception.message": letter.reason,
    }
    errors = [(f"{CONNECT}{name}", text.encode()) for name, text in reasons.items()]
    return [*letter.headers, *errors, (VALUE_FROM, letter.value_from.encode())]


def original_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """What is left when the headers that say why are stripped, in order."""
    return [(name, value) for name, value in headers if not name.startswith((CONNECT, OWN))]


def parse_letter(key: bytes | None, value: bytes | None, headers: Headers, produced_at_ms: int) -> Letter:
    """The letter in a message of a dead-letter topic. Raises NotALetter.

    If a header occurs twice the last one counts: the original may have had such headers itself.
    """
    by_name = dict(headers)
    try:
        origin = Origin(
            _text(by_name, f"{CONNECT}topic"),
            int(_text(by_name, f"{CONNECT}partition")),
            int(_text(by_name, f"{CONNECT}offset")),
        )
    except (KeyError, ValueError) as error:
        raise NotALetter(f"no header {CONNECT}topic, .partition or .offset that can be read") from error
    value_from = by_name.get(VALUE_FROM) or b"log"
    return Letter(
        origin,
        key,
        value or b"",
        tuple(original_headers(headers)),
        produced_at_ms,
        (by_name.get(f"{CONNECT}connector.name") or b"").decode(errors="replace"),
        (by_name.get(f"{CONNECT}exception.message") or b"").decode(errors="replace"),
        "clickhouse" if value_from == b"clickhouse" else "nowhere" if value_from == b"nowhere" else "log",
    )


def redriven_from(headers: Headers) -> str | None:
    """The name of the letter that was redriven, if this message is the note of a redrive."""
    value = dict(headers).get(REDRIVEN)
    return None if value is None else value.decode(errors="replace")


def parse_origin(name: str) -> Origin:
    """The position that a letter's name says; raises SmartmeterError."""
    topic, _, rest = name.partition(":")
    partition, _, offset = rest.partition(":")
    if not topic or not partition.isdecimal() or not offset.isdecimal():
        raise SmartmeterError(f"{name!r} names no dead letter: they are named topic:partition:offset")
    return Origin(topic, int(partition), int(offset))


def _text(headers: dict[str, bytes | None], name: str) -> str:
    value = headers[name]
    if value is None:
        raise KeyError(name)
    return value.decode()
