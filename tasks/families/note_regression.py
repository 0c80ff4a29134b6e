"""From a camera's pictures to note amplitudes: what the families of the marimba networks share.

Training sequences are drawn from every camera of the training takes. A window's stack are the pictures that the camera
showed at the window's frames, by the master's clock; its target are the amplitudes of that window.

Shapes: B batch, T windows of a sequence, C pictures of a stack, H rows, W columns, F windows of a take, n notes,
m notes that are looked at.

Source:
    Deep Auditory Hallucinations (final code and poster). ``fidelity: original`` keeps what was measured there and is
    listed at `Fidelity`; all else that departs from it is a parameter.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from tasks.errors import DamagedData, ParamsError
from tasks.families.base import Film, NoteAmplitudes, Performance, VideoFamily, film_of_view, n_samples_of
from tasks.families.networks import deterministic_torch, load_network, save_network, torch_device
from tasks.features.amplitudes import note_frequencies_hz
from tasks.features.bleed import fit_bleed
from tasks.features.note_picking import CAREFUL, PickedNotes, Picker, fit_picker, pick_notes
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.plan import note_columns
from tasks.metrics.notes import ONSET_TOLERANCE_S
from tasks.params import Section
from tasks.sound.additive import render_additive
from tasks.store.views import View, ViewSet, check_disjoint_views, pictures_of_frames

SAMPLE_RATE = 22_050
KERAS_LEARNING_RATE = 0.001
STILL_PICTURES = 64  # of a film, whose median is the instrument at rest
DIFFERENCE_LUMA = 64.0  # luma levels that become 1
WINDOWS_AT_A_TIME = 192
CONTEXT = 24  # windows before and behind those that are kept of a long film

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
AtLeastZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class AugmentParams(Section):
    """What training pictures are changed by, drawn for each sequence.

    Attributes:
        gain: contrast, up to this share more or less.
        brightness_luma: added to all of a picture, up to so much.
        shift: pixels, each way.
        blur: up to this share of each pixel comes from its neighbours.
        noise_luma: standard deviation, up to so much.
        mirror: share of the sequences that are seen from the other side, where every note has its own window.
    """

    gain: Share
    brightness_luma: AtLeastZero
    shift: Annotated[int, Field(ge=0, le=64)]
    blur: Share
    noise_luma: AtLeastZero
    mirror: Share


class NoteRegressionParams(Section):
    """What all of these families are told.

    Attributes:
        fidelity: ``original`` keeps the defects of the published code, `Fidelity`.
        instrument: whose captures are learned from.
        cameras: regular expression of the cameras that are learned from.
        height: of the pictures, in pixels.
        width: of the pictures.
        sees: all of the picture, or the window around each note's bar.
        window_width: of such a window, in pixels.
        subtract_still: pictures are differences to the film's median, the instrument at rest.
        sequence_length: windows of a training sequence.
        notes_per_sequence: that are looked at of each, with ``bars``.
        target_power: amplitudes are learned to this power; below 1 soft notes count more.
        rise_weight: of the error of differences from one window to the next, beside that of the amplitudes.
        onset_weight: what a window around a stroke counts more than another in the loss.
        rare_notes: 0 draws strokes as often as they come, 1 each note equally often.
        n_steps: of training.
        steps_per_epoch: between two validations.
        batch_size: sequences.
        learning_rate: of Adam at the beginning; it falls to 0 along a cosine.
        clip_norm: of the gradient.
        weight_decay: decoupled from the gradient.
        augment: of the training pictures.
        precision: Lightning's; with ``bf16-mixed`` convolutions round to 8 bits of mantissa, weights do not.
        n_threads: of the CPU: another number may give other weights.
        seed: of everything that is drawn.
    """

    original_names_its_optimizer: ClassVar[bool] = True  # so that Keras' own learning rate counts

    fidelity: Literal["original", "corrected"]
    instrument: str
    cameras: str
    height: Count
    width: Count
    sees: Literal["picture", "bars"]
    window_width: Count
    subtract_still: bool
    sequence_length: Count
    notes_per_sequence: Count
    target_power: Annotated[float, Field(gt=0, le=1)]
    rise_weight: AtLeastZero
    onset_weight: AtLeastZero
    rare_notes: Share
    n_steps: Count
    steps_per_epoch: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0)]
    clip_norm: Annotated[float, Field(gt=0)]
    weight_decay: AtLeastZero
    augment: AugmentParams
    precision: Literal["32-true", "bf16-mixed"]
    n_threads: Count
    seed: int


P = TypeVar("P", bound=NoteRegressionParams)


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """What the published code does, kept with ``fidelity: original``.

    Attributes:
        lead_frames: a window's target is this many windows later than its pictures: its windows are counted from 1
            where the stacks are counted from 0.
        n_dropped: windows at the end of a take that never are a target.
        sequence_length: windows of a sequence; 1 leaves an LSTM nothing to remember.
        learning_rate: the optimizer was named and not handed over, so that Keras' own rate counts.
        per_take_maximum: every take is divided by its own loudest amplitude, those for testing too.
        validates_on_training: there is no validation part.
    """

    lead_frames: int
    n_dropped: int
    sequence_length: int
    learning_rate: float
    per_take_maximum: bool
    validates_on_training: bool


CORRECTED = Fidelity(
    lead_frames=0,
    n_dropped=0,
    sequence_length=1,
    learning_rate=0.0,
    per_take_maximum=False,
    validates_on_training=False,
)
"""Nothing of the published code's defects, for a system that has neither sequences nor steps."""


