"""Which schema ids a topic's messages may carry: those that the registry has for its subject."""

from collections.abc import Mapping

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from schemas.avro import Record
from schemas.manifest import Dataset
from schemas.registry import Registry
from stream_processing.framing import decode


class SchemaIds:
    """The writers of one dataset's topic by id. An id is refused once the registry says that the subject lacks it.

    A schema is registered before the first message that uses it is sent. So where the subject lacks an id after such a
    message was seen, waiting cannot help. Only for an unreachable registry does the caller wait (law 7).
    """

    def __init__(self, dataset: Dataset, registry: Registry) -> None:
        self._dataset = dataset
        self._registry = registry
        self._refused: set[int] = set()
        self._writers: Mapping[int, str] = {}

    @property
    def reader(self) -> Record:
        """The newest version, to which every message is decoded."""
        return self._dataset.latest

    def refresh(self) -> None:
        """Ask the registry for the subject's ids; raises RegistryUnavailable, NotRegistered if there are none."""
        self._writers = self._registry.ids_of(self._dataset.subject)
        if not self._writers:
            self._registry.id_of(self._dataset.subject, self.reader)

    def learn(self, messages: DataFrame) -> set[int]:
        """Ask the registry for each unknown id in `messages`; return the ids that are refused from now on."""
        self.refresh()
        ids = messages.where((F.length("value") > 5) & (F.substring("value", 1, 1) == F.lit(b"\0")))
        ids = ids.select(F.conv(F.hex(F.substring("value", 2, 4)), 16, 10).cast("long").alias("id")).distinct()
        carried = {row["id"] for row in ids.toLocalIterator()}
        refused = carried - self._writers.keys() - self._refused
        self._refused |= refused
        return refused

    def decode(self, messages: DataFrame) -> DataFrame:
        """`framing.decode` with what is known now."""
        return decode(messages, self.reader, self._writers, self._refused)
