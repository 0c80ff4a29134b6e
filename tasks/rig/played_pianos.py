"""A piano that is filmed in colour from above, with the hands that play it: its rig, and what its camera records."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.instruments.notes import Notes
from tasks.params import Section
from tasks.rig.camera import Camera
from tasks.rig.clocks import DeviceClock
from tasks.rig.hands import finger
from tasks.rig.music import with_keys_released
from tasks.rig.overhead import OverheadFilm, Sensing
from tasks.rig.overhead_films import Scene, draw_scene
from tasks.rig.piano import travel_times
from tasks.rig.rigs import CameraDevice, Rig, RigParams, clock_of, rig_of

VIEW = "above"
_SCENE = "640"  # of overhead films: 640 x 360 pixels
_RATES = (Fraction(25), Fraction(30), Fraction(30000, 1001))
_HOME_CM = 18.0  # from the middle of the keyboard, where each hand rests
RELEASED_S = 0.08  # that a key needs to come up before it is struck again
_FIRST_S = 1.0  # before which no key moves: a still picture needs idle keys


class HandsParams(Section):
    """How pianos are filmed with the hands that play them.

    Attributes:
        length_s: of a take: what its piece begins with.
        noise: standard deviation of the cameras' luma at mid grey, least and most.
        crf: x264's constant rate factor of the films, least and most.
    """

    length_s: Annotated[float, Field(ge=4, le=600)]
    noise: tuple[Annotated[float, Field(ge=0, le=30)], Annotated[float, Field(ge=0, le=30)]]
    crf: tuple[Annotated[int, Field(ge=10, le=40)], Annotated[int, Field(ge=10, le=40)]]


class OverheadCamera(CameraDevice):
    """A camera above the keys; ``roll_deg`` turns its picture, ``crf`` is its file's constant rate factor."""

    roll_deg: float
    crf: int

    def camera(self) -> Camera:
        """Return its geometry."""
        return replace(super().camera(), roll_deg=self.roll_deg)


class PlayedRig(Rig):
    """A rig whose camera sees hands; ``scene_seed`` draws the piano's look, the light's colour, and the hands."""

    cameras: tuple[OverheadCamera, ...]
    scene_seed: int

    def scene(self) -> Scene:
        """Return the room, with this rig's camera and light."""
        drawn = draw_scene(np.random.default_rng(self.scene_seed), _SCENE)
        return replace(drawn, camera=self.cameras[0].camera(), light=self.surroundings.light)


def played_rig_of(seed: int, *, duration_s: float, params: RigParams, hands: HandsParams) -> PlayedRig:
    """Draw a rig of one camera above the keys; its MIDI is always recorded.

    Args:
        seed: of everything that is drawn.
        duration_s: of the music.
        params: the ranges of what every rig has.
        hands: those of this one.
    """
    one = params.model_copy(update={"n_cameras": 1, "n_microphones": min(1, params.n_microphones)})
    drawn = rig_of(seed, instrument="piano", is_test=False, trait="plain", duration_s=duration_s, params=one)
    rng = np.random.default_rng([seed, 1])
    scene_seed = int(rng.integers(2**31))
    scene = draw_scene(np.random.default_rng(scene_seed), _SCENE)
    view = scene.camera
    camera = OverheadCamera(
        **drawn.cameras[0].model_dump()
        | {
            "name": VIEW,
            "position_cm": view.position_cm,
            "target_cm": view.target_cm,
            "focal": view.focal,
            "distortion": view.distortion,
            "width": view.width,
            "height": view.height,
            "frame_rate": _RATES[int(rng.integers(len(_RATES)))],
            "exposure_s": round(float(rng.uniform(0.008, 0.02)), 4),
            "gain": round(float(rng.uniform(1.0, 1.45)), 4),
            "vignette": 0.0,
            "noise": round(float(rng.uniform(*hands.noise)), 3),
        },
        roll_deg=view.roll_deg,
        crf=int(rng.integers(hands.crf[0], hands.crf[1] + 1)),
    )
    clock: DeviceClock = clock_of(rng, params, wanders=False, is_early=True)
    return PlayedRig(
        **dict(drawn)
        | {
            "cameras": (camera,),
            "notes": clock,
            "surroundings": drawn.surroundings.model_copy(update={"light": scene.light}),
        },
        scene_seed=scene_seed,
    )


def beginning(notes: Notes, length_s: float) -> Notes:
    """Return what two hands play of a piece in its first seconds: the first stroke at 1 s, no key down at the end."""
    notes = replace(
        notes,
        onset_s=notes.onset_s - notes.onset_s[0] + _FIRST_S,
        offset_s=notes.offset_s - notes.onset_s[0] + _FIRST_S,
    )
    notes = notes.take(notes.onset_s < length_s - 2 * RELEASED_S)
    offset_s = np.minimum(notes.offset_s, length_s - RELEASED_S)
    return with_keys_released(replace(notes, offset_s=offset_s, sounding_offset_s=offset_s), gap_s=RELEASED_S)


def played_pictures(rig: PlayedRig, notes: Notes, time_s: NDArray[np.float64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the camera's pictures at these moments of the world: planes of I420, (height * 3 / 2, width)."""
    camera, scene = rig.cameras[0], rig.scene()
    film = OverheadFilm(
        scene.camera,
        look=scene.look,
        light=scene.light,
        palette=scene.palette,
        sensing=Sensing(
            exposure_s=camera.exposure_s,
            gain=np.full(len(time_s), camera.gain),
            noise=camera.noise,
            seed=rig.seed,
        ),
        notes=notes,
        travel_s=travel_times(notes.velocity),
        fingerings=finger(notes, travel_times(notes.velocity), home_cm=(-_HOME_CM, _HOME_CM)),
        skin=scene.skin,
        reach_cm=scene.reach_cm,
        lifted_cm=0.0,
        shadow=scene.shadow,
        time_s=time_s,
    )
    for number in range(len(time_s)):
        yield film.picture(number)
