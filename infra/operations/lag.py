"""How far the readers of topics are behind, and waiting for them."""

from collections.abc import Callable, Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from clickhouse.ddl import consumer_group
from infra.base import kafka_client
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.log import Extent, Log
from infra.base.wait import until
from schemas.manifest import Dataset

ADMIN_TIMEOUT_S = 15.0


def committed(kafka: KafkaConnection, group: str, topic: str, extents: list[Extent]) -> dict[int, int]:
    """By partition, the offset that a group reads next. If it has committed none, the partition's beginning."""
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, extent.partition) for extent in extents])
    admin = kafka_client.admin(kafka)
    try:
        answer = admin.list_consumer_group_offsets([asked])[group].result(ADMIN_TIMEOUT_S)
    except KafkaException as error:
        raise SmartmeterError(f"Kafka did not say how far group {group} is: {error.args[0].str()}") from error
    begins = {extent.partition: extent.begin for extent in extents}
    return {at.partition: max(at.offset, begins[at.partition]) for at in answer.topic_partitions or ()}


def messages_behind(log: Log, topic: str, extents: list[Extent], reads_next: Mapping[int, int]) -> int:
    """Messages within `extents` that a reader has yet to read; `reads_next` has its next offset by partition.

    Offsets without a message at the end of a partition (the marker of a transaction) are not counted.
    """
    behind = 0
    for extent in extents:
        unread = extent._replace(begin=max(reads_next.get(extent.partition, extent.begin), extent.begin))
        if next(iter(log.entries(topic, [unread])), None):
            behind += unread.end - unread.begin
    return behind


def table_behind(kafka: KafkaConnection, log: Log, dataset: Dataset, extents: list[Extent]) -> int:
    """Messages within `extents` of a dataset's topic that its ClickHouse table has yet to read."""
    reads_next = committed(kafka, consumer_group(dataset), dataset.topic, extents)
    return messages_behind(log, dataset.topic, extents, reads_next)


def await_read(behind: Callable[[], int], awaited: str, stuck_after_s: float, tell: Callable[[str], None]) -> None:
    """Return when no message is left, however long that takes. `tell` gets a line whenever the count changes.

    Raises SmartmeterError, which names `awaited`, if the count does not change for `stuck_after_s` seconds.
    """
    left = behind()

    def moved() -> bool:
        nonlocal left
        before, left = left, behind()
        return left != before

    while left:
        tell(f"waiting for {awaited}: {left:,} messages left")
        try:
            until(moved, awaited, stuck_after_s, every_s=1.0)
        except TimeoutError as error:
            raise SmartmeterError(
                f"waited for {awaited}: {left:,} messages are left, and none was read for {stuck_after_s:g} s; "
                "`smartmeter status` tells what runs"
            ) from error
