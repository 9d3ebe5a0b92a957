"""What a grain is: one streaming query, its key and window, and the datasets that it emits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from infra.base.errors import SmartmeterError
from schemas.manifest import RAW, Dataset
from stream_processing.framing import message

Datasets = Mapping[str, Dataset]
Fields = Mapping[str, Column]


@dataclass(frozen=True)
class Grain:
    """One query: rows of `source` are grouped by key and window and emitted as messages of each dataset in `emits`.

    `prepare` makes rows of the source's decoded events, `aggregate` groups them to one row per key and window, and each
    of `emits` gives a dataset's fields by name over that row. All are pure. In `append` mode a window is emitted once,
    when the watermark has passed its end; in `update` mode whenever it changed. `event_time` is the watermark's column,
    `lateness_s` how far it stays behind the newest (None: as far as the application's settings say). A row also
    depends on what lies up to `context_s` before its window.
    """

    source: str
    event_time: str
    window_s: int
    output_mode: Literal["append", "update"]
    prepare: Callable[[DataFrame, Datasets], DataFrame]
    aggregate: Callable[[DataFrame, Datasets], DataFrame]
    emits: Mapping[str, Callable[[Dataset], Fields]]
    lateness_s: int | None = None
    context_s: int = 0

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
    return in_order({path.stem: import_module(f"stream_processing.grains.{path.stem}").GRAIN for path in files})


def in_order(grains: Mapping[str, Grain]) -> dict[str, Grain]:
    """The grains with each behind the one that emits its source; otherwise by name.

    Raises SmartmeterError where two emit one dataset, a source is emitted by none, or sources go in a circle.
    """
    emitter = {RAW: ""}
    for name, grain in sorted(grains.items()):
        for dataset in grain.emits:
            if dataset in emitter:
                raise SmartmeterError(
                    f"grain {name}: {dataset} is emitted by {emitter[dataset] or 'producers'} already"
                )
            emitter[dataset] = name
    for name, grain in grains.items():
        if grain.source not in emitter:
            raise SmartmeterError(f"grain {name}: no grain emits its source {grain.source}; add one, or name another")
    before = {name: {emitter[grain.source]} - {""} for name, grain in sorted(grains.items())}
    try:
        return {name: grains[name] for name in TopologicalSorter(before).static_order()}
    except CycleError as error:
        raise SmartmeterError(f"grains: each is made of the next, in a circle: {', '.join(error.args[1])}") from error
