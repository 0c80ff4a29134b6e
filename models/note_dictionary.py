"""Score-informed factorization: each player's magnitudes in a mix, from a dictionary of note spectra.

Shapes: B mixes, K players, N instruments, P pitches, R spectra, T stft frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

NEGATIVE_SLOPE = 0.2
LEAST_STRENGTH = 0.0005  # of every note before the factorization, also of a player who is predicted to rest
N_INPUTS = 8  # of the correction: strengths, expected notes, onsets and activity, the player's own and the others'
DILATIONS = (1, 2, 4, 8, 16)  # of the correction: two seconds to each side at half of 8 kHz' windows of 1024
COMPARED_AT = 4  # the layer of this dilation has the strongest of all pitches as input too


@dataclass(frozen=True, kw_only=True)
class NoteDictionaryConfig:
    """Sizes of a `NoteDictionary`.

    Attributes:
        n_instruments: N.
        n_pitches: P.
        n_bins: of a spectrum.
        n_iterations: of the factorization.
        n_correcting: features of the network that corrects it.
    """

    n_instruments: int
    n_pitches: int
    n_bins: int
    n_iterations: int
    n_correcting: int


class NoteDictionary(nn.Module):
    """Estimates each player's magnitudes in a mix by factorization with one spectrum per instrument and pitch.

    After Ewert and Müller, Using score-informed constraints for NMF-based source separation (ICASSP 2012): the notes
    that a player is expected to play initialize the strengths. Players of one instrument share each note in the
    proportion of these initial strengths, which the factorization does not change. A convolutional network over time
    therefore corrects them (ours). It is the same for every pitch. Its inputs are the strengths, the expected notes,
    the onsets and the activity of the player and of the others; one layer also has the strongest of the other pitches.
    """

    spectra: Tensor

    def __init__(self, config: NoteDictionaryConfig) -> None:
        super().__init__()
        self.config = config
        n = config.n_correcting
        self.register_buffer("spectra", torch.zeros(config.n_instruments, config.n_pitches, config.n_bins))
        self.first = nn.Conv1d(N_INPUTS, n, 5, padding=2)
        self.layers = nn.ModuleList(
            nn.Conv1d(2 * n if dilation == COMPARED_AT else n, n, 5, padding=2 * dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.correct = nn.Conv1d(n, 1, 1)
        for weights in self.correct.parameters():
            nn.init.zeros_(weights)

    def forward(self, magnitudes: Tensor, notes: Tensor) -> Tensor:
        """Return the log of each player's estimated magnitudes (B * K, bins, T).

        Args:
            magnitudes: (B, bins, T) of the mix.
            notes: (B * K, N + P + 2, T) probabilities: of each instrument, that each pitch sounds, that a note begins,
                and that any note sounds.
        """
        config, n_mixes = self.config, len(magnitudes)
        notes = notes.expand(-1, -1, magnitudes.shape[-1]).float()
        notes = notes.reshape(n_mixes, -1, *notes.shape[1:])  # (B, K, N + P + 2, T)
        with torch.autocast(magnitudes.device.type, enabled=False), torch.no_grad():
            # Nobody changes their instrument within a mix.
            instruments = notes[:, :, : config.n_instruments].mean(dim=3)  # (B, K, N)
            spectra = torch.einsum("bkn,npf->bkpf", instruments, self.spectra)
            expected, onsets, activity = notes[:, :, config.n_instruments : -2], notes[:, :, -2:-1], notes[:, :, -1:]
            initial = (expected + LEAST_STRENGTH).flatten(1, 2)
            strengths = factorize(magnitudes, spectra.flatten(1, 2), initial, n_iterations=config.n_iterations)
            strengths = strengths.reshape(expected.shape)  # (B, K, P, T)
            alike = torch.einsum("bkn,bjn->bkj", instruments, instruments)
            others = alike * (1 - torch.eye(len(alike[0]), device=alike.device))
            inputs = [
                0.3 * torch.log(strengths + 0.3),
                0.3 * torch.log(_summed(alike, strengths) + 0.3),
                0.2 * torch.log(expected + 1e-3) + 1,
                0.2 * torch.log(_summed(others, expected) + 1e-3) + 1,
                *(part.expand_as(expected) for part in (onsets, activity)),
                *(_summed(others, part).expand_as(expected) for part in (onsets, activity)),
            ]
        corrections = self._corrections(torch.stack(inputs, dim=3))
        with torch.autocast(magnitudes.device.type, enabled=False):
            estimates = torch.einsum("bkpf,bkpt->bkft", spectra, strengths * torch.exp(corrections.float()))
            return torch.log(estimates + 0.03).flatten(0, 1)

    def _corrections(self, inputs: Tensor) -> Tensor:
        """Return the logs of the strengths' factors (B, K, P, T) from inputs (B, K, P, 8, T)."""
        *each, n_pitches = inputs.shape[:3]
        hidden = functional.leaky_relu(self.first(inputs.flatten(0, 2)), NEGATIVE_SLOPE)  # (B * K * P, n, T)
        for dilation, convolve in zip(DILATIONS, self.layers, strict=True):
            compared = hidden
            if dilation == COMPARED_AT:
                strongest = hidden.reshape(-1, n_pitches, *hidden.shape[1:]).amax(dim=1)
                compared = torch.cat([hidden, strongest.repeat_interleave(n_pitches, dim=0)], dim=1)
            hidden = hidden + functional.leaky_relu(convolve(compared), NEGATIVE_SLOPE)
        return 8 * torch.tanh(self.correct(hidden).reshape(*each, n_pitches, -1) / 8)


def factorize(magnitudes: Tensor, spectra: Tensor, strengths: Tensor, *, n_iterations: int) -> Tensor:
    """Return each spectrum's strength in each frame, by multiplicative updates for the Kullback-Leibler divergence.

    Args:
        magnitudes: (B, bins, T).
        spectra: (B, R, bins).
        strengths: (B, R, T), initial values; a zero stays zero.
        n_iterations: of the updates (Lee and Seung, NIPS 2000).

    Returns:
        (B, R, T). Frames are independent: pieces of a mix give the same as the whole.
    """
    totals = spectra.sum(dim=2)[..., None] + 1e-8
    across = spectra.transpose(1, 2)
    for _ in range(n_iterations):
        ratio = magnitudes / (across @ strengths + 1e-8)
        strengths = strengths * (spectra @ ratio) / totals
    return strengths


def _summed(weights: Tensor, values: Tensor) -> Tensor:
    """Return the weighted sums over players of values (B, K, P, T), weights (B, K, K)."""
    return torch.einsum("bkj,bjpt->bkpt", weights, values)
