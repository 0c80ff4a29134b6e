"""The truth about a filmed take, in its ``truth.json``: what a measurement of the recordings should find."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.errors import DamagedData
from tasks.instruments.notes import Notes
from tasks.rig.clocks import DeviceClock
from tasks.step import write_whole

TRUTH = "truth.json"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The truth about a filmed take.

    Attributes:
        clocks: of each device (``cam_top``, ``mic_near``, ``score``).
        flight_s: the sound's time of flight to each device that records sound.
        duration_s: of each device's recording, by its own clock.
        notes: onset_s and offset_s in the world, pitch, velocity, (notes, 4).
    """

    clocks: dict[str, DeviceClock]
    flight_s: dict[str, float]
    duration_s: dict[str, float]
    notes: NDArray[np.float64]

    def master_time(
        self, device: str, master: str, time_s: ArrayLike, *, by: Literal["sound", "picture"]
    ) -> NDArray[np.float64]:
        """Return the master's times at which its sound shows what a device records at ``time_s``.

        With ``by="sound"`` the difference between both times of flight is included, as it is in any measurement by
        sound. With ``by="picture"`` all of the master's is: a stroke is in the picture before it is in the sound.
        """
        happened_s = self.clocks[device].to_world(time_s)
        flight_s = self.flight_s[master] - (self.flight_s[device] if by == "sound" else 0.0)
        return self.clocks[master].to_device(happened_s + flight_s)


def read_truth(folder: Path) -> Truth:
    """Read ``truth.json`` of a filmed take.

    Raises:
        DamagedData: it is missing, or does not describe a filmed take.
    """
    path = folder / TRUTH
    try:
        described: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        devices = described["devices"]
        return Truth(
            clocks={name: DeviceClock.parse(facts["clock"], name) for name, facts in devices.items()},
            flight_s={
                name: float(facts["acoustic_delay_s"])
                for name, facts in devices.items()
                if facts["acoustic_delay_s"] is not None
            },
            duration_s={name: float(facts["duration_s"]) for name, facts in devices.items()},
            notes=np.array(described["notes"], np.float64).reshape(-1, 4),
        )
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: is {folder} a filmed take?") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{path} is no truth of a filmed take: {error}") from None


def write_truth(
    folder: Path,
    *,
    duration_s: float,
    devices: Mapping[str, Any],
    notes: Sequence[Sequence[float]],
    players: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """Write ``truth.json`` of a filmed take.

    Args:
        folder: the take's.
        duration_s: of the performance, in the world's time.
        devices: of each device what `device_truth` returns, and perhaps ``pictures``.
        notes: as `note_rows` returns them.
        players: of an ensemble, what each of them plays and where they are in the picture.
    """
    truth = {"duration_s": duration_s, "devices": devices, "notes": notes}
    if players is not None:
        truth["players"] = players
    write_whole(folder / TRUTH, json.dumps(truth, indent=1, sort_keys=True) + "\n")


def device_truth(
    clock: DeviceClock, duration_s: float, acoustic_delay_s: float | None, defect: str = "none"
) -> dict[str, Any]:
    """Return the truth about one device.

    Args:
        clock: the device's.
        duration_s: of its recording, by that clock.
        acoustic_delay_s: the sound's time of flight to it; None for a device without sound.
        defect: of its file, as `tasks.rig.rigs.Defect` names it.
    """
    return {
        "clock": clock.model_dump(mode="json"),
        "duration_s": duration_s,
        "acoustic_delay_s": acoustic_delay_s,
        "defect": defect,
    }


def picture_truth(
    device_s: Sequence[Fraction], world_s: NDArray[np.float64], frame_rate: Fraction, *, is_variable: bool
) -> dict[str, Any]:
    """Return the truth about a film's pictures: their times by the camera's clock and in the world."""
    return {
        "n": len(device_s),
        "frame_rate": str(frame_rate),
        "is_variable": is_variable,
        "first_s": float(device_s[0]),
        "last_s": float(device_s[-1]),
        "first_world_s": float(world_s[0]),
        "last_world_s": float(world_s[-1]),
    }


def note_rows(notes: Notes) -> list[list[float]]:
    """Return onset_s, offset_s, pitch and velocity of each note; times to the microsecond."""
    return [
        [round(onset_s, 6), round(offset_s, 6), pitch, velocity]
        for onset_s, offset_s, pitch, velocity in zip(
            notes.onset_s.tolist(),
            notes.offset_s.tolist(),
            notes.pitch.tolist(),
            notes.velocity.tolist(),
            strict=True,
        )
    ]
