"""What the families from bitmaps to sound share: pictures made small, frames of sound cut beside them, training.

A film is looked at as small square pictures, and the sound of one frame is regressed on the picture that is shown in
the frame's middle, with or without the pictures before it. Any capture serves, whatever is played in it.

Two fidelities. ``original`` keeps the published habits: pictures are numbered and never timed (each is taken to last a
thirtieth of a second), sound is stored as (x + 32768) / 65536 and the last frame is filled up with 0, full negative.
``corrected`` goes by time: frame k of the sound stands from k to k + 1 frames, exactly, and shows the picture that is
up then; silence is 0; half a minute each of silent black and white pictures is learned from too; and an even picture
is silent by construction, for each picture's mean luma is taken away and the answer to nothing at all with it.

What carries over to cameras and takes never seen is how much moves and where, and neither which way nor whether it is
bright or dark: so changes are told without their sign, and all that is told is squashed, for a mallet near the lens
moves more pixels than any that was learned from. What regression makes too even is spread again before it sounds, and
nothing gets louder than it was in training: see `fit_ratio`.

Captures are stored as luma, so there is no colour here.

Shapes: P pictures, S pixels of a side, F frames, C pictures seen for a frame (its own and the past ones), I inputs of
the network, L samples of a frame.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tasks.errors import DamagedData, ParamsError
from tasks.families.base import Film, Performance, VideoFamily, n_samples_of
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.features.resample import resample
from tasks.params import Section
from tasks.sound.frames import frame_boundaries
from tasks.store.views import ViewSet, pictures_at

ORIGINAL_FRAME_RATE = Fraction(30)  # that every video was taken to have
PICTURES_AT_A_TIME = 256
FRAMES_AT_A_TIME = 512
FAINT = 0.05  # of the training pictures' contrast: what shows less of it is hardly more than an even picture's noise
EVEN_LUMA = ((0, 16), (255, 235))  # black and white, of the full range and as videos code them
MAX_EIGEN_PICTURES = 2048  # that the components are found from
MOST_TOLD = 2.0  # standard deviations: what a network is told goes towards it and no further
QUIETEST_DBFS = -80.0  # a partial's level below which nothing is heard, as the metrics have it
MOST_RATIO = 3.0
RATIO_STEPS = 12


class BitmapParams(Section):
    """What both families are told. With ``fidelity: original`` the values marked * are replaced by published ones."""

    fidelity: Literal["corrected", "original"]
    cameras: str  # whose pictures are learned from: a regular expression for the whole name
    size: int  # pixels of a side of the picture that is looked at
    n_past: int  # * pictures before it that are looked at too, as changes from one to the next
    past_step: int  # frames from one of them to the next
    n_components: int  # * eigen-pictures that it is told by instead of its pixels; 0 keeps the pixels
    frame_rate: str  # * frames a second that the sound is made of
    sample_rate: int  # Hz
    hidden: list[int]  # units of each hidden layer
    silent_clip_s: float  # * of silent black pictures, and as much of white ones, that are learned from too
    jitter_contrast: float  # * contrast of training pictures varies by so much, 0 to 1
    noise_luma: float  # * standard deviation of noise added to training pictures, in levels
    n_frames: int  # kept in memory to train on, at most: 10 kB each
    n_validation_frames: int
    n_steps: int
    steps_per_epoch: int  # between two validations
    batch_size: int  # * frames
    learning_rate: float  # * falls to 0 over the steps, as half a cosine
    n_threads: int  # of the CPU: another number may give other weights
    seed: int


Q = TypeVar("Q", bound=BitmapParams)

# Hindle's numbers; learning rate, momentum and batch are those of nearly all the networks he published.
ORIGINAL: Mapping[str, Any] = {
    "n_past": 0,
    "n_components": 0,
    "frame_rate": str(ORIGINAL_FRAME_RATE),
    "silent_clip_s": 0.0,
    "jitter_contrast": 0.0,
    "noise_luma": 0.0,
    "batch_size": 32,
    "learning_rate": 0.05,
}
ORIGINAL_MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How sound is cut into frames.

    Attributes:
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        length: samples of a cut.
        lead: frames by which a cut begins before its frame.
        unsigned: sound is learned as (x + 32768) / 65536, and filled up with 0, full negative, at its end.
    """

    sample_rate: int
    frame_rate: Fraction
    length: int
    lead: Fraction
    unsigned: bool

    def first_samples(self, n_frames: int) -> NDArray[np.int64]:
        """Return where each of the frames is cut, (F,); the first ones may begin before the sound."""
        rates: dict[str, Any] = {"sample_rate": self.sample_rate, "frame_rate": self.frame_rate}
        return frame_boundaries(n_frames, **rates, lead=self.lead)[:-1]


