"""The files of a separation.

``SYSTEM/TAKE/`` holds ``mix.flac`` and ``stem_N_CODE.flac`` for each player N from 1 on. The sounds of a system that
does not assign its outputs to players are put in the order that fits the true stems best before they are written.

Shapes: K players, C channels, n samples.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.separation import Separation
from tasks.features.resample import resample
from tasks.metrics.separation import best_permutation
from tasks.store.audio import read_channels, write_channels

MIX_FILE = "mix.flac"

MAX_RESAMPLED = 1  # sample that a resampled sound may be longer or shorter by


def stem_file(number: int, instrument: str) -> str:
    """Return the name of a player's file; numbers are from 1 on."""
    return f"stem_{number}_{instrument}.flac"


def write_separation(
    folder: Path,
    separation: Separation,
    *,
    mix: NDArray[np.float32],
    sample_rate: int,
    instruments: Sequence[str],
    truth: NDArray[np.float32] | None,
) -> None:
    """Write a sound for each player, and the mix.

    Args:
        folder: an empty one.
        separation: of the mix; its samples are clipped to full scale.
        mix: (C, n).
        sample_rate: of ``mix`` and ``truth``, in Hz.
        instruments: a code a player.
        truth: (K, C, n), in whose order the sounds are put; None leaves them in theirs.

    Raises:
        ValueError: the sounds are not one for each player, or a sample is no number.
        WriteError: the disk is full or the folder cannot be written to.
    """
    n_players, n_channels = len(instruments), len(mix)
    if separation.stems.ndim != 3 or separation.stems.shape[:2] != (n_players, n_channels):
        raise ValueError(
            f"{separation.system} made sounds of shape {separation.stems.shape} of {separation.take}, expected "
            f"({n_players}, {n_channels}, samples)"
        )
    stems = separation.stems
    if truth is not None:
        order = best_permutation(truth, at_rate(stems, separation.sample_rate, sample_rate, truth.shape[2]))
        stems = stems[list(order)]
    write_channels(folder / MIX_FILE, mix, sample_rate)
    for number, (instrument, stem) in enumerate(zip(instruments, stems, strict=True), 1):
        write_channels(folder / stem_file(number, instrument), np.clip(stem, -1.0, 1.0), separation.sample_rate)


def read_separation(folder: Path, instruments: Sequence[str]) -> tuple[NDArray[np.float32], int]:
    """Read the sounds (K, C, n) that `write_separation` wrote, and their rate in Hz.

    Raises:
        DamagedData: one is missing, not whole, or unlike the others in length or rate.
    """
    read = [read_channels(folder / stem_file(*player)) for player in enumerate(instruments, 1)]
    first, sample_rate = read[0]
    for player, (stem, rate) in enumerate(read, 1):
        if (stem.shape, rate) != (first.shape, sample_rate):
            raise DamagedData(
                f"{folder}: player {player} has {stem.shape[1]} samples in {len(stem)} channels at {rate} Hz, "
                f"expected {first.shape[1]} in {len(first)} at {sample_rate} as player 1"
            )
    return np.stack([stem for stem, _ in read]), sample_rate


def at_rate(stems: NDArray[np.float32], from_rate: int, to_rate: int, n_samples: int) -> NDArray[np.float32]:
    """Return sounds (K, C, n) at another rate and of a known length, which resampling may miss by a sample.

    Raises:
        DamagedData: the length differs by more.
    """
    if from_rate != to_rate:
        flat = [resample(channel, from_rate, to_rate) for channel in stems.reshape(-1, stems.shape[2])]
        stems = np.stack(flat).reshape(*stems.shape[:2], -1)
    apart = n_samples - stems.shape[2]
    if abs(apart) > (MAX_RESAMPLED if from_rate != to_rate else 0):
        raise DamagedData(f"sounds have {stems.shape[2]} samples at {to_rate} Hz, expected {n_samples}")
    if apart > 0:
        stems = np.pad(stems, ((0, 0), (0, 0), (0, apart)))
    return stems[:, :, :n_samples]
