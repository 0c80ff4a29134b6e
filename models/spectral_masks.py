"""Masks of a mix's short-time spectrum: the spectral path beside a network in the time domain.

Hybrid as in Défossez, Hybrid Spectrogram and Waveform Source Separation (2021). Here one layer of the waveform network,
at the rate of the stft frames, is shared, and the masks of all sources share every bin (a softmax over the sources).

Shapes: B mixes, C channels of sound, K players, S sources, n samples, T stft frames.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.conditioning import NEGATIVE_SLOPE, ConditioningLayer, repeat_per_player
from models.note_dictionary import NoteDictionary, NoteDictionaryConfig


class SpectralMasks(nn.Module):
    """Estimates masks from the mix's spectrum and from features of the waveform network.

    Attributes:
        dictionary: its estimates initialize the masks; None without one.
    """

    window: Tensor

    def __init__(
        self,
        *,
        n_channels: int,
        n_sources: int,
        n_fft: int,
        hop_length: int,
        n_features: int,
        n_shared: int,
        conditioning: Sequence[ConditioningLayer],
        dictionary: NoteDictionaryConfig | None,
    ) -> None:
        """Make the layers.

        Args:
            n_channels: C.
            n_sources: S of each player.
            n_fft: of the stft.
            hop_length: between its frames, in samples.
            n_features: of the layers here.
            n_shared: features of the waveform network.
            conditioning: two layers.
            dictionary: sizes of a `NoteDictionary`; None makes none.
        """
        super().__init__()
        self.n_sources, self.n_fft, self.hop_length = n_sources, n_fft, hop_length
        n_bins = n_fft // 2 + 1
        self.encode = nn.Conv1d(n_bins * n_channels, n_features, 3, padding=1)
        self.join = nn.Conv1d(n_features + n_shared, n_features, 5, padding=2)
        self.refine = nn.Conv1d(conditioning[0].n_out, n_features, 5, padding=2)
        self.conditioning = nn.ModuleList(conditioning)
        self.logits = nn.Conv1d(conditioning[1].n_out, n_bins * n_sources, 1)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.dictionary: NoteDictionary | None = None
        if dictionary is not None:
            self.dictionary = NoteDictionary(dictionary)
            self.encode_estimate = nn.Conv1d(n_bins, n_features, 1)
            for weights in self.logits.parameters():  # training starts from the dictionary's masks
                nn.init.zeros_(weights)

    def forward(
        self,
        mix: Tensor,
        shared: Tensor,
        condition: Tensor | None,
        notes: Tensor | None,
        n_players: int,
        at: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return the masked mix (B * K, S, C, n).

        Args:
            mix: (B, C, n).
            shared: (B * K, n_shared, T) features of the waveform network.
            condition: (B * K, D, moments); None without conditioning.
            notes: (B * K, N + P + 2, moments) as `NoteDictionary.forward` takes them; None without a dictionary.
            n_players: K.
            at: brings what is computed at moments to the T frames.
        """
        n_mixes = len(mix)
        with torch.autocast(mix.device.type, enabled=False):
            spectrum = torch.stft(
                mix.float().flatten(0, 1),
                self.n_fft,
                self.hop_length,
                window=self.window,
                pad_mode="constant",
                return_complex=True,
            )[..., :-1]  # (B * C, bins, T), each frame centred on the sample of a shared feature
            loudness = 0.5 * torch.log(spectrum.abs() + 0.03) + 0.5
        encoded = repeat_per_player(self.encode(loudness.reshape(n_mixes, -1, loudness.shape[-1])), n_players)
        estimate: Tensor | None = None
        if self.dictionary is not None and notes is not None:
            magnitudes = spectrum.abs().reshape(n_mixes, -1, *spectrum.shape[1:]).mean(dim=1)
            estimate = self.dictionary(magnitudes, at(notes))  # (B * K, bins, T)
            encoded = encoded + self.encode_estimate(0.5 * estimate + 0.5)
        hidden = torch.cat([functional.leaky_relu(encoded, NEGATIVE_SLOPE), shared], dim=1)
        for convolve, condition_layer in zip((self.join, self.refine), self.conditioning, strict=True):
            hidden = condition_layer(functional.leaky_relu(convolve(hidden), NEGATIVE_SLOPE), condition, at)
        logits = self.logits(hidden).float()  # (B * K, S * bins, T)
        if estimate is not None:
            logits = logits + 2 * estimate  # Wiener's masks: shares of the energy
        logits = logits.reshape(n_mixes, n_players * self.n_sources, -1, logits.shape[-1])
        masks = torch.softmax(logits, dim=1)[:, :, None]  # (B, K * S, 1, bins, T): the same for all channels
        masked = masks * spectrum.reshape(n_mixes, 1, -1, *spectrum.shape[1:])
        sounds = torch.istft(
            functional.pad(masked.flatten(0, 2), (0, 1)),
            self.n_fft,
            self.hop_length,
            window=self.window,
            length=mix.shape[-1],
        )
        outputs: Tensor = sounds.reshape(n_mixes * n_players, self.n_sources, -1, mix.shape[-1])
        return outputs
