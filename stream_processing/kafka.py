"""Kafka as Spark reads and writes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.readwriter import DataStreamWriter

from infra.base.kafka_connection import KafkaConnection

Extents = Mapping[int, Sequence[tuple[int, int]]]
"""By partition: offsets [begin, end), ascending and apart. Every partition has at least one extent, if an empty one."""


@dataclass(frozen=True)
class Kafka:
    """One cluster."""

    connection: KafkaConnection

    def stream(self, spark: SparkSession, topic: str, max_messages_per_trigger: int) -> DataFrame:
        """The topic from its beginning, or from where the checkpoint says; without messages of aborted transactions.

        The query fails where retention has removed messages before they were read.
        """
        return (
            spark.readStream.format("kafka")
            .options(**self._source(topic), failOnDataLoss="true", startingOffsets="earliest")
            .option("maxOffsetsPerTrigger", max_messages_per_trigger)
            .load()
        )

    def batch(self, spark: SparkSession, topic: str, extents: Extents | None = None) -> DataFrame:
        """What the topic holds now within `extents`; None: all of it."""
        if extents is None:
            return self._read(spark, topic, "earliest", "latest")
        # Spark reads one extent of each partition at a time, so the second extents are a second read, and so on.
        turns = max([1, *map(len, extents.values())])
        reads = [
            self._read(spark, topic, _offsets(topic, extents, turn, 0), _offsets(topic, extents, turn, 1))
            for turn in range(turns)
        ]
        return reduce(DataFrame.unionByName, reads)

    def since(self, spark: SparkSession, topic: str, starting_offsets: str) -> DataFrame:
        """What the topic holds now, from `starting_offsets` ("earliest", or Spark's JSON) to its end."""
        return self._read(spark, topic, starting_offsets, "latest")

    def _read(self, spark: SparkSession, topic: str, starting_offsets: str, ending_offsets: str) -> DataFrame:
        options = {"startingOffsets": starting_offsets, "endingOffsets": ending_offsets, "failOnDataLoss": "true"}
        return spark.read.format("kafka").options(**self._source(topic), **options).load()

    def sink(self, messages: DataFrame) -> DataStreamWriter:
        """A writer that gives each batch to `write`. It writes at least once, so readers merge by law 3."""
        return messages.writeStream.foreachBatch(lambda batch, _: self.write(batch))

    def write(self, messages: DataFrame) -> None:
        """Write rows of `window_start`, `topic`, `key`, `value`; return when Kafka has acknowledged all of them.

        One task writes, in the order of `window_start`. A batch may span many hours of event time; in any other order a
        reader that looks while it is written would take the rows still to come for late ones.
        """
        ordered = messages.repartition(1).sortWithinPartitions("window_start")
        ordered.select("topic", "key", "value").write.format("kafka").options(**self._producer()).save()

    def _source(self, topic: str) -> dict[str, str]:
        return {
            **self.connection.spark(),
            "kafka.isolation.level": "read_committed",
            "subscribe": topic,
        }

    def _producer(self) -> dict[str, str]:
        return {
            **self.connection.spark(),
            "kafka.compression.type": "lz4",
            "kafka.linger.ms": "5",
        }


def _offsets(topic: str, extents: Extents, turn: int, side: int) -> str:
    """Spark's JSON for the begins (side 0) or ends (side 1) of each partition's extent of that turn.

    A partition that has no more extents gets an empty one at the end of its last.
    """
    offsets = {
        str(partition): of_partition[turn][side] if turn < len(of_partition) else of_partition[-1][1]
        for partition, of_partition in extents.items()
    }
    return json.dumps({topic: offsets})
