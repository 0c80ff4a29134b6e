"""What a camera of a rig records of a marimba or a piano, and where the instrument is in its picture."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.marimba import Mallet, bars_of, plan_mallets, ringing
from tasks.instruments.notes import Notes
from tasks.rig.film import Filmed, Part, exposure_moments
from tasks.rig.marimba import marimba_layers, swinging_parts
from tasks.rig.piano import PianoLook, dipping_parts, dips, keyboard_layers
from tasks.rig.rigs import CameraDevice, Instrument, Rig, instrument_corners
from tasks.rig.scene import compose, cover_of, whole

_REACH_CM: dict[Instrument, float] = {"marimba-18": 16.0, "piano": 2.0}  # height that a camera's crop shows
_TRAVEL_S = 0.03  # of every key, from its first movement to the onset


def filmed(rig: Rig, camera: CameraDevice, number: int, notes: Notes, time_s: NDArray[np.float64]) -> Filmed:
    """Return a camera's film of a performance, with pictures at these moments of the world.

    Args:
        rig: that the camera is of.
        camera: one of its cameras.
        number: of that camera, for the seed of its noise.
        notes: what is played.
        time_s: middles of the exposures, rising.
    """
    view, light = camera.camera(), rig.surroundings.light
    moments_s = exposure_moments(time_s, camera.exposure_s)
    mallets: Sequence[Mallet] = ()
    if rig.instrument == "marimba-18":
        bars = bars_of()
        layers = marimba_layers(bars, rig.seed)
        still = compose(view, layers, light, whole(view))
        ground = cover_of(view, layers[-1])
        parts = swinging_parts(view, still, bars)
        amounts = ringing(notes, bars, moments_s.ravel())
        mallets = plan_mallets(notes, bars)
    else:
        keys = sorted({int(pitch) - LOWEST_PITCH for pitch in notes.pitch})
        look = PianoLook(seed=rig.seed)
        still = compose(view, keyboard_layers(look), light, whole(view))
        ground = np.zeros_like(still)
        parts = dipping_parts(view, still, light, keys, look)
        amounts = dips(notes, keys, moments_s.ravel(), travel_s=np.full(len(notes), _TRAVEL_S))
    return Filmed(
        view,
        light,
        camera.sensor(seed=rig.seed % 2**31 + number),
        still=still,
        parts=[Part(window=window, change=change) for window, change in parts],
        amounts=amounts.reshape(*moments_s.shape, -1).mean(axis=1).astype(np.float32),
        ground=ground,
        mallets=mallets,
        moments_s=moments_s,
    )


def place_of_instrument(rig: Rig, camera: CameraDevice) -> dict[str, Any]:
    """Return ``crop`` and ``corners`` of the instrument in a camera's picture, as ``take.yaml`` has them."""
    view = camera.camera()
    corners = instrument_corners(rig.instrument)
    over = corners.copy()
    over[:, 2] = _REACH_CM[rig.instrument]
    pixels = view.project(np.concatenate([corners, over]))
    from_far_left = view.project(corners)[::-1]  # take.yaml counts clockwise from the player's far left
    left, top = np.clip(np.floor(pixels.min(axis=0) / 2) * 2, 0, (camera.width - 16, camera.height - 16))
    right, bottom = np.clip(np.ceil(pixels.max(axis=0) / 2) * 2, (left + 16, top + 16), (camera.width, camera.height))
    return {
        "crop": [int(left), int(top), int(right - left), int(bottom - top)],
        "corners": [[round(float(x), 2), round(float(y), 2)] for x, y in from_far_left],
    }
