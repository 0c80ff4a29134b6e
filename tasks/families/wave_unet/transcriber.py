"""Training and use of the video transcriber: it learns from players whose notes are known."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from models.video_transcriber import N_ACTIVITY, VideoTranscriber, VideoTranscriberConfig
from tasks.errors import ParamsError
from tasks.families.networks import load_network, save_network
from tasks.instruments.orchestra import SLOTS
from tasks.params import Section
from tasks.store.ensembles import N_PITCHES, EnsembleSet

TRANSCRIBER = "video_transcriber"
N_NOTE_FEATURES = N_PITCHES + N_ACTIVITY
PICTURES_AT_ONCE = 256  # where a video is cut, the pictures beside the cut are inputs of both pieces
PICTURES_BESIDE = 8
TRAINING_PICTURES = 64  # of a player, in a training step
PORTRAITS = 4  # of a training step, for each player with pictures in it
ONSET_WEIGHT = 3.0
LEARNING_RATE = 2e-3  # highest of a cycle

Count = Annotated[int, Field(ge=1)]


class TranscriberParams(Section):
    """How the video transcriber is trained.

    Attributes:
        n_filters: of its first layer.
        n_hidden: features of its other layers.
        n_steps: of its training.
        batch_size: players.
    """

    n_filters: Count
    n_hidden: Count
    n_steps: Count
    batch_size: Count


@dataclass(frozen=True)
class _View:
    """A training example: one player's video and its targets."""

    pictures: NDArray[np.uint8]  # (T, H, W)
    portrait: NDArray[np.float32]  # (2, H, W)
    motion: NDArray[np.float32]  # (T, F)
    slot: np.int64
    notes: NDArray[np.float32]  # (T, N_NOTE_FEATURES)


def fit_transcriber(
    data: EnsembleSet,
    params: TranscriberParams,
    *,
    steps_per_epoch: int,
    held_s: float,
    precision: str,
    seed: int,
    out: Path,
    resume: Path,
    accelerator: str,
) -> VideoTranscriber:
    """Train a transcriber on the training players whose notes are known, and write it to ``out``.

    Args:
        data: test takes are never opened.
        params: sizes and steps.
        steps_per_epoch: between two validations.
        held_s: seconds of each part's players that memory holds at most.
        precision: Lightning's word.
        seed: of everything drawn.
        out: as in `tasks.families.base.Family.fit`.
        resume: the same.
        accelerator: the same.

    Raises:
        ParamsError: the training or the validation takes have no player with a video and notes.
    """
    from tasks.families.training import fit_network

    views = {part: _views(data, part, held_s) for part in ("train", "validation")}
    torch.manual_seed(seed)
    network = VideoTranscriber(
        VideoTranscriberConfig(
            n_instruments=len(SLOTS),
            n_pitches=N_PITCHES,
            n_motion=data.n_motion,
            n_filters=params.n_filters,
            n_hidden=params.n_hidden,
        )
    )
    n_pictures = min(TRAINING_PICTURES, *(len(view.pictures) for part in views.values() for view in part))
    n_epochs = max(1, params.n_steps // steps_per_epoch)

    def make_batch(epoch: int, step: int, part: str = "train") -> tuple[Tensor, ...]:
        rng = np.random.default_rng((seed, epoch, step))
        return _batch(rng, views[part], params.batch_size, n_pictures, augmented=part == "train")

    def make_optimizer(parameters: Iterable[nn.Parameter]) -> tuple[Optimizer, LRScheduler]:
        optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.01)
        return optimizer, OneCycleLR(optimizer, LEARNING_RATE, total_steps=n_epochs * steps_per_epoch, pct_start=0.05)

    best = fit_network(
        network,
        transcription_loss,
        make_optimizer,
        make_batch,
        [make_batch(0, step, "validation") for step in range(4)],
        system=TRANSCRIBER,
        n_epochs=n_epochs,
        n_steps_per_epoch=min(params.n_steps, steps_per_epoch),
        precision=precision,
        out=out,
        resume=resume,
        accelerator=accelerator,
    )
    network.load_state_dict(best)
    save_network(out / TRANSCRIBER, network.state_dict(), {"network": asdict(network.config)})
    return network.cpu().eval()


def _batch(
    rng: np.random.Generator, views: list[_View], n_players: int, n_pictures: int, *, augmented: bool
) -> tuple[Tensor, ...]:
    """Draw a batch: pictures, portraits, motion, notes; then further portraits and their instruments.

    A portrait costs little beside so many pictures: there are more of them, each augmented on its own.
    """
    rows = []
    for _ in range(n_players):
        view = views[rng.integers(len(views))]
        start = int(rng.integers(len(view.pictures) - n_pictures + 1))
        span = slice(start, start + n_pictures)
        pictures, portrait = view.pictures[span].astype(np.float32), view.portrait
        if augmented:  # chairs, lamps and cameras differ
            shift = tuple(rng.integers(-2, 3, 2))
            pictures, portrait = (np.roll(found, shift, axis=(1, 2)) for found in (pictures, portrait))
            pictures = pictures + rng.normal(0, 2, pictures.shape).astype(np.float32)
        rows.append((pictures, portrait, view.motion[span], view.notes[span]))
    portraits = []
    for row in rng.integers(len(views), size=PORTRAITS * n_players):
        view = views[row]
        portrait = view.portrait
        if augmented:
            portrait = np.roll(portrait, tuple(rng.integers(-3, 4, 2)), axis=(1, 2)) * rng.uniform(0.85, 1.15)
            portrait = portrait + rng.normal(0, 1, portrait.shape)
        portraits.append((portrait.astype(np.float32), view.slot))
    columns = [*zip(*rows, strict=True), *zip(*portraits, strict=True)]
    return tuple(torch.from_numpy(np.stack([np.asarray(found) for found in column])) for column in columns)


