"""A random forest as arrays, and its probabilities without a JVM.

The sums are made in Spark's order, so the probabilities are those of Spark ML's model to the bit; a test holds them
against it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.base.columns import F64

I32 = NDArray[np.int32]
ROWS_AT_ONCE = 8192
LEAF = -1


@dataclass(frozen=True)
class Forest:
    """All trees' nodes one after the other; a child is the number of a node."""

    roots: I32
    feature: I32
    """LEAF, or the number of the feature that the node asks for."""
    threshold: F64
    left: I32
    right: I32
    votes: F64
    """Nodes × classes: shares of the training weight at the node."""

    def probabilities(self, features: F64) -> F64:
        """Windows × classes."""
        rows = [
            self._probabilities(features[begin : begin + ROWS_AT_ONCE])
            for begin in range(0, len(features), ROWS_AT_ONCE)
        ]
        return np.concatenate(rows) if rows else np.empty((0, self.votes.shape[1]))

    def _probabilities(self, features: F64) -> F64:
        row = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots)))
        asks = self.feature[node]
        while (asks != LEAF).any():
            goes_left = features[row, np.maximum(asks, 0)] <= self.threshold[node]
            node = np.where(asks == LEAF, node, np.where(goes_left, self.left[node], self.right[node]))
            asks = self.feature[node]
        total = np.zeros((len(features), self.votes.shape[1]))
        for tree in range(len(self.roots)):
            total += self.votes[node[:, tree]]
        weight = np.zeros(len(features))
        for kind in range(total.shape[1]):  # one after the other, as Spark adds them
            weight += total[:, kind]
        return total / weight[:, None]

    def save(self, path: Path) -> None:
        """Write the arrays to one file; the same forest gives the same bytes."""
        np.savez(path, **vars(self))


def load_forest(path: Path) -> Forest:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Forest(**{name: arrays[name] for name in Forest.__dataclass_fields__})
