"""The codec and the registry client against the real registry and broker, and the usual client's serializers."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from infra.base.settings import Settings
from infra.base.wait import until
from infra.stack.stack import Stack
from schemas.avro import Record, parse_record
from schemas.codec import Decoder, Encoder, Undecodable, with_datetimes
from schemas.examples import load_examples
from schemas.manifest import Dataset, load_datasets
from schemas.registry import INCOMPATIBLE, NotRegistered, Registry, RegistryRefused, RegistryUnavailable
from tests.patience import PATIENCE_S

DATASETS = load_datasets()


@pytest.fixture
def url(settings: Settings) -> str:
    return settings.schema_registry_url


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(url)


@pytest.fixture
def raw() -> Dataset:
    """Raw readings under a topic of this test's own."""
    return replace(DATASETS["raw_data"], topic=f"readings-{uuid.uuid4().hex[:8]}")


@pytest.fixture
def ids(registry: Registry, raw: Dataset) -> dict[int, int]:
    """Version → id, both versions registered."""
    registry.set_compatibility(raw.subject, "FULL_TRANSITIVE")
    return {number: registry.register(raw.subject, record) for number, record in raw.versions.items()}


def readings(dataset: Dataset, version: int) -> list[dict[str, Any]]:
    examples = load_examples(replace(dataset, name="raw_data"), version)
    return [example.model_dump() for example in examples]


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_the_usual_serializers_and_ours_write_and_read_the_same_bytes(url: str, dataset: Dataset) -> None:
    own = replace(dataset, topic=f"{dataset.topic}-{uuid.uuid4().hex[:8]}")
    registry, client = Registry(url), SchemaRegistryClient({"url": url, "timeout": 20})
    context = SerializationContext(own.topic, MessageField.VALUE)
    for number, record in own.versions.items():
        encoder = Encoder(record, registry.register(own.subject, record))
        decoder = Decoder(own.latest, registry)
        serialize = AvroSerializer(
            client, record.schema, conf={"auto.register.schemas": False, "use.latest.version": False}
        )
        deserialize = AvroDeserializer(client, own.latest.schema)
        decimals = [field.name for field in own.latest.fields if field.type == "decimal"]
        for example in load_examples(dataset, number):
            values = example.model_dump()
            theirs = serialize(with_decimals(values, decimals), context)
            ours = encoder.encode(values)
            assert ours == theirs
            read_by_theirs: Any = deserialize(ours, context)
            assert with_datetimes(decoder.decode(theirs), own.latest) == {
                name: int(value) if name in decimals and value is not None else value
                for name, value in read_by_theirs.items()
            }


