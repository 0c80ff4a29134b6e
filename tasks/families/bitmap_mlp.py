"""Family ``bitmap_mlp``: a picture of 64 x 64 pixels to the samples of a frame (Hindle's bitmaps to PCM).

Published: one frame of 735 samples at 22,050 Hz, frames put end to end, the error of the samples alone. Frames that
meet with nothing to smooth the joints buzz at the frame rate, and since no picture tells the phase of a partial, the
error of the samples is least for silence: on music that was not in training the network predicts it.

Departures where fidelity is ``corrected``: frames last two hops and overlap under Hann windows (one hop where they are
rendered raw), each a little earlier or later than its place: a network predicts much the same samples as long as the
picture stays, and sound that repeats with every frame buzzes however smooth its joints are. Beside the error of the
samples that of the spectrum's magnitudes counts, which follow from pictures more than samples do.
"""

from fractions import Fraction
from math import ceil
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.bitmap_mlp import BitmapToPcm, BitmapToPcmConfig
from tasks.errors import ParamsError
from tasks.families.bitmaps.adapter import BitmapFamily
from tasks.families.bitmaps.decoder import QUIETEST_DBFS, SoundDecoder
from tasks.families.bitmaps.examples import Cut, FramePairs
from tasks.families.bitmaps.params import ORIGINAL, BitmapParams, frame_rate_of
from tasks.params import Section
from tasks.sound.frames import HALF_A_FRAME, frame_boundaries, join_granular, join_raw, join_windowed, longest_frame

SYSTEM = "bitmap_mlp"
SECTION = f"train.{SYSTEM}"
COMPRESSION = 0.5  # power of the magnitudes that are compared: quiet partials count too
QUIET_START = 0.1  # times torch's weights of the output: theirs are loud noise that training has to remove
FLOOR = 1e-3  # of the training sound's mean magnitude; below it no difference is audible


class BitmapMlpParams(BitmapParams):
    """How the network is trained, and its frames are joined."""

    spectral_weight: float  # * of the magnitudes' error beside the samples'
    render: Literal["raw", "windowed", "granular"]  # * how frames become sound
    max_shift: float  # * frames by which a windowed frame is earlier or later, drawn at random, at most
    playback_rate: float  # of granular: 1 leaves the pitch of grains as it was


