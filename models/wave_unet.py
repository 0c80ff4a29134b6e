"""Wave-U-Net: estimates the sounds that a mix is made of in the time domain, conditioned on players.

The network is Stoller, Ewert and Dixon's (ISMIR 2018; their code's sizes): an encoder of convolutions that halve the
rate, a bottleneck, and a decoder that doubles it, with skip connections. `models.conditioning` has the conditioning.

Departures: ``per_player``, one source is estimated for each player. The encoder, whose input is the mix alone, then
runs once and the decoder once a player, so that the players may be of any number and order. A condition may change with
time. It enters the decoder, at the bottleneck, before every block or before the output, never the encoder. Beside the
waveform path a spectral one (`models.spectral_masks`) estimates masks, initialized by a dictionary of note spectra.

Shapes: B mixes, C channels of sound, n samples, S sources, K players, D features of a condition, T of its moments.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.conditioning import (
    NEGATIVE_SLOPE,
    ConditionEncoder,
    Conditioning,
    ConditioningLayer,
    repeat_per_player,
)
from models.note_dictionary import DILATIONS, NoteDictionaryConfig
from models.spectral_masks import SpectralMasks

Place = Literal["bottleneck", "every", "output"]

UNKNOWN_STRENGTH = 0.02  # of a note whose probability is unknown; a certain one has 1
SHARED_OVER = 257  # samples around each one whose energy decides how the residual is shared


@dataclass(frozen=True, kw_only=True)
class WaveUnetConfig:
    """Sizes of a `WaveUnet`.

    Attributes:
        n_channels: C.
        n_sources: S of the output; 1 with ``per_player``.
        n_layers: blocks of the encoder, each of which halves the rate.
        n_filters: channels that each layer has more than the one before.
        down_kernel: of the encoder's convolutions, in samples; odd.
        up_kernel: of the decoder's; odd.
        output: ``direct``, a tanh a source; ``difference``, the last source is the mix minus the others.
        upsampling: ``linear``, or ``learned``: a sample between two is their weighted mean, a weight a channel.
        with_context: convolutions without padding: the output is shorter than the mix.
        conditioning: the method, as `models.conditioning.ConditioningLayer` has it; ``none`` without conditions.
        place: where conditions enter.
        n_conditions: D of the condition that `WaveUnet.forward` takes; 0 without.
        n_encoded: features that a small network over time encodes a condition to; 0 takes it as it is.
        condition_hop: samples between two of its moments, a power of 2.
        per_player: whether one source is estimated for each player, conditioned on that player's own condition.
        is_consistent: whether the mix minus all players' estimates is shared among these by their energy.
        is_bounded: whether an output ends in a tanh, as published; without it loud mixes are not distorted.
        normalize: whether each block ends in batch normalization, as in the published port.
        n_fft: of a spectral path beside the waveform path, which estimates masks; 0 without.
        spectrum_hop: samples between its frames, a power of 2 of at most `hop`.
        n_spectral: features of its layers.
        n_pitches: of a dictionary of note spectra, which initializes the masks; 0 without.
        lowest_pitch: of them, a MIDI number.
        n_instruments: of the dictionary.
        instruments_at: where in a condition the probabilities of the instruments begin.
        pitches_at: where those that each of 128 pitches sounds begin; -1 when unknown.
        onsets_at: where those that a note begins and that any note sounds begin; -1 when unknown.
        n_iterations: of the factorization of a mix by the dictionary.
        n_correcting: features of the network that corrects it.
        shares_output: defect of a published port: one output layer serves every source, so all are equal.
        mixes_conditions: defect of the published code: conditions are tiled over the batch and then cut, so that most
            moments have those of another item.
    """

    n_channels: int = 1
    n_sources: int = 2
    n_layers: int = 12
    n_filters: int = 24
    down_kernel: int = 15
    up_kernel: int = 5
    output: Literal["direct", "difference"] = "direct"
    upsampling: Literal["linear", "learned"] = "linear"
    with_context: bool = True
    conditioning: Conditioning = "none"
    place: Place = "bottleneck"
    n_conditions: int = 0
    n_encoded: int = 0
    condition_hop: int = 256
    per_player: bool = False
    is_consistent: bool = False
    is_bounded: bool = True
    normalize: bool = False
    n_fft: int = 0
    spectrum_hop: int = 128
    n_spectral: int = 256
    n_pitches: int = 0
    lowest_pitch: int = 0
    n_instruments: int = 0
    instruments_at: int = 0
    pitches_at: int = -1
    onsets_at: int = -1
    n_iterations: int = 20
    n_correcting: int = 16
    shares_output: bool = False
    mixes_conditions: bool = False

    def __post_init__(self) -> None:
        if (self.conditioning == "none") != (self.n_conditions == 0):
            raise ValueError(
                f"conditioning is {self.conditioning} and n_conditions is {self.n_conditions}, expected none and 0, or "
                "a method and at least 1"
            )
        if self.per_player and (self.n_sources != 1 or self.conditioning == "none" or self.output != "direct"):
            raise ValueError("per_player needs n_sources 1, a conditioning method and direct output")
        if self.n_fft and (self.with_context or self.spectrum_hop > self.hop or self.output != "direct"):
            raise ValueError(
                "a spectral path needs direct output, with_context false and a spectrum_hop of at most 2 ** n_layers"
            )
        if self.n_pitches and not (self.n_fft and self.per_player):
            raise ValueError("a dictionary needs a spectral path and per_player")
        if self.output == "difference" and self.n_sources < 2:
            raise ValueError(f"output difference needs at least 2 sources, found {self.n_sources}")

    @property
    def hop(self) -> int:
        """Samples between two bottleneck features. Pieces that start at multiples of it have the same phase."""
        return 1 << self.n_layers

    def lengths(self, n_output: int) -> tuple[int, int, int]:
        """Return the smallest sizes that give at least ``n_output`` samples: bottleneck, input and output.

        Without context the output is as long as the input, and that is a multiple of `hop`.
        """
        if not self.with_context:
            n_input = -(-n_output // self.hop) * self.hop
            return n_input // self.hop, n_input, n_input
        wanted: float = n_output
        for _ in range(self.n_layers):  # ahead of an up block there are half as many
            wanted = (wanted + self.up_kernel) / 2
        bottleneck = max(1, -int(-wanted // 1))
        n_output = bottleneck
        n_input = bottleneck + self.down_kernel - 1
        for _ in range(self.n_layers):
            n_output = 2 * n_output - 1 - (self.up_kernel - 1)
            n_input = 2 * n_input - 1 + self.down_kernel - 1
        return bottleneck, n_input, n_output

    @property
    def margin(self) -> int:
        """Samples of input on each side of an output sample that it may depend on: a multiple of `hop`."""
        down, up, step = self.down_kernel // 2, self.up_kernel // 2, 1
        reach = 0
        for _ in range(self.n_layers):
            reach += (down + up + 1) * step
            step *= 2
        reach += down * step
        reach += self.condition_hop
        if self.n_fft:
            reach += 6 * self.spectrum_hop + self.n_fft
        if self.n_pitches:
            reach += (2 + 2 * sum(DILATIONS)) * self.spectrum_hop
        if self.is_consistent:
            reach += SHARED_OVER // 2
        return -(-reach // self.hop) * self.hop


class WaveUnet(nn.Module):
    """Estimates sources from a mix and, where it has conditioning, from conditions."""

    def __init__(self, config: WaveUnetConfig) -> None:
        super().__init__()
        self.config = config
        padding = 0 if config.with_context else config.down_kernel // 2
        widths = [config.n_filters * (layer + 1) for layer in range(config.n_layers + 1)]
        self.down = nn.ModuleList(
            nn.Conv1d(n_in, n_out, config.down_kernel, padding=padding)
            for n_in, n_out in zip([config.n_channels, *widths[:-2]], widths[:-1], strict=True)
        )
        self.bottleneck = nn.Conv1d(widths[-2], widths[-1], config.down_kernel, padding=padding)
        padding = 0 if config.with_context else config.up_kernel // 2
        blocks, n_in, conditioning = [], widths[-1], []
        for number, width in enumerate(reversed(widths[:-1])):
            if config.place == "every":  # the skip connection is conditioned as well
                layer = self._conditioning_layer(n_in + width, is_here=True)
                blocks.append(nn.Conv1d(layer.n_out, width, config.up_kernel, padding=padding))
            else:
                layer = self._conditioning_layer(n_in, is_here=config.place == "bottleneck" and number == 0)
                blocks.append(nn.Conv1d(layer.n_out + width, width, config.up_kernel, padding=padding))
            conditioning.append(layer)
            n_in = width
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width) if config.normalize else nn.Identity() for width in [*widths, *reversed(widths[:-1])]
        )
        conditioning.append(self._conditioning_layer(n_in, is_here=config.place in ("every", "output")))
        self.conditioning = nn.ModuleList(conditioning)
        self.up = nn.ModuleList(blocks)
        self.interpolation = nn.ParameterList(
            nn.Parameter(torch.zeros(width)) for width in reversed(widths[1:]) if config.upsampling == "learned"
        )
        n_outputs = config.n_sources - (config.output == "difference")
        n_convolutions = 1 if config.shares_output else n_outputs
        self.outputs = nn.ModuleList(
            nn.Conv1d(conditioning[-1].n_out + config.n_channels, config.n_channels, 1) for _ in range(n_convolutions)
        )
        self.condition_encoder: ConditionEncoder | None = None
        if config.n_encoded:
            self.condition_encoder = ConditionEncoder(
                config.n_conditions, config.n_encoded, per_player=config.per_player
            )
        self.spectral: SpectralMasks | None = None
        if config.n_fft:
            self.spectral = self._spectral_masks([*widths, widths[-1]])
            for weights in self.outputs.parameters():  # training starts from the masks alone
                nn.init.zeros_(weights)

    def _conditioning_layer(self, n_channels: int, *, is_here: bool) -> ConditioningLayer:
        config = self.config
        n_conditions = 2 * config.n_encoded if config.n_encoded else config.n_conditions
        return ConditioningLayer(
            n_channels,
            n_conditions,
            config.conditioning if is_here else "none",
            mixes_conditions=config.mixes_conditions,
        )

    def _spectral_masks(self, widths: list[int]) -> SpectralMasks:
        config = self.config
        level = config.spectrum_hop.bit_length() - 1
        is_here = config.conditioning != "none"
        dictionary = None
        if config.n_pitches:
            dictionary = NoteDictionaryConfig(
                n_instruments=config.n_instruments,
                n_pitches=config.n_pitches,
                n_bins=config.n_fft // 2 + 1,
                n_iterations=config.n_iterations,
                n_correcting=config.n_correcting,
            )
        return SpectralMasks(
            n_channels=config.n_channels,
            n_sources=config.n_sources,
            n_fft=config.n_fft,
            hop_length=config.spectrum_hop,
            n_features=config.n_spectral,
            n_shared=widths[level] if level else widths[0],
            conditioning=[self._conditioning_layer(config.n_spectral, is_here=is_here) for _ in range(2)],
            dictionary=dictionary,
        )

    def encode_condition(self, condition: Tensor) -> Tensor:
        """Return the encoded condition that `forward` works with, (B or B * K, D', T).

        A mix that is separated in pieces needs it once.
        """
        config = self.config
        moments = condition[..., None] if condition.ndim == 2 + config.per_player else condition
        own = moments.flatten(0, 1) if config.per_player else moments
        encoded = own if self.condition_encoder is None else self.condition_encoder(moments)
        if not config.n_pitches:
            return encoded
        instruments = own[:, config.instruments_at : config.instruments_at + config.n_instruments]
        onsets, activity = torch.zeros_like(own[:, :1]), torch.ones_like(own[:, :1])
        if config.onsets_at >= 0:
            onsets, activity = (own[:, [config.onsets_at + row]] for row in range(2))
        expected = (UNKNOWN_STRENGTH * activity).expand(-1, config.n_pitches, -1)
        if config.pitches_at >= 0:
            first = config.pitches_at + config.lowest_pitch
            expected = expected + own[:, first : first + config.n_pitches]
        # A note sounds a little longer than the player holds it.
        expected = functional.max_pool1d(expected, 5, stride=1, padding=2)
        return torch.cat([encoded, instruments, expected, onsets, activity], dim=1)

    def forward(self, mix: Tensor, condition: Tensor | None = None, *, is_encoded: bool = False) -> Tensor:
        """Separate mixes.

        Args:
            mix: (B, C, n), n as `WaveUnetConfig.lengths` says.
            condition: (B, D) or (B, D, T); with ``per_player`` (B, K, D) or (B, K, D, T). T are moments
                ``condition_hop`` samples apart from the mix's first sample on, as many as begin within the mix.
            is_encoded: whether ``condition`` is what `encode_condition` returned.

        Returns:
            (B, S, C, m), or (B, K, C, m) with ``per_player``. Without context m is n; with context the output is of
            the middle of the mix.

        Raises:
            ValueError: the network has conditioning and ``condition`` is None.
        """
        config = self.config
        skips, step, offset = [], 1, 0.0
        hidden = mix
        norms = iter(self.norms)
        for convolve in self.down:
            hidden = functional.leaky_relu(next(norms)(convolve(hidden)), NEGATIVE_SLOPE)
            offset += self._lost(config.down_kernel) * step
            skips.append(hidden)
            hidden = hidden[..., ::2]
            step *= 2
        hidden = functional.leaky_relu(next(norms)(self.bottleneck(hidden)), NEGATIVE_SLOPE)
        offset += self._lost(config.down_kernel) * step
        n_players = 1
        encoded: Tensor | None = None
        if config.conditioning != "none":
            if condition is None:
                raise ValueError(f"conditioning is {config.conditioning} and condition is None, expected a tensor")
            encoded = condition if is_encoded else self.encode_condition(condition)
            n_players = len(encoded) // len(mix)
            hidden = repeat_per_player(hidden, n_players)
        notes: Tensor | None = None
        if encoded is not None and config.n_pitches:
            n_notes = config.n_instruments + config.n_pitches + 2
            encoded, notes = encoded[:, :-n_notes], encoded[:, -n_notes:]
        at_hop = hidden if step == config.spectrum_hop else None
        for number, (convolve, condition_layer, skip) in enumerate(
            zip(self.up, self.conditioning, reversed(skips), strict=False)
        ):
            if config.place != "every":
                at = partial(self._at, step=step, offset=offset, n=hidden.shape[-1])
                hidden = condition_layer(hidden, encoded, at)
            step //= 2
            hidden = self._upsampled(hidden, number)
            hidden = torch.cat([middle(repeat_per_player(skip, n_players), hidden.shape[-1]), hidden], dim=1)
            if config.place == "every":
                at = partial(self._at, step=step, offset=offset, n=hidden.shape[-1])
                hidden = condition_layer(hidden, encoded, at)
            hidden = functional.leaky_relu(next(norms)(convolve(hidden)), NEGATIVE_SLOPE)
            offset += self._lost(config.up_kernel) * step
            at_hop = hidden if step == config.spectrum_hop else at_hop
        masked = None
        if self.spectral is not None and at_hop is not None:
            at = partial(self._at, step=config.spectrum_hop, offset=0.0, n=at_hop.shape[-1])
            masked = self.spectral(mix, at_hop, encoded, notes, n_players, at)
        at = partial(self._at, step=step, offset=offset, n=hidden.shape[-1])
        hidden = self.conditioning[-1](hidden, encoded, at)
        mix = middle(mix, hidden.shape[-1])
        hidden = torch.cat([repeat_per_player(mix, n_players), hidden], dim=1)
        sounds = self._sources(hidden, mix)
        if masked is not None:
            sounds = sounds + masked
        if not config.per_player:
            return sounds
        players = sounds.reshape(len(mix), n_players, *sounds.shape[2:])
        return share_residual(players, mix) if config.is_consistent else players

    def _sources(self, hidden: Tensor, mix: Tensor) -> Tensor:
        """Return what the output layers estimate, (B * K, S, C, m), from features and the mix (B, C, m)."""
        config = self.config
        n_outputs = config.n_sources - (config.output == "difference")
        sources = [output(hidden) for output in self.outputs] * (n_outputs if config.shares_output else 1)
        if config.is_bounded:
            sources = [torch.tanh(source) for source in sources]
        if config.output == "difference":
            sources.append(mix - torch.stack(sources).sum(dim=0))
        return torch.stack(sources, dim=1)

    def _lost(self, kernel: int) -> float:
        """Return the samples that a convolution without padding cuts off on each side."""
        return (kernel - 1) / 2 if self.config.with_context else 0.0

    def _upsampled(self, hidden: Tensor, number: int) -> Tensor:
        """Insert a sample between each two, and without context one after the last."""
        following = hidden[..., 1:]
        if not self.config.with_context:
            following = torch.cat([following, hidden[..., -1:]], dim=-1)
        before = hidden[..., : following.shape[-1]]
        if self.config.upsampling == "learned":
            weight = torch.sigmoid(self.interpolation[number])[:, None]
            between = weight * before + (1 - weight) * following
        else:
            between = 0.5 * (before + following)
        twice = torch.stack([before, between], dim=-1).flatten(-2)
        return torch.cat([twice, hidden[..., -1:]], dim=-1) if self.config.with_context else twice

    def _at(self, moments: Tensor, *, step: int, offset: float, n: int) -> Tensor:
        """Resample from a condition's moments to a layer: ``n`` features ``step`` samples apart from ``offset`` on."""
        if moments.shape[-1] == 1:
            return moments
        hop = self.config.condition_hop
        if step > hop:
            moments = functional.avg_pool1d(moments, step // hop, ceil_mode=True)
        elif step < hop:
            following = torch.cat([moments[..., 1:], moments[..., -1:]], dim=-1)
            share = torch.arange(hop // step, device=moments.device, dtype=moments.dtype) * (step / hop)
            # Straight lines from moment to moment: what torch's interpolation gives, in a fifth of its time.
            moments = torch.lerp(moments[..., None], following[..., None], share).flatten(-2)
        first = round(offset / step)
        found = moments[..., first : first + n]
        if found.shape[-1] < n:  # the last moment lasts to the end
            found = torch.cat([found, moments[..., -1:].expand(*found.shape[:-1], n - found.shape[-1])], dim=-1)
        return found


def share_residual(sounds: Tensor, mix: Tensor) -> Tensor:
    """Return sounds (B, K, C, n) that sum to the mix (B, C, n): the residual is shared among them.

    Shares are those of the energy around each sample; a silent player gets nothing. After Wisdom et al., Differentiable
    consistency constraints (ICASSP 2019), whose shares are of whole sounds.
    """
    energy = sounds.square().mean(dim=2).flatten(0, 1)[:, None]
    energy = functional.avg_pool1d(energy, SHARED_OVER, stride=1, padding=SHARED_OVER // 2, count_include_pad=False)
    energy = energy.reshape(*sounds.shape[:2], -1)
    shares = (energy + 1e-8) / (energy + 1e-8).sum(dim=1, keepdim=True)
    return sounds + shares[:, :, None] * (mix - sounds.sum(dim=1))[:, None]


def middle(hidden: Tensor, n: int) -> Tensor:
    """Return the middle ``n`` samples."""
    first = (hidden.shape[-1] - n) // 2
    return hidden[..., first : first + n]
