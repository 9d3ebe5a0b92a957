"""A query whose state is as the application's, over rows that are computed: only its checkpoint has a past.

`python -m tests.spark.checkpointed` writes the checkpoint of a stopped query, under the Spark that is installed, to
CHECKPOINT beside this file. Do that only to replace the version from which an upgrade is proved.
"""

import json
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from infra.base.wait import until
from infra.stack.spark import spark_runtime
from stream_processing.session import start_session
from stream_processing.settings import StreamSettings

WRITTEN_BY = "4.1.1"
CHECKPOINT = Path(__file__).with_name(f"checkpoint_of_{WRITTEN_BY}.tar.gz")
START_MS, BATCH_MS, ROWS_PER_BATCH, METERS = 1_700_000_010_000, 20_000, 40, 5
WINDOW_S, LATENESS_S = 30, 20
STOP_AFTER_BATCHES = 8
DEADLINE_S = 300.0
Window = tuple[int, int, int, int]
"""Meter, start in seconds, count, sum of the values."""


def windows(spark: SparkSession) -> DataFrame:
    """Row number N has value N, belongs to meter N % METERS, and stands at its batch's instant; each comes twice."""
    rows = (
        spark.readStream.format("rate-micro-batch")
        .options(rowsPerBatch=ROWS_PER_BATCH, numPartitions=1, startTimestamp=START_MS, advanceMillisPerBatch=BATCH_MS)
        .load()
    )
    twice = rows.select(
        (F.col("value") % METERS).cast("int").alias("meter_id"),
        "timestamp",
        "value",
        F.explode(F.array(F.lit(1), F.lit(2))).alias("delivery"),
    )
    readings = F.collect_set(F.struct("timestamp", "value"))
    return (
        twice.withWatermark("timestamp", f"{LATENESS_S} seconds")
        .groupBy("meter_id", F.window("timestamp", f"{WINDOW_S} seconds"))
        .agg(readings.alias("readings"), F.max("value").alias("newest"))
        .select(
            "meter_id",
            F.unix_seconds("window.start").alias("start"),
            F.size("readings").alias("count"),
            F.aggregate("readings", F.lit(0).cast("long"), lambda total, r: total + r["value"]).alias("total"),
        )
    )


def run(spark: SparkSession, checkpoint: Path, batches: int) -> list[Window]:
    """Run the query from its checkpoint until `batches` are committed; the windows that it emitted meanwhile."""
    emitted: list[Window] = []

    def keep(rows: DataFrame, _: int) -> None:
        emitted.extend((row["meter_id"], row["start"], row["count"], row["total"]) for row in rows.collect())

    query = (
        windows(spark)
        .writeStream.foreachBatch(keep)
        .outputMode("append")
        .option("checkpointLocation", str(checkpoint))
        .start()
    )

    def committed() -> bool:
        if failure := query.exception():
            raise failure
        return (checkpoint / "commits" / str(batches - 1)).exists()

    try:
        until(committed, f"{batches} batches", DEADLINE_S)
    finally:
        query.stop()
    return emitted


def expected(batch_count: int) -> dict[tuple[int, int], tuple[int, int]]:
    """By meter and start: count and sum over the first batches, computed without Spark."""
    sums: dict[tuple[int, int], tuple[int, int]] = {}
    for value in range(batch_count * ROWS_PER_BATCH):
        at_s = (START_MS + value // ROWS_PER_BATCH * BATCH_MS) // 1000
        key = (value % METERS, at_s - at_s % WINDOW_S)
        count, total = sums.get(key, (0, 0))
        sums[key] = (count + 1, total + value)
    return sums


def main() -> None:
    """Write CHECKPOINT, and in it, as emitted.json, the windows that were emitted before the stop."""
    spark = start_session(StreamSettings(driver_memory="1g", shuffle_partitions=1), spark_runtime())
    assert spark.version == WRITTEN_BY, f"this is Spark {spark.version}"
    # State as an application has it that ran for long: a snapshot, and changes after it.
    spark.conf.set("spark.sql.streaming.stateStore.minDeltasForSnapshot", "3")
    spark.conf.set("spark.sql.streaming.stateStore.maintenanceInterval", "1s")
    with TemporaryDirectory() as written, tarfile.open(CHECKPOINT, "w:gz") as kept:
        emitted = run(spark, Path(written), STOP_AFTER_BATCHES)
        spark.stop()
        for checksum in Path(written).rglob(".*.crc"):
            checksum.unlink()
        (Path(written) / "emitted.json").write_text(json.dumps(sorted(emitted)) + "\n")
        kept.add(written, ".")


if __name__ == "__main__":
    main()
