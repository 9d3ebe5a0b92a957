"""Verification of the deployment that the settings name."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

from clickhouse.verify.report import as_json
from clickhouse.verify.run import Report, Verification
from infra.base.clickhouse_client import connect, query_with
from infra.base.log import Log
from infra.base.query import ResultRows
from infra.base.settings import Settings
from infra.operations.closed import closed_before
from infra.operations.last_verification import keep
from schemas.manifest import load_deployed
from schemas.registry import Registry
from stream_processing.grain import load_grains
from stream_processing.run import what_closes
from stream_processing.settings import stream_settings


def verify(settings: Settings, wait_s: float, progress: Callable[[str], None]) -> Report:
    """Verify as the reading user. The running stream's settings say when a row is final; without a stream, this
    process's do."""
    threads = threading.local()  # a client runs one query at a time

    def query(sql: str, parameters: Mapping[str, float] | None = None) -> ResultRows:
        if not hasattr(threads, "client"):
            threads.client = connect(settings, reader=True)
        return query_with(threads.client)(sql, parameters)

    grains = load_grains()
    closings = what_closes(settings.data_dir, grains, stream_settings(settings.deployment))
    datasets = load_deployed(settings)
    with Log(settings.kafka) as log:
        registry = Registry(settings.schema_registry_url)
        report = Verification(datasets, query, log, registry, partial(closed_before, closings), progress).run(wait_s)
    keep(settings.data_dir, as_json(report))
    return report
