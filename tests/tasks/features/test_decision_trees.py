"""Small trees whose sums are known."""

import numpy as np
import pytest

from tasks.features.decision_trees import ROWS_AT_A_TIME, DecisionTrees


@pytest.fixture
def trees():
    """Below or at 0.5 of x: 1, above it 2; and, of a second tree, a leaf that adds 10 to every row."""
    return DecisionTrees(
        names=("x", "y"),
        root=np.array([0, 3], np.int32),
        feature=np.array([0, 0, 0, 1], np.uint8),
        threshold=np.array([0.5, 0, 0, 0], np.float32),
        left=np.array([1, 1, 2, 3], np.int32),
        right=np.array([2, 1, 2, 3], np.int32),
        value=np.array([0, 1, 2, 10], np.float32),
        depth=2,
        bias=0.25,
    )


def test_a_threshold_itself_goes_left(trees):
    evidence = np.array([[0.5, 7], [0.75, 7], [-1, 7]], np.float32)
    assert trees.total(evidence).tolist() == [11.25, 12.25, 11.25]


def test_every_row_is_summed_however_many_there_are(trees):
    x = np.arange(2 * ROWS_AT_A_TIME + 3, dtype=np.float32) % 2
    evidence = np.stack([x, x], axis=1)
    assert np.array_equal(trees.total(evidence), 11.25 + x)


def test_no_row_has_no_sum(trees):
    assert trees.total(np.zeros((0, 2), np.float32)).shape == (0,)
