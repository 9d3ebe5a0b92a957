"""How a Kafka cluster is reached, once, in the words of each client: librdkafka, Spark's Java client, ClickHouse."""

from pydantic import BaseModel, ConfigDict


class KafkaConnection(BaseModel):
    """One cluster by its bootstrap addresses, `host:port,host:port`. Security settings belong here and nowhere else."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    brokers: str

    def librdkafka(self) -> dict[str, str | int | bool]:
        """The settings of a confluent-kafka client."""
        return {"bootstrap.servers": self.brokers}

    def spark(self) -> dict[str, str]:
        """The options of Spark's Kafka source and sink."""
        return {"kafka.bootstrap.servers": self.brokers}

    def clickhouse(self) -> dict[str, str]:
        """The settings of ClickHouse's Kafka tables, as plain text; SQL needs them quoted."""
        return {"kafka_broker_list": self.brokers}

    def __str__(self) -> str:
        return self.brokers
