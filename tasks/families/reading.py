"""The reader of pictures of family ``wave_unet``: trained on players whose notes are known, asked of every view."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.player_reader import N_MOMENTARY, PlayerReader, PlayerReaderConfig
from tasks.errors import ParamsError
from tasks.families.networks import load_network, save_network
from tasks.instruments.orchestra import SLOTS
from tasks.store.ensembles import N_PITCHES, EnsembleSet

if TYPE_CHECKING:
    from tasks.families.wave_unet import WaveUnetParams

READER = "player_reader"
READ_AT_ONCE = 256  # pictures; where they are cut, those beside are read as well
READ_BESIDE = 8
READER_PICTURES = 64  # of a player, in a training step
PORTRAITS = 4  # seen in a training step, a player whose pictures are
ONSET_WEIGHT = 3.0
N_SEEN = N_PITCHES + N_MOMENTARY


def fit_reader(data: EnsembleSet, params: "WaveUnetParams", fit: dict[str, Any]) -> PlayerReader:
    """Train the reader of pictures on the training players whose notes are known."""
    from tasks.families.training import fit_network

    views = {part: _views(data, part, params.held_s) for part in ("train", "validation")}
    torch.manual_seed(params.seed)
    network = PlayerReader(
        PlayerReaderConfig(
            n_instruments=len(SLOTS),
            n_pitches=N_PITCHES,
            n_motion=data.n_motion,
            n_filters=params.reader_filters,
            n_hidden=params.reader_hidden,
        )
    )
    n_pictures = min(READER_PICTURES, *(len(view.pictures) for part in views.values() for view in part))

    def make_batch(epoch: int, step: int, part: str = "train") -> tuple[Tensor, ...]:
        rng = np.random.default_rng((params.seed, epoch, step))
        rows = []
        for _ in range(params.reader_batch_size):
            view = views[part][rng.integers(len(views[part]))]
            start = int(rng.integers(len(view.pictures) - n_pictures + 1))
            span = slice(start, start + n_pictures)
            pictures, portrait = view.pictures[span].astype(np.float32), view.portrait
            if part == "train":  # chairs, lamps and cameras differ
                shift = tuple(rng.integers(-2, 3, 2))
                pictures, portrait = (np.roll(found, shift, axis=(1, 2)) for found in (pictures, portrait))
                pictures = pictures + rng.normal(0, 2, pictures.shape).astype(np.float32)
            rows.append((pictures, portrait, view.motion[span], view.seen[span]))
        faces = []  # a portrait costs little beside so many pictures: more of them, and each seen anew
        for row in rng.integers(len(views[part]), size=PORTRAITS * params.reader_batch_size):
            view = views[part][row]
            portrait = view.portrait
            if part == "train":
                portrait = np.roll(portrait, tuple(rng.integers(-3, 4, 2)), axis=(1, 2)) * rng.uniform(0.85, 1.15)
                portrait = portrait + rng.normal(0, 1, portrait.shape)
            faces.append((portrait.astype(np.float32), view.slot))
        columns = [*zip(*rows, strict=True), *zip(*faces, strict=True)]
        return tuple(torch.from_numpy(np.stack([np.asarray(found) for found in column])) for column in columns)

    n_steps = max(1, params.reader_steps // params.steps_per_epoch) * params.steps_per_epoch
    best = fit_network(
        network,
        reading_loss,
        partial(_optimizer, n_steps=n_steps),
        make_batch,
        [make_batch(0, step, "validation") for step in range(4)],
        system=READER,
        n_epochs=max(1, params.reader_steps // params.steps_per_epoch),
        n_steps_per_epoch=min(params.reader_steps, params.steps_per_epoch),
        precision=params.precision,
        **fit,
    )
    network.load_state_dict(best)
    save_network(fit["out"] / READER, network.state_dict(), {"network": asdict(network.config)})
    return network.cpu().eval()


@dataclass(frozen=True)
class _View:
    """What the reader learns from of one player."""

    pictures: NDArray[np.uint8]
    portrait: NDArray[np.float32]
    motion: NDArray[np.float32]
    slot: np.int64
    seen: NDArray[np.float32]


def _views(data: EnsembleSet, part: str, held_s: float) -> list[_View]:
    """Return the players of a part who are seen and whose notes are known, those of ``held_s`` in all at most."""
    views: list[_View] = []
    for take in data.takes(part):
        rolls, motion, pictures = data.rolls(take), data.motion(take), data.pictures(take)
        notes = data.notes(take)
        for player, code in enumerate(data.instruments(take)):
            if pictures[player].any() and rolls[player].any():
                seen = pictures[player]
                slot = np.int64(SLOTS.index(code))
                told = with_moments(rolls[player] > 0, notes[player], data.frame_rate)
                views.append(_View(seen, portrait_of(seen), motion[player], slot, told))
        if sum(len(view.pictures) for view in views) > held_s * data.frame_rate:
            break
    if not views:
        raise ParamsError(
            f"train.wave_unet.told_by asks what is seen, and no {part} take shows players and their notes"
        )
    return views


def _optimizer(
    parameters: Iterable[nn.Parameter], n_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=n_steps, pct_start=0.05)


def reading_loss(network: PlayerReader, batch: tuple[Tensor, ...]) -> Tensor:
    """Return the cross-entropy of the notes and moments of players' pictures, and that of portraits' instruments."""
    pictures, portraits, motion, seen, faces, slots = batch
    _, notes = network(pictures, portraits, motion)
    # Of 128 pitches one sounds or none: summed over them, a picture's error is that of one choice. Onsets are rare.
    errors = functional.binary_cross_entropy_with_logits(notes, seen, reduction="none").mean(dim=(0, 1))
    named = functional.cross_entropy(network.recognize(faces), slots, label_smoothing=0.05)
    return errors.sum() + (ONSET_WEIGHT - 1) * errors[N_PITCHES] + named


def with_moments(
    sounding: NDArray[np.bool_], notes: NDArray[np.float64] | None, frame_rate: Fraction
) -> NDArray[np.float32]:
    """Return which pitches sound in each picture's time, whether a note begins in it, and whether any sounds.

    Args:
        sounding: (T, 128).
        notes: (M, 4), onsets in s first; None where they are not known: a pitch that did not sound begins.
        frame_rate: of the pictures, in Hz.

    Returns:
        (T, 130).
    """
    if notes is None:
        begins = (sounding & ~np.concatenate([np.zeros_like(sounding[:1]), sounding[:-1]])).any(axis=1)
    else:
        begins = np.zeros(len(sounding), np.bool_)
        rows = np.floor(notes[:, 0] * float(frame_rate) + 1e-6).astype(int)
        begins[rows[(rows >= 0) & (rows < len(begins))]] = True
    return np.column_stack([sounding, begins, sounding.any(axis=1)]).astype(np.float32)


def load_reader(trained: Path) -> PlayerReader:
    """Read the reader of pictures that `WaveUnetFamily.fit` wrote.

    Raises:
        DamagedData: it is missing or damaged.
    """
    network, _ = load_network(trained / READER, lambda facts: PlayerReader(PlayerReaderConfig(**facts["network"])), {})
    return network


@torch.no_grad()
def read_view(
    reader: PlayerReader, pictures: NDArray[np.uint8], motion: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read one player's view.

    Args:
        reader: trained.
        pictures: (T, H, W).
        motion: (T, F).

    Returns:
        The probability of each instrument (13,), and (T, 130) that each pitch sounds, that a note begins and that any
        sounds; zeros where all is black.
    """
    if not pictures.any():
        return np.zeros(len(SLOTS), np.float32), np.zeros((len(pictures), N_SEEN), np.float32)
    portrait = torch.from_numpy(portrait_of(pictures))[None]
    instruments = torch.softmax(reader.recognize(portrait)[0], dim=0).numpy()
    notes = np.zeros((len(pictures), N_SEEN), np.float32)
    for start in range(0, len(pictures), READ_AT_ONCE):
        first, last = max(start - READ_BESIDE, 0), min(start + READ_AT_ONCE + READ_BESIDE, len(pictures))
        _, sounding = reader(
            torch.from_numpy(pictures[first:last])[None], portrait, torch.from_numpy(motion[first:last])[None]
        )
        n = min(READ_AT_ONCE, len(pictures) - start)
        notes[start : start + n] = torch.sigmoid(sounding[0]).numpy()[start - first : start - first + n]
    return np.asarray(instruments, np.float32), notes


def portrait_of(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the median and the standard deviation (2, H, W) of some hundred of a take's pictures (T, H, W)."""
    some = pictures[:: max(len(pictures) // 100, 1)]
    return np.stack([np.median(some, axis=0), some.std(axis=0)]).astype(np.float32)
