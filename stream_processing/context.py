"""What every streaming and batch run needs, built once in the entry point."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import SparkSession

from infra.base.errors import SmartmeterError
from schemas.manifest import Dataset
from schemas.registry import Registry
from stream_processing.grain import Grain
from stream_processing.kafka import Kafka


class EarlierCheckpoint(SmartmeterError):  # noqa: N818
    """A checkpoint that an earlier version left; to start the query again cannot help."""


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

    def checkpoint(self, grain: Grain, folder: str) -> str:
        """Where the grain's query has its checkpoint, in a folder or below a URL that Spark can write.

        Raises EarlierCheckpoint where there is one of an earlier version alone: its state is not this version's.
        """
        *earlier, ours = (f"{folder}/{name}" for name in grain.checkpoints())
        exists = {place: self._exists(place) for place in (*earlier, ours)}
        if exists[ours] or not any(exists.values()):
            return ours
        raise EarlierCheckpoint(
            f"{next(place for place in earlier if exists[place])} is the checkpoint of an earlier version, whose state "
            f"this one cannot read. Move {folder} away and start `smartmeter stream` again: it reads the topics from "
            "their beginning, which harms no row. Then run `smartmeter repair --late`"
        )

    def _exists(self, place: str) -> bool:
        java: Any = self.spark.sparkContext._jvm
        path = java.org.apache.hadoop.fs.Path(place)
        return bool(path.getFileSystem(self.spark.sparkContext._jsc.hadoopConfiguration()).exists(path))
