"""The forest's training: a Spark ML pipeline, and its trees as arrays. All of ml's Spark is here."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.classification import RandomForestClassifier
from pyspark.ml.feature import VectorAssembler
from pyspark.sql import DataFrame, SparkSession

from infra.base.columns import F64
from ml.features import FEATURES
from ml.forest import LEAF, Forest
from ml.truth import NONE, Kinds
from stream_processing.session import SparkRuntime, start_session
from stream_processing.settings import StreamSettings

PARTITIONS = 2
"""Fixed, and not by the machine's cores: Spark draws each tree's sample by partition."""
NEGATIVES_LEAST, NEGATIVES_PER_POSITIVE = 4_000, 4


class ForestParameters(BaseModel):
    """How the forest is grown; the same data and parameters give the same forest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=40, ge=1)
    depth: int = Field(default=10, ge=1, le=30)
    bins: int = Field(default=64, ge=2)
    seed: int = Field(default=7, ge=0, lt=2**63)


@dataclass(frozen=True)
class Fitted:
    """The trees, and each feature's share in the drop of impurity (in the order of FEATURES)."""

    forest: Forest
    importance: F64


@contextmanager
def session(runtime: SparkRuntime, memory: str = "1g") -> Iterator[SparkSession]:
    """A local session for training. A session that this process already has is used and left open."""
    had_one = SparkSession.getActiveSession() is not None
    spark = start_session(StreamSettings(driver_memory=memory, cores=PARTITIONS), runtime)
    try:
        yield spark
    finally:
        if not had_one:
            spark.stop()


def fit(spark: SparkSession, features: F64, kinds: Kinds, parameters: ForestParameters, saved_to: Path) -> Fitted:
    """Fit assembler and forest on windows × FEATURES, and save the pipeline to the new folder `saved_to`.

    If there are many ordinary windows, some are dropped and the others weigh more. The weight is a power of two, so
    sums of weights are exact in any order, and the same data give the same forest.
    """
    chosen, weights = thinned(kinds, parameters.seed)
    columns = {name: features[chosen, number] for number, name in enumerate(FEATURES)}
    frame = _frame(spark, {**columns, "kind": kinds[chosen].astype(np.float64), "weight": weights})
    frame = frame.repartition(1).repartition(PARTITIONS)
    assembler = VectorAssembler(inputCols=list(FEATURES), outputCol="features")
    forest = RandomForestClassifier(
        labelCol="kind",
        weightCol="weight",
        numTrees=parameters.trees,
        maxDepth=parameters.depth,
        maxBins=parameters.bins,
        seed=parameters.seed,
    )
    fitted: PipelineModel = Pipeline(stages=[assembler, forest]).fit(frame)
    fitted.save(str(saved_to))
    importance = np.array(fitted.stages[-1].featureImportances.toArray())  # type: ignore[attr-defined]
    return Fitted(read_trees(saved_to), importance)


def spark_probabilities(spark: SparkSession, saved: Path, features: F64) -> F64:
    """What a saved pipeline itself says, windows × classes. Tests compare serving with it."""
    pipeline = PipelineModel.load(str(saved))
    frame = _frame(spark, {name: features[:, number] for number, name in enumerate(FEATURES)})
    rows = pipeline.transform(frame).select("probability").collect()
    return np.array([row.probability.toArray() for row in rows])


def thinned(kinds: Kinds, seed: int) -> tuple[np.typing.NDArray[np.intp], F64]:
    """Which windows to train on, and what each weighs."""
    ordinary = kinds == NONE
    wanted = max(NEGATIVES_LEAST, NEGATIVES_PER_POSITIVE * int((~ordinary).sum()))
    weight = 2.0 ** max(0, int(np.floor(np.log2(max(1, ordinary.sum() / wanted)))))
    kept = ~ordinary | (np.random.default_rng(seed).random(len(kinds)) < 1 / weight)
    return np.flatnonzero(kept), np.where(ordinary, weight, 1.0)[kept]


def read_trees(saved: Path) -> Forest:
    """The trees of a saved pipeline whose last stage is a forest."""
    stage = max((saved / "stages").iterdir(), key=lambda path: int(path.name.partition("_")[0]))
    rows = pq.read_table(stage / "data").to_pylist()
    rows.sort(key=lambda row: (row["treeID"], row["nodeData"]["id"]))
    tree = np.array([row["treeID"] for row in rows])
    nodes = [row["nodeData"] for row in rows]
    roots = np.searchsorted(tree, np.unique(tree)).astype(np.int32)
    first = roots[tree]
    left, right = (np.array([node[side] for node in nodes]) for side in ("leftChild", "rightChild"))
    is_leaf = left < 0
    stats = np.array([node["impurityStats"] for node in nodes])
    weight = np.zeros(len(stats))
    for kind in range(stats.shape[1]):
        weight += stats[:, kind]
    splits = [node["split"] for node in nodes]
    return Forest(
        roots=roots,
        feature=np.where(is_leaf, LEAF, [split["featureIndex"] for split in splits]).astype(np.int32),
        threshold=np.array([(split["leftCategoriesOrThreshold"] or [0.0])[0] for split in splits]),
        left=np.where(is_leaf, 0, left + first).astype(np.int32),
        right=np.where(is_leaf, 0, right + first).astype(np.int32),
        votes=stats / weight[:, None],
    )


def _frame(spark: SparkSession, columns: dict[str, F64]) -> DataFrame:
    return spark.createDataFrame(pa.table(columns))
