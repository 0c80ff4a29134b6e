"""The adapter whose one system regresses the sound of a frame on its picture."""

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.families.base import Film, Performance, VideoFamily, n_samples_of
from tasks.families.bitmaps.calibration import fit_gain_db, fit_ratio, loudest
from tasks.families.bitmaps.decoder import FRAMES_AT_A_TIME, FrameRegressor, SoundDecoder
from tasks.families.bitmaps.encoder import FrameEncoder
from tasks.families.bitmaps.examples import FramePairs, gather, shown_in_time, small_bitmaps, with_silent_clips
from tasks.families.bitmaps.params import ORIGINAL_MOMENTUM, BitmapParams, Q, check
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.store.views import ViewSet


class BitmapFamily(VideoFamily[Q, ViewSet]):
    """An adapter whose one system regresses the sound of a frame on its picture."""

    data = "captures"

    @abstractmethod
    def resolved(self, params: Q) -> Q:
        """Return the values that hold: published ones in place of those that ``fidelity: original`` replaces.

        Raises:
            ParamsError: a value makes no sense.
        """

    @abstractmethod
    def make_decoder(self, params: Q, *, n_bank: int = 0) -> SoundDecoder:
        """Return the decoder of the network's outputs; ``n_bank`` is `SoundDecoder.n_bank` of a trained one."""

    @abstractmethod
    def make_network(self, params: Q, *, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return the network, its weights drawn at random."""

    def fit(self, data: ViewSet, out: Path, *, params: Q, resume: Path, accelerator: str) -> None:
        """Train on the captures' cameras, and fit the levels on those of validation.

        Pictures do not determine the sound, so regression makes its outputs small: those that should be loud far more
        than those that should be silent. So levels are spread again, by the ratio with which the spectra of the
        validation takes are as loud as the reference, on the average in dB; and a gain is fitted with which their
        sound is.

        Raises:
            ParamsError: a value makes no sense.
            DamagedData: there are no pictures with sound, or the data set is not whole.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        system = self.systems[0]
        params = self.resolved(params)
        check(params, f"train.{system}")
        views = data.only(cameras=params.cameras)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            decoder = self.make_decoder(params)
            pairs, _ = gather(views, "train", decoder.cut, params, n_frames=params.n_frames)
            held_out, spans = gather(views, "validation", decoder.cut, params, n_frames=params.n_validation_frames)
            regressor = self.make_regressor(params, decoder)
            encoder = regressor.encoder
            encoder.fit(pairs, seed=params.seed)
            decoder.fit(pairs, seed=params.seed)
            if params.silent_clip_s:
                pairs = with_silent_clips(pairs, clip_s=params.silent_clip_s, frame_rate=decoder.cut.frame_rate)
            even = regressor.even_inputs()
            best = fit_network(
                regressor,
                lambda model, batch: model.decoder.loss(model.outputs(batch[0], even), batch[1]),
                partial(_optimizer, params=params),
                batches(pairs, encoder, params),
                _validation(held_out, encoder, params),
                system=system,
                n_epochs=params.n_steps // params.steps_per_epoch,
                n_steps_per_epoch=params.steps_per_epoch,
                out=out,
                resume=resume,
                accelerator=accelerator,
                validation_loss=lambda model, batch: model.decoder.validation_loss(
                    model.outputs(batch[0], even), batch[1]
                ),
            )
            regressor.load_state_dict(best)
            regressor.cpu()
            gain_db = 0.0
            if params.fidelity == "corrected":
                decoder.loudest.copy_(torch.from_numpy(loudest(decoder, pairs)))
                decoder.ratio.fill_(fit_ratio(regressor, held_out, spans))
                gain_db = fit_gain_db(regressor, held_out, spans)
        height, width = views.pictures(views.views("train")[0]).shape[1:]
        facts = {
            "gain_db": round(gain_db, 6),
            "n_bank": decoder.n_bank,
            "pictures": {"width": width, "height": height},
            "frame_rate": params.frame_rate,
        }
        save_network(out / system, regressor.state_dict(), {"params": params.model_dump(mode="json"), **facts})

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,  # noqa: ARG002 - no system is a bound
    ) -> Iterator[Performance]:
        """Make the sound of every film of a camera that ``cameras`` names; of one of no known camera, always.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        regressor, params, gain_db = self.load(trained)
        regressor.to(torch_device(accelerator))
        for name, film in films.items():
            if film.camera is not None and not re.fullmatch(params.cameras, film.camera):
                continue
            audio = sound_of(regressor, film, params) * np.float32(10 ** (gain_db / 20))
            take, _, camera = name.partition("/")
            yield Performance(
                system=self.systems[0],
                take=take,
                camera=camera or film.camera,
                audio=np.clip(audio, -1.0, 1.0),
                sample_rate=regressor.decoder.cut.sample_rate,
                notes=None,
            )

    def load(self, trained: Path) -> tuple[FrameRegressor, Q, float]:
        """Read what `fit` wrote: the networks, the values they were trained with, and the gain in dB.

        Raises:
            DamagedData: a file is missing, or not what `fit` writes.
        """
        section = f"train.{self.systems[0]}"
        regressor, facts = load_network(
            trained / self.systems[0],
            lambda facts: self.make_regressor(
                facts["params"], self.make_decoder(facts["params"], n_bank=facts["n_bank"])
            ),
            {
                "params": lambda found: self.params_class.parse(found, section),
                "gain_db": float,
                "n_bank": int,
            },
        )
        return regressor, facts["params"], facts["gain_db"]

    def make_regressor(self, params: Q, decoder: SoundDecoder) -> FrameRegressor:
        """Return encoder, network and decoder, the network's weights drawn at random."""
        encoder = FrameEncoder(
            size=params.side_px,
            n_past=params.n_past,
            n_components=params.n_components,
            corrects=params.fidelity == "corrected",
        )
        network = self.make_network(params, n_inputs=encoder.n_inputs, n_outputs=decoder.n_outputs)
        return FrameRegressor(encoder, network, decoder)


