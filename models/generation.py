"""Sampling from a DeepSynth, one sample after the other, each layer's past kept in a ring (fast WaveNet).

Without rings every sample costs a pass over the whole receptive field. Two kernels, one result: a compiled loop
in fp32 that takes one stream after the other, for a few; and torch over all streams at once, for many.

Shapes: B streams, T samples, P pictures, K classes, O outputs, C columns of a drive.
"""

import math
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.block_conditions import BlockConditioner, block_length
from models.compiled_decoder import CompiledDecoder
from models.deepsynth import DeepSynth, Predicted
from models.past_samples import Known
from models.torch_decoder import TorchDecoder

Kernel = Literal["compiled", "torch"]
Precision = Literal["float32", "bfloat16"]

_PICTURES_AT_ONCE = 64


class Generator:
    """Samples from a DeepSynth: every call goes on where the last one ended.

    A stream's samples depend on its own uniforms, pictures and drive alone. The compiled kernel computes each stream
    by itself; torch multiplies ``n_streams`` rows at once and rounds as that number has it, so the same samples come
    back for the same ``n_streams``, whatever the other streams hold.
    """

    def __init__(
        self,
        network: DeepSynth,
        *,
        n_streams: int,
        kernel: Kernel,
        precision: Precision = "float32",
        temperature: float = 1.0,
    ) -> None:
        """Start ``n_streams`` streams from silence.

        Args:
            network: with its weights; those of the decoder are copied.
            n_streams: takes generated side by side.
            kernel: ``compiled`` for a few streams, on the CPU; ``torch`` for many, where the network is.
            precision: of torch's matrix products; the compiled kernel has float32 only.
            temperature: logits are divided by it, or the widths of logistics multiplied: below 1 the likely gets
                likelier.

        Raises:
            ValueError: a value is out of range, or the kernel does not have the precision.
        """
        if n_streams < 1 or not 0 < temperature < math.inf:
            raise ValueError(f"{n_streams} streams at temperature {temperature}, expected 1 or more, above 0")
        if kernel == "compiled" and precision != "float32":
            raise ValueError(f"the compiled kernel computes in float32, found {precision}: use kernel torch")
        self.network = network
        self.n_streams = n_streams
        self._conditioner = BlockConditioner(network, n_streams, rounds=precision == "bfloat16")
        self._decoder: CompiledDecoder | TorchDecoder
        if kernel == "compiled":
            self._decoder = CompiledDecoder(network, n_streams, temperature)
        else:
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            self._decoder = TorchDecoder(network, n_streams, temperature, dtype)

    @torch.inference_mode()
    def generate(
        self,
        uniforms: NDArray[np.float64],
        *,
        pictures: Tensor | None = None,
        shown: Tensor | None = None,
        drive: Tensor | None = None,
    ) -> NDArray[np.uint8]:
        """Draw T more samples of every stream.

        Args:
            uniforms: (B, T) in [0, 1): a sample is the class whose share of the cumulative distribution holds
                its uniform.
            pictures: (P, H, W) luma of all streams, 0 to 255; a network without gates for them needs none.
            shown: (B, T) row of ``pictures`` at each sample.
            drive: (B, T) or (B, T, C) at each sample; a network without a drive needs none.

        Returns:
            Codes (B, T).

        Raises:
            ValueError: the shapes do not belong together, or pictures or drive are missing.
        """
        if uniforms.ndim != 2 or len(uniforms) != self.n_streams:
            raise ValueError(f"uniforms are {uniforms.shape}, expected ({self.n_streams}, samples)")
        video, features = self.network.video, None
        if video is not None:
            if pictures is None or shown is None or tuple(shown.shape) != uniforms.shape:
                found = None if shown is None else tuple(shown.shape)
                raise ValueError(f"shown is {found}, expected {uniforms.shape} rows of pictures")
            features = torch.cat([video.encode(some) for some in torch.split(pictures, _PICTURES_AT_ONCE)])
        self._check_drive(drive, uniforms.shape)
        codes = np.empty(uniforms.shape, np.uint8)
        block = block_length(self.network.config, self.n_streams)
        for start in range(0, uniforms.shape[1], block):
            now = slice(start, start + block)
            conditions = self._conditioner.next_block(
                features, None if shown is None else shown[:, now], None if drive is None else drive[:, now]
            )
            codes[:, now] = self._decoder.draw(uniforms[:, now], conditions)
        return codes

    @property
    def outputs(self) -> NDArray[np.float32]:
        """Return the network's outputs (B, O) that the last samples were drawn from."""
        return self._decoder.last_outputs()[0]

    @property
    def predicted(self) -> Predicted:
        """Return the distribution (B, 1) that the last samples were drawn from."""
        outputs, mean, scale = (torch.from_numpy(values.copy())[:, None] for values in self._decoder.last_outputs())
        return Predicted(outputs=outputs, known=Known(mean, scale, outputs.new_zeros(0)))

    def force(self, codes: NDArray[np.uint8]) -> None:
        """Go on as if ``codes`` (B,) had been drawn last: real sound to begin with, or to be measured on."""
        self._decoder.force(codes)

    def _check_drive(self, drive: Tensor | None, shape: tuple[int, ...]) -> None:
        keys = self.network.keys
        if keys is None:
            return
        columns = () if keys.oscillators is None else (keys.oscillators.n_features,)
        if drive is None or tuple(drive.shape) != (*shape, *columns):
            found = None if drive is None else tuple(drive.shape)
            raise ValueError(f"drive is {found}, expected {(*shape, *columns)}: {self.network.config.drive}")
