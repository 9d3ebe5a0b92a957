"""A topic that is deleted and made again: its cause is named, and the command that is named mends it."""

import pytest
from confluent_kafka.admin import AdminClient

from clickhouse.recreated import recreated
from infra.base.clickhouse_client import query_with
from infra.base.errors import SmartmeterError
from infra.base.log import Log
from infra.base.wait import until
from infra.operations.rebuild import Rebuilding
from schemas.manifest import Dataset
from tests.integration.trial import DEADLINE_S, Trial, reading


def told(trial: Trial, dataset: Dataset) -> str | None:
    with Log(trial.settings.kafka) as log:
        return recreated(dataset, query_with(trial.admin()), log)


def send(trial: Trial, minutes: int) -> None:
    encoder = trial.encoder(trial.readings, 2)
    trial.send(
        trial.readings,
        [encoder.encode(reading(timestamp_ms=1_754_568_000_000 + 60_000 * minute)) for minute in range(minutes)],
    )


def test_it_is_named_and_rebuild_mends_it(trial: Trial) -> None:
    dataset = trial.datasets[trial.readings]
    count = "SELECT count() FROM {readings}_latest"
    send(trial, 40)
    trial.await_rows(count, [(40,)])
    assert told(trial, dataset) is None

    admin = AdminClient({"bootstrap.servers": trial.settings.kafka_brokers})
    admin.delete_topics([dataset.topic])[dataset.topic].result(30)
    until(lambda: dataset.topic not in admin.list_topics(timeout=10).topics, "the topic to be gone", DEADLINE_S)
    trial.apply()
    send(trial, 20)
    rebuilding = Rebuilding(trial.settings, lambda _: None)
    sentence = told(trial, dataset)
    assert sentence is not None
    assert f"topic {dataset.topic} was deleted and made again" in sentence
    assert f"`smartmeter rebuild {dataset.name} --allow-incomplete`" in sentence
    with pytest.raises(SmartmeterError, match="was deleted and made again"):
        rebuilding.rebuild(dataset)

    rebuilding.rebuild(dataset, allow_incomplete=True)
    assert trial.rows(count) == [(20,)]
    assert told(trial, dataset) is None
