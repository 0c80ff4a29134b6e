"""The reader of pictures of family ``wave_unet``: trained on players whose notes are known, asked of every view."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.player_reader import PlayerReader, PlayerReaderConfig
from tasks.errors import DamagedData, ParamsError
from tasks.families.base import VALIDATION_LOSS, TrainingModule, fill_network, load_network, save_network
from tasks.instruments.orchestra import SLOTS
from tasks.store.ensembles import N_PITCHES, EnsembleSet

if TYPE_CHECKING:
    from tasks.families.wave_unet import WaveUnetParams

READER = "player_reader"
READ_AT_ONCE = 256  # pictures; where they are cut, those beside are read as well
READ_BESIDE = 8
READER_PICTURES = 64  # of a player, in a training step


def fit_reader(data: EnsembleSet, params: "WaveUnetParams", fit: dict[str, Any]) -> PlayerReader:
    """Train the reader of pictures on the training players whose notes are known."""
    from tasks.families.training import fit_module

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
            pictures, usual = view.pictures[span].astype(np.float32), view.usual.astype(np.float32)
            if part == "train":  # chairs, lamps and cameras differ
                shift = tuple(rng.integers(-2, 3, 2))
                pictures, usual = np.roll(pictures, shift, axis=(1, 2)), np.roll(usual, shift, axis=(0, 1))
                pictures = pictures + rng.normal(0, 2, pictures.shape).astype(np.float32)
            rows.append((pictures, usual, view.motion[span], view.slot, view.sounding[span]))
        columns = [np.stack([np.asarray(row[column]) for row in rows]) for column in range(5)]
        return tuple(map(torch.from_numpy, columns))

    best = fit_module(
        _Reading(network, params),
        make_batch,
        [make_batch(0, step, "validation") for step in range(4)],
        system=READER,
        n_epochs=max(1, params.reader_steps // params.steps_per_epoch),
        n_steps_per_epoch=min(params.reader_steps, params.steps_per_epoch),
        **fit,
    )
    network.load_state_dict({name.removeprefix("network."): tensor for name, tensor in best.items()})
    save_network(fit["out"] / READER, network.state_dict(), {"network": asdict(network.config)})
    return network.cpu().eval()


@dataclass(frozen=True)
class _View:
    """What the reader learns from of one player."""

    pictures: NDArray[np.uint8]
    usual: NDArray[np.uint8]
    motion: NDArray[np.float32]
    slot: np.int64
    sounding: NDArray[np.bool_]


def _views(data: EnsembleSet, part: str, held_s: float) -> list[_View]:
    """Return the players of a part who are seen and whose notes are known, those of ``held_s`` in all at most."""
    views: list[_View] = []
    for take in data.takes(part):
        rolls, motion, pictures = data.rolls(take), data.motion(take), data.pictures(take)
        for player, code in enumerate(data.instruments(take)):
            if pictures[player].any() and rolls[player].any():
                seen = pictures[player]
                slot = np.int64(SLOTS.index(code))
                views.append(_View(seen, usual_picture(seen), motion[player], slot, rolls[player] > 0))
        if sum(len(view.pictures) for view in views) > held_s * data.frame_rate:
            break
    if not views:
        raise ParamsError(
            f"train.wave_unet.told_by asks what is seen, and no {part} take shows players and their notes"
        )
    return views


class _Reading(TrainingModule):
    """What Lightning needs to train the reader of pictures."""

    def __init__(self, network: PlayerReader, params: "WaveUnetParams") -> None:
        super().__init__()
        self.network = network
        self._n_steps = max(1, params.reader_steps // params.steps_per_epoch) * params.steps_per_epoch

    def training_step(self, batch: tuple[Tensor, ...], step: int) -> Tensor:  # noqa: ARG002
        return self._loss(batch)

    def validation_step(self, batch: tuple[Tensor, ...], step: int) -> None:  # noqa: ARG002
        self.log(VALIDATION_LOSS, self._loss(batch), batch_size=len(batch[0]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=self._n_steps, pct_start=0.05)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        pictures, usual, motion, slot, sounding = batch
        instruments, notes = self.network(pictures, usual, motion)
        # Of 128 pitches one sounds or none: summed over them, a picture's error is that of one choice.
        read = functional.binary_cross_entropy_with_logits(notes, sounding.float(), reduction="none").sum(dim=2).mean()
        return read + 0.3 * functional.cross_entropy(instruments, slot)


def load_reader(trained: Path) -> PlayerReader:
    """Read the reader of pictures that `WaveUnetFamily.fit` wrote.

    Raises:
        DamagedData: it is missing or damaged.
    """
    state, facts = load_network(trained / READER)
    try:
        network = PlayerReader(PlayerReaderConfig(**facts["network"]))
    except (KeyError, TypeError) as error:
        raise DamagedData(f"{trained / READER}.json does not describe a reader of pictures: {error!r}") from None
    fill_network(network, state, source=trained / READER)
    return network.eval()


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
        The probability of each instrument (13,), and that each pitch sounds (T, 128); zeros where all is black.
    """
    if not pictures.any():
        return np.zeros(len(SLOTS), np.float32), np.zeros((len(pictures), N_PITCHES), np.float32)
    usual = torch.from_numpy(usual_picture(pictures))[None]
    instruments, notes = np.zeros(len(SLOTS)), np.zeros((len(pictures), N_PITCHES), np.float32)
    for start in range(0, len(pictures), READ_AT_ONCE):
        first, last = max(start - READ_BESIDE, 0), min(start + READ_AT_ONCE + READ_BESIDE, len(pictures))
        logits, sounding = reader(
            torch.from_numpy(pictures[first:last])[None], usual, torch.from_numpy(motion[first:last])[None]
        )
        instruments += torch.softmax(logits[0], dim=0).double().numpy() * (last - first)
        n = min(READ_AT_ONCE, len(pictures) - start)
        notes[start : start + n] = torch.sigmoid(sounding[0]).numpy()[start - first : start - first + n]
    return np.asarray(instruments / instruments.sum(), np.float32), notes


def usual_picture(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the median (H, W) of some hundred of a take's pictures (T, H, W)."""
    return np.asarray(np.median(pictures[:: max(len(pictures) // 100, 1)], axis=0), np.uint8)
