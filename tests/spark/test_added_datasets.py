"""Datasets that only files add (law 1): their rows, and the checkpoint of the grain that one of them joins."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from infra.base.errors import SmartmeterError
from schemas.manifest import CONTRACTS, Dataset, load_datasets
from stream_processing import datasets as dataset_package
from stream_processing import grains as grain_package
from stream_processing.grain import Grain, load_grains
from tests import added_datasets
from tests.spark.chain import GRAINS, Row, by_key, emitted, first_grain, grains_after_first, table
from tests.spark.hours import KNOWN
from tests.spark.readings import Reading, counted, milli, side_by_side

READINGS = list(chain(*side_by_side(KNOWN)))


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Grain], dict[str, Dataset]]]:
    """Grains and datasets with the added ones: the folders that are searched are the repository's and another."""
    root = tmp_path_factory.mktemp("added")
    contracts = root / "schemas" / "contracts"
    contracts.mkdir(parents=True)
    for path in CONTRACTS.iterdir():
        (contracts / path.name).write_bytes(path.read_bytes())
    added_datasets.write(root)
    modules = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        for package in (dataset_package, grain_package):
            folder = root.joinpath(*package.__name__.split("."))
            patch.setattr(package, "__path__", [*package.__path__, str(folder)])
        yield load_grains(), load_datasets(contracts)
    for name in set(sys.modules) - modules:
        if name.startswith("stream_processing."):
            del sys.modules[name]


@pytest.fixture(scope="module")
def five_min(spark: SparkSession) -> list[Row]:
    """Rows of meter_stats_5min."""
    return grains_after_first(spark, first_grain(spark, READINGS)["meter_stats_30s"])["meter_stats_5min"]


def test_added_datasets_are_computed(
    spark: SparkSession, added: tuple[dict[str, Grain], dict[str, Dataset]], five_min: list[Row]
) -> None:
    grains, datasets = added
    for name, grain in (("meter_hourly_peak", "meter_1h"), ("meter_daily_peak", "meter_1day")):
        rows = emitted(table(spark, "meter_stats_5min", five_min), grains[grain], datasets)[name]
        peaks = {(row["meter_id"], row["window_start"]): (row["event_count"], row["power_max_kw"]) for row in rows}
        assert peaks == {
            key: (len(window), max(milli(r.power_kw, 1e6) for r in window) / 1e6)
            for key, window in windows(added_datasets.WINDOW_S[name]).items()
        }


def windows(window_s: int) -> dict[tuple[int, object], list[Reading]]:
    """By meter and window, the readings that count; windows of a day do not begin when the readings do."""
    by_hour = counted(READINGS, 3600)
    groups: dict[tuple[int, object], list[Reading]] = {}
    for (meter_id, hour), readings in by_hour.items():
        start = hour if window_s == 3600 else hour.replace(hour=0)
        groups.setdefault((meter_id, start), []).extend(readings)
    return groups


def test_the_datasets_that_were_there_stay_the_same(
    spark: SparkSession, added: tuple[dict[str, Grain], dict[str, Dataset]], five_min: list[Row]
) -> None:
    grains, datasets = added
    assert {name: grain.emits.keys() for name, grain in GRAINS.items() if name != "meter_1h"} == {
        name: grain.emits.keys() for name, grain in grains.items() if name not in ("meter_1h", "meter_1day")
    }
    before = emitted(table(spark, "meter_stats_5min", five_min), GRAINS["meter_1h"])
    after = emitted(table(spark, "meter_stats_5min", five_min), grains["meter_1h"], datasets)
    for name, rows in before.items():
        assert by_key(name, after[name]) == by_key(name, rows)


def test_a_grain_that_a_dataset_joins_goes_on_from_its_checkpoint(
    spark: SparkSession, added: tuple[dict[str, Grain], dict[str, Dataset]], five_min: list[Row], tmp_path: Path
) -> None:
    """The query before the change gets half of the rows, the one after it the others; only its state can join them."""
    grains, datasets = added
    stats = sorted(five_min, key=lambda row: (row["meter_id"], row["window_start"]))
    halves = [table(spark, "meter_stats_5min", half) for half in (stats[::2], stats[1::2])]
    queries = ((GRAINS["meter_1h"], load_datasets()), (grains["meter_1h"], datasets))
    for half, (grain, datasets_) in zip(halves, queries, strict=True):
        half.repartition(1).write.mode("append").parquet(str(tmp_path / "source"))
        sent = stream_messages(spark, grain, datasets_, tmp_path)
    of_all, of_half = (set(batch_messages(rows, *queries[1])) for rows in (halves[0].union(halves[1]), halves[1]))
    assert {topic for topic, _ in sent} == {*GRAINS["meter_1h"].emits, "meter_hourly_peak"}
    assert set(sent) <= of_all
    assert not of_half <= of_all, "no hour has rows in both halves"


def batch_messages(source: DataFrame, grain: Grain, datasets: dict[str, Dataset]) -> list[tuple[str, bytes]]:
    """Topic and value of every message that the grain makes of its source in one go."""
    rows = grain.messages(grain.rows(source, datasets), datasets, dict.fromkeys(grain.emits, 1)).collect()
    return [(row["topic"], bytes(row["value"])) for row in rows]


def stream_messages(
    spark: SparkSession, grain: Grain, datasets: dict[str, Dataset], folder: Path
) -> list[tuple[str, bytes]]:
    """Topic and value of every message that a streaming query sends for those files in `source` that are new to it."""
    source = str(folder / "source")
    sent: list[tuple[str, bytes]] = []

    def keep(batch: DataFrame, _: int) -> None:
        sent.extend((row["topic"], bytes(row["value"])) for row in batch.collect())

    stream = spark.readStream.schema(spark.read.parquet(source).schema).parquet(source)
    query = (
        grain.messages(grain.rows(stream, datasets, 3600), datasets, dict.fromkeys(grain.emits, 1))
        .writeStream.foreachBatch(keep)
        .outputMode(grain.output_mode)
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return sent


def test_a_parameter_that_a_grain_relies_on_is_checked_for_what_joins_it(
    spark: SparkSession, added: tuple[dict[str, Grain], dict[str, Dataset]]
) -> None:
    grains, datasets = added
    name = "meter_hourly_peak"
    changed = {**datasets, name: replace(datasets[name], parameters={"hold_max_s": 60})}
    with pytest.raises(SmartmeterError, match=f"{name}.yaml: hold_max_s is 60, but grain meter_1h counts with 300"):
        emitted(table(spark, "meter_stats_5min", []), grains["meter_1h"], changed)
