"""When the dead-letter service looks at a table; what it writes is proven in tests/integration/test_dead_letters.py."""

from collections.abc import Sequence
from typing import Any

from clickhouse.dead_letters.service import Service
from infra.base.kafka_connection import KafkaConnection
from infra.base.share_limit import ShareLimit
from schemas.manifest import RAW, load_datasets

DATASETS = {RAW: load_datasets()[RAW]}


class Tables:
    """Answers for raw_data_unreadable: its parts as a number, None without any; its rows have all been written."""

    def __init__(self) -> None:
        self.parts: int | None = None
        self.looked = 0

    def __call__(self, sql: str, _: object = None) -> Sequence[Sequence[Any]]:
        if "system.parts" in sql:
            return [] if self.parts is None else [("raw_data_unreadable", self.parts)]
        self.looked += 1
        return []


def test_a_table_is_looked_at_when_its_parts_change_even_when_the_last_one_goes() -> None:
    tables = Tables()
    service = Service(DATASETS, KafkaConnection(brokers="127.0.0.1:1"), tables, ShareLimit())
    looked = []
    for parts in (None, 7, 7, 8, None, None, 9):
        tables.parts = parts
        assert service.sweep() == 0
        looked.append(tables.looked)
    assert looked == [0, 1, 1, 2, 3, 3, 4]
