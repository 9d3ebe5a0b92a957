"""Kafka as Spark reads and writes it."""

from dataclasses import dataclass

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.streaming.readwriter import DataStreamWriter

REQUEST_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Kafka:
    """One cluster, by its bootstrap addresses."""

    brokers: str

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

    def batch(self, spark: SparkSession, topic: str, starting_offsets: str = "earliest") -> DataFrame:
        """What the topic holds now, from `starting_offsets` ("earliest", or Spark's JSON) to its end."""
        options = {"startingOffsets": starting_offsets, "endingOffsets": "latest"}
        return spark.read.format("kafka").options(**self._source(topic), **options).load()

    def sink(self, messages: DataFrame) -> DataStreamWriter:
        """A writer of `topic`, `key`, `value`; at least once, so readers merge by law 3."""
        return messages.writeStream.format("kafka").options(**self._producer())

    def write(self, messages: DataFrame) -> None:
        """Write a batch of `topic`, `key`, `value`; returns when all of them are acknowledged."""
        messages.write.format("kafka").options(**self._producer()).save()

    def beginnings(self, topic: str) -> dict[int, int]:
        """The first offset that each partition still has; above 0 where retention has removed what came before."""
        admin = AdminClient({"bootstrap.servers": self.brokers})
        partitions = admin.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic].partitions
        wanted = {TopicPartition(topic, partition): OffsetSpec.earliest() for partition in partitions}
        answers = admin.list_offsets(wanted, request_timeout=REQUEST_TIMEOUT_S)
        return {where.partition: answer.result().offset for where, answer in answers.items()}

    def _source(self, topic: str) -> dict[str, str]:
        return {
            "kafka.bootstrap.servers": self.brokers,
            "kafka.isolation.level": "read_committed",
            "subscribe": topic,
        }

    def _producer(self) -> dict[str, str]:
        return {
            "kafka.bootstrap.servers": self.brokers,
            "kafka.compression.type": "lz4",
            "kafka.linger.ms": "20",
        }
