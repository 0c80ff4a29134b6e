"""What a measurement of a filmed take should find: read from its ``truth.json``."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.errors import DamagedData
from tasks.rig.clocks import DeviceClock


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The truth about a filmed take.

    Attributes:
        clocks: of each device (``cam_top``, ``mic_near``, ``score``).
        flight_s: how long the sound was on its way to each device; none for one that hears nothing.
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
        """Return when the master hears what a device hears, or sees, at its times.

        With ``by="sound"`` the difference between both flights is in it, as it is in any measurement by sound; with
        ``by="picture"`` all of the master's: one sees a stroke before one hears it.
        """
        happened_s = self.clocks[device].to_world(time_s)
        flight_s = self.flight_s[master] - (self.flight_s[device] if by == "sound" else 0.0)
        return self.clocks[master].to_device(happened_s + flight_s)


def read_truth(folder: Path) -> Truth:
    """Read ``truth.json`` of a filmed take.

    Raises:
        DamagedData: it is not there, or is none.
    """
    path = folder / "truth.json"
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        devices = told["devices"]
        return Truth(
            clocks={name: DeviceClock.parse(facts["clock"], name) for name, facts in devices.items()},
            flight_s={
                name: float(facts["acoustic_delay_s"])
                for name, facts in devices.items()
                if facts["acoustic_delay_s"] is not None
            },
            duration_s={name: float(facts["duration_s"]) for name, facts in devices.items()},
            notes=np.array(told["notes"], np.float64).reshape(-1, 4),
        )
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: is {folder} a filmed take?") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedData(f"{path} is no truth of a filmed take: {error}") from None
