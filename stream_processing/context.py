"""What every streaming and batch run needs, built once in the entry point."""

from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import SparkSession

from schemas.manifest import Dataset
from schemas.registry import Registry
from stream_processing.grain import Grain
from stream_processing.kafka import Kafka


@dataclass(frozen=True)
class Context:
    """The session, the services, and the declared datasets and grains."""

    spark: SparkSession
    kafka: Kafka
    registry: Registry
    datasets: Mapping[str, Dataset]
    grains: Mapping[str, Grain]

    def schema_ids(self, grain: Grain) -> dict[str, int]:
        """The id under which each emitted dataset's newest version is registered; raises NotRegistered."""
        emitted = {name: self.datasets[name] for name in grain.emits}
        return {name: self.registry.id_of(dataset.subject, dataset.latest) for name, dataset in emitted.items()}
