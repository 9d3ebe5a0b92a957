"""Kafka topics as manifests and deployment declare them, and how they differ from those that exist. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from infra.base.deployment import Deployment, KafkaDeployment
from infra.deploy.changes import Change, CreateTopic, Detail, SetTopicConfigs, config_details
from schemas.manifest import DEAD_LETTER_MAX_BYTES, DEAD_LETTER_SUFFIX, Dataset

DAY_MS = 24 * 60 * 60 * 1000
FOR_EVER = "-1"
CREATE_TIME, LOG_APPEND_TIME = "CreateTime", "LogAppendTime"


@dataclass(frozen=True)
class Topic:
    """A topic: its numbers of partitions and of replicas, and the configs that are declared here, by Kafka's names."""

    name: str
    partitions: int
    replicas: int
    configs: Mapping[str, str]


def declared_topics(datasets: Iterable[Dataset], kafka: KafkaDeployment) -> list[Topic]:
    """Every dataset's topic and its dead-letter topic.

    Times of raw readings are the broker's (LogAppendTime): they decide which correction counts and what is a fast
    clock, and a producer's clock may be wrong. Other times are the producers' (CreateTime), so that a copy of a topic
    ages as the original does. Nothing is compacted: Kafka keeps the last row of a key, not the one that counts.
    """
    topics = []
    for dataset in datasets:
        retention = FOR_EVER if dataset.retention_days is None else str(dataset.retention_days * DAY_MS)
        configs = {"cleanup.policy": "delete", "message.timestamp.type": CREATE_TIME}
        configs["min.insync.replicas"] = str(kafka.min_insync_replicas)
        replicas = kafka.replication_factor
        of_dataset = {**configs, "retention.ms": retention}
        if dataset.version_by == "offset":
            of_dataset["message.timestamp.type"] = LOG_APPEND_TIME
        topics.append(Topic(dataset.topic, dataset.partitions, replicas, of_dataset))
        dead_letters = {**configs, "retention.ms": FOR_EVER, "max.message.bytes": str(DEAD_LETTER_MAX_BYTES)}
        topics.append(Topic(dataset.dead_letter_topic, 1, replicas, dead_letters))
    return topics


def dead_letter_topics(datasets: Iterable[Dataset], deployment: Deployment, existing: Collection[str]) -> set[str]:
    """Every dead-letter topic: the declared ones, and those of the deployment's datasets that are declared no more."""
    return {dataset.dead_letter_topic for dataset in datasets} | {
        name for name in existing if deployment.owns(name) and name.endswith(DEAD_LETTER_SUFFIX)
    }


def topic_changes(declared: Topic, actual: Topic | None) -> list[Change]:
    """How a topic differs from its declaration; `actual` is None for a topic that does not exist.

    Another number of partitions or replicas is breaking, for the reasons in the advice. The configs are a change apart,
    which can be made beside it.
    """
    if actual is None:
        numbers = [Detail(name, "", number) for name, number in _numbers(declared).items()]
        step = CreateTopic(declared.name, declared.partitions, declared.replicas, declared.configs)
        return [Change("topic", "create", declared.name, (*numbers, *config_details(declared.configs, {})), (step,))]
    changes = []
    configs = config_details(
        declared.configs, {name: value for name, value in actual.configs.items() if name in declared.configs}
    )
    if configs:
        step_configs = SetTopicConfigs(declared.name, {detail.what: detail.declared for detail in configs})
        changes.append(Change("topic", "change", declared.name, tuple(configs), (step_configs,)))
    numbers = config_details(_numbers(declared), _numbers(actual))
    if numbers:
        advice = "; ".join(_advice(detail.what, declared, actual) for detail in numbers)
        changes.append(Change("topic", "breaking", declared.name, tuple(numbers), advice=advice))
    return changes


def _numbers(topic: Topic) -> dict[str, str]:
    return {"partitions": str(topic.partitions), "replicas": str(topic.replicas)}


def _advice(what: str, declared: Topic, actual: Topic) -> str:
    if what == "replicas":
        return (
            "Kafka's kafka-reassign-partitions moves replicas, apply does not: use it, or set replication_factor to "
            f"{actual.replicas} in the deployment"
        )
    if declared.partitions < actual.partitions:
        why = "Kafka cannot take partitions away"
    else:
        why = "with more partitions a key's next messages go to another one, and the order of its messages is lost"
    return (
        f"{why}: set partitions to {actual.partitions} in the deployment, or declare a new dataset with a new topic "
        "and fill it by a replay"
    )
