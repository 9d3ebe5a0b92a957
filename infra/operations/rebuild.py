"""Fills a table anew from its topic, while the old table serves until the new one is proved.

A shadow of the dataset's tables, named <dataset>_rebuild and with a consumer group of its own, reads the topic from its
beginning. When it accounts for every message, both tables are compared and exchanged. Nothing of the old table is
touched before the exchange. An interrupted rebuild can be run again and starts from the beginning.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from threading import Event

from clickhouse.checksum import Checksum, checksum, checksums
from clickhouse.ddl import consumer_group, create_statement, names, tables
from clickhouse.recreated import recreated
from clickhouse.verify.positions import Positions, account
from infra.base.backoff import Tell
from infra.base.clickhouse_client import connect, query_with
from infra.base.errors import SmartmeterError
from infra.base.log import Extent, Log
from infra.base.query import Query
from infra.base.settings import Settings
from infra.deploy.changes import ForgetOffsets, RunSql
from infra.deploy.services import Services
from infra.deploy.tables import table_change
from infra.operations.lag import await_read, committed, table_behind
from schemas.manifest import Dataset
from schemas.reader import ContractReader
from schemas.registry import Registry

STUCK_AFTER_S = 600.0
AT_ONCE = 4
"""Shadows at most that read at the same time; each takes the room of its table."""


@dataclass(frozen=True)
class Rebuilt:
    """What was read, and the checksums of both tables over what both had read. `before` is None if there was no
    table."""

    positions: Positions
    before: Checksum | None
    after: Checksum


class Rebuilding:
    """Rebuilds tables of one deployment, one at a time. `tell` gets a line for each thing waited for or done."""

    def __init__(self, settings: Settings, tell: Tell) -> None:
        self._settings = settings
        self._services = Services(settings)
        self._registry = Registry(settings.schema_registry_url)
        self._tell = tell

    def rebuild(self, dataset: Dataset, allow_incomplete: bool = False) -> Rebuilt:
        """Fill the dataset's tables anew from the beginning of its topic.

        Raises SmartmeterError where the table holds rows whose messages retention has removed, unless allowed, and
        where the shadow does not account for every message: the old tables then stay as they are.
        """
        with Log(self._settings.kafka) as log, closing(connect(self._settings)) as client:
            query = query_with(client)
            fresh = self._repair_reading(dataset)
            made_again = recreated(dataset, query, log)
            if made_again is not None:
                if not allow_incomplete:
                    raise SmartmeterError(made_again)
                self._begin_reading_anew(dataset)
            if not allow_incomplete:
                refuse_if_rows_would_be_lost(dataset, log.extents(dataset.topic), query)
            self._await(dataset, log)
            if fresh:  # there was no table: what the topic holds has just been read
                extents = log.extents(dataset.topic)
                self._await(dataset, log, extents)
                positions = self._prove(dataset, extents, query, log)
                return Rebuilt(positions, None, checksum(dataset, dataset.name, query))
            return self._exchange(dataset, query, log)

    def _exchange(self, dataset: Dataset, query: Query, log: Log) -> Rebuilt:
        shadow = replace(dataset, name=f"{dataset.name}_rebuild")
        self._drop(shadow)
        try:
            self._perform([create_statement(table) for table in tables(shadow, self._services.connection)])
            extents = log.extents(dataset.topic)
            for each in (shadow, dataset):
                self._await(each, log, extents)
            positions = self._prove(shadow, extents, query, log)
            before, after = checksums(dataset, (dataset.name, shadow.name), query, extents)
            self._tell(f"{dataset.name}: old {before}; new {after}")
            self._swap(dataset, shadow, log)
        finally:
            self._drop(shadow)
        return Rebuilt(positions, before, after)

    def _swap(self, dataset: Dataset, shadow: Dataset, log: Log) -> None:
        """Exchange the old table's rows for the shadow's, while neither reads.

        If it is stopped anywhere in between, both tables are complete, and `smartmeter apply` starts the reading again.
        """
        old, new = names(dataset.name), names(shadow.name)
        try:
            self._perform([f"DROP TABLE IF EXISTS {name}" for name in (old.intake, old.queue)])
            where_old_stopped = committed(
                self._settings.kafka, consumer_group(dataset), dataset.topic, log.extents(dataset.topic)
            )
            self._await(shadow, log, [Extent(partition, 0, offset) for partition, offset in where_old_stopped.items()])
            self._perform([f"DROP TABLE IF EXISTS {name}" for name in (new.intake, new.queue)])
            for current, rebuilt in ((old.table, new.table), (old.unreadable, new.unreadable)):
                self._perform([f"EXCHANGE TABLES {current} AND {rebuilt}"])
        finally:
            self._repair_reading(dataset)

    def _repair_reading(self, dataset: Dataset) -> bool:
        """Create what is missing of the dataset's tables. True if the table itself was missing: it now fills from the
        topic's beginning."""
        actual = self._services.tables()
        change = table_change(dataset, self._services.connection, actual)
        if change is None:
            return False
        if change.action == "breaking":
            raise SmartmeterError(f"{dataset.name} cannot be rebuilt as it is: {change.advice}")
        for step in change.steps:
            self._services.perform(step)
        return names(dataset.name).table not in actual

    def _begin_reading_anew(self, dataset: Dataset) -> None:
        """Let the tables read the topic from its beginning: where it was made again, they wait at the old one's end."""
        named = names(dataset.name)
        self._perform([f"DROP TABLE IF EXISTS {name}" for name in (named.intake, named.queue)])
        self._services.perform(ForgetOffsets(consumer_group(dataset)))
        self._repair_reading(dataset)

    def _prove(self, dataset: Dataset, extents: list[Extent], query: Query, log: Log) -> Positions:
        """Account for every message within `extents` in the tables of this dataset or shadow."""
        positions = account(dataset, extents, query, log, ContractReader(dataset, self._registry))
        if positions.failures:
            raise SmartmeterError(f"{dataset.name} does not account for its topic: {'; '.join(positions.failures)}")
        return positions

    def _await(self, dataset: Dataset, log: Log, extents: list[Extent] | None = None) -> None:
        """Wait until the tables have read `extents`, or what the topic holds now."""
        until_then = extents or log.extents(dataset.topic)
        kafka = self._settings.kafka
        awaited = f"{dataset.name} to be read"
        try:
            await_read(lambda: table_behind(kafka, log, dataset, until_then), awaited, STUCK_AFTER_S, self._tell)
        except SmartmeterError as error:
            raise SmartmeterError(f"{error}; the old table is untouched") from error

    def _drop(self, shadow: Dataset) -> None:
        """Remove what this rebuild or an interrupted one made, its consumer group included."""
        self._perform([f"DROP TABLE IF EXISTS {name}" for name in reversed_names(shadow)])
        self._services.perform(ForgetOffsets(consumer_group(shadow)))

    def _perform(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._services.perform(RunSql(statement))


def rebuild_all(
    settings: Settings, datasets: Sequence[Dataset], tell: Tell, allow_incomplete: bool = False
) -> Iterator[tuple[Dataset, Rebuilt]]:
    """Rebuild datasets, up to AT_ONCE at a time: most of it is waiting. Yields in the given order.

    After an error, or when it is closed, those that run stop at their next line, each with its old table untouched.
    """
    stopping = Event()

    def tell_unless_stopping(line: str) -> None:
        if stopping.is_set():
            raise SmartmeterError("stopped; the old table is untouched")
        tell(line)

    def rebuild(dataset: Dataset) -> Rebuilt:
        return Rebuilding(settings, tell_unless_stopping).rebuild(dataset, allow_incomplete)

    with ThreadPoolExecutor(AT_ONCE, "rebuild") as pool:
        running = [(dataset, pool.submit(rebuild, dataset)) for dataset in datasets]
        try:
            for dataset, rebuilt in running:
                yield dataset, rebuilt.result()
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def reversed_names(dataset: Dataset) -> list[str]:
    """Tables and views in the order in which they can be dropped: readers first, rows last."""
    named = names(dataset.name)
    reading = [named.intake, named.queue, named.view, named.unreadable_view, named.messages]
    return [*reading, named.latest, named.unreadable, named.table]


def refuse_if_rows_would_be_lost(dataset: Dataset, extents: Sequence[Extent], query: Query) -> None:
    """Raise where the table holds rows of messages that retention has removed from the topic.

    Rows past the table's TTL do not count: the table would soon not hold them either.
    """
    removed = " OR ".join(f"(partition = {extent.partition} AND offset < {extent.begin})" for extent in extents)
    in_time = f"produced_at > now() - toIntervalDay({dataset.ttl_days})" if dataset.ttl_days else "1"
    [(rows,)] = query(f"SELECT count() FROM {names(dataset.name).latest} WHERE ({removed}) AND {in_time}")
    if rows:
        raise SmartmeterError(
            f"retention has removed the messages of {rows:,} rows from {dataset.topic}: {dataset.name} would be "
            "rebuilt without them. To accept that, say --allow-incomplete"
        )