class PcmDecoder(SoundDecoder):
    """Outputs that are samples."""

    scale: Tensor
    window: Tensor

    def __init__(self, params: BitmapMlpParams) -> None:
        frame_rate = frame_rate_of(params, SECTION)
        unsigned = params.fidelity == "original"
        hop = longest_frame(sample_rate=params.sample_rate, frame_rate=frame_rate)
        one_hop = unsigned or params.render == "raw"  # what is joined raw needs no more
        margin = 0 if one_hop else ceil(params.max_shift * hop)
        per_frame = params.sample_rate / frame_rate
        cut = Cut(
            sample_rate=params.sample_rate,
            frame_rate=frame_rate,
            length=hop if one_hop else ceil(2 * per_frame) + 2 * margin,
            lead=Fraction(0) if one_hop else HALF_A_FRAME + margin / per_frame,
            unsigned=unsigned,
        )
        super().__init__(cut.length // 2 + 1)
        self.margin, self.cut = margin, cut
        self.n_outputs = self.cut.length
        self.quietest = 10 ** (QUIETEST_DBFS / 20) * self.cut.length / 2  # no window
        self._params = params
        self.register_buffer("scale", torch.ones(()))  # of the samples, so that their mean square is 1
        self.register_buffer("window", torch.hann_window(self.cut.length), persistent=False)

    def fit(self, pairs: FramePairs, *, seed: int) -> None:  # noqa: ARG002
        """Find the scale of the samples."""
        if not self.cut.unsigned:
            mean_square = float(np.square(pairs.sound, dtype=np.float64).mean())
            self.scale.fill_(1 / max(mean_square, 1e-12) ** 0.5)

    def loss(self, outputs: Tensor, frames: Tensor) -> Tensor:
        """Return the mean squared error of the samples, and of the compressed magnitudes of windowed frames."""
        loss = (outputs - frames * self.scale).square().mean()
        if self._params.spectral_weight:
            loss = loss + self._params.spectral_weight * self._spectral_loss(outputs, frames)
        return loss

    def validation_loss(self, outputs: Tensor, frames: Tensor) -> Tensor:
        """Return the error of the magnitudes alone, if it counts: the samples of other music cannot be predicted."""
        return self._spectral_loss(outputs, frames) if self._params.spectral_weight else self.loss(outputs, frames)

    def _spectral_loss(self, outputs: Tensor, frames: Tensor) -> Tensor:
        return (self._magnitudes(outputs) - self._magnitudes(frames * self.scale)).square().mean()

    def _magnitudes(self, frames: Tensor) -> Tensor:
        # Frames of white noise of level 1 have bins of a mean square of 1 here.
        spectrum = torch.fft.rfft(frames * self.window) / self.window.square().sum().sqrt()
        power: Tensor = spectrum.real.square() + spectrum.imag.square() + FLOOR
        return power ** (COMPRESSION / 2)

    def magnitudes(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectra (F, K) of the predicted samples, as they are."""
        return self.reference_magnitudes(np.asarray(outputs / float(self.scale), np.float32))

    def reference_magnitudes(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectra (F, K) of frames (F, L)."""
        magnitudes: NDArray[np.float32] = np.abs(scipy.fft.rfft(frames))
        return magnitudes

    def spread_frames(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return frames (F, L) whose spectra are spread; the phases stay."""
        if float(self.ratio) == 1:
            return frames
        spectra = scipy.fft.rfft(frames)
        magnitudes = np.abs(spectra)
        spectra *= self.spread(magnitudes) / np.maximum(magnitudes, self.quietest)
        return np.asarray(scipy.fft.irfft(spectra, frames.shape[1]), np.float32)

    def sound(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Join frames as the parameters say."""
        return self.joined(outputs, self._params.render)

    def joined(
        self, outputs: NDArray[np.float32], render: Literal["raw", "windowed", "granular"]
    ) -> NDArray[np.float32]:
        """Join frames (F, L): end to end, overlapped, or as grains of the raw sound."""
        rates: dict[str, Any] = {"sample_rate": self.cut.sample_rate, "frame_rate": self.cut.frame_rate}
        if self.cut.unsigned:
            frames = np.asarray(outputs * 2 - 1, np.float32)
        else:
            frames = self.spread_frames(np.asarray(outputs / float(self.scale), np.float32))
            if render == "windowed":
                return join_windowed(self.shifted(frames), **rates, lead=HALF_A_FRAME)
            # An overlapped frame's own hop is in its middle, where its frame begins.
            own = frame_boundaries(len(frames), **rates)[:-1] - self.cut.first_samples(len(frames))
            frames = np.take_along_axis(frames, own[:, None] + np.arange(longest_frame(**rates)), axis=1)
        if render != "granular":
            return join_raw(frames, **rates)
        rng = np.random.default_rng(self._params.seed)
        rate = self._params.playback_rate
        return join_granular(frames, **rates, rng=rng, playback_rate=rate, original=self.cut.unsigned)

    def shifted(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return two hops of each frame (F, L), from a place drawn at random but the same every time.

        Source:
            Hindle's videosonify2.py moves frames by up to a twentieth. Departure: no noise is added to the pictures.
        """
        length = self.cut.length - 2 * self.margin
        rng = np.random.default_rng(self._params.seed)
        places = rng.integers(2 * self.margin + 1, size=len(frames))
        return np.take_along_axis(frames, places[:, None] + np.arange(length), axis=1)


class BitmapMlpFamily(BitmapFamily[BitmapMlpParams]):
    """The adapter: one system."""

    params_class: ClassVar[type[Section]] = BitmapMlpParams
    systems: ClassVar[tuple[str, ...]] = (SYSTEM,)

    def resolved(self, params: BitmapMlpParams) -> BitmapMlpParams:
        """Return what holds: in original fidelity the author's learning, the samples' error, raw joints or grains."""
        if params.fidelity == "original":
            render = "granular" if params.render == "granular" else "raw"
            return params.model_copy(update={**ORIGINAL, "spectral_weight": 0.0, "render": render, "max_shift": 0.0})
        if params.spectral_weight < 0:
            raise ParamsError(f"{SECTION}.spectral_weight is {params.spectral_weight}, expected at least 0")
        if not 0 <= params.max_shift <= 1:
            raise ParamsError(f"{SECTION}.max_shift is {params.max_shift}, expected 0 to 1 frame")
        if not params.playback_rate > 0:
            raise ParamsError(f"{SECTION}.playback_rate is {params.playback_rate}, expected above 0")
        return params

    def make_decoder(self, params: BitmapMlpParams, *, n_bank: int = 0) -> SoundDecoder:  # noqa: ARG002 - it keeps none
        """Return samples."""
        return PcmDecoder(params)

    def make_network(self, params: BitmapMlpParams, *, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return the network."""
        network = BitmapToPcm(BitmapToPcmConfig(n_inputs=n_inputs, hidden=tuple(params.hidden), n_outputs=n_outputs))
        if params.fidelity == "corrected":
            with torch.no_grad():
                network.say.weight.mul_(QUIET_START)
                network.say.bias.zero_()
        return network
