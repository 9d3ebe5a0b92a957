"""Windows for tests of ml: simulated ones, and as they would stand in the topic."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import Column
from ml.data import SIMULATED_FROM_MS
from ml.forest import LEAF, Forest
from ml.history import input_values
from ml.lag_state import FeatureRows
from ml.truth import KINDS
from ml.windows import WINDOW_MS, windows_of
from producers.settings import Anomalies, Simulation
from producers.simulator import Simulator


@cache
def simulated_windows(meters: int, hours: int, factor: float = 5.0, seed: int = 3) -> dict[str, Column]:
    """Windows of some meters from a Monday's midnight on, with anomalies `factor` times as often as usual."""
    simulator = Simulator(
        Simulation(buildings=meters, meters_per_building=1, seed=seed, anomalies=Anomalies().scaled(factor))
    )
    first = simulator.tick_at(SIMULATED_FROM_MS)
    return windows_of(simulator.readings(first, first + hours * 720))


def as_log(windows: dict[str, Column]) -> FeatureRows:
    """The windows as rows of one partition, in their order."""
    count = len(windows["meter_id"])
    return FeatureRows(
        windows["meter_id"].astype(np.int64),
        windows["building_id"].astype(np.int64),
        windows["window_start"] // WINDOW_MS,
        windows["event_count"],
        input_values(windows),
        np.zeros(count, dtype=np.int64),
        np.arange(count, dtype=np.int64),
        np.arange(count, dtype=np.int64) * 10,
        np.zeros(count, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
    )


def random_forest(seed: int, features: NDArray[np.float64], trees: int = 7, depth: int = 5) -> Forest:
    """Full binary trees with random questions, whose thresholds are values that the features have."""
    rng = np.random.default_rng(seed)
    inner, nodes = 2**depth - 1, 2 ** (depth + 1) - 1
    asks, thresholds, lefts = [], [], []
    for tree in range(trees):
        asked = rng.integers(0, features.shape[1], inner)
        picked = features[rng.integers(0, len(features), inner), asked]
        asks.append(np.concatenate([asked, np.full(nodes - inner, LEAF)]))
        thresholds.append(np.concatenate([picked, np.zeros(nodes - inner)]))
        child = 2 * np.arange(nodes) + 1 + tree * nodes
        lefts.append(np.where(np.arange(nodes) < inner, child, 0))
    left = np.concatenate(lefts).astype(np.int32)
    votes = rng.random((trees * nodes, len(KINDS)))
    return Forest(
        roots=(np.arange(trees) * nodes).astype(np.int32),
        feature=np.concatenate(asks).astype(np.int32),
        threshold=np.concatenate(thresholds),
        left=left,
        right=np.where(left > 0, left + 1, 0).astype(np.int32),
        votes=votes / votes.sum(axis=1, keepdims=True),
    )
