"""The Spark session: local, on loopback, in UTC, with the Kafka and Avro modules."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import SparkSession

from stream_processing.settings import StreamSettings

ROCKSDB = "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
JAVA_OPTIONS = "-XX:-DontCompileHugeMethods -XX:+UseParallelGC"
"""Spark writes methods of more than 8,000 bytes of code for our folds, which the JVM by default only interprets; and a
batch asks for throughput, not for short pauses. See decision 050."""

LOGGING = Path(__file__).with_name("log4j2.properties")


@dataclass(frozen=True)
class SparkRuntime:
    """What Spark runs on: the folder with the jars of its Kafka and Avro modules, and a Java."""

    jars: Path
    java_home: Path


def start_session(settings: StreamSettings, runtime: SparkRuntime) -> SparkSession:
    """A new session, or the one that this process already has."""
    os.environ["JAVA_HOME"] = str(runtime.java_home)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    conf = {
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.extraClassPath": f"{runtime.jars}/*",
        "spark.driver.extraJavaOptions": f'{JAVA_OPTIONS} "-Dlog4j2.configurationFile={LOGGING.as_uri()}"',
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": settings.driver_memory,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": str(settings.shuffle_partitions),
        # Lists of readings are collected per window and meter; the default falls back to sorting at 128 of them.
        "spark.sql.objectHashAggregate.sortBased.fallbackThreshold": "1000000",
        "spark.sql.streaming.stateStore.providerClass": ROCKSDB,
        "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    builder = SparkSession.builder.master(f"local[{settings.cores}]").appName("smartmeter")
    for key, value in conf.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def has_ended(spark: SparkSession, within_s: float = 0.0) -> bool:
    """Whether the JVM behind the session ends within this time; nothing of the session works from then on."""
    process = spark.sparkContext._gateway.proc  # type: ignore[union-attr]
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True
