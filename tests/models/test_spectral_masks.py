import torch

from models.conditioning import ConditioningLayer
from models.spectral_masks import SpectralMasks


def test_the_masked_sounds_sum_to_the_mix():
    torch.manual_seed(0)
    conditioning = [ConditioningLayer(8, 12, "film", mixes_conditions=False) for _ in range(2)]
    masks = SpectralMasks(
        n_channels=1,
        n_sources=1,
        n_fft=16,
        hop_length=8,
        n_features=8,
        n_shared=16,
        conditioning=conditioning,
        dictionary=None,
    )
    mix = torch.randn(1, 1, 128)
    masked = masks(mix, torch.randn(3, 16, 16), torch.randn(3, 12, 16), None, 3, lambda moments: moments)
    torch.testing.assert_close(masked.sum(dim=0)[0, :, 16:-16], mix[0, :, 16:-16])
