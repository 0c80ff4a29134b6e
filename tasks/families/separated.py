"""What separation families made of ensembles: its files, and whether it follows what was seen.

``SYSTEM/TAKE/`` holds ``mix.flac`` and ``stem_N_CODE.flac`` of each player N from 1 on. A system that does not know
whose its sounds are is put in the order that fits the true stems best before it is written.

Shapes: K players, C channels, n samples.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.families.separation import Mixture, Separation, mixture_of
from tasks.features.resample import resample
from tasks.metrics.separation import best_permutation, si_sdr_db
from tasks.metrics.sound import level_dbfs
from tasks.store.audio import read_channels, write_channels
from tasks.store.ensembles import EnsembleSet

MIX_FILE = "mix.flac"
CAUSALITY = "causality.json"
"""What sighted systems did when views were exchanged or blanked: figures by system and take."""

SWAPPED, BLANKED = ".swapped/", ".blanked/"  # before a take's name, which never begins with a dot
MAX_PROBED = 2  # duets of one instrument, and as many of two: whole takes are separated twice more for each
MAX_RESAMPLED = 1  # sample that a sound may be longer or shorter by after it was resampled


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
    """Write a sound a player, and the mix.

    Args:
        folder: an empty one.
        separation: of the mix; beyond full scale it is clipped, as a file must.
        mix: (C, n).
        sample_rate: of the mix and the truth, in Hz.
        instruments: a code a player.
        truth: (K, C, n), in whose order the sounds are put; None leaves them in theirs.

    Raises:
        ValueError: there is not one sound a player, or a sample is no number.
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
    """Return sounds (K, C, n) at another rate and of a known length, which resampling meets but for a sample.

    Raises:
        DamagedData: the length is another.
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


def probes(data: EnsembleSet) -> dict[str, tuple[str, ...]]:
    """Return the mixes that tell whether a system follows what it sees, by the test duet that each is made of.

    Of duets of one instrument, and of duets of two, the first `MAX_PROBED` in order of name of which both players are
    seen.
    """
    found: dict[bool, list[str]] = {True: [], False: []}
    for take in data.takes("test"):
        instruments = data.instruments(take)
        if len(instruments) == 2 and all(data.seen(take)):
            found[len(set(instruments)) == 1].append(take)
    chosen = sorted(found[True][:MAX_PROBED] + found[False][:MAX_PROBED])
    return {take: (f"{SWAPPED}{take}", f"{BLANKED}{take}") for take in chosen}


def probe_mixture(data: EnsembleSet, name: str) -> Mixture:
    """Return the mix of a take or of a probe of it.

    ``.swapped/TAKE`` shows each of two players the other's motion, pictures and notes, and leaves the labels where they
    are; ``.blanked/TAKE`` shows the first one black, without notes.
    """
    for prefix, change in ((SWAPPED, _swapped), (BLANKED, _blanked)):
        if name.startswith(prefix):
            mixture = mixture_of(data, name.removeprefix(prefix))
            return replace(
                mixture,
                motion=None if mixture.motion is None else change(mixture.motion),
                pictures=None if mixture.pictures is None else change(mixture.pictures),
                rolls=None if mixture.rolls is None else change(mixture.rolls),
            )
    return mixture_of(data, name)


def _swapped(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values[::-1])


def _blanked(values: NDArray[Any]) -> NDArray[Any]:
    changed = values.copy()
    changed[0] = 0
    return changed


def causality(
    truth: NDArray[np.float32],
    instruments: Sequence[str],
    *,
    sounds: NDArray[np.float32],
    swapped: NDArray[np.float32],
    blanked: NDArray[np.float32],
) -> dict[str, float]:
    """Measure whether a system's sounds (2, C, n) follow what it saw of a duet.

    Args:
        truth: (2, C, n).
        instruments: of both.
        sounds: what it made of the take.
        swapped: of the take with the views exchanged.
        blanked: of the take with the first player's view black.

    Returns:
        ``swap_follows_db``, for two of one instrument: by how much nearer (SI-SDR) each sound came to the *other* stem
        once the views were exchanged. Of two instruments, where the labels stay and contradict the views, that is
        ``swap_against_labels_db``. ``blank_fades_db``: by how much the blanked player's level fell, and
        ``blank_keeps_db``: by how much the other's changed. A figure without a value is left out.
    """
    name = "swap_follows_db" if instruments[0] == instruments[1] else "swap_against_labels_db"
    figures: dict[str, float] = {}
    if truth.any(axis=(1, 2)).all():
        moved = [
            si_sdr_db(truth[1 - k], swapped[k]) - si_sdr_db(truth[1 - k], sounds[k])
            for k in range(2)
            if swapped[k].any() and sounds[k].any()
        ]
        if len(moved) == 2:
            figures[name] = float(np.mean(moved))
    before, after = ([level_dbfs(one.ravel()) for one in heard] for heard in (sounds, blanked))
    figures["blank_fades_db"] = before[0] - after[0]
    figures["blank_keeps_db"] = after[1] - before[1]
    return figures


def read_causality(folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Read what `causality` measured, by system and take; nothing where no system looks.

    Raises:
        DamagedData: the file is damaged.
    """
    path = folder / CAUSALITY
    if not path.exists():
        return {}
    try:
        found: dict[str, dict[str, dict[str, float]]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON: {error}") from None
    return found
