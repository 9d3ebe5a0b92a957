"""Dead letters back to where their originals came from, each once."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from clickhouse.dead_letters.inbox import read_inbox
from clickhouse.dead_letters.letter import REDRIVEN, Letter, Origin
from clickhouse.dead_letters.transactions import Outgoing, Transactions
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.log import Log
from schemas.manifest import Dataset

TRANSACTIONAL_ID = "smartmeter-redrive"
BATCH = 500
NOTE = b"redriven"
"""Value of a note; not empty, as ClickHouse's engine passes over empty ones."""


@dataclass(frozen=True)
class RedriveOutcome:
    """What became of one letter; `why` says why it was not sent."""

    name: str
    sent: bool
    why: str = ""


@dataclass(frozen=True)
class Redrive:
    """Sends originals again. Two cannot run at once: the later one ends the earlier one."""

    datasets: Mapping[str, Dataset]
    kafka: KafkaConnection
    prefix: str = ""

    def run(self, wanted: Collection[Origin] | None, topic: str | None, again: bool) -> Iterator[RedriveOutcome]:
        """Redrive the letters named in `wanted`, or all of `topic`; yields an outcome for each once it is committed.

        A letter and the note that it was redriven are one transaction, so an interrupted redrive can be run again.
        A letter with such a note is not sent, unless `again`. Raises SmartmeterError for a name that no letter has.
        """
        sources = {origin.topic for origin in wanted} if wanted is not None else {topic or ""}
        for dataset in self.datasets.values():
            if dataset.topic in sources:
                sources.discard(dataset.topic)
                of_topic = None if wanted is None else {origin for origin in wanted if origin.topic == dataset.topic}
                yield from self._redrive(dataset, of_topic, again)
        if sources:
            raise SmartmeterError(f"no dataset has the topic {min(sources)}; see `smartmeter dead-letters list`")

    def _redrive(self, dataset: Dataset, wanted: set[Origin] | None, again: bool) -> Iterator[RedriveOutcome]:
        # First: what another left undone is settled then.
        transactions = Transactions(self.kafka, f"{self.prefix}{TRANSACTIONAL_ID}")
        letters: dict[Origin, Letter] = {}
        done: set[str] = set()
        with Log(self.kafka) as log:
            for message in read_inbox(log, dataset.dead_letter_topic):
                if message.redriven is not None:
                    done.add(message.redriven)
                elif message.letter is not None and (wanted is None or message.letter.origin in wanted):
                    letters[message.letter.origin] = message.letter
        if unknown := sorted(map(str, (wanted or set()) - letters.keys())):
            raise SmartmeterError(f"no dead letter is named {unknown[0]}; see `smartmeter dead-letters list`")
        due = []
        for origin, letter in sorted(letters.items()):
            why = _not_sent(letter, str(origin) in done and not again)
            if why:
                yield RedriveOutcome(str(origin), False, why)
            else:
                due.append(letter)
        for first in range(0, len(due), BATCH):
            batch = due[first : first + BATCH]
            transactions.send([message for letter in batch for message in _messages(letter, dataset)])
            yield from (RedriveOutcome(str(letter.origin), True) for letter in batch)


def _not_sent(letter: Letter, done: bool) -> str:
    if done:
        return "redriven before (--again sends it once more)"
    if letter.value_from == "nowhere":
        return "its bytes are lost"
    return ""


def _messages(letter: Letter, dataset: Dataset) -> list[Outgoing]:
    """The original in its partition, with a new time of the log, and the note."""
    note = [(REDRIVEN, str(letter.origin).encode())]
    return [
        Outgoing(letter.origin.topic, letter.key, letter.value, letter.headers, partition=letter.origin.partition),
        Outgoing(dataset.dead_letter_topic, letter.key, NOTE, note),
    ]
