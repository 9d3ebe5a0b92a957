"""Asks the parts for their figures. A part that is down costs its own figures, no others, and is named."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from clickhouse.ddl import consumer_group, literal, names
from clickhouse.dead_letters.tables import LATEST as DEAD_LETTERS
from infra.base import kafka_client
from infra.base.clickhouse_client import UNANSWERED, connect
from infra.base.errors import SmartmeterError, first_line
from infra.base.settings import Settings
from infra.operations.metrics.figures import Figure, of_batches, predict_lag, stream_lag
from infra.stack.stack import Stack
from ml.progress import progress_file
from ml.progress import read_progress as predicted
from schemas.manifest import Dataset, load_deployed
from schemas.registry import Registry
from stream_processing.progress import read_progress

KAFKA_TIMEOUT_S = 3.0
FEATURES = "anomaly_prediction_features"
REASONS_MAX = 10
"""Reasons shown per dataset; the total counts the others too."""
REASON_LENGTH = 100
LETTERS = f"SELECT countIf(redriven_at IS NULL), countIf(redriven_at IS NOT NULL) FROM {DEAD_LETTERS} WHERE topic != ''"
Ends = dict[str, dict[int, int]]


@dataclass
class Gathered:
    """Figures of one moment. `silent` says by source why it gave none."""

    figures: list[Figure] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    sources: tuple[str, ...] = ()


class Sources:
    """Every source of one deployment. Keeps connections between calls. For use from one thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._datasets = load_deployed(settings)
        self._registry = Registry(settings.schema_registry_url, timeout_s=2.0, deadline_s=0.0)
        self._admin: AdminClient | None = None
        self._client: Client | None = None
        self._tables: set[str] = set()
        self._batches: dict[str, int] = {}

    def gather(self) -> Gathered:
        """Ask every source once. A source that is down delays the others by a few seconds at most."""
        asks: Mapping[str, Callable[[], list[Figure]]] = {
            "processes": self._processes,
            "kafka": self._kafka,
            "clickhouse": self._clickhouse,
            "registry": self._subjects,
            "stream": lambda: of_batches(read_progress(self._settings.data_dir), self._batches),
        }
        gathered = Gathered(sources=tuple(asks))
        for source, ask in asks.items():
            try:
                gathered.figures += ask()
            except (*UNANSWERED, KafkaException) as error:
                gathered.silent[source] = first_line(error)
        return gathered

    def late(self) -> tuple[int, int] | None:
        """Rows that the stream found behind its watermark so far, and readings that repairs found missing.

        Call it after `gather`. None if ClickHouse gave nothing then, or lacks one of the two tables, as before `apply`
        and during a rebuild.
        """
        if self._client is None or not {"pipeline_metrics_latest", "late_readings_latest"} <= self._tables:
            return None
        query = (
            "SELECT (SELECT sum(value_sum) FROM pipeline_metrics_latest WHERE metric = 'late_rows'), "
            "(SELECT sum(late_count) FROM late_readings_latest)"
        )
        [(rows, readings)] = self._client.query(query).result_rows
        return int(rows), int(readings)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _processes(self) -> list[Figure]:
        figures = []
        for part in Stack(self._settings.stack_dir).status():
            if part.resident_bytes is not None and part.uptime_s is not None:
                figures.append(Figure("resident_bytes", part.part, "", part.resident_bytes))
                figures.append(Figure("uptime_s", part.part, "", part.uptime_s))
        return figures

    def _kafka(self) -> list[Figure]:
        if self._admin is None:
            self._admin = kafka_client.admin(self._settings.kafka, {"log_level": 0})
        ends = _ends(self._admin, [dataset.topic for dataset in self._datasets.values()])
        figures = [
            Figure("end_offset_messages", "kafka", topic, sum(offsets.values())) for topic, offsets in ends.items()
        ]
        figures += _clickhouse_lag(self._admin, self._datasets, ends)
        features = self._datasets[FEATURES].topic
        figures += predict_lag(predicted(progress_file(self._settings.data_dir)), features, ends.get(features, {}))
        return figures + stream_lag(read_progress(self._settings.data_dir), ends)

    def _clickhouse(self) -> list[Figure]:
        self._tables = set()
        if self._client is None:
            self._client = connect(self._settings, reader=True)
        self._tables = {row[0] for row in self._client.query("SHOW TABLES").result_rows}
        applied = [name for name in self._datasets if names(name).unreadable in self._tables]
        if not applied:
            raise SmartmeterError("ClickHouse has no tables yet: run `smartmeter apply`")
        newest = self._client.query(" UNION ALL ".join(map(_newest, applied))).result_rows
        unreadable = self._client.query(" UNION ALL ".join(map(_unreadable, applied))).result_rows
        now_ms = time.time() * 1000
        figures = [
            Figure("newest_row_age_s", "clickhouse", name, max(0.0, (now_ms - newest_ms) / 1000))
            for name, newest_ms, count in newest
            if count
        ]
        totals = dict.fromkeys(applied, 0)
        for name, reason, count in unreadable:
            totals[name] += count
            figures.append(Figure("unreadable_by_reason_messages", consumer_group(self._datasets[name]), reason, count))
        figures += [
            Figure("unreadable_messages", consumer_group(self._datasets[name]), "", count)
            for name, count in totals.items()
        ]
        if DEAD_LETTERS in self._tables:
            [(waiting, redriven)] = self._client.query(LETTERS).result_rows
            figures.append(Figure("dead_letter_messages", "dead-letters", "waiting", waiting))
            figures.append(Figure("dead_letter_messages", "dead-letters", "redriven", redriven))
        return figures

    def _subjects(self) -> list[Figure]:
        declared = {dataset.subject for dataset in self._datasets.values()}
        return [
            Figure("schema_versions", "registry", subject, len(self._registry.ids_of(subject)))
            for subject in self._registry.subjects()
            if subject in declared or self._settings.deployment.owns(subject)
        ]