def fidelity_of(params: NoteRegressionParams) -> Fidelity:
    """Return what the params ask for, or what the published code does instead."""
    if params.fidelity == "original":
        return Fidelity(
            lead_frames=1,
            n_dropped=1,
            sequence_length=1,
            learning_rate=KERAS_LEARNING_RATE if params.original_names_its_optimizer else params.learning_rate,
            per_take_maximum=True,
            validates_on_training=True,
        )
    return replace(CORRECTED, sequence_length=params.sequence_length, learning_rate=params.learning_rate)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """How a network sees a film; kept with its weights.

    Attributes:
        height: rows of its pictures.
        width: columns.
        n_pictures: of a stack.
        subtract_still: whether it sees differences to the film's median.
    """

    height: int
    width: int
    n_pictures: int
    subtract_still: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A film as a network sees it.

    Attributes:
        pictures: (P, H, W) luma.
        still: (H, W) float32, what is subtracted.
        shown: (F + C - 1,) which picture each frame shows; C of them make a window's stack.
        ages: (F + C - 1,) for how long that picture has been shown at the frame's moment, in frames.
        is_filmed: (F,) whether the camera was running during all of the window.
    """

    pictures: NDArray[np.uint8]
    still: NDArray[np.float32]
    shown: NDArray[np.int64]
    ages: NDArray[np.float32]
    is_filmed: NDArray[np.bool_]

    def frames(self, first: int, last: int) -> NDArray[np.float32]:
        """Return what the stacks of windows ``first`` to ``last - 1`` need (last - first + C - 1, H, W).

        A difference of `DIFFERENCE_LUMA` is 1.
        """
        shown = self.shown[first : last + self.n_more]
        return (self.pictures[shown] - self.still) / np.float32(DIFFERENCE_LUMA)

    @property
    def n_more(self) -> int:
        """How many frames there are more than windows."""
        return len(self.shown) - len(self.is_filmed)


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """A film as the features of its stacks.

    Attributes:
        features: (F, D).
        is_filmed: as in `Seen`.
    """

    features: NDArray[np.float32]
    is_filmed: NDArray[np.bool_]
    n_more: ClassVar[int] = 0

    @property
    def ages(self) -> NDArray[np.float32]:
        """Nothing is told of ages (F,)."""
        return np.zeros(len(self.is_filmed), np.float32)

    def frames(self, first: int, last: int) -> NDArray[np.float32]:
        """Return the features of windows ``first`` to ``last - 1``."""
        return self.features[first:last]


Looked = Seen | Encoded
"""What a network is shown of a film."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A view to learn from.

    Attributes:
        view: which.
        seen: its pictures.
        target: (F, n) amplitudes, 1 for the loudest of training.
        weight: (F, n) of each in the loss.
        strokes: (S, 2) window and note of each stroke that is filmed.
    """

    view: View
    seen: Looked
    target: NDArray[np.float32]
    weight: NDArray[np.float32]
    strokes: NDArray[np.int64]


def see(film: Film, sight: Sight, *, n_windows: int, frame_rate: Fraction) -> Seen:
    """Return a film as a network sees it, window by window of its master's clock.

    Raises:
        ValueError: the film has no picture.
    """
    pictures = film.pictures
    if pictures.shape[1:] != (sight.height, sight.width):
        size = (sight.width, sight.height)
        pictures = np.stack([cv2.resize(picture, size, interpolation=cv2.INTER_AREA) for picture in pictures])
    still = np.zeros(pictures.shape[1:], np.float32)
    if sight.subtract_still:
        spread = np.unique(np.linspace(0, len(pictures) - 1, STILL_PICTURES).astype(int))
        still = np.median(pictures[spread], axis=0).astype(np.float32)
    shown = pictures_of_frames(film.time_s, n_frames=n_windows + sight.n_pictures - 1, frame_rate=frame_rate)
    moments_s = np.arange(len(shown)) / float(frame_rate)
    ages = np.clip((moments_s - film.time_s[shown]) * float(frame_rate), -2, 2).astype(np.float32)
    starts_s = moments_s[:n_windows]
    ends_s = starts_s + 3 / float(frame_rate)
    # The last picture is shown about as long as the others are.
    last_s = film.time_s[-1] + (np.median(np.diff(film.time_s)) if len(film.time_s) > 1 else 0.0)
    is_filmed = (starts_s >= film.time_s[0] - 1e-6) & (ends_s <= last_s + 1.5 / float(frame_rate))
    return Seen(pictures=pictures, still=still, shown=shown, ages=ages, is_filmed=is_filmed)


def targets_of(amplitudes: NDArray[np.floating], *, maximum: float, fidelity: Fidelity) -> NDArray[np.float32]:
    """Return the target of every stack of a take (F, n), 1 for the loudest.

    Args:
        amplitudes: as ``extract`` measures them (F, n).
        maximum: the loudest of all training takes.
        fidelity: what of the published code is kept.

    Returns:
        F rows; with the defects of the original kept, fewer: those without a target are missing at the end.
    """
    scale = float(amplitudes.max()) if fidelity.per_take_maximum else maximum
    n_kept = len(amplitudes) - max(fidelity.lead_frames, fidelity.n_dropped)
    moved = amplitudes[fidelity.lead_frames : fidelity.lead_frames + n_kept]
    return np.asarray(moved / max(scale, 1e-12), np.float32)


def strokes_in(target: NDArray[np.float32], frame_rate: Fraction) -> NDArray[np.int64]:
    """Return window and note (S, 2) of each stroke in amplitudes: the window in whose middle it falls."""
    picked = pick_notes(target, frame_rate=frame_rate, picker=CAREFUL)
    window = np.rint(picked.onset_s * float(frame_rate) - 1.5).astype(np.int64)
    return np.stack([np.clip(window, 0, max(len(target) - 1, 0)), picked.note.astype(np.int64)], axis=1)


def examples_of(
    data: ViewSet,
    views: Sequence[View],
    *,
    sight: Sight,
    maximum: float,
    fidelity: Fidelity,
    onset_weight: float,
    look: Callable[[Seen], Looked] | None = None,
) -> list[Example]:
    """Read views to learn from; those that do not film a whole training sequence are left out.

    Args:
        data: that the views are of.
        views: which.
        sight: how they are seen.
        maximum: the loudest amplitude of training.
        fidelity: what of the published code is kept.
        onset_weight: what a window around a stroke counts more than another.
        look: what is done to a film before it is shown; nothing by default.

    Raises:
        DamagedData: a take has amplitudes for another length than its own.
    """
    found = []
    for view in views:
        amplitudes = data.amplitudes(view.take)
        n_windows = n_windows_of(data.duration_s(view.take), data.frame_rate)
        if abs(len(amplitudes) - n_windows) > 1:  # rounding of the duration
            raise DamagedData(
                f"{data.folder}: take {view.take} has {len(amplitudes)} windows of amplitudes, its "
                f"{data.duration_s(view.take):.3f} s of sound have {n_windows}"
            )
        target = targets_of(amplitudes, maximum=maximum, fidelity=fidelity)
        seen = see(film_of_view(data, view), sight, n_windows=len(target), frame_rate=data.frame_rate)
        if seen.is_filmed.sum() < fidelity.sequence_length:
            continue
        strokes = strokes_in(target, data.frame_rate)
        weight = np.ones_like(target)
        for window, note in strokes:
            weight[max(window - 2, 0) : window + 3, note] = 1 + onset_weight
        strokes = strokes[seen.is_filmed[strokes[:, 0]]]
        shown = seen if look is None else look(seen)
        found.append(Example(view=view, seen=shown, target=target, weight=weight, strokes=strokes))
    return found


class Sampler:
    """Draws training batches: a function of seed, epoch and step alone."""

    def __init__(self, examples: Sequence[Example], params: NoteRegressionParams) -> None:
        self._examples = examples
        self._params = params
        self._length = fidelity_of(params).sequence_length
        self._n_notes = examples[0].target.shape[1]
        owners = [np.full(len(one.strokes), row) for row, one in enumerate(examples)]
        self._owner = np.concatenate(owners)
        self._stroke = np.concatenate([one.strokes for one in examples])
        count = np.bincount(self._stroke[:, 1], minlength=self._n_notes)
        share = np.maximum(count[self._stroke[:, 1]], 1.0) ** -params.rare_notes
        self._chance = share / share.sum() if len(share) else share

    def batch(self, epoch: int, step: int) -> dict[str, Tensor]:
        """Return frames (B, T + C - 1, H, W), target and weight (B, T, m), the notes (B, m), what is mirrored (B,)."""
        rng = np.random.default_rng((self._params.seed, epoch, step))
        drawn = [self._sequence(rng) for _ in range(self._params.batch_size)]
        frames = torch.from_numpy(np.stack([one[0] for one in drawn]))
        return {
            "frames": augmented(frames, rng, self._params.augment),
            "ages": torch.from_numpy(np.stack([one[4] for one in drawn])),
            "target": torch.from_numpy(np.stack([one[1] for one in drawn])),
            "weight": torch.from_numpy(np.stack([one[2] for one in drawn])),
            "notes": torch.from_numpy(np.stack([one[3] for one in drawn])),
            "mirrored": torch.from_numpy(rng.random(len(drawn)) < self._params.augment.mirror),
        }

    def _sequence(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        T = self._length
        note = None
        if len(self._owner) and rng.random() < 0.8:
            row = int(rng.choice(len(self._owner), p=self._chance))
            one = self._examples[self._owner[row]]
            window, note = (int(value) for value in self._stroke[row])
            start = window - int(rng.integers(T))
        else:
            one = self._examples[int(rng.integers(len(self._examples)))]
            start = int(rng.integers(len(one.target)))
        filmed = np.flatnonzero(one.seen.is_filmed)
        start = int(np.clip(start, filmed[0], max(filmed[-1] + 1 - T, filmed[0])))
        rows = np.arange(start, start + T)
        notes = self._notes(rng, one, rows, note)
        ages = one.seen.ages[start : start + T + one.seen.n_more]
        return one.seen.frames(start, start + T), one.target[rows][:, notes], one.weight[rows][:, notes], notes, ages

    def _notes(
        self, rng: np.random.Generator, one: Example, rows: NDArray[np.int64], first: int | None
    ) -> NDArray[np.int64]:
        if self._params.sees == "picture":
            return np.arange(self._n_notes)
        m = min(self._params.notes_per_sequence, self._n_notes)
        sounding = one.target[rows].max(axis=0)
        # Half of what is looked at sounds, the rest is anything: most bars rest most of the time.
        order = np.argsort(-(sounding + 1e-3 * rng.random(self._n_notes)))
        chosen = list(dict.fromkeys([*([] if first is None else [first]), *order[: m // 2].tolist()]))
        rest = [note for note in rng.permutation(self._n_notes).tolist() if note not in chosen]
        return np.array((chosen + rest)[:m], np.int64)


def augmented(frames: Tensor, rng: np.random.Generator, params: AugmentParams) -> Tensor:
    """Give frames (B, T, H, W) another exposure, place, softness and noise, drawn for each of the B."""
    B = len(frames)
    if frames.ndim != 4:  # features are no pictures
        return frames

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (B, 1, 1, 1)).astype(np.float32))

    seen = frames
    if params.shift:
        moves = rng.integers(-params.shift, params.shift + 1, (B, 2)).tolist()
        seen = torch.stack([torch.roll(one, (dy, dx), (-2, -1)) for one, (dy, dx) in zip(seen, moves, strict=True)])
    if params.blur:
        beside = (torch.roll(seen, 1, -1) + torch.roll(seen, -1, -1)) / 4
        beside = beside + (torch.roll(seen, 1, -2) + torch.roll(seen, -1, -2)) / 4
        seen = torch.lerp(seen, beside, drawn(0.0, params.blur))
    seen = seen * (1 + drawn(-params.gain, params.gain))
    seen = seen + drawn(-params.brightness_luma, params.brightness_luma) / DIFFERENCE_LUMA
    if params.noise_luma:
        noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**62))))
        seen = seen + noise * drawn(0.0, params.noise_luma) / DIFFERENCE_LUMA
    return seen


def amplitude_loss(
    network: nn.Module, batch: Mapping[str, Tensor], *, target_power: float, rise_weight: float
) -> Tensor:
    """Return the weighted squared error of a batch's amplitudes, raised to a power, and of their rises.

    Args:
        network: from stacks to amplitudes.
        batch: as `Sampler.batch` returns it.
        target_power: that the targets are raised to.
        rise_weight: of the error of differences from one window to the next, which the picker of notes goes by.
    """
    found = network(batch["frames"], batch["ages"], batch["notes"], batch["mirrored"])  # (B, T, m)
    wrong = found - batch["target"] ** target_power
    weight = batch["weight"]
    loss: Tensor = (weight * wrong.square()).sum() / weight.sum()
    if rise_weight and wrong.shape[1] > 1:
        loss = loss + rise_weight * (weight[:, 1:] * wrong.diff(dim=1).square()).sum() / weight.sum()
    return loss


def make_optimizer(
    parameters: Iterable[nn.Parameter], params: NoteRegressionParams
) -> torch.optim.Optimizer | tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return Adam with decoupled weight decay and its rate over the steps; the original's rate is constant."""
    rate = fidelity_of(params).learning_rate
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=params.weight_decay)
    if params.fidelity == "original":
        return optimizer
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=params.learning_rate, total_steps=params.n_steps, pct_start=0.15
    )
    return optimizer, schedule


