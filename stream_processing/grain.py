"""What a grain is: one streaming query, from the decoded events of its source to messages of each dataset it emits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from infra.base.errors import SmartmeterError
from schemas.manifest import RAW, Dataset
from stream_processing.framing import message

WATERMARK_MARK = "spark.watermarkDelayMs"
Datasets = Mapping[str, Dataset]
Fields = Callable[[Dataset], Mapping[str, Column]]
"""A dataset's fields by name, as columns over a grain's rows."""


def as_decoded(events: DataFrame, _datasets: Datasets) -> DataFrame:
    """The default of `Grain.prepare`: the source's events are the rows to aggregate."""
    return events


@dataclass(frozen=True)
class Grain:
    """One query. It groups events of `source` by a key and a window, and emits one message per group and dataset.

    `name` is the query's. `state` changes with what its checkpoint's state holds: what is collected, and by which keys.
    `prepare` and `aggregate` are pure: the first makes rows of the source's
    decoded events, the second groups them to one row per key and window. In `append` mode Spark emits a window once,
    when the watermark has passed its end; in `update` mode whenever it has changed. `event_time` is the column of which
    windows are made. The watermark stays `lateness_s` behind the greatest `clock` (None: the `event_time`) of all
    events; the lateness is the application's unless the grain gives it. A
    row also depends on events up to `context_s` before its window. `parameters` are values on which `aggregate` relies:
    where a manifest states one of them, it must state the same. `emits` comes from the files in
    `stream_processing/datasets` that name this grain.
    """

    name: str
    source: str
    window_s: int
    output_mode: Literal["append", "update"]
    aggregate: Callable[[DataFrame, Datasets], DataFrame]
    prepare: Callable[[DataFrame, Datasets], DataFrame] = as_decoded
    event_time: str = "window_start"
    clock: str | None = None
    lateness_s: int | None = None
    context_s: int = 0
    parameters: Mapping[str, float] = field(default_factory=dict)
    state: int = 2
    emits: Mapping[str, Fields] = field(default_factory=dict)

    def checkpoints(self) -> list[str]:
        """The names of its checkpoint, the earlier ones first and the current one last."""
        return [self.name if version == 1 else f"{self.name}.v{version}" for version in range(1, self.state + 1)]

    def rows(self, events: DataFrame, datasets: Datasets, lateness_s: int | None = None) -> DataFrame:
        """The source's decoded events to one row per key and window; a stream needs `lateness_s`, a batch does not.

        Raises SmartmeterError where a manifest states a parameter that differs from the source's or from the grain's.
        """
        self._check_parameters(datasets)
        prepared = self.prepare(events, datasets)
        if lateness_s is not None:
            prepared = self._with_watermark(prepared, lateness_s)
        return self.aggregate(prepared, datasets)

    def messages(self, rows: DataFrame, datasets: Datasets, schema_ids: Mapping[str, int]) -> DataFrame:
        """One Kafka message (`window_start`, `topic`, `key`, `value`) for each of `rows` and each emitted dataset."""
        structs = [
            message(datasets[name], schema_ids[name], fields(datasets[name])) for name, fields in self.emits.items()
        ]
        return rows.select("window_start", F.explode(F.array(*structs)).alias("message")).select(
            "window_start", "message.*"
        )

    def _with_watermark(self, prepared: DataFrame, lateness_s: int) -> DataFrame:
        clock = self.clock or self.event_time
        prepared = prepared.withWatermark(clock, f"{lateness_s} seconds")
        if clock == self.event_time:
            return prepared
        # Spark closes the windows of columns that it has marked, and marks the clock's alone. The mark is its metadata.
        marked = F.col(self.event_time).alias(self.event_time, metadata={WATERMARK_MARK: lateness_s * 1000})
        return prepared.withColumn(self.event_time, marked).drop(clock)

    def _check_parameters(self, datasets: Datasets) -> None:
        source = datasets[self.source]
        required = ((f"its source {source.name}", source.parameters), (f"grain {self.name}", self.parameters))
        for name in self.emits:
            for whose, parameters in required:
                for key, stated in datasets[name].parameters.items():
                    value = parameters.get(key, stated)
                    if stated != value:
                        raise SmartmeterError(
                            f"{name}.yaml: {key} is {stated:g}, but {whose} counts with {value:g}: it must be {value:g}"
                        )


def load_grains() -> dict[str, Grain]:
    """Every grain by name, sources before what is made of them.

    Each file in `stream_processing/datasets` is a dataset. It names the grain that emits it, as GRAIN, and gives its
    `fields`. Raises SmartmeterError where two grains share a name, and as `in_order` does.
    """
    grains: dict[str, Grain] = {}
    emits: dict[str, dict[str, Fields]] = {}
    for dataset, module in _dataset_modules().items():
        grain: Grain = module.GRAIN
        if grains.setdefault(grain.name, grain) is not grain:
            raise SmartmeterError(f"{dataset}.py: its grain is named {grain.name}, as another is; give it another name")
        emits.setdefault(grain.name, {})[dataset] = module.fields
    return in_order({name: replace(grain, emits=emits[name]) for name, grain in grains.items()})


def _dataset_modules() -> dict[str, ModuleType]:
    package = import_module("stream_processing.datasets")
    names = sorted(module.name for module in iter_modules(package.__path__))
    return {name: import_module(f"{package.__name__}.{name}") for name in names}


def in_order(grains: Mapping[str, Grain]) -> dict[str, Grain]:
    """The grains with each behind the one that emits its source; otherwise by name.

    Raises SmartmeterError where no grain emits a source, or sources go in a circle.
    """
    emitter = {RAW: "", **{dataset: name for name, grain in grains.items() for dataset in grain.emits}}
    for name, grain in grains.items():
        if grain.source not in emitter:
            raise SmartmeterError(f"grain {name}: no grain emits its source {grain.source}; add one, or name another")
    before = {name: {emitter[grain.source]} - {""} for name, grain in sorted(grains.items())}
    try:
        return {name: grains[name] for name in TopologicalSorter(before).static_order()}
    except CycleError as error:
        raise SmartmeterError(f"grains: each is made of the next, in a circle: {', '.join(error.args[1])}") from error