@dataclass(frozen=True, kw_only=True)
class Strips:
    """Pictures, and frames of sound beside them.

    Attributes:
        bitmaps: (P, S, S) luma.
        seen: (F, C) the rows of ``bitmaps`` that each frame shows, its own first and then further into the past.
        sound: (T,) all sound, one recording after another.
        first: (F,) the sample of ``sound`` that each frame begins with.
        length: samples of a frame.
    """

    bitmaps: NDArray[np.uint8]
    seen: NDArray[np.int64]
    sound: NDArray[np.float32]
    first: NDArray[np.int64]
    length: int

    def __len__(self) -> int:
        return len(self.seen)

    def stacks(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        """Return what some frames show, (n, C, S, S)."""
        return self.bitmaps[self.seen[rows]]

    def frames(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Return the sound of some frames, (n, L)."""
        frames: NDArray[np.float32] = self.sound[self.first[rows][:, None] + np.arange(self.length)]
        return frames


class Eye(nn.Module):
    """What a network is told of pictures: pixels or eigen-pictures, and how much and where they changed."""

    mean: Tensor
    basis: Tensor
    mean_change: Tensor
    basis_of_changes: Tensor
    scales: Tensor

    def __init__(self, *, size: int, n_past: int, n_components: int, corrects: bool) -> None:
        super().__init__()
        self.size, self.n_past, self.n_components, self.corrects = size, n_past, n_components, corrects
        n_pixels = size * size
        self.register_buffer("mean", torch.zeros(n_pixels))  # of what is left of a picture without its mean luma
        self.register_buffer("basis", torch.zeros(n_components, n_pixels))
        self.register_buffer("mean_change", torch.zeros(n_pixels if n_past else 0))
        self.register_buffer("basis_of_changes", torch.zeros(n_components if n_past else 0, n_pixels))
        self.register_buffer("scales", torch.ones(2))  # of pictures and of changes

    @property
    def n_inputs(self) -> int:
        """Numbers that the network is told."""
        return (1 + self.n_past) * (self.n_components or self.size * self.size)

    def fit(self, strips: Strips, *, seed: int) -> None:
        """Find mean, components and scale of what some pictures show."""
        if not self.corrects:
            return
        rng = np.random.default_rng((seed, 2))
        rows = np.sort(rng.permutation(len(strips))[:MAX_EIGEN_PICTURES])
        # The last change stands for the ones before: those are last changes of other frames.
        now, changes = self._pixels(torch.from_numpy(strips.stacks(rows)[:, :2]))
        self.mean.copy_(now.mean(dim=0))
        if self.n_past:
            self.mean_change.copy_(changes[:, 0].mean(dim=0))
        if self.n_components:
            self.basis.copy_(_components(now - self.mean, self.n_components))
            if self.n_past:
                self.basis_of_changes.copy_(_components(changes[:, 0] - self.mean_change, self.n_components))
        told, moved = self._told(now, changes)
        self.scales[0] = 1 / told.square().mean().sqrt().clamp(min=1e-6)
        if self.n_past:
            self.scales[1] = 1 / moved.square().mean().sqrt().clamp(min=1e-6)

    def forward(self, stacks: Tensor) -> Tensor:
        """Map luma (B, C, S, S) to inputs (B, I); where it corrects, even pictures of any luma give the same ones."""
        if not self.corrects:
            return stacks.float().flatten(1) / 255
        now, changes = self._pixels(stacks)
        told, moved = self._told(now, changes)
        inputs = torch.cat([told * self.scales[0], moved.flatten(1) * self.scales[1]], dim=1)
        return MOST_TOLD * torch.tanh(inputs / MOST_TOLD)

    def _pixels(self, stacks: Tensor) -> tuple[Tensor, Tensor]:
        luma = stacks.float().flatten(2)  # (B, C, S * S)
        pixels = (luma - luma.mean(dim=2, keepdim=True)) / 255  # in this order an even picture leaves exactly nothing
        return pixels[:, 0], (pixels[:, :-1] - pixels[:, 1:]).abs()

    def _told(self, now: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
        now = now - self.mean
        if self.n_past:
            changes = changes - self.mean_change
        if not self.n_components:
            return now, changes
        return now @ self.basis.T, changes @ self.basis_of_changes.T


def _components(pixels: Tensor, n_components: int) -> Tensor:
    """Return the directions (n_components, S * S) along which pictures (N, S * S) vary most."""
    if min(pixels.shape) < n_components:
        raise ParamsError(
            f"n_components is {n_components}, expected at most {min(pixels.shape)}: "
            f"there are {len(pixels)} training pictures of {pixels.shape[1]} pixels"
        )
    _, _, directions = torch.svd_lowrank(pixels, q=n_components, niter=2)
    # A direction's sign is arbitrary: its largest pixel is made positive.
    largest = directions.abs().argmax(dim=0)
    return (directions * directions[largest, torch.arange(n_components)].sign()).T


def small_bitmaps(pictures: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Average pictures (P, H, W) to squares (P, size, size); their sides are stretched to be equal."""
    found = np.empty((len(pictures), size, size), np.uint8)
    for row, picture in enumerate(pictures):
        cv2.resize(picture, (size, size), dst=found[row], interpolation=cv2.INTER_AREA)
    return found


def seen_in_time(time_s: NDArray[np.float64], n_frames: int, cut: Cut, params: BitmapParams) -> NDArray[np.int64]:
    """Return which pictures each frame of the sound shows, (F, C): in its middle, and in the past frames' middles."""
    before = params.n_past * params.past_step
    middle_s = (np.arange(-before, n_frames) + 0.5) / float(cut.frame_rate)
    shown = pictures_at(time_s, middle_s)
    backs = range(0, before + 1, params.past_step)
    return np.stack([shown[before - back : len(shown) - back] for back in backs], axis=1)


def gather(views: ViewSet, part: str, cut: Cut, params: BitmapParams, *, n_frames: int) -> tuple[Strips, list[slice]]:
    """Read the pictures and sound of a part's cameras: an excerpt of each, equally long, when there are too many.

    Args:
        views: the cameras.
        part: of the split.
        cut: how sound is cut.
        params: typed values, as `asked` returns them.
        n_frames: of all cameras together, at most.

    Returns:
        All frames, and which of them are each camera's.

    Raises:
        DamagedData: there is no camera, or none of its pictures has sound.
    """
    cameras = views.views(part)
    if not cameras:
        raise DamagedData(f"no take for {part} has a camera whose name matches {params.cameras!r}")
    rng = np.random.default_rng((params.seed, len(cameras)))
    bitmaps: list[NDArray[np.uint8]] = []
    seen: list[NDArray[np.int64]] = []
    first: list[NDArray[np.int64]] = []
    sounds: list[NDArray[np.float32]] = []
    begins: dict[str, tuple[int, int]] = {}  # of a take's sound among all: where, and how long
    n_pictures = n_sound = 0
    for view in cameras:
        if view.take not in begins:
            sound = stored_sound(*views.sound(view.take), cut)
            begins[view.take] = (n_sound + cut.length, len(sound) - 2 * cut.length)
            sounds.append(sound)
            n_sound += len(sound)
        start, length = begins[view.take]
        time_s = views.time_s(view)
        if params.fidelity == "original":  # numbered, from where the camera's own file begins
            shows = np.arange(len(time_s))[:, None]
            at = cut.first_samples(len(time_s)) + round(float(time_s[0]) * cut.sample_rate)
            rows = np.flatnonzero((at >= 0) & (at < length))
        else:
            total = ceil(length * cut.frame_rate / cut.sample_rate)
            shows = seen_in_time(time_s, total, cut, params)
            at = cut.first_samples(total)
            middle_s = (np.arange(total) + 0.5) / float(cut.frame_rate)
            rows = np.flatnonzero((middle_s >= time_s[0]) & (middle_s <= _end_s(time_s)))
        share = max(1, n_frames // len(cameras))
        if len(rows) > share:
            begin = int(rng.integers(len(rows) - share + 1))
            rows = rows[begin : begin + share]
        if not len(rows):
            continue
        shows = shows[rows]
        used = slice(int(shows.min()), int(shows.max()) + 1)
        bitmaps.append(_read_small(views.pictures(view), used, params.size))
        seen.append(shows - used.start + n_pictures)
        first.append(at[rows] + start)
        n_pictures += len(bitmaps[-1])
    if not seen:
        raise DamagedData(f"no camera for {part} has pictures while there is sound")
    stops = np.cumsum([len(shows) for shows in seen])
    strips = Strips(
        bitmaps=np.concatenate(bitmaps),
        seen=np.concatenate(seen),
        sound=np.concatenate(sounds),
        first=np.concatenate(first),
        length=cut.length,
    )
    return strips, [slice(int(stop) - len(shows), int(stop)) for shows, stop in zip(seen, stops, strict=True)]


def with_silent_clips(strips: Strips, *, clip_s: float, frame_rate: Fraction) -> Strips:
    """Add black pictures and white ones that are silent, ``clip_s`` seconds of each.

    Source:
        What Hindle proposes against a network to which white is loud.
    """
    lumas = [luma for both in EVEN_LUMA for luma in both]
    size = strips.bitmaps.shape[1]
    n_each = round(clip_s * frame_rate / 2)
    even = np.repeat(np.array(lumas, np.uint8), size * size).reshape(len(lumas), size, size)
    rows = np.repeat(np.arange(len(lumas)), n_each) + len(strips.bitmaps)
    return Strips(
        bitmaps=np.concatenate([strips.bitmaps, even]),
        seen=np.concatenate([strips.seen, np.repeat(rows[:, None], strips.seen.shape[1], axis=1)]),
        sound=np.append(strips.sound, np.zeros(strips.length, np.float32)),
        first=np.append(strips.first, np.full(len(rows), len(strips.sound))),
        length=strips.length,
    )


def stored_sound(sound: NDArray[np.float32], from_rate: int, cut: Cut) -> NDArray[np.float32]:
    """Return sound (T,) in [-1, 1] as it is learned, with a frame before it and one after it.

    Those are silent, but for the one after unsigned sound, which is full negative as published.
    """
    if from_rate != cut.sample_rate:
        sound = resample(sound, from_rate, cut.sample_rate)
    silence = 0.5 if cut.unsigned else 0.0
    if cut.unsigned:
        sound = np.asarray(sound / 2 + 0.5, np.float32)
    return np.concatenate([np.full(cut.length, silence, np.float32), sound, np.zeros(cut.length, np.float32)])


def _end_s(time_s: NDArray[np.float64]) -> float:
    """Return when a camera's last picture goes: after as long as the others stood."""
    step_s = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    return float(time_s[-1]) + step_s


def _read_small(pictures: Any, rows: slice, size: int) -> NDArray[np.uint8]:
    starts = range(rows.start, rows.stop, PICTURES_AT_A_TIME)
    return np.concatenate(
        [small_bitmaps(pictures[start : min(start + PICTURES_AT_A_TIME, rows.stop)], size) for start in starts]
    )


class Voice(nn.Module):
    """What a network's numbers mean as sound.

    Attributes:
        cut: how the sound that it learns from is cut.
        n_outputs: numbers of a frame.
        n_bank: samples of the training sound that are kept with the weights.
        quietest: the magnitude, in a frame's spectrum, of a partial at `QUIETEST_DBFS`.
        ratio: by which the levels of a spectrum are spread, away from that one; 1 leaves sound as it is said.
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

    def magnitudes(self, said: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectra (F, K) that numbers (F, n_outputs) mean, before they are spread."""
        raise NotImplementedError

    def true_magnitudes(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the spectra (F, K) of frames of sound (F, L), on the same scale."""
        raise NotImplementedError

    def spread(self, magnitudes: NDArray[np.float32], ratio: float | None = None) -> NDArray[np.float32]:
        """Return spectra (F, K) whose levels are ``ratio`` times as far above the quietest one; what is below is not.

        Args:
            magnitudes: at least 0.
            ratio: at least 1; that of the voice by default.
        """
        ratio = float(self.ratio) if ratio is None else ratio
        if ratio == 1:
            return magnitudes
        above = magnitudes / np.float32(self.quietest)
        louder = np.minimum(self.quietest * np.maximum(above, 1) ** np.float32(ratio), self.loudest.cpu().numpy())
        spread: NDArray[np.float32] = np.where(above > 1, louder, 0).astype(np.float32)
        return spread

    def fit(self, strips: Strips, *, seed: int) -> None:
        """Find scales, and keep what of the training sound is needed later."""
        raise NotImplementedError

    def loss(self, said: Tensor, frames: Tensor) -> Tensor:
        """Return how far numbers (B, n_outputs) are from frames of sound (B, L)."""
        raise NotImplementedError

    def judged(self, said: Tensor, frames: Tensor) -> Tensor:
        """Return the loss by which validation chooses weights."""
        return self.loss(said, frames)

    def sound(self, said: NDArray[np.float32]) -> NDArray[np.float32]:
        """Make one sound, as long as its frames, of numbers (F, n_outputs)."""
        raise NotImplementedError


class Player(nn.Module):
    """A network, what it is told, and what its numbers mean.

    Where the eye corrects, the answer to an even picture is taken away from every answer, and what hardly shows more
    than such a picture is hardly heard: both in training too.
    """

    def __init__(self, eye: Eye, network: nn.Module, voice: Voice) -> None:
        super().__init__()
        self.eye, self.network, self.voice = eye, network, voice

    def say(self, inputs: Tensor, nothing: Tensor | None) -> Tensor:
        """Map inputs (B, I), and those of an even picture (1, I), to numbers (B, n_outputs)."""
        if nothing is None:
            said: Tensor = self.network(inputs)
            return said
        nothing = nothing.to(inputs)
        answers: Tensor = self.network(torch.cat([nothing, inputs]))
        n_now = inputs.shape[1] // (1 + self.eye.n_past)
        contrast = (inputs - nothing)[:, :n_now].square().mean(dim=1, keepdim=True).square()  # to the fourth power
        return (answers[1:] - answers[:1]) * (contrast / (contrast + FAINT**4))

    def nothing(self) -> Tensor | None:
        """Return the inputs (1, I) of an even picture; None where it is no special one."""
        if not self.eye.corrects:
            return None
        size, place = self.eye.size, self.eye.mean.device
        even: Tensor = self.eye(torch.zeros((1, 1 + self.eye.n_past, size, size), dtype=torch.uint8, device=place))
        return even

    def listen(self, bitmaps: NDArray[np.uint8], seen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the numbers (F, n_outputs) of frames that show rows ``seen`` (F, C) of ``bitmaps`` (P, S, S)."""
        self.eval()
        place = self.eye.mean.device
        said = []
        with torch.inference_mode():
            nothing = self.nothing()
            for start in range(0, len(seen), FRAMES_AT_A_TIME):
                stacks = torch.from_numpy(bitmaps[seen[start : start + FRAMES_AT_A_TIME]])
                said.append(self.say(self.eye(stacks.to(place)), nothing).cpu())
        return torch.cat(said).numpy()


class BitmapFamily(VideoFamily[Q, ViewSet]):
    """An adapter whose one system regresses the sound of a frame on its picture."""

    data = "captures"

    @abstractmethod
    def asked(self, params: Q) -> Q:
        """Return what holds: published values in place of those that ``fidelity: original`` replaces."""

    @abstractmethod
    def make_voice(self, params: Q, *, n_bank: int = 0) -> Voice:
        """Return what the network's numbers mean; ``n_bank`` is `Voice.n_bank` of a trained one."""

    @abstractmethod
    def make_network(self, params: Q, *, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return the network, its weights drawn at random."""

    def fit(self, data: ViewSet, out: Path, *, params: Q, resume: Path, accelerator: str) -> None:
        """Train on the captures' cameras, and fit the loudness on those of validation.

        Regression on what pictures do not tell makes its answers small: those that should be loud far more than those
        that should be silent. So levels are spread again, by the ratio with which the spectra of the validation takes
        are as loud as they were, on the average in dB; and a gain is fitted with which their sound is.

        Raises:
            ParamsError: a value makes no sense.
            DamagedData: there are no pictures with sound, or the data set is not whole.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        system = self.systems[0]
        params = self.asked(params)
        check(params, f"train.{system}")
        views = data.only(cameras=params.cameras)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            voice = self.make_voice(params)
            strips, _ = gather(views, "train", voice.cut, params, n_frames=params.n_frames)
            checked, spans = gather(views, "validation", voice.cut, params, n_frames=params.n_validation_frames)
            player = self._player(params, voice)
            player.eye.fit(strips, seed=params.seed)
            voice.fit(strips, seed=params.seed)
            if params.silent_clip_s:
                strips = with_silent_clips(strips, clip_s=params.silent_clip_s, frame_rate=voice.cut.frame_rate)
            even = player.nothing()
            best = fit_network(
                player,
                lambda player, batch: player.voice.loss(player.say(batch[0], even), batch[1]),
                partial(_optimizer, params=params),
                batches(strips, player.eye, params),
                _validation(checked, player.eye, params),
                system=system,
                n_epochs=params.n_steps // params.steps_per_epoch,
                n_steps_per_epoch=params.steps_per_epoch,
                out=out,
                resume=resume,
                accelerator=accelerator,
                validation_loss=lambda player, batch: player.voice.judged(player.say(batch[0], even), batch[1]),
            )
            player.load_state_dict(best)
            player.cpu()
            gain_db = 0.0
            if params.fidelity == "corrected":
                player.voice.loudest.copy_(torch.from_numpy(loudest(player.voice, strips)))
                player.voice.ratio.fill_(fit_ratio(player, checked, spans))
                gain_db = fit_gain_db(player, checked, spans)
        height, width = views.pictures(views.views("train")[0]).shape[1:]
        facts = {
            "gain_db": round(gain_db, 6),
            "n_bank": player.voice.n_bank,
            "pictures": {"width": width, "height": height},
            "frame_rate": params.frame_rate,
        }
        save_network(out / system, player.state_dict(), {"asked": params.model_dump(mode="json"), **facts})

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,  # noqa: ARG002 - this family sees the film alone
    ) -> Iterator[Performance]:
        """Sound every film.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        player, params, gain_db = self.load(trained)
        player.to(torch_device(accelerator))
        for name, film in films.items():
            audio = play(player, film, params) * np.float32(10 ** (gain_db / 20))
            take, _, camera = name.partition("/")
            yield Performance(
                system=self.systems[0],
                take=take,
                camera=camera or film.camera,
                audio=np.clip(audio, -1.0, 1.0),
                sample_rate=player.voice.cut.sample_rate,
                notes=None,
            )

    def load(self, trained: Path) -> tuple[Player, Q, float]:
        """Read what `fit` wrote: the player, the values it was trained with, and its gain in dB.

        Raises:
            DamagedData: a file is missing, or not what `fit` writes.
        """
        section = f"train.{self.systems[0]}"
        player, facts = load_network(
            trained / self.systems[0],
            lambda facts: self._player(facts["asked"], self.make_voice(facts["asked"], n_bank=facts["n_bank"])),
            {
                "asked": lambda found: self.params_class.parse(found, section),
                "gain_db": float,
                "n_bank": int,
            },
        )
        return player, facts["asked"], facts["gain_db"]

    def _player(self, params: Q, voice: Voice) -> Player:
        eye = Eye(
            size=params.size,
            n_past=params.n_past,
            n_components=params.n_components,
            corrects=params.fidelity == "corrected",
        )
        return Player(eye, self.make_network(params, n_inputs=eye.n_inputs, n_outputs=voice.n_outputs), voice)


def _optimizer(
    parameters: Iterable[nn.Parameter], params: BitmapParams
) -> torch.optim.Optimizer | tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    if params.fidelity == "original":
        return torch.optim.SGD(parameters, lr=params.learning_rate, momentum=ORIGINAL_MOMENTUM, nesterov=True)
    optimizer = torch.optim.Adam(parameters, lr=params.learning_rate)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, params.n_steps)


def batches(strips: Strips, eye: Eye, params: BitmapParams) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """Return the batch (inputs, frames) of any step of any epoch: drawn at random, or in order as published."""
    table = _inputs(strips, eye) if eye.n_components else None

    def make_batch(epoch: int, step: int) -> tuple[Tensor, Tensor]:
        if params.fidelity == "original":
            start = (epoch * params.steps_per_epoch + step) * params.batch_size
            rows = np.arange(start, start + params.batch_size) % len(strips)
            return eye(torch.from_numpy(strips.stacks(rows))), torch.from_numpy(strips.frames(rows))
        rng = np.random.default_rng((params.seed, epoch, step))
        rows = rng.integers(len(strips), size=params.batch_size)
        with torch.no_grad():
            inputs = eye(torch.from_numpy(strips.stacks(rows))) if table is None else table[torch.from_numpy(rows)]
            return degrade(inputs, eye, rng, params), torch.from_numpy(strips.frames(rows))

    return make_batch


def degrade(inputs: Tensor, eye: Eye, rng: np.random.Generator, params: BitmapParams) -> Tensor:
    """Vary the contrast of what is seen (B, I), and add noise to it.

    Noise that is alike in all pixels is alike in all eigen-pictures, whose directions are orthonormal; what it adds
    to the changes is taken to be noise of its own. An approximation where much is told: both come after it is squashed.
    """
    told = inputs
    if params.jitter_contrast:
        factor = rng.uniform(1 - params.jitter_contrast, 1 + params.jitter_contrast, (len(inputs), 1))
        told = told * torch.from_numpy(factor.astype(np.float32))
    if params.noise_luma:
        n_each = inputs.shape[1] // (1 + eye.n_past)
        scale = torch.full((inputs.shape[1],), float(eye.scales[1]) * 2**0.5)
        scale[:n_each] = float(eye.scales[0])
        noise = torch.from_numpy(rng.standard_normal(inputs.shape, dtype=np.float32))
        told = told + noise * scale * (params.noise_luma / 255)
    return told


def _inputs(strips: Strips, eye: Eye) -> Tensor:
    starts = range(0, len(strips), FRAMES_AT_A_TIME)
    with torch.no_grad():
        return torch.cat([eye(torch.from_numpy(strips.stacks(slice(at, at + FRAMES_AT_A_TIME)))) for at in starts])


def _validation(strips: Strips, eye: Eye, params: BitmapParams) -> list[tuple[Tensor, Tensor]]:
    found = []
    with torch.no_grad():
        for start in range(0, len(strips), params.batch_size):
            rows = slice(start, start + params.batch_size)
            found.append((eye(torch.from_numpy(strips.stacks(rows))), torch.from_numpy(strips.frames(rows))))
    return found


def play(player: Player, film: Film, params: BitmapParams) -> NDArray[np.float32]:
    """Return the sound of a film, without gain, as long as the film."""
    cut = player.voice.cut
    if params.fidelity == "original":
        seen = np.arange(len(film.pictures))[:, None]
    else:
        n_frames = ceil(Fraction(film.duration_s) * cut.frame_rate)
        seen = seen_in_time(film.time_s, n_frames, cut, params)
    bitmaps = small_bitmaps(film.pictures, params.size)
    audio = player.voice.sound(player.listen(bitmaps, seen))
    if params.fidelity == "original":  # from where the camera's file begins
        start = round(float(film.time_s[0]) * cut.sample_rate)
        audio = np.pad(audio[max(0, -start) :], (max(0, start), 0))
    n_samples = n_samples_of(film, cut.sample_rate)
    return np.pad(audio[:n_samples], (0, max(0, n_samples - len(audio))))


def loudest(voice: Voice, strips: Strips) -> NDArray[np.float32]:
    """Return the largest magnitude (K,) of each bin in frames of sound."""
    starts = range(0, len(strips), FRAMES_AT_A_TIME)
    blocks = (voice.true_magnitudes(strips.frames(slice(start, start + FRAMES_AT_A_TIME))) for start in starts)
    largest: NDArray[np.float32] = np.max([block.max(axis=0) for block in blocks], axis=0)
    return largest


def fit_ratio(player: Player, strips: Strips, spans: Sequence[slice]) -> float:
    """Return the ratio, from 1 to `MOST_RATIO`, that makes spectra as loud as they were: the mean over films, in dB.

    A gain would do the same for the level, but lift with it all the noise between the partials, and the pauses.
    """
    films = []
    for span in spans:
        said = player.voice.magnitudes(player.listen(strips.bitmaps, strips.seen[span]))
        true = player.voice.true_magnitudes(strips.frames(span))
        if said.any() and true.any():
            films.append((said, level_db(true)))

    def misses_db(ratio: float) -> float:
        """Tell how much too loud the films are."""
        spread = ((player.voice.spread(said, ratio), true_db) for said, true_db in films)
        return float(np.mean([(level_db(one) if one.any() else -np.inf) - true_db for one, true_db in spread]))

    low, high = 1.0, MOST_RATIO
    if not films or misses_db(low) >= 0:
        return low
    for _ in range(RATIO_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if misses_db(middle) < 0 else (low, middle)
    return low


def fit_gain_db(player: Player, strips: Strips, spans: Sequence[slice]) -> float:
    """Return the gain with which films of validation are as loud as they were: the mean over them, in dB.

    Films whose sound, or whose truth, is silent tell nothing; without any other the gain is 0 dB.
    """
    differences_db = []
    for span in spans:
        heard = player.voice.sound(player.listen(strips.bitmaps, strips.seen[span]))
        first = strips.first[span]
        true = strips.sound[first[0] : first[-1] + strips.length]
        if heard.any() and true.any():
            differences_db.append(level_db(true) - level_db(heard))
    return float(np.mean(differences_db)) if differences_db else 0.0


def level_db(sound: NDArray[np.float32]) -> float:
    """Return the level of a sound that is not silent: 0 dB is the mean square 1."""
    return 10 * float(np.log10(np.square(sound, dtype=np.float64).mean()))


def check(params: BitmapParams, section: str) -> None:
    """Refuse values that make no sense.

    Raises:
        ParamsError: names the first one.
    """
    if params.steps_per_epoch < 1 or params.n_steps < 1 or params.n_steps % params.steps_per_epoch:
        raise ParamsError(
            f"{section}.n_steps is {params.n_steps}, expected a multiple of steps_per_epoch, {params.steps_per_epoch}"
        )
    for name in ("size", "past_step", "sample_rate", "batch_size", "n_frames", "n_validation_frames", "n_threads"):
        if getattr(params, name) < 1:
            raise ParamsError(f"{section}.{name} is {getattr(params, name)}, expected at least 1")
    for name in ("n_past", "n_components", "silent_clip_s", "jitter_contrast", "noise_luma"):
        if getattr(params, name) < 0:
            raise ParamsError(f"{section}.{name} is {getattr(params, name)}, expected at least 0")
    if any(units < 1 for units in params.hidden):
        raise ParamsError(f"{section}.hidden is {params.hidden}, expected at least 1 unit in each layer")
    frame_rate_of(params, section)


def frame_rate_of(params: BitmapParams, section: str) -> Fraction:
    """Return the frames a second, exact.

    Raises:
        ParamsError: it is no rate, or a frame would be shorter than a sample.
    """
    try:
        frame_rate = Fraction(params.frame_rate)
    except (ValueError, ZeroDivisionError):
        raise ParamsError(f"{section}.frame_rate is {params.frame_rate!r}, expected as 30 or 30000/1001") from None
    if not 0 < frame_rate <= params.sample_rate:
        raise ParamsError(
            f"{section}.frame_rate is {frame_rate}, expected above 0 and at most sample_rate, {params.sample_rate}"
        )
    return frame_rate