def _optimizer(
    parameters: Iterable[nn.Parameter], params: BitmapParams
) -> torch.optim.Optimizer | tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    if params.fidelity == "original":
        return torch.optim.SGD(parameters, lr=params.learning_rate, momentum=ORIGINAL_MOMENTUM, nesterov=True)
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.n_steps)


def batches(
    pairs: FramePairs, encoder: FrameEncoder, params: BitmapParams
) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """Return the batch (inputs, frames) of any step of any epoch: drawn at random, or in order as published."""
    table = _inputs(pairs, encoder) if encoder.n_components else None

    def make_batch(epoch: int, step: int) -> tuple[Tensor, Tensor]:
        if params.fidelity == "original":
            start = (epoch * params.steps_per_epoch + step) * params.batch_size
            rows = np.arange(start, start + params.batch_size) % len(pairs)
            return encoder(torch.from_numpy(pairs.stacks(rows))), torch.from_numpy(pairs.frames(rows))
        rng = np.random.default_rng((params.seed, epoch, step))
        rows = rng.integers(len(pairs), size=params.batch_size)
        with torch.no_grad():
            inputs = encoder(torch.from_numpy(pairs.stacks(rows))) if table is None else table[torch.from_numpy(rows)]
            return degrade(inputs, encoder, rng, params), torch.from_numpy(pairs.frames(rows))

    return make_batch


def degrade(inputs: Tensor, encoder: FrameEncoder, rng: np.random.Generator, params: BitmapParams) -> Tensor:
    """Vary the contrast of inputs (B, I), and add noise to them.

    Noise that is alike in all pixels is alike in all eigen-pictures, whose directions are orthonormal; what it adds
    to the changes is taken to be noise of its own. An approximation for large inputs: both come after the squashing.
    """
    varied = inputs
    if params.jitter_contrast:
        factor = rng.uniform(1 - params.jitter_contrast, 1 + params.jitter_contrast, (len(inputs), 1))
        varied = varied * torch.from_numpy(factor.astype(np.float32))
    if params.noise_luma:
        n_each = inputs.shape[1] // (1 + encoder.n_past)
        scale = torch.full((inputs.shape[1],), float(encoder.scales[1]) * 2**0.5)
        scale[:n_each] = float(encoder.scales[0])
        noise = torch.from_numpy(rng.standard_normal(inputs.shape, dtype=np.float32))
        varied = varied + noise * scale * (params.noise_luma / 255)
    return varied


def _inputs(pairs: FramePairs, encoder: FrameEncoder) -> Tensor:
    starts = range(0, len(pairs), FRAMES_AT_A_TIME)
    with torch.no_grad():
        return torch.cat([encoder(torch.from_numpy(pairs.stacks(slice(at, at + FRAMES_AT_A_TIME)))) for at in starts])


def _validation(pairs: FramePairs, encoder: FrameEncoder, params: BitmapParams) -> list[tuple[Tensor, Tensor]]:
    found = []
    with torch.no_grad():
        for start in range(0, len(pairs), params.batch_size):
            rows = slice(start, start + params.batch_size)
            found.append((encoder(torch.from_numpy(pairs.stacks(rows))), torch.from_numpy(pairs.frames(rows))))
    return found


def sound_of(regressor: FrameRegressor, film: Film, params: BitmapParams) -> NDArray[np.float32]:
    """Return the sound of a film, without gain, as long as the film."""
    cut = regressor.decoder.cut
    if params.fidelity == "original":
        shown = np.arange(len(film.pictures))[:, None]
    else:
        n_frames = ceil(Fraction(film.duration_s) * cut.frame_rate)
        shown = shown_in_time(film.time_s, n_frames, cut, params)
    bitmaps = small_bitmaps(film.pictures, params.side_px)
    audio = regressor.decoder.sound(regressor.predict(bitmaps, shown))
    if params.fidelity == "original":  # from where the camera's file begins
        start = round(float(film.time_s[0]) * cut.sample_rate)
        audio = np.pad(audio[max(0, -start) :], (max(0, start), 0))
    n_samples = n_samples_of(film, cut.sample_rate)
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))