@torch.inference_mode()
def predict(
    network: nn.Module, seen: Looked, *, target_power: float, sequence_length: int | None = None
) -> NDArray[np.float32]:
    """Return the amplitudes (F, n) that a network sees, 1 for the loudest of training; 0 where nothing was filmed.

    A long film is seen in parts that overlap, so memory does not grow with it.

    Args:
        network: in evaluation mode.
        seen: the film.
        target_power: that the network was trained on.
        sequence_length: 1 forgets everything from one window to the next, as the original does; None remembers.
    """
    place = next(network.parameters()).device
    n_windows = len(seen.is_filmed)
    found = []
    kept, context = (WINDOWS_AT_A_TIME, CONTEXT) if sequence_length != 1 else (WINDOWS_AT_A_TIME, 0)
    for start in range(0, n_windows, kept):
        first, last = max(start - context, 0), min(start + kept + context, n_windows)
        frames = torch.from_numpy(seen.frames(first, last)).to(place)
        ages = torch.from_numpy(seen.ages[first : last + seen.n_more]).to(place)
        if sequence_length == 1:  # each window by itself
            frames = frames.unfold(0, seen.n_more + 1, 1).movedim(-1, 1)
            ages = ages.unfold(0, seen.n_more + 1, 1)
        else:
            frames, ages = frames[None], ages[None]
        made = network(frames, ages).flatten(0, 1).float().cpu().numpy()  # (windows, n)
        found.append(made[start - first : min(start + kept, n_windows) - first])
    amplitudes = np.concatenate(found) if found else np.zeros((0, 0), np.float32)
    amplitudes = np.maximum(amplitudes, 0) ** (1 / target_power)
    return np.where(seen.is_filmed[:, None], amplitudes, 0).astype(np.float32)


