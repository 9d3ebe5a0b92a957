"""Checkpoints: one that an older Spark wrote goes on, and one without its metadata is no new query."""

import json
import tarfile
from pathlib import Path

import pytest
from pyspark.errors import SparkRuntimeException
from pyspark.sql import SparkSession

from tests.spark.checkpointed import CHECKPOINT, STOP_AFTER_BATCHES, WINDOW_S, expected, run


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    with tarfile.open(CHECKPOINT) as kept:
        kept.extractall(tmp_path, filter="data")
    return tmp_path


def test_a_checkpoint_of_an_older_spark_goes_on(spark: SparkSession, checkpoint: Path) -> None:
    """No window is emitted twice, none is skipped, and those that were open at the stop have all their readings."""
    before = [tuple(window) for window in json.loads((checkpoint / "emitted.json").read_text())]
    batches = STOP_AFTER_BATCHES + 6
    after = run(spark, checkpoint, batches)
    emitted = {(meter, start): (count, total) for meter, start, count, total in [*before, *after]}
    assert len(emitted) == len(before) + len(after), "a window was emitted twice"
    complete = {key: value for key, value in expected(batches).items() if key in emitted}
    assert emitted == complete
    starts = {start for _, start in emitted}
    assert starts == set(range(min(starts), max(starts) + 1, WINDOW_S)), "a window was skipped"
    assert max(start for _, start, *_ in after) > max(start for _, start, *_ in before)


def test_a_checkpoint_without_its_metadata_is_refused(spark: SparkSession, checkpoint: Path) -> None:
    """Else the query would begin anew, with an id of its own, over what it had sent already."""
    (checkpoint / "metadata").unlink()
    with pytest.raises(SparkRuntimeException, match="STREAMING_CHECKPOINT_MISSING_METADATA_FILE"):
        run(spark, checkpoint, STOP_AFTER_BATCHES + 1)
