"""Messages to Kafka, all of a batch or none of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException

from clickhouse.dead_letters.letter import Headers
from infra.base import kafka_client
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from schemas.manifest import DEAD_LETTER_MAX_BYTES

TIMEOUT_S, OPEN_TIMEOUT_S = 30.0, 10.0
TRANSACTION_TIMEOUT_MS = 60_000


class NotSent(SmartmeterError):  # noqa: N818
    """Nothing of the batch is in the log, or it is not known whether all is: open anew, read what is there, go on."""


class ReplacedByAnother(SmartmeterError):  # noqa: N818
    """Another process has opened the same transactional id; this one may send nothing any more."""


@dataclass(frozen=True)
class Outgoing:
    """A message to send; `partition` and `timestamp_ms` None: as Kafka chooses them."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    partition: int | None = None
    timestamp_ms: int | None = None


class Transactions:
    """Sends batches under one transactional id. Made by `open`; what another left open under the id is aborted then."""

    def __init__(self, kafka: KafkaConnection, transactional_id: str) -> None:
        self._producer = kafka_client.producer(
            kafka,
            {
                "transactional.id": transactional_id,
                "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
                "message.timeout.ms": TRANSACTION_TIMEOUT_MS,  # may not be longer than the transaction's
                "message.max.bytes": DEAD_LETTER_MAX_BYTES,
            },
        )
        self._try(lambda: self._producer.init_transactions(OPEN_TIMEOUT_S))

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Returns when the whole batch is committed; raises NotSent, after which this object is of no use."""
        self._try(self._producer.begin_transaction)
        for message in batch:
            self._try(lambda message=message: self._produce(message))  # type: ignore[misc]
        self._try(lambda: self._producer.commit_transaction(TIMEOUT_S))

    def _produce(self, message: Outgoing) -> None:
        place: dict[str, Any] = {"partition": message.partition, "timestamp": message.timestamp_ms}
        options = {name: value for name, value in place.items() if value is not None}
        try:
            self._producer.produce(message.topic, message.value, message.key, headers=list(message.headers), **options)
        except BufferError:
            self._producer.flush(TIMEOUT_S)
            self._producer.produce(message.topic, message.value, message.key, headers=list(message.headers), **options)

    @staticmethod
    def _try(step: Callable[[], object]) -> None:
        try:
            step()
        except KafkaException as error:
            cause = error.args[0]
            if cause.code() in (cause.PRODUCER_FENCED, cause._FENCED, cause.INVALID_PRODUCER_EPOCH):
                raise ReplacedByAnother(
                    f"another process does the same ({cause.str()}); this one stops: end the other, or leave it to it"
                ) from error
            raise NotSent(f"Kafka did not take the messages: {cause.str()}") from error
