"""Wave-U-Net: a mix to the sounds it is made of, in the time domain, told by a condition whose sound is asked for.

The backbone is Stoller, Ewert and Dixon's (ISMIR 2018; their code's sizes). Conditions follow Meseguer-Brocal and
Peeters (C-U-Net: feature-wise affine) and Slizovskaia et al. (CExp-Wave-U-Net: multiplied at the bottleneck; their
code's copies of the bottleneck, one a label).

Departures: where players are *asked for*, one answer is made for each of them: the way down, which hears the mix
alone, is gone once, the way up once a player, so that players may be of any number and order. A condition may change
with time. It enters the way up, at the bottleneck, before every block or before the output, never the way down.
Beside the waveform's path a spectral one gives masks, which begin with what a dictionary of note spectra finds.

Shapes: B mixes, C channels of sound, n samples, S sources, K players, D numbers of a condition, T of its moments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Conditioning = Literal["none", "concat", "additive", "multiplicative", "film", "copies"]
Place = Literal["bottleneck", "every", "output"]

NEGATIVE_SLOPE = 0.2
UNEXPECTED = 0.02  # strength of a note that nothing is known of, beside one that is certain
UNSEEN = 0.0005  # where its player is seen to rest
DILATIONS = (1, 2, 4, 8, 16)  # of what corrects strengths: two seconds to each side at half of 8 kHz' windows of 1024
COMPARED_AT = 4  # the layer of this dilation looks at other pitches
SHARED_OVER = 257  # samples around one whose energy says who gets what is left over


@dataclass(frozen=True, kw_only=True)
class WaveUnetConfig:
    """Sizes of a `WaveUnet`.

    Attributes:
        n_channels: of the sound.
        n_sources: sounds of one answer; 1 where players are asked for.
        n_layers: times that the sound is halved.
        n_filters: channels that each layer has more than the one before.
        down_kernel: of the convolutions on the way down, in samples; odd.
        up_kernel: of those on the way up; odd.
        output: ``direct``, a tanh a source; ``difference``, the last source is what the others leave of the mix.
        upsampling: ``linear``, or ``learned``: what lies between two samples is weighted, a weight a channel.
        with_context: convolutions without padding: the answer is shorter than the mix.
        conditioning: how a condition enters: as channels, added, multiplied, both (``film``), or as a copy of the
            features for each of its numbers, multiplied by it.
        place: where it does.
        n_conditions: D of what `WaveUnet.forward` is given; 0 without.
        n_read: features that a small network over time makes of a condition; 0 takes it as it is.
        condition_hop: samples between two of its moments, a power of 2.
        asks: whether each player is asked for by a condition of his own.
        is_consistent: what the players' sounds leave of the mix is shared out among them by their energy.
        is_bounded: whether a source ends in a tanh, as published; without it loud mixes are not bent.
        normalize: whether each block's features are, over a batch, as in the published port.
        n_fft: of a spectral path beside the waveform's, which gives masks; 0 without.
        spectrum_hop: samples between its windows, a power of 2 of at most `hop`.
        n_spectral: features of its layers.
        n_pitches: of a dictionary of note spectra, with which the spectral path begins; 0 without.
        lowest_pitch: of them, a MIDI number.
        n_instruments: of the dictionary.
        instruments_at: where in a condition the probabilities of the instruments begin.
        notes_at: where those that each of 128 pitches sounds do; -1 where no pitch is known.
        onsets_at: where those that a note begins and that any sounds do; -1 where neither is known.
        n_iterations: of the factorization of a mix by the dictionary.
        n_correcting: features of the network that corrects it.
        shares_output: defect of a published port: one output serves every source, so all are equal.
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
    n_read: int = 0
    condition_hop: int = 256
    asks: bool = False
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
    notes_at: int = -1
    onsets_at: int = -1
    n_iterations: int = 20
    n_correcting: int = 16
    shares_output: bool = False
    mixes_conditions: bool = False

    def __post_init__(self) -> None:
        if (self.conditioning == "none") != (self.n_conditions == 0):
            raise ValueError(f"conditioning {self.conditioning} by {self.n_conditions} numbers")
        if self.asks and (self.n_sources != 1 or self.conditioning == "none" or self.output != "direct"):
            raise ValueError("who asks for players gets one direct source each, by a condition")
        if self.n_fft and (self.with_context or self.spectrum_hop > self.hop or self.output != "direct"):
            raise ValueError("a spectral path needs a direct answer to all of the mix, at a rate that a layer has")
        if self.n_pitches and not (self.n_fft and self.asks):
            raise ValueError("a dictionary needs a spectral path, and players who are asked for")
        if self.output == "difference" and self.n_sources < 2:
            raise ValueError("a difference needs two sources or more")

    @property
    def hop(self) -> int:
        """Samples from one bottleneck feature to the next: pieces that start at multiples of it fit together."""
        return 1 << self.n_layers

    def lengths(self, n_output: int) -> tuple[int, int, int]:
        """Return the smallest sizes that give at least ``n_output`` samples: bottleneck, input and output.

        Without context all of the mix is answered, and its length is a multiple of `hop`.
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
        """Samples on each side of an answer that it may follow from: a multiple of `hop`."""
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
    """A mix, and perhaps conditions, to sounds."""

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
        blocks, n_in, entries = [], widths[-1], []
        for number, width in enumerate(reversed(widths[:-1])):
            if config.place == "every":  # what is passed over from the way down is told as well
                entry = self._entry(n_in + width, is_here=True)
                blocks.append(nn.Conv1d(entry.n_out, width, config.up_kernel, padding=padding))
            else:
                entry = self._entry(n_in, is_here=config.place == "bottleneck" and number == 0)
                blocks.append(nn.Conv1d(entry.n_out + width, width, config.up_kernel, padding=padding))
            entries.append(entry)
            n_in = width
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(width) if config.normalize else nn.Identity() for width in [*widths, *reversed(widths[:-1])]
        )
        entries.append(self._entry(n_in, is_here=config.place in ("every", "output")))
        self.entries = nn.ModuleList(entries)
        self.up = nn.ModuleList(blocks)
        self.between = nn.ParameterList(
            nn.Parameter(torch.zeros(width)) for width in reversed(widths[1:]) if config.upsampling == "learned"
        )
        n_outputs = config.n_sources - (config.output == "difference")
        n_convolutions = 1 if config.shares_output else n_outputs
        self.answer = nn.ModuleList(
            nn.Conv1d(entries[-1].n_out + config.n_channels, config.n_channels, 1) for _ in range(n_convolutions)
        )
        self.reader = _Reader(config) if config.n_read else None
        self.spectral: _SpectralPath | None = None
        if config.n_fft:
            level = config.spectrum_hop.bit_length() - 1
            both = [self._entry(config.n_spectral, is_here=config.conditioning != "none") for _ in range(2)]
            self.spectral = _SpectralPath(config, [*widths, widths[-1]][level] if level else widths[0], both)
            for weights in self.answer.parameters():  # masks to begin with; the waveform's path adds what they lack
                nn.init.zeros_(weights)

    def _entry(self, n_channels: int, *, is_here: bool) -> "_Entry":
        config = self.config
        n_conditions = 2 * config.n_read if config.n_read else config.n_conditions
        return _Entry(
            n_channels,
            n_conditions,
            config.conditioning if is_here else "none",
            mixes_conditions=config.mixes_conditions,
        )

    def read(self, condition: Tensor) -> Tensor:
        """Return what `forward` makes of a condition, (B or B * K, D', T): read once where a mix comes in pieces."""
        config = self.config
        moments = condition[..., None] if condition.ndim == 2 + config.asks else condition
        own = moments.flatten(0, 1) if config.asks else moments
        read = own if self.reader is None else self.reader(moments)
        if not config.n_pitches:
            return read
        instruments = own[:, config.instruments_at : config.instruments_at + config.n_instruments]
        begins, sounds = torch.zeros_like(own[:, :1]), torch.ones_like(own[:, :1])
        if config.onsets_at >= 0:
            begins, sounds = (own[:, [config.onsets_at + row]] for row in range(2))
        expected = (UNEXPECTED * sounds).expand(-1, config.n_pitches, -1)
        if config.notes_at >= 0:
            first = config.notes_at + config.lowest_pitch
            expected = expected + own[:, first : first + config.n_pitches]
        # A note is heard a little longer than it is seen to be played.
        expected = functional.max_pool1d(expected, 5, stride=1, padding=2)
        return torch.cat([read, instruments, expected, begins, sounds], dim=1)

    def forward(self, mix: Tensor, condition: Tensor | None = None, *, is_read: bool = False) -> Tensor:
        """Take mixes apart.

        Args:
            mix: (B, C, n), n as `WaveUnetConfig.lengths` says.
            condition: (B, D) or (B, D, T); of players that are asked for (B, K, D) or (B, K, D, T). T are moments
                ``condition_hop`` samples apart from the mix's first sample on, as many as begin within the mix.
            is_read: whether ``condition`` is what `read` gave.

        Returns:
            (B, S, C, m): the sources, or the players' sounds; m is n where there is no context, and otherwise the
            answer is of the middle of the mix.
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
        moments: Tensor | None = None
        if config.conditioning != "none":
            if condition is None:
                raise ValueError("this network is told by a condition, and was given none")
            moments = condition if is_read else self.read(condition)
            n_players = len(moments) // len(mix)
            hidden = _each(hidden, n_players)
        known: Tensor | None = None
        if moments is not None and config.n_pitches:
            n_known = config.n_instruments + config.n_pitches + 2
            moments, known = moments[:, :-n_known], moments[:, -n_known:]
        at_hop = hidden if step == config.spectrum_hop else None
        for number, (convolve, enter, skip) in enumerate(zip(self.up, self.entries, reversed(skips), strict=False)):
            if config.place != "every":
                hidden = enter(hidden, moments, partial(self._at, step=step, offset=offset, n=hidden.shape[-1]))
            step //= 2
            hidden = self._twice(hidden, number)
            hidden = torch.cat([middle(_each(skip, n_players), hidden.shape[-1]), hidden], dim=1)
            if config.place == "every":
                hidden = enter(hidden, moments, partial(self._at, step=step, offset=offset, n=hidden.shape[-1]))
            hidden = functional.leaky_relu(next(norms)(convolve(hidden)), NEGATIVE_SLOPE)
            offset += self._lost(config.up_kernel) * step
            at_hop = hidden if step == config.spectrum_hop else at_hop
        masked = None
        if self.spectral is not None and at_hop is not None:
            at = partial(self._at, step=config.spectrum_hop, offset=0.0, n=at_hop.shape[-1])
            masked = self.spectral(mix, at_hop, moments, known, n_players, at)
        hidden = self.entries[-1](hidden, moments, partial(self._at, step=step, offset=offset, n=hidden.shape[-1]))
        heard = middle(mix, hidden.shape[-1])
        hidden = torch.cat([_each(heard, n_players), hidden], dim=1)
        n_outputs = config.n_sources - (config.output == "difference")
        sounds = [say(hidden) for say in self.answer] * (n_outputs if config.shares_output else 1)
        if config.is_bounded:
            sounds = [torch.tanh(sound) for sound in sounds]
        if config.output == "difference":
            sounds.append(heard - torch.stack(sounds).sum(dim=0))
        answer = torch.stack(sounds, dim=1)
        if masked is not None:
            answer = answer + masked
        if not config.asks:
            return answer
        players = answer.reshape(len(mix), n_players, *answer.shape[2:])
        return share_residual(players, heard) if config.is_consistent else players

    def _lost(self, kernel: int) -> float:
        return (kernel - 1) / 2 if self.config.with_context else 0.0

    def _twice(self, hidden: Tensor, number: int) -> Tensor:
        """Put a sample between each two, and without context one after the last."""
        following = hidden[..., 1:]
        if not self.config.with_context:
            following = torch.cat([following, hidden[..., -1:]], dim=-1)
        before = hidden[..., : following.shape[-1]]
        if self.config.upsampling == "learned":
            weight = torch.sigmoid(self.between[number])[:, None]
            between = weight * before + (1 - weight) * following
        else:
            between = 0.5 * (before + following)
        twice = torch.stack([before, between], dim=-1).flatten(-2)
        return torch.cat([twice, hidden[..., -1:]], dim=-1) if self.config.with_context else twice

    def _at(self, moments: Tensor, *, step: int, offset: float, n: int) -> Tensor:
        """Bring what is known at a condition's moments to a layer's: ``step`` samples apart from ``offset`` on."""
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
    """Return sounds (B, K, C, n) that sum up to the mix (B, C, n): what they leave of it goes to those that sound.

    Shares are those of the energy around each sample; a player who is silent gets nothing. After Wisdom et al.,
    Differentiable consistency constraints (ICASSP 2019), whose shares are of whole sounds.
    """
    energy = sounds.square().mean(dim=2).flatten(0, 1)[:, None]
    energy = functional.avg_pool1d(energy, SHARED_OVER, stride=1, padding=SHARED_OVER // 2, count_include_pad=False)
    energy = energy.reshape(*sounds.shape[:2], -1)
    shares = (energy + 1e-8) / (energy + 1e-8).sum(dim=1, keepdim=True)
    return sounds + shares[:, :, None] * (mix - sounds.sum(dim=1))[:, None]


class _Entry(nn.Module):
    """Where a condition meets features (B, n_channels, n); passes them on where it is none of its places."""

    def __init__(self, n_channels: int, n_conditions: int, kind: Conditioning, *, mixes_conditions: bool) -> None:
        super().__init__()
        self.kind = kind
        self.mixes_conditions = mixes_conditions
        self.n_out = n_channels * n_conditions if kind == "copies" else n_channels
        self.n_out += n_conditions if kind == "concat" else 0
        self.add = nn.Conv1d(n_conditions, n_channels, 1) if kind in ("additive", "film") else None
        self.scale = nn.Conv1d(n_conditions, n_channels, 1) if kind in ("multiplicative", "film") else None

    def forward(self, hidden: Tensor, moments: Tensor | None, at: Callable[[Tensor], Tensor]) -> Tensor:
        """Let conditions (B, D, T) meet features; ``at`` brings what is made of them to the features' rate."""
        if self.kind == "none" or moments is None:
            return hidden
        if self.mixes_conditions:
            # As published: (B, D) tiled to (n * B, D) and cut into (B, n, D), so that item b's moment t has those of
            # item (b * n + t) modulo B.
            items = torch.arange(len(hidden) * hidden.shape[-1], device=hidden.device) % len(hidden)
            moments = moments[items, :, 0].reshape(len(hidden), -1, moments.shape[1]).transpose(1, 2)
            at = _as_it_is
        if self.kind == "concat":
            return torch.cat([hidden, at(moments).expand(-1, -1, hidden.shape[-1])], dim=1)
        if self.kind == "copies":
            return (at(moments)[:, :, None] * hidden[:, None]).flatten(1, 2)
        if self.scale is not None:
            # Multiplied alone it is the published linear map; with film each factor stays between 0 and 2: a chain of
            # factors without bounds, one a layer, explodes on players who move as none in training did.
            scale = self.scale(moments)
            hidden = hidden * at(2 * torch.sigmoid(scale) if self.kind == "film" else scale)
        return hidden if self.add is None else hidden + at(self.add(moments))


class _SpectralPath(nn.Module):
    """Masks of the mix's short-time spectrum, made from it and from what the waveform's path knows at its rate.

    Hybrid as in Défossez, Hybrid Spectrogram and Waveform Source Separation (2021), but one layer of the rate of its
    windows is shared, and masks of all who are asked for share out every bin (a softmax over them).
    """

    window: Tensor

    def __init__(self, config: WaveUnetConfig, n_shared: int, entries: "list[_Entry]") -> None:
        super().__init__()
        self.config = config
        n_bins, n = config.n_fft // 2 + 1, config.n_spectral
        self.hear = nn.Conv1d(n_bins * config.n_channels, n, 3, padding=1)
        self.join = nn.Conv1d(n + n_shared, n, 5, padding=2)
        self.think = nn.Conv1d(entries[0].n_out, n, 5, padding=2)
        self.entries = nn.ModuleList(entries)
        self.say = nn.Conv1d(entries[1].n_out, n_bins * config.n_sources, 1)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.notes: _NotePath | None = None
        if config.n_pitches:
            self.notes = _NotePath(config)
            self.expect = nn.Conv1d(n_bins, n, 1)
            for weights in self.say.parameters():  # the dictionary's masks to begin with
                nn.init.zeros_(weights)

    def forward(
        self,
        mix: Tensor,
        shared: Tensor,
        moments: Tensor | None,
        known: Tensor | None,
        n_players: int,
        at: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return the masked mix (B * K, S, C, n) from the mix (B, C, n) and features (B * K, n_shared, n / hop)."""
        config, n_mixes = self.config, len(mix)
        with torch.autocast(mix.device.type, enabled=False):
            spectrum = torch.stft(
                mix.float().flatten(0, 1),
                config.n_fft,
                config.spectrum_hop,
                window=self.window,
                pad_mode="constant",
                return_complex=True,
            )[..., :-1]  # (B * C, bins, n / hop), each window around the sample that a feature stands at
            loudness = 0.5 * torch.log(spectrum.abs() + 0.03) + 0.5
        heard = _each(self.hear(loudness.reshape(n_mixes, -1, loudness.shape[-1])), n_players)
        guess: Tensor | None = None
        if self.notes is not None and known is not None:
            magnitudes = spectrum.abs().reshape(n_mixes, -1, *spectrum.shape[1:]).mean(dim=1)
            guess = self.notes(magnitudes, at(known))  # (B * K, bins, n / hop)
            heard = heard + self.expect(0.5 * guess + 0.5)
        hidden = torch.cat([functional.leaky_relu(heard, NEGATIVE_SLOPE), shared], dim=1)
        for convolve, enter in zip((self.join, self.think), self.entries, strict=True):
            hidden = enter(functional.leaky_relu(convolve(hidden), NEGATIVE_SLOPE), moments, at)
        logits = self.say(hidden).float()  # (B * K, S * bins, n / hop)
        if guess is not None:
            logits = logits + 2 * guess  # Wiener's masks: shares of the energy
        # Whoever is asked for, or every source, takes a share of each bin.
        logits = logits.reshape(n_mixes, n_players * config.n_sources, -1, logits.shape[-1])
        masks = torch.softmax(logits, dim=1)[:, :, None]  # (B, K * S, 1, bins, n / hop): one for all channels
        masked = masks * spectrum.reshape(n_mixes, 1, -1, *spectrum.shape[1:])
        sounds = torch.istft(
            functional.pad(masked.flatten(0, 2), (0, 1)),
            config.n_fft,
            config.spectrum_hop,
            window=self.window,
            length=mix.shape[-1],
        )
        answers: Tensor = sounds.reshape(n_mixes * n_players, config.n_sources, -1, mix.shape[-1])
        return answers


class _NotePath(nn.Module):
    """What a dictionary of note spectra hears of each player in a mix: score-informed factorization.

    After Ewert and Müller, Using score-informed constraints for NMF-based source separation (ICASSP 2012): what is
    known of a player's notes is where their strengths begin. Players of one instrument share each note in just these
    proportions, which the factorization does not change; so a network over time corrects them (ours). It looks at each
    pitch alike, hears how strong the note is and sees who begins a note and who rests, and at the strongest of the
    other pitches: who plays one of two notes leaves the other to the other.
    """

    spectra: Tensor

    def __init__(self, config: WaveUnetConfig) -> None:
        super().__init__()
        self.config = config
        n = config.n_correcting
        self.register_buffer("spectra", torch.zeros(config.n_instruments, config.n_pitches, config.n_fft // 2 + 1))
        self.first = nn.Conv1d(8, n, 5, padding=2)
        self.layers = nn.ModuleList(
            nn.Conv1d(2 * n if dilation == COMPARED_AT else n, n, 5, padding=2 * dilation, dilation=dilation)
            for dilation in DILATIONS
        )
        self.correct = nn.Conv1d(n, 1, 1)
        for weights in self.correct.parameters():
            nn.init.zeros_(weights)

    def forward(self, magnitudes: Tensor, known: Tensor) -> Tensor:
        """Return the log of each player's expected magnitudes (B * K, bins, T).

        Args:
            magnitudes: (B, bins, T) of the mix.
            known: (B * K, N + P + 2, T) probabilities of the instruments, that each pitch sounds, that a note begins
                and that any sounds.
        """
        config, n_mixes = self.config, len(magnitudes)
        known = known.expand(-1, -1, magnitudes.shape[-1]).float()
        known = known.reshape(n_mixes, -1, *known.shape[1:])  # (B, K, N + P + 2, T)
        with torch.autocast(magnitudes.device.type, enabled=False), torch.no_grad():
            # Nobody changes his instrument within a mix.
            of_each = known[:, :, : config.n_instruments].mean(dim=3)  # (B, K, N)
            spectra = torch.einsum("bkn,npf->bkpf", of_each, self.spectra)
            expected, begins, sounds = known[:, :, config.n_instruments : -2], known[:, :, -2:-1], known[:, :, -1:]
            strengths = factorize(
                magnitudes, spectra.flatten(1, 2), (expected + UNSEEN).flatten(1, 2), n_iterations=config.n_iterations
            ).reshape(expected.shape)  # (B, K, P, T)
            alike = torch.einsum("bkn,bjn->bkj", of_each, of_each)
            others = alike * (1 - torch.eye(len(alike[0]), device=alike.device))
            seen = [
                0.3 * torch.log(strengths + 0.3),
                0.3 * torch.log(_together(alike, strengths) + 0.3),
                0.2 * torch.log(expected + 1e-3) + 1,
                0.2 * torch.log(_together(others, expected) + 1e-3) + 1,
                *(part.expand_as(expected) for part in (begins, sounds)),
                *(_together(others, part).expand_as(expected) for part in (begins, sounds)),
            ]
        corrections = self._corrections(torch.stack(seen, dim=3))
        with torch.autocast(magnitudes.device.type, enabled=False):
            found = torch.einsum("bkpf,bkpt->bkft", spectra, strengths * torch.exp(corrections.float()))
            return torch.log(found + 0.03).flatten(0, 1)

    def _corrections(self, seen: Tensor) -> Tensor:
        """Return the logs of factors (B, K, P, T) from what is heard and seen (B, K, P, 8, T)."""
        *each, n_pitches = seen.shape[:3]
        hidden = functional.leaky_relu(self.first(seen.flatten(0, 2)), NEGATIVE_SLOPE)  # (B * K * P, n, T)
        for dilation, convolve in zip(DILATIONS, self.layers, strict=True):
            asked = hidden
            if dilation == COMPARED_AT:
                strongest = hidden.reshape(-1, n_pitches, *hidden.shape[1:]).amax(dim=1)
                asked = torch.cat([hidden, strongest.repeat_interleave(n_pitches, dim=0)], dim=1)
            hidden = hidden + functional.leaky_relu(convolve(asked), NEGATIVE_SLOPE)
        return 8 * torch.tanh(self.correct(hidden).reshape(*each, n_pitches, -1) / 8)


def _together(shares: Tensor, values: Tensor) -> Tensor:
    """Return values (B, K, P, T) summed over players, each as much as is shared with him (B, K, K)."""
    return torch.einsum("bkj,bjpt->bkpt", shares, values)


def factorize(magnitudes: Tensor, spectra: Tensor, strengths: Tensor, *, n_iterations: int) -> Tensor:
    """Return how strong each spectrum is in each frame: multiplicative updates for Kullback and Leibler's divergence.

    Args:
        magnitudes: (B, bins, T).
        spectra: (B, R, bins).
        strengths: (B, R, T) to begin with; what is zero stays so.
        n_iterations: Lee and Seung's (NIPS 2000).

    Returns:
        (B, R, T): frame by frame, so that pieces of a mix give what the whole does.
    """
    totals = spectra.sum(dim=2)[..., None] + 1e-8
    across = spectra.transpose(1, 2)
    for _ in range(n_iterations):
        ratio = magnitudes / (across @ strengths + 1e-8)
        strengths = strengths * (spectra @ ratio) / totals
    return strengths


class _Reader(nn.Module):
    """A condition over time to features: each player's own, and those of all others together."""

    def __init__(self, config: WaveUnetConfig) -> None:
        super().__init__()
        self.first = nn.Conv1d(config.n_conditions, config.n_read, 5, padding=2)
        self.second = nn.Conv1d(config.n_read, config.n_read, 5, padding=2)
        self.asks = config.asks

    def forward(self, moments: Tensor) -> Tensor:
        if not self.asks:
            own = self._read(moments)
            return torch.cat([own, torch.zeros_like(own)], dim=1)
        n_players = moments.shape[1]
        own = self._read(moments.flatten(0, 1))
        own = own.reshape(-1, n_players, *own.shape[1:])
        others = own.sum(dim=1, keepdim=True) - own
        return torch.cat([own, others], dim=2).flatten(0, 1)

    def _read(self, moments: Tensor) -> Tensor:
        hidden = functional.leaky_relu(self.first(moments), NEGATIVE_SLOPE)
        return functional.leaky_relu(self.second(hidden), NEGATIVE_SLOPE)


def _as_it_is(moments: Tensor) -> Tensor:
    return moments


def _each(hidden: Tensor, n_players: int) -> Tensor:
    """Repeat every item of a batch for each player: (B, ...) to (B * K, ...)."""
    return hidden if n_players == 1 else hidden.repeat_interleave(n_players, dim=0)


def middle(hidden: Tensor, n: int) -> Tensor:
    """Return the middle ``n`` samples."""
    first = (hidden.shape[-1] - n) // 2
    return hidden[..., first : first + n]
