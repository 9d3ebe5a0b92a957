"""Kafka as Spark reads and writes it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.readwriter import DataStreamWriter

from infra.base.kafka_connection import KafkaConnection

Ranges = Mapping[int, Sequence[tuple[int, int]]]
"""Partition → stretches of offsets [first, last), ascending and apart; every partition has at least one, if empty."""


@dataclass(frozen=True)
class Kafka:
    """One cluster."""

    connection: KafkaConnection

    def stream(self, spark: SparkSession, topic: str, max_messages_per_trigger: int) -> DataFrame:
        """The topic from its beginning (or the checkpoint), transactions that were aborted left out.

        Data that retention removed before it was read is a failure, never skipped.
        """
        return (
            spark.readStream.format("kafka")
            .options(**self._source(topic), failOnDataLoss="true", startingOffsets="earliest")
            .option("maxOffsetsPerTrigger", max_messages_per_trigger)
            .load()
        )

    def batch(self, spark: SparkSession, topic: str, ranges: Ranges | None = None) -> DataFrame:
        """What the topic holds now within `ranges`; None: all of it."""
        if ranges is None:
            return self._read(spark, topic, "earliest", "latest")
        # One read takes one range of each partition, so the second ranges are a second read, and so on.
        turns = max(map(len, ranges.values()), default=0)
        parts = [
            self._read(spark, topic, _offsets(topic, ranges, turn, 0), _offsets(topic, ranges, turn, 1))
            for turn in range(max(turns, 1))
        ]
        return reduce(DataFrame.unionByName, parts)

    def since(self, spark: SparkSession, topic: str, starting_offsets: str) -> DataFrame:
        """What the topic holds now, from `starting_offsets` ("earliest", or Spark's JSON) to its end."""
        return self._read(spark, topic, starting_offsets, "latest")

    def _read(self, spark: SparkSession, topic: str, starting_offsets: str, ending_offsets: str) -> DataFrame:
        options = {"startingOffsets": starting_offsets, "endingOffsets": ending_offsets, "failOnDataLoss": "true"}
        return spark.read.format("kafka").options(**self._source(topic), **options).load()

    def sink(self, messages: DataFrame) -> DataStreamWriter:
        """A writer of `write`'s columns batch by batch; at least once, so readers merge by law 3."""
        return messages.writeStream.foreachBatch(lambda batch, _: self.write(batch))

    def write(self, messages: DataFrame) -> None:
        """Write a batch of `window_start`, `topic`, `key`, `value`; returns when all of them are acknowledged.

        One task writes, in the order of `window_start`: a batch may span many hours of event time, and a reader that
        looks in while it is written would else take the rows that are still to come for late ones.
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


def _offsets(topic: str, ranges: Ranges, turn: int, side: int) -> str:
    """Spark's JSON for the starts (side 0) or ends (side 1) of each partition's stretch of that turn.

    A partition that has no more stretches gets an empty one at the end of its last.
    """
    chosen = {
        str(partition): stretches[turn][side] if turn < len(stretches) else stretches[-1][1]
        for partition, stretches in ranges.items()
    }
    return json.dumps({topic: chosen})