def notes_of(picked: PickedNotes, pitches: Sequence[int]) -> Notes:
    """Return picked strokes as notes; a synthesizer's amplitude grows with the square of the velocity."""
    velocity = np.clip(np.rint(127 * np.sqrt(np.minimum(picked.amplitude, 1.0))), 1, 127).astype(np.uint8)
    return sorted_notes(picked.onset_s, picked.offset_s, np.asarray(pitches, np.uint8)[picked.note], velocity)


def within(notes: Notes, start_s: float, end_s: float) -> Notes:
    """Return the notes with an onset in [start_s, end_s)."""
    return notes.take((notes.onset_s >= start_s) & (notes.onset_s < end_s))


def filmed_span_s(film: Film) -> tuple[float, float]:
    """Return from when to when a film shows its take."""
    return max(0.0, float(film.time_s[0])), min(film.duration_s, float(film.time_s[-1]))


def onset_f1(truth: Sequence[Notes], estimate: Sequence[Notes]) -> float:
    """Return onset F1 over takes together, 0 where there is no note at all.

    The same as by `tasks.metrics.notes.match_notes`, in a tenth of the time: pickers are tried by the hundred.
    """
    pairs = list(zip(truth, estimate, strict=True))
    n_hit = sum(_n_hits(true, found) for true, found in pairs)
    n_both = sum(len(true) + len(found) for true, found in pairs)
    return 2 * n_hit / n_both if n_both else 0.0


