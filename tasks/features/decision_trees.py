"""A sum of small decision trees: evidence in, a number or a probability out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

ROWS_AT_A_TIME = 4096  # their evidence stays in the processor's cache


@dataclass(frozen=True, kw_only=True)
class DecisionTrees:
    """Trees as flat arrays of nodes; a leaf leads to itself.

    Attributes:
        names: what each number of the evidence is.
        root: (R,) first node of each tree.
        feature: (N,) which feature a node compares.
        threshold: (N,) at most this goes left.
        left: (N,) next node.
        right: (N,) next node.
        value: (N,) what a leaf adds.
        depth: steps from a root to its farthest leaf.
        bias: what the sum begins with.
    """

    names: tuple[str, ...]
    root: NDArray[np.int32]
    feature: NDArray[np.uint8]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    depth: int
    bias: float

    def total(self, evidence: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the sum of all trees (C,) for rows of evidence (C, n)."""
        branch = np.stack([self.right, self.left], axis=1).ravel().astype(np.intp)
        feature = self.feature.astype(np.intp)
        total = np.full(len(evidence), self.bias)
        for first in range(0, len(evidence), ROWS_AT_A_TIME):
            some = evidence[first : first + ROWS_AT_A_TIME]
            numbers, row = some.ravel(), np.arange(len(some)) * some.shape[1]
            for root in self.root:
                node = np.full(len(some), root, np.intp)
                for _ in range(self.depth):
                    goes_left = numbers.take(row + feature.take(node)) <= self.threshold.take(node)
                    node = branch.take(2 * node + goes_left)
                total[first : first + ROWS_AT_A_TIME] += self.value.take(node)
        return total

    def probability(self, evidence: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability (C,), the sum of all trees being log odds."""
        probability: NDArray[np.float64] = 1 / (1 + np.exp(-self.total(evidence)))
        return probability

    def save(self, path: Path) -> None:
        """Write the trees; the same trees give the same bytes."""
        np.savez_compressed(
            path,
            names=np.array(self.names),
            root=self.root,
            feature=self.feature,
            threshold=self.threshold,
            left=self.left,
            right=self.right,
            value=self.value,
            depth=np.array(self.depth),
            bias=np.array(self.bias),
        )

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            return cls(
                names=tuple(str(name) for name in stored["names"]),
                root=stored["root"],
                feature=stored["feature"],
                threshold=stored["threshold"],
                left=stored["left"],
                right=stored["right"],
                value=stored["value"],
                depth=int(stored["depth"]),
                bias=float(stored["bias"]),
            )