def _views(data: EnsembleSet, part: str, held_s: float) -> list[_View]:
    """Return the players of a part who have a video and notes, those of about ``held_s`` in all at most."""
    views: list[_View] = []
    for take in data.takes(part):
        rolls, motion, pictures = data.rolls(take), data.motion(take), data.pictures(take)
        notes = data.notes(take)
        for player, code in enumerate(data.instruments(take)):
            if pictures[player].any() and rolls[player].any():
                slot = np.int64(SLOTS.index(code))
                targets = note_features(rolls[player] > 0, notes[player], data.frame_rate)
                views.append(_View(pictures[player], portrait_of(pictures[player]), motion[player], slot, targets))
        if sum(len(view.pictures) for view in views) > held_s * data.frame_rate:
            break
    if not views:
        raise ParamsError(
            f"train.wave_unet.conditioned_on needs players with a video and notes to learn from, found none in the "
            f"{part} takes: leave out classifier, onsets_video and pitches_video"
        )
    return views


def transcription_loss(network: VideoTranscriber, batch: tuple[Tensor, ...]) -> Tensor:
    """Return the cross entropies of notes and instruments, summed, of a batch as the training draws it."""
    pictures, portraits, motion, targets, more_portraits, slots = batch
    _, notes = network(pictures, portraits, motion)
    # Of 128 pitches one sounds or none: summed over them, a picture's error is that of one choice. Onsets are rare.
    errors = functional.binary_cross_entropy_with_logits(notes, targets, reduction="none").mean(dim=(0, 1))
    instruments = functional.cross_entropy(network.classify(more_portraits), slots, label_smoothing=0.05)
    return errors.sum() + (ONSET_WEIGHT - 1) * errors[N_PITCHES] + instruments


def note_features(
    sounding: NDArray[np.bool_], notes: NDArray[np.float64] | None, frame_rate: Fraction
) -> NDArray[np.float32]:
    """Return of each picture which pitches sound, whether a note begins, and whether any note sounds.

    Args:
        sounding: (T, 128).
        notes: (M, 4), onsets in s first; None where they are not known: then a note begins where its pitch did not
            sound in the picture before.
        frame_rate: of the pictures, in Hz.

    Returns:
        (T, 130), 0 or 1.
    """
    if notes is None:
        begins = (sounding & ~np.concatenate([np.zeros_like(sounding[:1]), sounding[:-1]])).any(axis=1)
    else:
        begins = np.zeros(len(sounding), np.bool_)
        rows = np.floor(notes[:, 0] * float(frame_rate) + 1e-6).astype(int)
        begins[rows[(rows >= 0) & (rows < len(begins))]] = True
    return np.column_stack([sounding, begins, sounding.any(axis=1)]).astype(np.float32)


def load_transcriber(trained: Path) -> VideoTranscriber:
    """Read what `fit_transcriber` wrote.

    Raises:
        DamagedData: it is missing, damaged or of an older version.
    """

    def make(facts: dict[str, Any]) -> VideoTranscriber:
        return VideoTranscriber(VideoTranscriberConfig(**facts["network"]))

    network, _ = load_network(trained / TRANSCRIBER, make, {})
    return network


@torch.no_grad()
def transcribe(
    transcriber: VideoTranscriber, pictures: NDArray[np.uint8], motion: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Transcribe one player's video.

    Args:
        transcriber: trained.
        pictures: (T, H, W).
        motion: (T, F).

    Returns:
        The probability of each instrument (13,), and (T, 130) that each pitch sounds, that a note begins and that any
        note sounds; zeros where all pictures are black.
    """
    notes = np.zeros((len(pictures), N_NOTE_FEATURES), np.float32)
    if not pictures.any():
        return np.zeros(len(SLOTS), np.float32), notes
    portrait = torch.from_numpy(portrait_of(pictures))[None]
    instruments = torch.softmax(transcriber.classify(portrait)[0], dim=0).numpy()
    for start in range(0, len(pictures), PICTURES_AT_ONCE):
        first = max(start - PICTURES_BESIDE, 0)
        last = min(start + PICTURES_AT_ONCE + PICTURES_BESIDE, len(pictures))
        _, logits = transcriber(
            torch.from_numpy(pictures[first:last])[None], portrait, torch.from_numpy(motion[first:last])[None]
        )
        n = min(PICTURES_AT_ONCE, len(pictures) - start)
        notes[start : start + n] = torch.sigmoid(logits[0]).numpy()[start - first : start - first + n]
    return np.asarray(instruments, np.float32), notes


def portrait_of(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median and the standard deviation (2, H, W) of about a hundred of a take's pictures (T, H, W)."""
    some = pictures[:: max(len(pictures) // 100, 1)]
    return np.stack([np.median(some, axis=0), some.std(axis=0)]).astype(np.float32)