def _n_hits(truth: Notes, estimate: Notes) -> int:
    """Count the notes of a largest matching: by pitch, the earliest two that can be matched are."""
    n_hits = 0
    for pitch in np.intersect1d(truth.pitch, estimate.pitch):
        true_s = np.sort(truth.onset_s[truth.pitch == pitch]).tolist()
        found_s = np.sort(estimate.onset_s[estimate.pitch == pitch]).tolist()
        row = column = 0
        while row < len(true_s) and column < len(found_s):
            late_s = round(found_s[column] - true_s[row], 4)  # mir_eval compares so many digits
            if abs(late_s) <= ONSET_TOLERANCE_S:
                n_hits += 1
            row += late_s >= -ONSET_TOLERANCE_S
            column += late_s <= ONSET_TOLERANCE_S
    return n_hits


def true_notes(data: ViewSet, take: str, *, maximum: float, picker: Picker) -> Notes:
    """Return what was played in a take: the MIDI recorded with it, or else the strokes in its true amplitudes."""
    recorded = data.notes(take)
    if recorded is not None:
        return sorted_notes(
            recorded["onset_s"],
            recorded["offset_s"],
            recorded["pitch"].astype(np.uint8),
            recorded["velocity"].astype(np.uint8),
        )
    amplitudes = data.amplitudes(take) / maximum
    return notes_of(pick_notes(amplitudes, frame_rate=data.frame_rate, picker=picker), data.pitches)


def fit_true_picker(data: ViewSet, takes: Sequence[str], *, maximum: float) -> Picker:
    """Return the picker that finds the recorded notes of takes best in their true amplitudes.

    Without a take whose notes were recorded there is nothing to fit it to: `CAREFUL` is returned.
    """
    known = [take for take in takes if data.notes(take) is not None]
    if not known:
        return CAREFUL
    truth = [true_notes(data, take, maximum=maximum, picker=CAREFUL) for take in known]
    amplitudes = [data.amplitudes(take) / maximum for take in known]
    return fit_picker(lambda picker: onset_f1(truth, _picked(amplitudes, data, picker)))


