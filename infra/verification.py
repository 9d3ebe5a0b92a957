"""Verification of the deployment that the settings name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clickhouse.client import connect
from clickhouse.verify.log import Log
from clickhouse.verify.run import Report, Verification
from infra.settings import Settings
from schemas.manifest import load_datasets
from schemas.registry import Registry
from stream_processing.run import read_progress
from stream_processing.settings import StreamSettings


def verify(settings: Settings, wait_s: float, progress: Callable[[str], None]) -> Report:
    """Verify as the reading user; the lateness is what the running stream states, else this environment's."""
    client = connect(settings, reader=True)

    def query(sql: str, parameters: Mapping[str, float]) -> Sequence[Sequence[Any]]:
        rows: Sequence[Sequence[Any]] = client.query(sql, parameters=dict(parameters)).result_rows
        return rows

    lateness_s = read_progress(settings.data_dir).get("lateness_s", StreamSettings().lateness_s)
    datasets = load_datasets(raw_topic=settings.kafka_topic)
    with Log(settings.kafka_brokers) as log:
        registry = Registry(settings.schema_registry_url)
        return Verification(datasets, query, log, registry, lateness_s, progress).run(wait_s)
