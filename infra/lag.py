"""How far consumer groups are behind their topics."""

from collections.abc import Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from clickhouse.verify.log import Extent, Log
from infra.errors import SmartmeterError

ADMIN_TIMEOUT_S = 15.0


def committed(brokers: str, group: str, topic: str, extents: list[Extent]) -> dict[int, int]:
    """By partition, the offset that a group reads next; where it has not committed, the partition's beginning."""
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, extent.partition) for extent in extents])
    admin = AdminClient({"bootstrap.servers": brokers})
    try:
        answer = admin.list_consumer_group_offsets([asked])[group].result(ADMIN_TIMEOUT_S)
    except KafkaException as error:
        raise SmartmeterError(f"Kafka did not say how far group {group} is: {error.args[0].str()}") from error
    begins = {extent.partition: extent.begin for extent in extents}
    return {found.partition: max(found.offset, begins[found.partition]) for found in answer.topic_partitions or ()}


def messages_behind(log: Log, topic: str, extents: list[Extent], reads_next: Mapping[int, int]) -> int:
    """Messages within `extents` that a reader has not taken yet, of whose next offsets are given.

    What only looks like messages at the end of a partition (the marker of a transaction) is not counted.
    """
    behind = 0
    for extent in extents:
        first = max(reads_next.get(extent.partition, extent.begin), extent.begin)
        if first < extent.end and next(iter(log.entries(topic, extent.partition, [(first, extent.end)])), None):
            behind += extent.end - first
    return behind
