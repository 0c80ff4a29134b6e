"""The published sizes of the networks from bitmaps to frames of sound, and what follows from their build."""

import pytest
import torch

from models.bitmap_mlp import BitmapToPcm, BitmapToPcmConfig


@pytest.mark.parametrize(
    ("hidden", "published"),
    [
        ((1000,), 4_832_735),
        ((1000, 1000, 1000), 6_834_735),
        ((2048, 1000, 1000), 12_176_391),
        ((2000, 1500, 1000), 13_432_235),
    ],
)
def test_parameters_are_those_of_the_published_networks(hidden, published):
    network = BitmapToPcm(BitmapToPcmConfig(n_inputs=64 * 64, hidden=hidden, n_outputs=735))
    assert sum(weight.numel() for weight in network.parameters()) == published
    assert network(torch.zeros(2, 4096)).shape == (2, 735)


def test_a_picture_is_heard_as_itself_whatever_stands_beside_it():
    torch.manual_seed(0)
    network = BitmapToPcm(BitmapToPcmConfig(n_inputs=16, hidden=(8, 8), n_outputs=5))
    bitmaps = torch.rand(7, 16)
    torch.testing.assert_close(network(bitmaps)[3:4], network(bitmaps[3:4]))


def test_without_hidden_layers_the_answer_is_linear_in_the_picture():
    torch.manual_seed(0)
    network = BitmapToPcm(BitmapToPcmConfig(n_inputs=16, hidden=(), n_outputs=5))
    one, other = torch.rand(1, 16), torch.rand(1, 16)
    torch.testing.assert_close(network((one + other) / 2), (network(one) + network(other)) / 2)