def _ends(admin: AdminClient, topics: list[str]) -> Ends:
    """By topic and partition, the end offset; topics that do not exist are missing."""
    known = admin.list_topics(timeout=KAFKA_TIMEOUT_S).topics
    wanted = {
        TopicPartition(topic, partition): OffsetSpec.latest()
        for topic in topics
        if topic in known
        for partition in known[topic].partitions
    }
    ends: Ends = {}
    if not wanted:
        return ends
    for at, answer in admin.list_offsets(wanted, request_timeout=KAFKA_TIMEOUT_S).items():
        ends.setdefault(at.topic, {})[at.partition] = answer.result().offset
    return ends


def _clickhouse_lag(admin: AdminClient, datasets: Mapping[str, Dataset], ends: Ends) -> list[Figure]:
    """Each table's group against the end of its topic. A partition without a commit counts from its beginning."""
    answers: list[tuple[Dataset, Any]] = []
    for dataset in datasets.values():
        if dataset.topic in ends:
            group = consumer_group(dataset)
            asked = [TopicPartition(dataset.topic, partition) for partition in ends[dataset.topic]]
            request = [ConsumerGroupTopicPartitions(group, asked)]
            answer = admin.list_consumer_group_offsets(request, request_timeout=KAFKA_TIMEOUT_S)[group]
            answers.append((dataset, answer))
    figures = []
    for dataset, answer in answers:
        reached = {at.partition: max(at.offset, 0) for at in answer.result().topic_partitions}
        behind = sum(end - reached.get(partition, 0) for partition, end in ends[dataset.topic].items())
        figures.append(Figure("lag_messages", consumer_group(dataset), dataset.topic, max(behind, 0)))
    return figures


def _newest(name: str) -> str:
    """Time of a table's newest message, read from the part that was written last, which is usually small."""
    last = f"SELECT name FROM system.parts WHERE database = currentDatabase() AND table = {literal(name)} AND active"
    return (
        f"SELECT {literal(name)} AS name, toUnixTimestamp64Milli(max(produced_at)) AS newest_ms, count() AS found "
        f"FROM {name} WHERE _part = ({last} ORDER BY max_block_number DESC LIMIT 1)"
    )


def _unreadable(name: str) -> str:
    """Unreadable messages of a dataset by reason. A message that was delivered twice counts once."""
    plain = f"substring(replaceRegexpAll(reason, '[0-9]+', '…'), 1, {REASON_LENGTH})"
    return (
        f"SELECT {literal(name)} AS name, {plain} AS why, uniqExact((topic, partition, offset)) AS messages "
        f"FROM {names(name).unreadable} GROUP BY why ORDER BY messages DESC, why LIMIT {REASONS_MAX}"
    )
