"""An ensemble as ingest recorded it: its players, its mix, its cameras, and where their files are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.intake.layouts import VIEW
from tasks.intake.record import INGESTED, Device, read_capture, used_rows
from tasks.intake.stems import StemSound, sound_at
from tasks.media.probe import NO_LIMITS


@dataclass(frozen=True, kw_only=True)
class PlayerFiles:
    """One player of an ensemble.

    Attributes:
        number: from 1, in the order of the players.
        instrument: code, or a word for an instrument that is none of the orchestra's.
        stem: the sound of this player alone.
        channels: of the stem.
        camera: the camera of this player alone; None where there is none.
        notes: the table of this player's notes, on the mix's clock; None where they are not known.
    """

    number: int
    instrument: str
    stem: StemSound
    channels: int
    camera: Device | None
    notes: Path | None


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """A take of several players.

    Attributes:
        take: its name.
        players: in order; at least one.
        mix: the file of the mix; None where the mix is the sum of the stems.
        gain: with which the sum of the stems is the mix.
        devices: cameras and microphones that can be used, by name.
        genlocked: names of the cameras that run on the stems' clock.
        duration_s: of the longest stem.
    """

    take: str
    players: tuple[PlayerFiles, ...]
    mix: StemSound | None
    gain: float
    devices: tuple[Device, ...]
    genlocked: frozenset[str]
    duration_s: float

    @property
    def sounds(self) -> list[StemSound]:
        """The stems in the players' order, and the mix where it is a file."""
        return [player.stem for player in self.players] + ([self.mix] if self.mix is not None else [])

    @property
    def master_paths(self) -> list[Path]:
        """The files whose sound is on the take's clock: the mix, or all stems."""
        sounds = [self.mix] if self.mix is not None else [player.stem for player in self.players]
        return sorted({sound.path for sound in sounds})

    @property
    def sound_paths(self) -> list[Path]:
        """The files of stems and mix, each once."""
        return sorted({sound.path for sound in self.sounds})

    @property
    def camera_of_all(self) -> Device | None:
        """The camera of all players, if there is one: ``cam_all``, else one that is no player's own."""
        own = {player.camera.name for player in self.players if player.camera is not None}
        free = [device for device in self.devices if device.role == "camera" and device.name not in own]
        return min(free, key=lambda device: (device.name != VIEW, device.name), default=None)


def read_ensemble(take: str, folder: Path = INGESTED) -> Ensemble:
    """Read what ingest recorded of an ensemble.

    Raises:
        DamagedData: its take.json is missing or is not what ingest writes, or names a file outside of the take's own
            folder.
    """
    path = folder / take / "take.json"
    capture = read_capture(take, folder)
    devices = {device.name: device for device in capture.devices}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        used = used_rows(facts, take, path)
        files = {device: file for device, (file, _) in used.items()}
        channels = {
            device: int(measured["audio"]["channels"])
            for device, (_, measured) in used.items()
            if measured is not None and measured["audio"] is not None
        }
        players = tuple(
            PlayerFiles(
                number=int(row["number"]),
                instrument=str(row["instrument"]),
                stem=StemSound(path=files[row["stem"]], stream=_stream(row)),
                channels=channels[row["stem"]],
                camera=devices[row["camera"]] if row["camera"] is not None else None,
                notes=folder / take / f"notes_{int(row['number'])}.parquet" if row["notes"] else None,
            )
            for row in list(facts["players"]) or [{}]  # without players: KeyError
        )
        mix = facts["mix"]
        is_file = mix["source"] == "file"
        return Ensemble(
            take=take,
            players=players,
            mix=StemSound(path=files[mix["device"]], stream=_stream(mix)) if is_file else None,
            gain=float(mix["gain"]) if is_file else 1.0,
            devices=capture.devices,
            genlocked=frozenset(facts["genlocked"]),
            duration_s=float(facts["duration_s"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{path} does not describe an ensemble: {error}") from None


def read_stems(ensemble: Ensemble, *, sample_rate: int, channels: int, n_samples: int) -> NDArray[np.float32]:
    """Return each player's sound (K, channels, n_samples), at the gain that it has in the mix.

    Raises:
        BadInput: a stem cannot be read, or has other channels.
    """
    stems = np.stack(
        [
            sound_at(player.stem, NO_LIMITS, sample_rate=sample_rate, channels=channels, n_samples=n_samples)
            for player in ensemble.players
        ]
    )
    if ensemble.gain != 1.0:
        stems *= np.float32(ensemble.gain)
    return stems


def read_mix(
    ensemble: Ensemble, *, sample_rate: int, channels: int, n_samples: int, stems: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return the mix (channels, n_samples): of its file, or the sum of the stems.

    Args:
        ensemble: the take.
        sample_rate: Hz.
        channels: of the result.
        n_samples: of the result.
        stems: as `read_stems` returned them, where they are at hand.

    Raises:
        BadInput: a file cannot be read, or has other channels.
    """
    if ensemble.mix is not None:
        return sound_at(ensemble.mix, NO_LIMITS, sample_rate=sample_rate, channels=channels, n_samples=n_samples)
    if stems is None:
        stems = read_stems(ensemble, sample_rate=sample_rate, channels=channels, n_samples=n_samples)
    total: NDArray[np.float32] = stems.sum(axis=0, dtype=np.float32)
    return total


def _stream(row: dict[str, Any]) -> int | None:
    return None if row["stream"] is None else int(row["stream"])