def _picked(amplitudes: Sequence[NDArray[np.floating]], data: ViewSet, picker: Picker) -> list[Notes]:
    return [notes_of(pick_notes(one, frame_rate=data.frame_rate, picker=picker), data.pitches) for one in amplitudes]


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """What a network is made for.

    Attributes:
        name: of the instrument.
        pitches: its notes.
        columns: of the notes' middles in the pictures that the network sees, in pixels.
    """

    name: str
    pitches: tuple[int, ...]
    columns: tuple[float, ...]


class NoteRegressionFamily(VideoFamily[P, ViewSet], Generic[P]):
    """The adapter that these families share; one gives its systems, its stack and its network."""

    data = "captures"
    n_pictures: ClassVar[int] = 3

    @abstractmethod
    def network_config(self, params: P, instrument: Instrument) -> Any:
        """Return the network's config, a dataclass of what JSON can hold."""

    @abstractmethod
    def make_network(self, config: Mapping[str, Any]) -> nn.Module:
        """Return a network from its config as JSON holds it.

        Raises:
            TypeError: it is no such config.
            ValueError: a value makes no sense.
        """

    def fit(self, data: ViewSet, out: Path, *, params: P, resume: Path, accelerator: str) -> None:
        """Train on the training views, keep the best on the validation views, fit the picker of notes there.

        Raises:
            ParamsError: a value makes no sense, or no view is left to learn from.
        """
        from tasks.families.training import fit_network  # Lightning's import outlasts what the other stages do

        system = self.systems[0]
        section = f"train.{system}"
        check(params, section)
        self.check_more(params)
        views = data.only(instrument=params.instrument, cameras=params.cameras)
        parts = {part: views.views(part) for part in ("train", "validation")}
        check_disjoint_views(list(parts.values()))
        for part, found in parts.items():
            if not found:
                raise ParamsError(
                    f"{section}: no {part} take of {params.instrument} has a camera like {params.cameras!r}"
                )
        fidelity = fidelity_of(params)
        sight = Sight(
            height=params.height,
            width=params.width,
            n_pictures=self.n_pictures,
            subtract_still=params.subtract_still,
        )
        maximum = max(float(views.amplitudes(take).max()) for take in views.takes("train"))
        if not maximum > 0:
            raise ParamsError(f"{section}: every training take is silent")
        encoding = self.encoding(params)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            training, validation = (
                examples_of(
                    views,
                    parts[part],
                    sight=sight,
                    maximum=maximum,
                    fidelity=fidelity,
                    onset_weight=params.onset_weight,
                    look=lambda seen: self.look(seen, encoding, accelerator=accelerator),
                )
                for part in ("train", "validation")
            )
        held_out = training if fidelity.validates_on_training else validation
        if not training or not held_out:
            raise ParamsError(
                f"{section}.sequence_length is {params.sequence_length}, expected at most what a take's camera films"
            )
        pitches = views.pitches
        check_sounding(pitches, params.instrument, section)
        columns = note_columns(views.instrument, pitches, width=params.width, margins=views.margins)
        with deterministic_torch(seed=params.seed, n_threads=params.n_threads):
            instrument = Instrument(name=views.instrument, pitches=pitches, columns=tuple(map(float, columns)))
            config = asdict(self.network_config(params, instrument))
            network = self.make_network(config)
            best = fit_network(
                network,
                partial(amplitude_loss, target_power=params.target_power, rise_weight=params.rise_weight),
                partial(make_optimizer, params=params),
                Sampler(training, params).batch,
                validation_batches(held_out, params),
                system=system,
                n_epochs=params.n_steps // params.steps_per_epoch,
                n_steps_per_epoch=params.steps_per_epoch,
                out=out,
                resume=resume,
                accelerator=accelerator,
                precision=params.precision,
                gradient_clip_norm=params.clip_norm,
            )
            network.load_state_dict(best)
            network = network.to(torch_device(accelerator)).eval()
            true_picker = fit_true_picker(views, views.takes("validation"), maximum=maximum)
            picker = _fit_picker(network, views, held_out, params, maximum=maximum, true_picker=true_picker)
            bleed = _fit_bleed(network, training, params)
        facts = {
            "network": config,
            "encoding": encoding,
            "pictures": asdict(sight),
            "target_power": params.target_power,
            "sequence_length": fidelity.sequence_length,
            "maximum": maximum,
            "pitches": list(pitches),
            "frame_rate": str(views.frame_rate),
            "instrument": views.instrument,
            "picker": asdict(picker),
            "bleed": [[round(float(share), 6) for share in row] for row in bleed],
            "true_picker": asdict(true_picker),
            "learning_rate": fidelity.learning_rate,  # the one that was used
            "n_threads": params.n_threads,
        }
        save_network(out / system, network.state_dict(), facts)

    def perform(
        self,
        trained: Path,
        films: Mapping[str, Film],
        *,
        accelerator: str,
        truth: Mapping[str, Any] | None,  # noqa: ARG002 - this family reads the film alone
    ) -> Iterator[Performance]:
        """See the amplitudes in every film, pick the notes, and sound one oscillator a note.

        Raises:
            DamagedData: what was trained is missing or damaged.
        """
        system = self.systems[0]
        network, facts = self.load(trained / system)
        network = network.to(torch_device(accelerator))
        for name, film in films.items():
            if film.instrument not in (None, facts["instrument"]):
                continue
            with deterministic_torch(seed=0, n_threads=facts["n_threads"]):
                amplitudes = self.amplitudes(network, facts, film, accelerator=accelerator)
            yield performance_of(
                amplitudes,
                system=system,
                name=name,
                film=film,
                maximum=facts["maximum"],
                bleed=facts["bleed"],
                picker=facts["picker"],
                pitches=facts["pitches"],
                frame_rate=facts["frame_rate"],
            )

    def check_more(self, params: P) -> None:
        """Refuse what one family cannot do; raises ParamsError."""

    def encoding(self, params: P) -> dict[str, Any]:  # noqa: ARG002 - of families that have one
        """Return what is done to pictures before the network sees them, as JSON holds it."""
        return {}

    def look(self, seen: Seen, encoding: Mapping[str, Any], *, accelerator: str) -> Looked:  # noqa: ARG002
        """Return what the network is shown of a film."""
        return seen

    def amplitudes(
        self, network: nn.Module, facts: Mapping[str, Any], film: Film, *, accelerator: str = "cpu"
    ) -> NDArray[np.float32]:
        """Return what a trained network sees in a film (F, n), 1 for the loudest of training."""
        frame_rate = facts["frame_rate"]
        seen = see(film, facts["pictures"], n_windows=n_windows_of(film.duration_s, frame_rate), frame_rate=frame_rate)
        looked = self.look(seen, facts["encoding"], accelerator=accelerator)
        found = predict(network, looked, target_power=facts["target_power"], sequence_length=facts["sequence_length"])
        return found.reshape(len(seen.is_filmed), len(facts["pitches"]))

    def load(self, stem: Path) -> tuple[nn.Module, dict[str, Any]]:
        """Read a trained network and what was fitted beside it.

        Raises:
            DamagedData: a file is missing, or not what `fit` writes.
        """
        needed: dict[str, Callable[[Any], Any]] = {
            "maximum": float,
            "target_power": float,
            "sequence_length": int,
            "n_threads": int,
            "pitches": tuple,
            "encoding": dict,
            "bleed": _square,
            "picker": lambda found: Picker(**found),
            "pictures": lambda found: Sight(**found),
            "frame_rate": Fraction,
        }
        network, facts = load_network(stem, lambda facts: self.make_network(facts["network"]), needed)
        if len(facts["bleed"]) != len(facts["pitches"]):
            raise DamagedData(
                f"{stem}.json has bleed of {len(facts['bleed'])} notes, expected {len(facts['pitches'])}: train the "
                "family again"
            )
        return network, facts


