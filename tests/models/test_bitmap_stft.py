"""What follows from the build of the network from bitmaps to columns of a spectrogram."""

import torch

from models.bitmap_stft import BitmapToSpectrum, BitmapToSpectrumConfig


def test_parameters_are_those_of_its_layers():
    network = BitmapToSpectrum(BitmapToSpectrumConfig(n_inputs=4096, hidden=(2048, 2048, 2048), n_outputs=1025))
    layers = [(4096, 2048), (2048, 2048), (2048, 2048), (2048, 1025)]
    assert sum(weight.numel() for weight in network.parameters()) == sum((a + 1) * b for a, b in layers)
    assert network(torch.zeros(3, 4096)).shape == (3, 1025)


def test_a_picture_is_heard_as_itself_whatever_stands_beside_it():
    torch.manual_seed(0)
    network = BitmapToSpectrum(BitmapToSpectrumConfig(n_inputs=16, hidden=(8,), n_outputs=5))
    bitmaps = torch.rand(7, 16)
    torch.testing.assert_close(network(bitmaps)[3:4], network(bitmaps[3:4]))
