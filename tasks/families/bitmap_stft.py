"""Family ``bitmap_stft``: a picture of 64 x 64 pixels to the magnitudes of a spectrum.

A picture shows which notes sound, and so magnitudes, but never the phase of a partial. Phases are found from the
magnitudes (Griffin-Lim), or borrowed from the training sound that is most alike: of the phases that Hindle tried,
those of another sound neither buzzed at the frame rate nor displeased their author.

Published, and used where fidelity is ``original``: 30,720 Hz, so that a thirtieth of a second is 1,024 samples;
windows of twice that; magnitudes divided by the largest one.
"""

from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bitmap_stft import BitmapToSpectrum, BitmapToSpectrumConfig
from tasks.errors import ParamsError
from tasks.families.bitmaps.adapter import BitmapFamily
from tasks.families.bitmaps.decoder import QUIETEST_DBFS, SoundDecoder
from tasks.families.bitmaps.examples import Cut, FramePairs
from tasks.families.bitmaps.params import ORIGINAL, BitmapParams, frame_rate_of
from tasks.params import Section
from tasks.sound.frames import (
    frame_boundaries,
    frame_magnitudes,
    invert_magnitudes,
    join_windowed,
    longest_frame,
)

SYSTEM = "bitmap_stft"
SECTION = f"train.{SYSTEM}"
ORIGINAL_STFT = {"sample_rate": 30_720, "win_length": 2048, "power": 1.0, "batch_size": 100, "learning_rate": 1e-4}
FRAMES_AT_A_TIME = 256
BLOCK_S = 0.5  # of sound whose phases are borrowed together
N_BANDS = 24


class BitmapStftParams(BitmapParams):
    """How the network is trained, and its magnitudes become sound."""

    win_length: int  # * samples
    power: float  # * magnitudes are learned to this power: below 1 quiet partials count too
    phase: Literal["griffin_lim", "neighbour"]
    n_iterations: int  # of Griffin-Lim
    bank_s: float  # of training sound kept to borrow phases from, at most


