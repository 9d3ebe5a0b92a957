"""The producers' way to Kafka: columns in, acknowledgements counted.

The producer is idempotent and waits for all in-sync replicas, so one run appends each reading once and in order. Only
what the broker acknowledged counts as sent. The sink waits for a broker that is down, in bounded memory.
"""

import string
import time
from collections.abc import Callable
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from infra.base import kafka_client
from infra.base.backoff import Backoff, Tell
from infra.base.columns import Columns, length
from infra.base.errors import SmartmeterError
from producers.events import encode
from producers.settings import SinkSettings
from producers.validation import check
from schemas.manifest import Dataset
from schemas.registry import Registry

BATCH = 5_000
POLL_S = 0.2
TELL_EVERY_S = 3.0


class Unacknowledged(SmartmeterError):  # noqa: N818
    """The broker did not acknowledge some readings. Whether it has them is unknown."""


class KafkaSink:
    """Sends readings of one dataset. `open_sink` makes it, and checks that topic and schema exist."""

    def __init__(
        self, settings: SinkSettings, dataset: Dataset, schema_id: int, stop: Event, on_wait: Tell = lambda _: None
    ) -> None:
        self._settings, self._dataset, self._schema_id = settings, dataset, schema_id
        self._record = dataset.versions[settings.schema_version]
        self._stop, self._on_wait = stop, on_wait
        self._client_error = ""
        self.sent = self.acknowledged = self.failed = 0
        self._first_failure = ""
        self._producer = kafka_client.producer(
            settings.kafka,
            {"queue.buffering.max.messages": settings.queue_messages, "error_cb": self._note_error},
        )

    def send(self, columns: Columns) -> None:
        """Hand readings to the producer, in order; waits while its queue is full.

        Raises OutOfContract before anything of `columns` is sent, and Unacknowledged when told to stop while waiting.
        """
        check(self._record, columns)
        keys = message_keys(self._dataset.key, columns)
        values = encode(self._record, self._schema_id, columns)
        for first in range(0, len(values), BATCH):
            pairs = zip(keys[first : first + BATCH], values[first : first + BATCH], strict=True)
            self._enqueue([{"key": key, "value": value} for key, value in pairs])

    def flush(self) -> None:
        """Wait until everything sent is acknowledged, however long that takes.

        Raises Unacknowledged when the broker refused some, or when told to stop and `stop_timeout_s` were not enough.
        """
        self._wait_until(lambda: self.unanswered == 0)
        if self.failed:
            raise Unacknowledged(
                f"{self.failed} readings were not acknowledged, {self.acknowledged} were; the first: "
                f"{self._first_failure}. Mend that, and start again: it goes on where the topic ends"
            )

    @property
    def unanswered(self) -> int:
        """Readings in the queue or under way."""
        return self.sent - self.acknowledged - self.failed

    def _enqueue(self, batch: list[dict[str, Any]]) -> None:
        while batch:
            self._wait_until(lambda: self.unanswered + len(batch) <= self._settings.queue_messages)  # noqa: B023
            taken = self._producer.produce_batch(self._dataset.topic, batch, on_delivery=self._delivered)
            self.sent += taken
            refused = [message for message in batch if "_error" in message] if taken < len(batch) else []
            for message in refused:
                error = message.pop("_error")
                if error.code() != KafkaError._QUEUE_FULL:
                    raise Unacknowledged(
                        f"Kafka's client refused a reading: {error.str()}; {self.unanswered} unanswered"
                    )
            batch = refused
            self._producer.poll(POLL_S if refused else 0)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        backoff = Backoff(POLL_S, POLL_S, self._on_wait, TELL_EVERY_S, TELL_EVERY_S)
        stopped_at: float | None = None
        while not done():
            missing = f"{self.unanswered} readings not acknowledged by Kafka at {self._settings.kafka}"
            self._producer.flush(backoff.failed(missing + self._because()))
            if self._stop.is_set():
                stopped_at = stopped_at or time.monotonic()
                if time.monotonic() - stopped_at > self._settings.stop_timeout_s and not done():
                    raise Unacknowledged(
                        f"stopped, and {self.unanswered} readings are not acknowledged after "
                        f"{self._settings.stop_timeout_s:g} s{self._because()}; started again, it goes on where the "
                        "topic ends"
                    )

    def _because(self) -> str:
        return f" ({self._client_error})" if self._client_error else ""

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.acknowledged += 1
            return
        self.failed += 1
        if not self._first_failure:
            key = (message.key() or b"").decode()
            self._first_failure = f"key {key} in {message.topic()}: {error.str()}"

    def _note_error(self, error: KafkaError) -> None:
        self._client_error = str(error.str())


def open_sink(
    settings: SinkSettings, dataset: Dataset, registry: Registry, stop: Event, on_wait: Tell = lambda _: None
) -> KafkaSink:
    """A sink whose topic and schema exist; this function creates neither.

    Raises SmartmeterError, which names what is missing and `smartmeter apply`, or the broker that does not answer.
    """
    if settings.schema_version not in dataset.versions:
        known = ", ".join(map(str, dataset.versions))
        raise SmartmeterError(f"{dataset.name} has no version {settings.schema_version}; it has {known}")
    if dataset.topic not in topics(settings):
        raise SmartmeterError(f"no topic {dataset.topic} at {settings.kafka}: run `smartmeter apply`, which creates it")
    schema_id = registry.id_of(dataset.subject, dataset.versions[settings.schema_version])
    return KafkaSink(settings, dataset, schema_id, stop, on_wait)


def topics(settings: SinkSettings) -> dict[str, list[int]]:
    """Topic → its partitions; raises SmartmeterError when no broker answers in `answer_timeout_s`.

    All topics are asked for, as some brokers create a topic when they are asked for that one.
    """
    client = kafka_client.admin(settings.kafka)
    try:
        metadata = client.list_topics(timeout=settings.answer_timeout_s).topics
    except KafkaException as error:
        raise SmartmeterError(
            f"Kafka at {settings.kafka} did not answer in {settings.answer_timeout_s:g} s "
            f"({error.args[0].str()}): is it running? `smartmeter status` tells, `smartmeter up` starts it"
        ) from error
    return {name: sorted(topic.partitions) for name, topic in metadata.items()}


def message_keys(template: str, columns: Columns) -> list[bytes]:
    """The key of each reading, by the manifest's template, for example building_{building_id}."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    rows = zip(*(columns[name].tolist() for name in names), strict=True) if names else [()] * length(columns)
    known: dict[tuple[Any, ...], bytes] = {}
    keys = []
    for row in rows:
        if row not in known:
            known[row] = template.format(**dict(zip(names, row, strict=True))).encode()
        keys.append(known[row])
    return keys
