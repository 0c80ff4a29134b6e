"""The decoder of a network's outputs, and encoder, network and decoder together."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.families.bitmaps.encoder import FrameEncoder
from tasks.families.bitmaps.examples import Cut, FramePairs

FRAMES_AT_A_TIME = 512
FAINT = 0.05  # of the training pictures' contrast: with less of it a picture is hardly more than an even one's noise
QUIETEST_DBFS = -80.0  # a partial's level below which it counts as silent, as the metrics have it


class SoundDecoder(nn.Module):
    """From a network's outputs to sound, and the loss of the outputs.

    Attributes:
        cut: how the training sound is cut into frames.
        n_outputs: outputs of the network for a frame.
        n_bank: samples of the training sound that are kept with the weights.
        quietest: the magnitude, in a frame's spectrum, of a partial at `QUIETEST_DBFS`.
        ratio: by which the levels of a spectrum are spread, away from that one; 1 leaves them as predicted.
        loudest: (K,) the magnitudes that no spectrum exceeds: the largest of training.
    """

    cut: Cut
    n_outputs: int
    n_bank: int = 0
    quietest: float
    ratio: Tensor
    loudest: Tensor

    def __init__(self, n_magnitudes: int) -> None:
        super().__init__()
        self.register_buffer("ratio", torch.ones(()))
        self.register_buffer("loudest", torch.zeros(n_magnitudes))

    def magnitudes(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectra (F, K) of outputs (F, n_outputs), before they are spread."""
        raise NotImplementedError

    def reference_magnitudes(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectra (F, K) of frames of sound (F, L), on the same scale."""
        raise NotImplementedError

    def spread(self, magnitudes: NDArray[np.float32], ratio: float | None = None) -> NDArray[np.float32]:
        """Return spectra (F, K) whose levels are ``ratio`` times as far above the quietest one; what is below is not.

        Args:
            magnitudes: at least 0.
            ratio: at least 1; that of the decoder by default.
        """
        ratio = float(self.ratio) if ratio is None else ratio
        if ratio == 1:
            return magnitudes
        above = magnitudes / np.float32(self.quietest)
        louder = np.minimum(self.quietest * np.maximum(above, 1) ** np.float32(ratio), self.loudest.cpu().numpy())
        spread: NDArray[np.float32] = np.where(above > 1, louder, 0).astype(np.float32)
        return spread

    def fit(self, pairs: FramePairs, *, seed: int) -> None:
        """Fit the scales to training sound, and keep the part of it that is needed later."""
        raise NotImplementedError

    def loss(self, outputs: Tensor, frames: Tensor) -> Tensor:
        """Return the training loss of outputs (B, n_outputs) for frames of sound (B, L)."""
        raise NotImplementedError

    def validation_loss(self, outputs: Tensor, frames: Tensor) -> Tensor:
        """Return the loss that weights are chosen by."""
        return self.loss(outputs, frames)

    def sound(self, outputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return one sound of outputs (F, n_outputs), as long as its frames."""
        raise NotImplementedError


class FrameRegressor(nn.Module):
    """An encoder of pictures, a network, and a decoder of its outputs.

    Where the encoder corrects, the output for an even picture is subtracted from every output, and outputs fade for
    pictures with hardly more contrast than an even one: both in training too.
    """

    def __init__(self, encoder: FrameEncoder, network: nn.Module, decoder: SoundDecoder) -> None:
        super().__init__()
        # These names are those of the tensors in trained files.
        self.eye, self.network, self.voice = encoder, network, decoder

    @property
    def encoder(self) -> FrameEncoder:
        """The encoder of pictures."""
        return self.eye

    @property
    def decoder(self) -> SoundDecoder:
        """The decoder of the network's outputs."""
        return self.voice

    def outputs(self, inputs: Tensor, even: Tensor | None) -> Tensor:
        """Map inputs (B, I), and those of an even picture (1, I), to outputs (B, n_outputs)."""
        if even is None:
            outputs: Tensor = self.network(inputs)
            return outputs
        even = even.to(inputs)
        both: Tensor = self.network(torch.cat([even, inputs]))
        n_now = inputs.shape[1] // (1 + self.encoder.n_past)
        contrast = (inputs - even)[:, :n_now].square().mean(dim=1, keepdim=True).square()  # to the fourth power
        return (both[1:] - both[:1]) * (contrast / (contrast + FAINT**4))

    def even_inputs(self) -> Tensor | None:
        """Return the inputs (1, I) of an even picture; None where the encoder does not correct."""
        encoder = self.encoder
        if not encoder.corrects:
            return None
        shape = (1, 1 + encoder.n_past, encoder.size, encoder.size)
        even: Tensor = encoder(torch.zeros(shape, dtype=torch.uint8, device=encoder.mean.device))
        return even

    def predict(self, bitmaps: NDArray[np.uint8], shown: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the outputs (F, n_outputs) of frames that show rows ``shown`` (F, C) of ``bitmaps`` (P, S, S)."""
        self.eval()
        device = self.encoder.mean.device
        found = []
        with torch.inference_mode():
            even = self.even_inputs()
            for start in range(0, len(shown), FRAMES_AT_A_TIME):
                stacks = torch.from_numpy(bitmaps[shown[start : start + FRAMES_AT_A_TIME]])
                found.append(self.outputs(self.encoder(stacks.to(device)), even).cpu())
        return torch.cat(found).numpy()
