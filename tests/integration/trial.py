"""Datasets of a test's own, under names that no other test uses, on the shared stack."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer

from infra.base.clickhouse_client import connect
from infra.base.settings import Settings
from infra.base.wait import until
from infra.deploy.apply import apply_plan
from infra.deploy.changes import Change
from infra.deploy.plan import Plan, make_plan
from infra.deploy.services import Services
from schemas.codec import Encoder
from schemas.manifest import CONTRACTS, Dataset, deployed, load_datasets
from schemas.registry import Registry
from tests.patience import PATIENCE_S

DEADLINE_S = PATIENCE_S


class Trial:
    """Copies of some contracts, renamed; `readings` and `trend` are their names as tables."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.services = Services(settings)
        prefix = f"trial_{uuid.uuid4().hex[:8]}"
        self.readings, self.trend = f"{prefix}_raw_data", f"{prefix}_meter_minute_trend"
        self._copy("raw_data", self.readings)
        self._copy("meter_minute_trend", self.trend)

    def _copy(self, stem: str, name: str) -> None:
        for path in CONTRACTS.glob(f"{stem}.*"):
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".yaml":
                text = text.replace(stem, name).replace("smart-meter-data", name)
            (self.folder / path.name.replace(stem, name)).write_text(text, encoding="utf-8")

    @property
    def datasets(self) -> dict[str, Dataset]:
        """The datasets as the folder declares them now."""
        return deployed(load_datasets(self.folder), self.settings.deployment)

    def only_version_1(self) -> None:
        """Take version 2 of the readings away, as if it were not written yet."""
        manifest = self.folder / f"{self.readings}.yaml"
        manifest.write_text(manifest.read_text().replace("versions: [1, 2]", "versions: [1]"))
        for path in self.folder.glob(f"{self.readings}.v2.*"):
            path.unlink()

    def version_2(self) -> None:
        """Write version 2 of the readings."""
        self._copy("raw_data", self.readings)

    def plan(self) -> Plan:
        """What differs now; other tests' topics, subjects and tables are not this trial's."""
        found = make_plan(self.datasets, self.services.connection, self.services.read(self.datasets))
        return Plan(
            found.changes, tuple(name for name in found.unmanaged if self.readings in name or self.trend in name)
        )

    def apply(self) -> list[Change]:
        """Apply what differs, and return what was done."""
        done: list[Change] = []
        apply_plan(self.plan(), self.datasets, self.services, done.append, warned)
        return done

    def stop_reading(self) -> None:
        """Give back the engine's threads and connections that the trial's tables hold."""
        for name in (self.readings, self.trend):
            for table in (f"{name}_intake", f"{name}_queue"):
                self.admin().command(f"DROP TABLE IF EXISTS {table}")

    def admin(self) -> Client:
        """ClickHouse, as administrator."""
        return connect(self.settings)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query; {readings} and {trend} stand for the tables."""
        query = sql.replace("{readings}", self.readings).replace("{trend}", self.trend)
        return [tuple(row) for row in self.admin().query(query).result_rows]

    def encoder(self, name: str, version: int) -> Encoder:
        """An encoder of a registered version."""
        dataset = self.datasets[name]
        record = dataset.versions[version]
        return Encoder(record, Registry(self.settings.schema_registry_url).id_of(dataset.subject, record))

    def send(self, name: str, messages: Iterable[bytes | None], partition: int = 0) -> None:
        """Produce to one partition of a dataset's topic, in order; returns when all are acknowledged."""
        topic = self.datasets[name].topic
        producer = Producer({"bootstrap.servers": self.settings.kafka_brokers, "enable.idempotence": True})
        for message in messages:
            producer.produce(topic, message, key=b"building_1", partition=partition)
            producer.poll(0)
        assert producer.flush(30) == 0

    def await_rows(self, sql: str, expected: list[tuple[Any, ...]], deadline_s: float = DEADLINE_S) -> None:
        """Wait until a query gives these rows."""
        until(lambda: self.rows(sql) == expected or None, f"{expected} from {sql}", deadline_s, every_s=0.2)


def warned(sentence: str) -> None:
    """On the embedded stack every schema can be asked for."""
    raise AssertionError(sentence)


def reading(meter_id: int = 1, timestamp_ms: int = 1_700_000_000_000, **fields: Any) -> dict[str, Any]:
    """One reading, in contract."""
    defaults = {"building_id": 1, "power_kw": 0.5, "voltage_v": 230.0, "status": 0}
    return {"meter_id": meter_id, "timestamp": timestamp_ms, **defaults, **fields}


@contextmanager
def applied_trial(folder: Path, settings: Settings) -> Iterator[Trial]:
    """A trial that is applied and read, until this context ends."""
    trial = Trial(folder, settings)
    trial.apply()
    yield trial
    trial.stop_reading()