def with_decimals(values: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Integers as the usual serializer wants them for a decimal."""
    return {name: Decimal(value) if name in names else value for name, value in values.items()}


def test_versions_mixed_in_a_topic_are_read_as_the_newest(
    settings: Settings, registry: Registry, raw: Dataset, ids: dict[int, int]
) -> None:
    sent = [
        (Encoder(raw.versions[version], ids[version]), values)
        for pair in zip(readings(raw, 1), readings(raw, 2), strict=False)
        for version, values in zip((1, 2), pair, strict=True)
    ]
    admin = AdminClient({"bootstrap.servers": settings.kafka_brokers})
    admin.create_topics([NewTopic(raw.topic, 1, 1)])[raw.topic].result(30)
    producer = Producer({"bootstrap.servers": settings.kafka_brokers})
    for encoder, values in sent:
        producer.produce(raw.topic, encoder.encode(values))
    assert producer.flush(30) == 0
    decoder = Decoder(raw.latest, registry)
    got = [
        with_datetimes(decoder.decode(message), raw.latest)
        for message in consume(settings.kafka_brokers, raw.topic, len(sent))
    ]
    assert got == [{"sequence": None, **values} for _, values in sent]
    assert {row["sequence"] is None for row in got} == {True, False}


def consume(brokers: str, topic: str, count: int) -> Iterator[bytes | None]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    values: list[bytes | None] = []

    def all_there() -> bool:
        values.extend(message.value() for message in consumer.consume(count, 0.5) if not message.error())
        return len(values) >= count

    try:
        until(all_there, f"{count} messages of {topic}", deadline_s=PATIENCE_S)
    finally:
        consumer.close()
    return iter(values)


def test_an_id_registered_while_we_run_is_picked_up(
    url: str, registry: Registry, raw: Dataset, ids: dict[int, int]
) -> None:
    """A producer is ahead of us by a version: what it writes is read by the version that we know."""
    decoder = Decoder(raw.latest, Registry(url))
    values = readings(raw, 2)[0]
    assert with_datetimes(decoder.decode(Encoder(raw.latest, ids[2]).encode(values)), raw.latest) == values
    third = with_field(raw.latest, {"name": "phase", "type": ["null", "long"], "default": None})
    unknown = Encoder(third, max(ids.values()) + 10_000).encode({**values, "phase": 1})
    with pytest.raises(Undecodable, match="unknown to the registry"):
        decoder.decode(unknown)
    message = Encoder(third, registry.register(raw.subject, third)).encode({**values, "phase": 1})
    assert with_datetimes(decoder.decode(message), raw.latest) == values


def with_field(record: Record, field: dict[str, Any]) -> Record:
    raw = json.loads(record.schema)
    return parse_record(json.dumps({**raw, "fields": [*raw["fields"], field]}), "another version")


def test_what_is_registered_can_be_asked_for(registry: Registry, raw: Dataset, ids: dict[int, int]) -> None:
    assert raw.subject in registry.subjects()
    assert registry.compatibility(raw.subject) == "FULL_TRANSITIVE"
    assert {number: registry.id_of(raw.subject, record) for number, record in raw.versions.items()} == ids
    assert {number: registry.register(raw.subject, record) for number, record in raw.versions.items()} == ids
    registered = registry.ids_of(raw.subject)
    assert list(registered) == list(ids.values())
    for number, schema_id in ids.items():
        text = registry.schema_by_id(schema_id)
        assert text == registered[schema_id]
        assert parse_record(str(text), "registered").fields == raw.versions[number].fields


def test_what_is_not_registered_is_told_from_what_is_refused(registry: Registry, raw: Dataset) -> None:
    assert registry.schema_by_id(2_000_000_000) is None
    assert registry.ids_of(raw.subject) == {}
    assert registry.compatibility(raw.subject) is None
    with pytest.raises(NotRegistered, match="smartmeter apply"):
        registry.id_of(raw.subject, raw.latest)
    registry.set_compatibility(raw.subject, "FULL_TRANSITIVE")
    registry.register(raw.subject, raw.versions[1])
    with pytest.raises(NotRegistered, match="smartmeter apply"):
        registry.id_of(raw.subject, raw.latest)
    breaking = with_field(raw.latest, {"name": "phase", "type": "long"})
    with pytest.raises(RegistryRefused) as refused:
        registry.register(raw.subject, breaking)
    assert refused.value.code == INCOMPATIBLE


def test_a_change_of_words_alone_finds_the_same_id(registry: Registry, raw: Dataset, ids: dict[int, int]) -> None:
    other_words = replace(raw.latest, schema=raw.latest.schema.replace("Meter that took the reading.", "The meter."))
    assert other_words.schema != raw.latest.schema
    assert registry.register(raw.subject, other_words) == ids[2]
    assert registry.id_of(raw.subject, other_words) == ids[2]


def test_a_registry_that_is_down_blames_no_message(
    stack: Stack, settings: Settings, raw: Dataset, ids: dict[int, int]
) -> None:
    values = readings(raw, 2)[0]
    old, new = (Encoder(raw.versions[number], ids[number]).encode(readings(raw, number)[0]) for number in (1, 2))
    decoder = Decoder(raw.latest, Registry(settings.schema_registry_url, timeout_s=PATIENCE_S, deadline_s=0.5))
    assert with_datetimes(decoder.decode(new), raw.latest) == values
    stack.kill("registry")
    try:
        with pytest.raises(RegistryUnavailable, match=r"registry at .* cannot be asked"):
            decoder.decode(old)
        assert with_datetimes(decoder.decode(new), raw.latest) == values, "a known id needs no registry"
    finally:
        stack.start("registry")
    assert with_datetimes(decoder.decode(old), raw.latest) == {**readings(raw, 1)[0], "sequence": None}
