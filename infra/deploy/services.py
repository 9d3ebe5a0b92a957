"""The services: reads what exists, and carries out the steps of a plan. All I/O of plan and apply is here."""

from collections.abc import Iterable, Mapping
from typing import Any, assert_never

import requests
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    PartitionMetadata,
    ResourceType,
)

from clickhouse.ddl import Connection, Table, literal
from clickhouse.tables import read_tables
from infra.base import kafka_client
from infra.base.clickhouse_client import connect, query_with
from infra.base.errors import SmartmeterError
from infra.base.settings import Settings
from infra.base.wait import until
from infra.deploy.changes import (
    CreateDatabase,
    CreateTopic,
    ForgetOffsets,
    RegisterSchema,
    RunSql,
    SetCompatibility,
    SetTopicConfigs,
    Step,
)
from infra.deploy.plan import Actual
from infra.deploy.subjects import Subject
from infra.deploy.topics import Topic, declared_topics
from schemas.manifest import Dataset
from schemas.registry import Registry

ADMIN_TIMEOUT_S = 10.0
GROUP_DELETED_WITHIN_S = 60.0
WARM_TIMEOUT_S = 10.0
ALWAYS_THERE = "default"
"""The database in which a connection begins, as the deployment's may not be there yet."""


class Services:
    """Kafka, registry and ClickHouse of these settings; raises SmartmeterError where a part says no, or nothing."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._kafka = kafka_client.admin(settings.kafka)
        self._registry = Registry(settings.schema_registry_url)
        self._database = settings.deployment.clickhouse.database
        self._clickhouse: Client = connect(settings, database=ALWAYS_THERE)
        self._enter_database()

    @property
    def connection(self) -> Connection:
        """Where this deployment's ClickHouse finds Kafka and the registry, and what the deployment says of tables."""
        settings = self._settings
        return Connection(settings.kafka, settings.clickhouse_schema_registry_url, settings.deployment)

    def read(self, datasets: Mapping[str, Dataset]) -> Actual:
        """What exists now; configs of topics and schemas of subjects for those that are declared."""
        subjects = {name: Subject(name, None, ()) for name in self._registry.subjects()}
        for dataset in datasets.values():
            schemas = tuple(self._registry.ids_of(dataset.subject).values()) if dataset.subject in subjects else ()
            level = self._registry.compatibility(dataset.subject)
            if schemas or level:
                subjects[dataset.subject] = Subject(dataset.subject, level, schemas)
        tables = self.tables()
        has_database = self._clickhouse.database == self._database
        return Actual(self._topics(datasets.values()), subjects, tables, has_database)

    def tables(self) -> dict[str, Table]:
        """The tables that exist now, by name; none where the deployment's database is not there."""
        if not self._enter_database():
            return {}
        try:
            return read_tables(query_with(self._clickhouse))
        except ClickHouseError as error:
            raise SmartmeterError(f"ClickHouse did not say what tables it has: {error}") from error

    def perform(self, step: Step) -> None:
        """Carry out one step; one that is done already does nothing."""
        match step:
            case CreateTopic():
                topic = NewTopic(step.topic, step.partitions, step.replicas, config=dict(step.configs))
                self._wait_for(self._kafka.create_topics([topic]), KafkaError.TOPIC_ALREADY_EXISTS)
            case SetTopicConfigs():
                entries = [
                    ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                    for name, value in step.configs.items()
                ]
                resource = ConfigResource(ResourceType.TOPIC, step.topic, incremental_configs=entries)
                self._wait_for(self._kafka.incremental_alter_configs([resource]))
            case SetCompatibility():
                self._registry.set_compatibility(step.subject, step.level)
            case RegisterSchema():
                self._registry.register(step.subject, step.record)
            case ForgetOffsets():
                self._forget(step.group)
            case CreateDatabase():
                self._run(f"CREATE DATABASE IF NOT EXISTS `{step.database}`")
                self._enter_database()
            case RunSql():
                self._run(step.statement)
            case _:
                assert_never(step)

    def warm(self, datasets: Iterable[Dataset]) -> list[str]:
        """Ask for every declared schema where ClickHouse will, so that a cache in between has them in time.

        Returns a sentence for each that could not be asked for. That need not be wrong: the address is the one that
        ClickHouse uses, and may mean nothing here.
        """
        failed = []
        base = self._settings.clickhouse_schema_registry_url.rstrip("/")
        for dataset in datasets:
            for number, record in dataset.versions.items():
                schema_id = self._registry.id_of(dataset.subject, record)
                try:
                    requests.get(f"{base}/schemas/ids/{schema_id}", timeout=WARM_TIMEOUT_S).raise_for_status()
                except requests.RequestException as error:
                    failed.append(f"{dataset.name} v{number} (schema id {schema_id}): {error}")
        return failed

    def _topics(self, datasets: Iterable[Dataset]) -> dict[str, Topic]:
        try:
            metadata = self._kafka.list_topics(timeout=ADMIN_TIMEOUT_S).topics
            topics = {name: topic.partitions for name, topic in metadata.items() if not name.startswith("__")}
            declared = declared_topics(datasets, self._settings.deployment.kafka)
            resources = [ConfigResource(ResourceType.TOPIC, topic.name) for topic in declared if topic.name in topics]
            answers = self._kafka.describe_configs(resources) if resources else {}
            configs = {
                resource.name: {name: entry.value for name, entry in future.result(ADMIN_TIMEOUT_S).items()}
                for resource, future in answers.items()
            }
        except KafkaException as error:
            raise self._kafka_says_no(error) from error
        return {
            name: Topic(name, len(partitions), _replicas(partitions.values()), configs.get(name, {}))
            for name, partitions in topics.items()
        }

    def _enter_database(self) -> bool:
        """Work in the deployment's database from now on, if it is there; whether it is."""
        try:
            databases = self._clickhouse.query(f"SELECT 1 FROM system.databases WHERE name = {literal(self._database)}")
        except ClickHouseError as error:
            raise SmartmeterError(f"ClickHouse did not say what databases it has: {error}") from error
        if databases.result_rows:
            self._clickhouse.database = self._database
        return bool(databases.result_rows)

    def _wait_for(self, answers: Mapping[Any, Any], done_already: int | None = None) -> None:
        for future in answers.values():
            try:
                future.result(ADMIN_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != done_already:
                    raise self._kafka_says_no(error) from error

    def _forget(self, group: str) -> None:
        """Delete the group as soon as its last reader has left and its coordinator, on a young broker, is there."""
        not_yet = {
            KafkaError.NON_EMPTY_GROUP,
            KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
            KafkaError.COORDINATOR_NOT_AVAILABLE,
            KafkaError.NOT_COORDINATOR,
        }

        def forgotten() -> bool:
            try:
                self._kafka.delete_consumer_groups([group])[group].result(ADMIN_TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() in not_yet:
                    return False
                if error.args[0].code() != KafkaError.GROUP_ID_NOT_FOUND:
                    raise self._kafka_says_no(error) from error
            return True

        try:
            until(forgotten, f"consumer group {group} to be deleted", GROUP_DELETED_WITHIN_S, every_s=0.5)
        except TimeoutError as error:
            raise SmartmeterError(f"{error}: stop what reads as group {group}, and apply again") from error

    def _run(self, statement: str) -> None:
        try:
            self._clickhouse.command(statement)
        except ClickHouseError as error:
            raise SmartmeterError(f"ClickHouse refused a statement:\n{statement}\n{error}") from error

    def _kafka_says_no(self, error: KafkaException) -> SmartmeterError:
        return SmartmeterError(
            f"Kafka at {self._settings.kafka_brokers}: {error.args[0].str()}; is it running? See `smartmeter status`"
        )


def _replicas(partitions: Iterable[PartitionMetadata]) -> int:
    """Replicas of a topic: those of the partition that has the fewest."""
    return min((len(partition.replicas) for partition in partitions), default=0)