def _square(rows: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    found = np.array(rows, np.float32)
    if found.ndim != 2 or len(set(found.shape)) != 1:
        raise ValueError(f"bleed has shape {found.shape}")
    return found


def performance_of(
    amplitudes: NDArray[np.float32],
    *,
    system: str,
    name: str,
    film: Film,
    maximum: float,
    picker: Picker,
    pitches: tuple[int, ...],
    frame_rate: Fraction,
    bleed: NDArray[np.float32] | None = None,
) -> Performance:
    """Return a performance from note amplitudes (F, n), 1 for the loudest of training.

    Strokes are picked from the amplitudes as they are; what would be measured of them, bleed and all, is what sounds.

    Args:
        amplitudes: that were seen.
        system: the row in the tables.
        name: of the film, ``TAKE/CAMERA``.
        film: it.
        maximum: what an amplitude of 1 stands for.
        picker: of the notes.
        pitches: of the instrument.
        frame_rate: windows a second.
        bleed: (n, n), if the amplitudes are those of notes by themselves.
    """
    values = (amplitudes if bleed is None else amplitudes @ bleed) * np.float32(maximum)
    n_samples = n_samples_of(film, SAMPLE_RATE)
    audio = np.zeros(n_samples, np.float32)
    if len(values):
        sound = render_additive(values, pitches, frame_rate=frame_rate, sample_rate=SAMPLE_RATE)[:n_samples]
        audio[: len(sound)] = sound
    take, _, camera = name.partition("/")
    return Performance(
        system=system,
        take=take,
        audio=audio,
        sample_rate=SAMPLE_RATE,
        notes=notes_of(pick_notes(amplitudes, frame_rate=frame_rate, picker=picker), pitches),
        camera=camera or film.camera,
        amplitudes=NoteAmplitudes(values=values, pitches=pitches, frame_rate=frame_rate),
    )


def n_windows_of(duration_s: float, frame_rate: Fraction) -> int:
    """Return how many windows of three frames a take of this length has."""
    return max(int(duration_s * frame_rate) - 2, 0)


def validation_batches(examples: Sequence[Example], params: NoteRegressionParams) -> list[dict[str, Tensor]]:
    """Return all of the validation views once, in sequences of the training length, as they are."""
    T = fidelity_of(params).sequence_length
    n_notes = examples[0].target.shape[1]
    batches = []
    for one in examples:
        rows = np.flatnonzero(one.seen.is_filmed)
        starts = rows[0] + T * np.arange(len(rows) // T)
        for group in range(0, len(starts), params.batch_size):
            windows = starts[group : group + params.batch_size, None] + np.arange(T)
            B = len(windows)
            batches.append(
                {
                    "frames": torch.from_numpy(np.stack([one.seen.frames(int(r[0]), int(r[0]) + T) for r in windows])),
                    "ages": torch.from_numpy(
                        np.stack([one.seen.ages[int(r[0]) : int(r[0]) + T + one.seen.n_more] for r in windows])
                    ),
                    "target": torch.from_numpy(one.target[windows]),
                    "weight": torch.from_numpy(one.weight[windows]),
                    "notes": torch.arange(n_notes).expand(B, -1).contiguous(),
                    "mirrored": torch.zeros(B, dtype=torch.bool),
                }
            )
    return batches


def check(params: NoteRegressionParams, section: str) -> None:
    """Refuse values that do not go together.

    Raises:
        ParamsError: names the value.
    """
    if params.n_steps % params.steps_per_epoch:
        raise ParamsError(
            f"{section}.n_steps is {params.n_steps}, expected a multiple of steps_per_epoch, {params.steps_per_epoch}"
        )
    if params.sees == "picture" and params.augment.mirror:
        raise ParamsError(
            f"{section}.augment.mirror is {params.augment.mirror}, expected 0 with sees: picture: a mirrored picture "
            "has its low notes on the right"
        )


def check_sounding(pitches: Sequence[int], instrument: str, section: str) -> None:
    """Refuse an instrument with notes that the sound's rate cannot hold.

    Raises:
        ParamsError: names them.
    """
    high = ", ".join(str(pitch) for pitch in pitches if note_frequencies_hz(pitch) >= SAMPLE_RATE / 2)
    if high:
        raise ParamsError(
            f"{section}.instrument is {instrument}, which has the notes {high}, expected notes below "
            f"{SAMPLE_RATE / 2:g} Hz, half of the rate that they are sounded at"
        )


def _fit_picker(
    network: nn.Module,
    data: ViewSet,
    examples: Sequence[Example],
    params: NoteRegressionParams,
    *,
    maximum: float,
    true_picker: Picker,
) -> Picker:
    """Fit the picker to what the network sees in the validation views."""
    fidelity = fidelity_of(params)
    length = 1 if fidelity.sequence_length == 1 else None
    seen = [predict(network, one.seen, target_power=params.target_power, sequence_length=length) for one in examples]
    return fit_picker_on(seen, examples, data, maximum=maximum, true_picker=true_picker)


def _fit_bleed(network: nn.Module, examples: Sequence[Example], params: NoteRegressionParams) -> NDArray[np.float32]:
    """Fit the bleed to what the network sees in one view of each training take; the original knows none."""
    if params.fidelity == "original":
        return np.eye(examples[0].target.shape[1], dtype=np.float32)
    seen, true = [], []
    for one in {example.view.take: example for example in reversed(examples)}.values():
        filmed = one.seen.is_filmed
        seen.append(predict(network, one.seen, target_power=params.target_power)[filmed])
        true.append(one.target[filmed])
    return fit_bleed(np.concatenate(seen), np.concatenate(true))


def fit_picker_on(
    amplitudes: Sequence[NDArray[np.floating]],
    examples: Sequence[Example],
    data: ViewSet,
    *,
    maximum: float,
    true_picker: Picker,
) -> Picker:
    """Return the picker that finds the true notes of views best in the amplitudes (F, n) that a system saw there."""
    truth = []
    for one in examples:
        filmed = np.flatnonzero(one.seen.is_filmed)
        span_s = filmed[0] / float(data.frame_rate), (filmed[-1] + 3) / float(data.frame_rate)
        truth.append(within(true_notes(data, one.view.take, maximum=maximum, picker=true_picker), *span_s))
    return fit_picker(lambda picker: onset_f1(truth, _picked(amplitudes, data, picker)))
