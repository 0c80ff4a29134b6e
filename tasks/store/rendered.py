"""A score on the simulated piano, as render wrote it: what its pictures show, the sound, and the facts of both.

Shapes: C pictures, one for each change of the keys or the pedal.
"""

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.store.audio import read_flac
from tasks.store.tables import read_table

RENDERED = Path("data/rendered")


@dataclass(frozen=True, kw_only=True)
class KeyStates:
    """What the keyboard shows over a rendered take.

    Attributes:
        time_s: when each picture appears, (C,).
        velocity: (C, 88), 0 for a key that is up.
        pedal: (C,), 1 where the picture shows the sustain pedal down.
        lit: what a pressed key shows.
        duration_s: of pictures and sound.
    """

    time_s: NDArray[np.float64]
    velocity: NDArray[np.uint8]
    pedal: NDArray[np.uint8]
    lit: Literal["flat", "velocity"]
    duration_s: float


def read_states(take: str, folder: Path = RENDERED) -> KeyStates:
    """Read the states of a take's keys.

    Raises:
        DamagedData: what render wrote is missing or damaged.
    """
    facts = _facts(take, folder)
    states = read_table(folder / take / "states.parquet", ("time_s", "velocity", "pedal"))
    return KeyStates(**states, lit=facts["lit"], duration_s=facts["duration_s"])


def read_step_s(take: str, folder: Path = RENDERED) -> Fraction:
    """Read the step, in s, of the grid that the take's notes and pedals are on.

    Raises:
        DamagedData: what render wrote is missing or damaged.
    """
    return Fraction(_facts(take, folder)["step_s"])


def read_rendered_sound(take: str, folder: Path = RENDERED) -> tuple[NDArray[np.float32], int]:
    """Read a take's sound (n,) in [-1, 1], and its rate in Hz.

    Raises:
        DamagedData: what render wrote is missing or damaged.
    """
    sample_rate = int(_facts(take, folder)["sample_rate"])
    return read_flac(folder / take / "audio.flac", sample_rate=sample_rate), sample_rate


def _facts(take: str, folder: Path) -> dict[str, Any]:
    path = folder / take / "render.json"
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: run audiate render first") from None
    except ValueError as error:
        raise DamagedData(f"{path} is not what render writes: {error}") from None
    return facts