class SpectrumDecoder(SoundDecoder):
    """Outputs that are compressed magnitudes of a window whose middle is the frame's."""

    scale: Tensor
    bank: Tensor
    window: Tensor

    def __init__(self, params: BitmapStftParams, *, n_bank: int = 0) -> None:
        super().__init__(params.win_length // 2 + 1)
        frame_rate = frame_rate_of(params, SECTION)
        in_frames = params.win_length * frame_rate / params.sample_rate
        self.cut = Cut(
            sample_rate=params.sample_rate,
            frame_rate=frame_rate,
            length=params.win_length,
            lead=(in_frames - 1) / 2,
            unsigned=False,
        )
        self.n_outputs = params.win_length // 2 + 1
        self.quietest = 10 ** (QUIETEST_DBFS / 20) * params.win_length / 4  # under a Hann window
        self._params = params
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("bank", torch.zeros(n_bank, dtype=torch.int16))  # training sound to borrow phases from
        self.register_buffer("window", torch.hann_window(params.win_length), persistent=False)

    @property
    def n_bank(self) -> int:  # type: ignore[override]
        """Samples of the training sound that phases are borrowed from."""
        return len(self.bank)

    def fit(self, pairs: FramePairs, *, seed: int) -> None:
        """Find the scale of the magnitudes, and keep training sound to borrow phases from."""
        rows = np.random.default_rng((seed, 3)).permutation(len(pairs))[: 16 * FRAMES_AT_A_TIME]
        starts = range(0, len(rows), FRAMES_AT_A_TIME)
        cuts = (pairs.frames(np.sort(rows)[at : at + FRAMES_AT_A_TIME]) for at in starts)
        compressed = torch.cat([self._compressed(torch.from_numpy(frames)) for frames in cuts])
        original = self._params.fidelity == "original"
        size = compressed.max() if original else compressed.square().mean().sqrt()
        self.scale.fill_(1 / max(float(size), 1e-12))
        if self._params.phase == "neighbour":
            n_samples = round(self._params.bank_s * self.cut.sample_rate)
            kept = pairs.sound[self.cut.length : self.cut.length + n_samples]  # the first is silence that was put there
            self.bank = torch.from_numpy(np.rint(np.clip(kept, -1, 1) * 32767).astype(np.int16))

    def loss(self, outputs: Tensor, frames: Tensor) -> Tensor:
        """Return the mean squared error of the compressed magnitudes."""
        return (outputs - self._compressed(frames) * self.scale).square().mean()

    def sound(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Find the sound whose magnitudes are nearest to those of frames (F, K)."""
        return self.inverted(self.spread(self.magnitudes(outputs)))

    def magnitudes(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the magnitudes (F, K) that are predicted; below 0 there is none."""
        compressed = np.maximum(outputs, 0) / float(self.scale)
        return np.asarray(compressed ** (1 / self._params.power), np.float32)

    def reference_magnitudes(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the magnitudes (F, K) of frames (F, L)."""
        magnitudes: NDArray[np.float32] = np.abs(scipy.fft.rfft(frames * self.window.cpu().numpy()))
        return magnitudes

    def inverted(self, magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return sound of magnitudes (F, K), with phases found or borrowed."""
        rates: dict[str, Any] = {"sample_rate": self.cut.sample_rate, "frame_rate": self.cut.frame_rate}
        if self._params.phase == "griffin_lim" or not len(magnitudes):
            return invert_magnitudes(magnitudes, **rates, n_iterations=self._params.n_iterations)
        return invert_magnitudes(magnitudes, **rates, neighbour=self.neighbour(magnitudes))

    def neighbour(self, magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return training sound to take phases from, as long as magnitudes (F, K) last.

        Every `BLOCK_S` it goes on with what is most alike for twice as long, in bands of the compressed magnitudes.
        """
        rates: dict[str, Any] = {"sample_rate": self.cut.sample_rate, "frame_rate": self.cut.frame_rate}
        bank = self.bank.cpu().numpy().astype(np.float32) / np.float32(32767)
        n_known = len(bank) * self.cut.frame_rate // self.cut.sample_rate
        known = _bands(frame_magnitudes(bank, n_known, **rates, n_fft=self.cut.length))
        wanted = _bands(magnitudes)
        block = min(max(1, round(BLOCK_S * self.cut.frame_rate)), n_known)
        known_blocks = np.lib.stride_tricks.sliding_window_view(known, block, axis=0).reshape(-1, block * N_BANDS)
        size = np.square(known_blocks).sum(axis=1)
        pieces = []
        begins = frame_boundaries(n_known, **rates)
        length = longest_frame(**rates, n_hops=2 * block)
        bank = np.pad(bank, (0, length))
        for start in range(0, len(wanted), block):
            block_wanted = np.resize(wanted[start : start + block], (block, N_BANDS))
            begin = begins[int(np.argmin(size - 2 * known_blocks @ block_wanted.T.ravel()))]
            pieces.append(bank[begin : begin + length])
        one_block = self.cut.frame_rate / block
        sound = join_windowed(
            np.stack(pieces), sample_rate=self.cut.sample_rate, frame_rate=one_block, lead=Fraction(0)
        )
        return sound[: int(frame_boundaries(len(wanted), **rates)[-1])]

    def _compressed(self, frames: Tensor) -> Tensor:
        """Return magnitudes (B, K) of frames (B, L), compressed."""
        spectrum = torch.fft.rfft(frames * self.window)
        magnitudes: Tensor = spectrum.abs() ** self._params.power
        return magnitudes


class BitmapStftFamily(BitmapFamily[BitmapStftParams]):
    """The adapter: one system."""

    params_class: ClassVar[type[Section]] = BitmapStftParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM,)

    def resolved(self, params: BitmapStftParams) -> BitmapStftParams:
        """Return what holds: in original fidelity the author's rates, windows and learning."""
        if params.fidelity == "original":
            return params.model_copy(update={**ORIGINAL, **ORIGINAL_STFT})
        hop = ceil(params.sample_rate / frame_rate_of(params, SECTION))
        if params.win_length < 2 * hop or params.win_length % 2:
            raise ParamsError(
                f"{SECTION}.win_length is {params.win_length}, expected an even number of at least {2 * hop} samples: "
                "windows must overlap by half"
            )
        if not params.power > 0:
            raise ParamsError(f"{SECTION}.power is {params.power}, expected above 0")
        if params.n_iterations < 1:
            raise ParamsError(f"{SECTION}.n_iterations is {params.n_iterations}, expected at least 1")
        if params.phase == "neighbour" and not params.bank_s * params.sample_rate >= params.win_length:
            raise ParamsError(f"{SECTION}.bank_s is {params.bank_s}, expected at least a window of {params.win_length}")
        return params

    def make_decoder(self, params: BitmapStftParams, *, n_bank: int = 0) -> SoundDecoder:
        """Return magnitudes."""
        return SpectrumDecoder(params, n_bank=n_bank)

    def make_network(self, params: BitmapStftParams, *, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return the network."""
        hidden = tuple(params.hidden)
        return BitmapToSpectrum(BitmapToSpectrumConfig(n_inputs=n_inputs, hidden=hidden, n_outputs=n_outputs))


def _bands(magnitudes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return compressed magnitudes (F, K) in bands (F, N_BANDS), wider the higher they lie."""
    n_bins = magnitudes.shape[1]
    edges = np.unique(np.rint(np.geomspace(1, n_bins, N_BANDS + 1)).astype(int))
    compressed = np.sqrt(magnitudes)
    bands = np.zeros((len(magnitudes), N_BANDS), np.float32)
    for row, (low, high) in enumerate(pairwise(edges)):
        bands[:, row] = compressed[:, low:high].sum(axis=1)
    return bands
