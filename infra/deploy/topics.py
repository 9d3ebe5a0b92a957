"""Kafka topics as declared by the manifests, and how they differ from those that exist. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from infra.deploy.changes import Change, CreateTopic, Detail, SetTopicConfigs, config_details
from schemas.manifest import DEAD_LETTER_MAX_BYTES, DEAD_LETTER_SUFFIX, Dataset

DAY_MS = 24 * 60 * 60 * 1000
FOR_EVER = "-1"


@dataclass(frozen=True)
class Topic:
    """A topic: its number of partitions and the configs that are declared here, by Kafka's names."""

    name: str
    partitions: int
    configs: Mapping[str, str]


def declared_topics(datasets: Iterable[Dataset]) -> list[Topic]:
    """Every dataset's topic and its dead-letter topic.

    Times of messages are the producers' (CreateTime), so that a copy of a topic ages as the original does. Nothing is
    compacted: Kafka keeps the last row of a key, not the one with the most events.
    """
    topics = []
    for dataset in datasets:
        retention = FOR_EVER if dataset.retention_days is None else str(dataset.retention_days * DAY_MS)
        configs = {"cleanup.policy": "delete", "message.timestamp.type": "CreateTime"}
        topics.append(Topic(dataset.topic, dataset.partitions, {**configs, "retention.ms": retention}))
        dead_letters = {**configs, "retention.ms": FOR_EVER, "max.message.bytes": str(DEAD_LETTER_MAX_BYTES)}
        topics.append(Topic(dataset.dead_letter_topic, 1, dead_letters))
    return topics


def dead_letter_topics(datasets: Iterable[Dataset], existing: Collection[str]) -> set[str]:
    """Every dead-letter topic: the declared ones, and those that exist, of datasets that are not declared any more."""
    return {dataset.dead_letter_topic for dataset in datasets} | {
        name for name in existing if name.endswith(DEAD_LETTER_SUFFIX)
    }


def topic_change(declared: Topic, actual: Topic | None) -> Change | None:
    """How a topic differs from its declaration, None if it does not; `actual` is None for a topic that does not exist.

    A different number of partitions is breaking: keys would move to other partitions, and the order of one key's
    messages, on which the later one counts, holds within one partition only.
    """
    if actual is None:
        details = (Detail("partitions", "", str(declared.partitions)), *config_details(declared.configs, {}))
        step = CreateTopic(declared.name, declared.partitions, declared.configs)
        return Change("topic", "create", declared.name, details, (step,))
    configs = config_details(
        declared.configs, {name: value for name, value in actual.configs.items() if name in declared.configs}
    )
    if declared.partitions != actual.partitions:
        partitions = Detail("partitions", str(actual.partitions), str(declared.partitions))
        return Change("topic", "breaking", declared.name, (partitions, *configs), advice=_advice(declared, actual))
    if configs:
        changed = {detail.what: detail.declared for detail in configs}
        return Change("topic", "change", declared.name, tuple(configs), (SetTopicConfigs(declared.name, changed),))
    return None


def _advice(declared: Topic, actual: Topic) -> str:
    if declared.partitions < actual.partitions:
        why = "Kafka cannot take partitions away"
    else:
        why = "with more partitions a key's next messages go to another one, and the order of its messages is lost"
    return (
        f"{why}: set partitions to {actual.partitions} in the manifest, or declare a new dataset with a new topic "
        "and fill it by a replay"
    )
