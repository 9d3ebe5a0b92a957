"""Kafka clients with the settings that this project depends on. Every consumer, producer and admin client is made here.

A client's log goes to CLIENT_LOG, whose level is that of the package `infra`; without configured logging it is not
shown. What matters is in the errors that the callers raise.
"""

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from infra.base.kafka_connection import KafkaConnection

CLIENT_LOG = logging.getLogger(__name__)
CLIENT_LOG.addHandler(logging.NullHandler())

Settings = Mapping[str, object]
"""librdkafka's settings by name; they win over those below."""


def consumer(kafka: KafkaConnection, group: str, settings: Settings | None = None) -> Consumer:
    """A consumer that commits nothing by itself, reads committed transactions only, and tells where partitions end.

    librdkafka wants a `group` even of a consumer that assigns its partitions itself and never joins it.
    """
    return Consumer(
        {
            **kafka.librdkafka(),
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            # By default the client rests for a second whenever it is ahead of its reader: 0.17 million messages/s
            # instead of 1.8.
            "fetch.queue.backoff.ms": 5,
            "logger": CLIENT_LOG,
            **(settings or {}),
        }
    )


def producer(kafka: KafkaConnection, settings: Settings | None = None) -> Producer:
    """An idempotent producer: all in-sync replicas acknowledge, in order, once; a broker that is down is waited for.

    Like Java's clients it sends one key to one partition, whoever sends.
    """
    return Producer(
        {
            **kafka.librdkafka(),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "message.timeout.ms": 0,  # never give a message up because of time
            "logger": CLIENT_LOG,
            **(settings or {}),
        }
    )


def admin(kafka: KafkaConnection, settings: Settings | None = None) -> AdminClient:
    """An admin client. Its calls need time-outs of their own."""
    config: dict[str, Any] = {**kafka.librdkafka(), **(settings or {})}
    return AdminClient(config, logger=CLIENT_LOG)
