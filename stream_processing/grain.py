"""What a grain is: one streaming query, its key and window, and the datasets that it emits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from schemas.manifest import Dataset
from stream_processing.framing import message

Datasets = Mapping[str, Dataset]
Fields = Mapping[str, Column]


@dataclass(frozen=True)
class Grain:
    """One query: rows of `source` are grouped by key and window and emitted as messages of each dataset in `emits`.

    `prepare` makes rows of the source's decoded events, `aggregate` groups them to one row per key and window, and each
    of `emits` gives a dataset's fields by name over that row. All are pure. In `append` mode a window is emitted once,
    when the watermark has passed its end; in `update` mode whenever it changed. `event_time` is the watermark's column,
    `lateness_s` how far it stays behind the newest (None: as far as the application's settings say).
    """

    source: str
    event_time: str
    window_s: int
    output_mode: Literal["append", "update"]
    prepare: Callable[[DataFrame, Datasets], DataFrame]
    aggregate: Callable[[DataFrame, Datasets], DataFrame]
    emits: Mapping[str, Callable[[Dataset], Fields]]
    lateness_s: int | None = None

    def messages(self, aggregated: DataFrame, datasets: Datasets, schema_ids: Mapping[str, int]) -> DataFrame:
        """One Kafka message (`window_start`, `topic`, `key`, `value`) per aggregated row and emitted dataset."""
        each = [
            message(datasets[name], schema_ids[name], fields(datasets[name])) for name, fields in self.emits.items()
        ]
        return aggregated.select("window_start", F.explode(F.array(*each)).alias("message")).select(
            "window_start", "message.*"
        )


def load_grains() -> dict[str, Grain]:
    """Every grain by its file's name in `stream_processing/grains`; sources come before what is made of them."""
    files = sorted(Path(__file__).with_name("grains").glob("[a-z]*.py"))
    grains: dict[str, Grain] = {
        path.stem: import_module(f"stream_processing.grains.{path.stem}").GRAIN for path in files
    }
    emitted = reduce(set.union, (set(grain.emits) for grain in grains.values()), set[str]())
    return dict(sorted(grains.items(), key=lambda item: (item[1].source in emitted, item[1].window_s, item[0])))
