"""A fast clock, streamed: it closes no other meter's window, and its own reading is not lost (law 8)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from stream_processing.context import Context, EarlierCheckpoint
from tests.spark.chain import DATASETS, GRAINS
from tests.spark.readings import START, Reading, frame

LATENESS_S = 60
FAST_S = 3600
"""As far ahead as the contract lets a timestamp be."""
Window = tuple[int, int, int]
"""Meter, second at which the window starts, readings."""


class Stream:
    """The first grain over files; each call of `after` is one trigger with some more readings."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        self._spark, self._source, self._checkpoint = spark, str(folder / "source"), str(folder / "checkpoint")
        self._offset = 0

    def after(self, *readings: tuple[int, int, int]) -> list[Window]:
        """Windows that these readings (meter, second, second in the log) close, by meter and time."""
        batch = [
            Reading(self._offset + n, meter, second, 1.0, 230.0, produced_s=produced)
            for n, (meter, second, produced) in enumerate(readings)
        ]
        self._offset += len(batch)
        frame(self._spark, batch).coalesce(1).write.mode("append").parquet(self._source)
        closed: list[Window] = []

        def keep(rows: DataFrame, _: int) -> None:
            for row in rows.select("meter_id", "window_start", "event_count").collect():
                start_s = round((row["window_start"].astimezone(UTC) - START) / timedelta(seconds=1))
                closed.append((row["meter_id"], start_s, row["event_count"]))

        stream = self._spark.readStream.schema(frame(self._spark, batch).schema).parquet(self._source)
        query = (
            GRAINS["meter_30s"]
            .rows(stream, DATASETS, LATENESS_S)
            .writeStream.foreachBatch(keep)
            .outputMode("append")
            .option("checkpointLocation", self._checkpoint)
            .trigger(availableNow=True)
            .start()
        )
        query.awaitTermination()
        return sorted(closed)


@pytest.fixture
def stream(spark: SparkSession, tmp_path: Path) -> Iterator[Stream]:
    yield Stream(spark, tmp_path)


def punctual(*seconds: int) -> Sequence[tuple[int, int, int]]:
    """Meter 1's readings, in the log at the second at which they were taken."""
    return [(1, second, second) for second in seconds]


def test_a_fast_meter_closes_no_windows_of_another_and_its_own_wait_for_their_time(stream: Stream) -> None:
    fast = (2, 10 + FAST_S, 10)
    assert stream.after(*punctual(0, 5), fast) == []
    assert stream.after(*punctual(10, 29), (2, 30 + FAST_S, 30)) == []
    # The log is at 95 s: windows that end by 35 s are over, and meter 1's holds all four readings.
    assert stream.after(*punctual(95)) == [(1, 0, 4)]
    # A slow clock, a minute and more behind, is late: it is found by repair.
    assert stream.after((3, 10, 96), *punctual(96)) == []
    assert stream.after(*punctual(FAST_S + 200)) == [
        (1, 90, 2),
        (2, FAST_S, 1),
        (2, FAST_S + 30, 1),
    ]


def test_a_backfill_moves_time_by_its_own_timestamps(stream: Stream) -> None:
    day = 86_400
    assert stream.after(*[(1, second, day + 1) for second in (0, 10, 20, 31)]) == []
    assert stream.after((1, 100, day + 2)) == [(1, 0, 3)]


def test_a_checkpoint_of_an_earlier_version_is_refused_and_ones_own_goes_on(
    spark: SparkSession, tmp_path: Path
) -> None:
    context: Any = SimpleNamespace(spark=spark)
    context._exists = lambda place: Context._exists(context, place)
    grain = GRAINS["meter_30s"]
    assert Context.checkpoint(context, grain, str(tmp_path)) == f"{tmp_path}/meter_30s.v2"
    (tmp_path / "meter_30s").mkdir()
    with pytest.raises(EarlierCheckpoint, match=f"{tmp_path}/meter_30s is the checkpoint of an earlier version"):
        Context.checkpoint(context, grain, str(tmp_path))
    (tmp_path / "meter_30s.v2").mkdir()
    assert Context.checkpoint(context, grain, f"file:{tmp_path}") == f"file:{tmp_path}/meter_30s.v2"
