"""Subscribing to a dataset: typed records with their positions, from any topic with a contract.

    with subscribe("anomaly_prediction_results", load_settings(), group="alerts", merge=True) as predictions:
        for got in predictions:
            print(got.position, got.record.meter_id, got.record.probability)

Every message is given out as a record, or handed over as unreadable, in the order of its partition; in a group at least
once. `infra.base.topic_reader` has the guarantees in full. A broker or a registry that is down is waited for, and no
message is blamed for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from types import TracebackType
from typing import Any

from infra.base.backoff import Tell
from infra.base.errors import SmartmeterError
from infra.base.kafka_connection import KafkaConnection
from infra.base.settings import Settings
from infra.base.topic_reader import Position, Start, TopicReader, position_of
from schemas.avro import Record
from schemas.codec import Undecodable, Values, with_datetimes
from schemas.manifest import Dataset, load_deployed
from schemas.merge import Merge
from schemas.models import model_of
from schemas.reader import ContractReader
from schemas.registry import Registry, RegistryUnavailable

REGISTRY_DEADLINE_S = 2.0
MERGE_KEYS = 1_000_000


@dataclass(frozen=True)
class Received:
    """One record. `values` are the log's numbers (instants are ints in ms), with every field of the newest version."""

    position: Position
    key: bytes | None
    values: Values
    contract: Record

    @cached_property
    def record(self) -> Any:
        """The record as its pydantic model (`schemas.models.model_of`): frozen, instants as datetimes in UTC."""
        return model_of(self.contract)(**with_datetimes(self.values, self.contract))


@dataclass(frozen=True)
class Unreadable:
    """A message that is unreadable by its own fault: it belongs with the dead letters."""

    position: Position
    key: bytes | None
    value: bytes | None
    reason: str


class UnreadableMessage(SmartmeterError):  # noqa: N818
    """Raised at an unreadable message if the caller does not take such messages. The next call goes on after it."""

    def __init__(self, unreadable: Unreadable) -> None:
        super().__init__(
            f"{unreadable.position} cannot be read: {unreadable.reason}; pass on_unreadable to take such messages"
        )
        self.unreadable = unreadable


def subscribe(
    dataset: str,
    settings: Settings,
    *,
    start: Start = "latest",
    group: str | None = None,
    merge: bool = False,
    where: Mapping[str, Any] | None = None,
    until_end: bool = False,
    stop: Event | None = None,
    on_unreadable: Callable[[Unreadable], None] | None = None,
    on_wait: Tell = lambda _: None,
) -> "Subscription":
    """Subscribe to a dataset by name; see Subscription. A group's name gets the deployment's prefix.

    Raises SmartmeterError where no dataset has that name.
    """
    datasets = load_deployed(settings)
    if dataset not in datasets:
        raise SmartmeterError(f"no dataset is named {dataset}; there are {', '.join(datasets)}")
    registry = Registry(settings.schema_registry_url, deadline_s=REGISTRY_DEADLINE_S)
    return Subscription(
        datasets[dataset],
        settings.kafka,
        ContractReader(datasets[dataset], registry),
        start=start,
        group=group and settings.deployment.named(group),
        merge=Merge(datasets[dataset], MERGE_KEYS) if merge else None,
        where=where,
        until_end=until_end,
        stop=stop,
        on_unreadable=on_unreadable,
        on_wait=on_wait,
    )


class Subscription(Iterator[Received]):
    """An iterator of records; use it as a context manager, from one thread.

    `start`, `group`, `until_end`, `stop` and `on_wait` are those of TopicReader, and so are the errors. `merge`: give
    out only rows that replace what was given out before (law 3). `where`: only records whose fields equal these.
    `on_unreadable` takes what cannot be read; without it UnreadableMessage is raised.
    """

    def __init__(
        self,
        dataset: Dataset,
        kafka: KafkaConnection,
        reader: ContractReader,
        *,
        start: Start = "latest",
        group: str | None = None,
        merge: Merge | None = None,
        where: Mapping[str, Any] | None = None,
        until_end: bool = False,
        stop: Event | None = None,
        on_unreadable: Callable[[Unreadable], None] | None = None,
        on_wait: Tell = lambda _: None,
    ) -> None:
        where = where or {}
        unknown = where.keys() - {field.name for field in dataset.latest.fields}
        if unknown:
            fields = ", ".join(field.name for field in dataset.latest.fields)
            raise SmartmeterError(f"{dataset.name} has no field {min(unknown)}; it has {fields}")
        self._reader, self._merge, self._where, self._on_unreadable = reader, merge, tuple(where.items()), on_unreadable
        self._messages = TopicReader(
            kafka, dataset.topic, start=start, group=group, until_end=until_end, stop=stop, on_wait=on_wait
        )

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __next__(self) -> Received:
        """The next record; waits for it. StopIteration at the end that was asked for."""
        while (message := self._messages.next()) is not None:
            position, key, value = position_of(message), message.key(), message.value()
            try:
                values = self._read(value, position.produced_at_ms)
            except Undecodable as error:
                self._report(Unreadable(position, key, value, str(error)))
                continue
            if values is None:
                self._messages.give_back()
            elif self._is_asked_for(values, position, value or b""):
                return Received(position, key, values, self._reader.record)
        raise StopIteration

    @property
    def buffered(self) -> int:
        """Messages that were fetched and are not given out yet: 0 before a wait."""
        return self._messages.buffered

    def commit(self) -> None:
        """In a group: commit everything given out so far; see TopicReader.commit."""
        self._messages.commit()

    def close(self) -> None:
        """Commit what is done and leave. The record in the caller's hands is not done: it comes again."""
        self._messages.close()

    def _read(self, value: bytes | None, produced_at_ms: int) -> Values | None:
        """The record's values; waits for a registry that is down, and gives None when told to stop meanwhile."""
        while True:
            try:
                values = self._reader.read(value, produced_at_ms)
            except RegistryUnavailable as error:
                if not self._messages.wait(error):
                    return None
                continue
            self._messages.succeeded()
            return values

    def _is_asked_for(self, values: Values, position: Position, value: bytes) -> bool:
        if self._merge is not None and not self._merge.changes(values, position, value):
            return False
        return all(values[name] == wanted for name, wanted in self._where)

    def _report(self, unreadable: Unreadable) -> None:
        if self._on_unreadable is None:
            raise UnreadableMessage(unreadable)
        self._on_unreadable(unreadable)
