"""A sum of small decision trees: evidence in, a number or a probability out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class DecisionTrees:
    """Trees as flat arrays of nodes; a leaf leads to itself.

    Attributes:
        names: what each number of the evidence is.
        root: (R,) first node of each tree.
        feature: (N,) which number a node looks at.
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
        total = np.full(len(evidence), self.bias)
        rows = np.arange(len(evidence))
        for root in self.root:
            node = np.full(len(evidence), root, np.int32)
            for _ in range(self.depth):
                goes_left = evidence[rows, self.feature[node]] <= self.threshold[node]
                node = np.where(goes_left, self.left[node], self.right[node])
            total += self.value[node]
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
