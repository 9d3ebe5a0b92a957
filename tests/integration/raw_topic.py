"""A raw topic of a test's own on the shared stack, read back by a client and a decoder that producers do not use."""

import json
import time
import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import fastavro
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.base.settings import Settings
from producers.settings import SinkSettings
from schemas.manifest import RAW, Dataset, load_datasets
from schemas.registry import Registry
from tests.patience import PATIENCE_S

DEADLINE_S = PATIENCE_S
PARTITIONS = 3

Row = dict[str, Any]


@dataclass(frozen=True)
class Held:
    """One message of a topic, as an independent client read it."""

    partition: int
    key: bytes
    value: bytes


class RawTopic:
    """A raw topic of a test's own, with the registered versions of MeterEvent."""

    def __init__(self, settings: Settings, registered: bool = True) -> None:
        self.name = f"producers-{uuid.uuid4().hex[:8]}"
        self.stack_settings = settings
        self.registry = Registry(settings.schema_registry_url)
        self.dataset: Dataset = load_datasets(raw_topic=self.name)[RAW]
        admin = AdminClient({"bootstrap.servers": settings.kafka_brokers})
        admin.create_topics([NewTopic(self.name, PARTITIONS, 1)])[self.name].result(30)
        versions = self.dataset.versions.values() if registered else ()
        self.ids = {self.registry.register(self.dataset.subject, record): record for record in versions}

    def sink(self, **changes: Any) -> SinkSettings:
        """Where producers send."""
        return SinkSettings(
            kafka=self.stack_settings.kafka,
            topic=self.name,
            schema_registry_url=self.stack_settings.schema_registry_url,
            **changes,
        )

    def count(self) -> int:
        """Messages in the topic now."""
        return sum(end for _, end in self._ends())

    def _ends(self) -> list[tuple[int, int]]:
        consumer = self._consumer()
        try:
            places = [TopicPartition(self.name, number) for number in range(PARTITIONS)]
            return [(place.partition, consumer.get_watermark_offsets(place, timeout=60)[1]) for place in places]
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.stack_settings.kafka_brokers, "group.id": "none"})

    def messages(self) -> list[Held]:
        """All messages, partition by partition in order."""
        ends = self._ends()
        consumer = self._consumer()
        found: list[Held] = []
        for number, end in ends:
            consumer.assign([TopicPartition(self.name, number, 0)])
            own: list[Held] = []
            deadline = time.monotonic() + DEADLINE_S
            while len(own) < end:
                assert time.monotonic() < deadline, f"{len(own)} of {end} messages of partition {number}"
                for message in consumer.consume(min(5000, end - len(own)), timeout=1.0):
                    assert message.error() is None, message.error()
                    own.append(Held(number, message.key() or b"", message.value() or b""))
            found.extend(own)
        consumer.close()
        return found

    def rows(self) -> list[Row]:
        """All readings, decoded by fastavro with the schema of each message's id, with their key and partition."""
        return [{**self._decoded(one.value), "key": one.key, "partition": one.partition} for one in self.messages()]

    def _decoded(self, value: bytes) -> Row:
        assert value[0] == 0
        schema = json.loads(self.ids[int.from_bytes(value[1:5], "big")].schema)
        physical = fastavro.parse_schema(
            {**schema, "fields": [{**field, "type": _physical(field["type"])} for field in schema["fields"]]}
        )
        stream = BytesIO(value[5:])
        row = fastavro.schemaless_reader(stream, physical, None)
        assert not stream.read()
        return dict(row)


def _physical(kind: Any) -> Any:
    return kind["type"] if isinstance(kind, dict) else kind
