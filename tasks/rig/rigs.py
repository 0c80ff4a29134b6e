"""A rig: which devices stand around an instrument, and everything that is particular about each of them.

``rig_of`` draws one from a seed. A rig holds all that its recordings follow from, so that it can be written down beside
them (``rig.yaml``) and be edited by hand.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.instruments.marimba import bars_of, row_corners
from tasks.params import Section
from tasks.rig.camera import Camera
from tasks.rig.clocks import DeviceClock, Drop, Wander
from tasks.rig.film import Sensor
from tasks.rig.microphone import GainControl, Response, Room
from tasks.rig.piano import keyboard_corners
from tasks.rig.scene import Light

Point = tuple[float, float, float]
Side = Annotated[int, Field(ge=16, le=1920, multiple_of=2)]
Rate = Annotated[Fraction, Field(gt=0, le=240)]
Instrument = Literal["marimba-18", "piano"]
Defect = Literal["none", "silent", "truncated"]
Trait = Literal["plain", "silent camera", "lost block", "variable rate", "wandering clock"]
INSTRUMENTS: tuple[Instrument, ...] = get_args(Instrument)

# Where cameras stand, in cm from the middle of the instrument. A pianist's are on the player's side: behind the
# keyboard is the lid.
VIEWS: dict[Instrument, dict[str, Point]] = {
    "marimba-18": {
        "top": (0, -9, 165),
        "front": (4, 118, 85),
        "front_right": (85, 95, 88),
        "side_right": (130, 24, 92),
        "side_left": (-118, 48, 96),
    },
    "piano": {
        "top": (0, -8, 120),
        "player": (0, -85, 80),
        "player_right": (78, -74, 72),
        "side_right": (125, -40, 70),
        "side_left": (-125, -40, 70),
    },
}

_FILLED = 0.9  # of the picture's half width or height, by the farthest corner of the instrument
_REACH_CM = 20.0  # height over the instrument that what moves may reach
_MICROPHONES: dict[str, Point] = {"near": (18, 35, 60), "room": (-120, 170, 75), "left": (-75, 60, 70)}


class SoundDevice(Section):
    """What records the sound.

    Attributes:
        sample_rate: Hz, nominal.
        codec: ``pcm`` is 16 bits, uncompressed; with a camera it makes a ``.mov``.
        response: of the microphone and what is behind it.
        gain_control: None is a fixed gain.
        noise_db: level of its noise over the sound's.
    """

    sample_rate: Annotated[int, Field(ge=8000, le=192_000)]
    codec: Literal["aac", "pcm"]
    response: Response
    gain_control: GainControl | None
    noise_db: float


class CameraDevice(Section):
    """A camera, and its own microphone.

    Attributes:
        name: its file is ``cam_NAME``; the view that it stands for.
        position_cm: where it stands.
        target_cm: the middle of its picture.
        focal: focal length in widths of the picture.
        distortion: k1 and k2 of the lens.
        width: pixels.
        height: pixels.
        frame_rate: pictures a second; on average, where it varies.
        is_variable: whether it does.
        exposure_s: of a picture, around its time.
        gain: of its luma.
        vignette: share of the light that the corners lose.
        noise: standard deviation in luma at mid grey.
        clock: of its pictures and its sound.
        sound: None: it records none.
        defect: ``silent`` records noise alone, ``truncated`` lacks the last part of its file.
    """

    name: str
    position_cm: Point
    target_cm: Point
    focal: Annotated[float, Field(gt=0)]
    distortion: tuple[float, float]
    width: Side
    height: Side
    frame_rate: Rate
    is_variable: bool
    exposure_s: Annotated[float, Field(gt=0)]
    gain: Annotated[float, Field(gt=0)]
    vignette: Annotated[float, Field(ge=0, lt=1)]
    noise: Annotated[float, Field(ge=0)]
    clock: DeviceClock
    sound: SoundDevice | None
    defect: Defect

    def camera(self) -> Camera:
        """Return its geometry."""
        return Camera(
            position_cm=self.position_cm,
            target_cm=self.target_cm,
            focal=self.focal,
            distortion=self.distortion,
            width=self.width,
            height=self.height,
        )

    def sensor(self, seed: int) -> Sensor:
        """Return what it makes of light."""
        return Sensor(exposure_s=self.exposure_s, gain=self.gain, vignette=self.vignette, noise=self.noise, seed=seed)


class MicrophoneDevice(Section):
    """A recorder of sound; its file is ``mic_NAME``."""

    name: str
    position_cm: Point
    clock: DeviceClock
    sound: SoundDevice
    defect: Defect


class Surroundings(Section):
    """The room.

    Attributes:
        size_m: length, width and height.
        t60_s: reverberation time.
        instrument_m: where the instrument's middle is, from a corner.
        max_order: most reflections of one path.
        light: the lamp.
    """

    size_m: Point
    t60_s: float
    instrument_m: Point
    max_order: int
    light: Light

    def room(self, position_cm: Point) -> Room:
        """Return the room with a microphone at a place given from the instrument's middle."""
        place = tuple(
            float(np.clip(start + offset / 100, 0.1, size - 0.1))
            for start, offset, size in zip(self.instrument_m, position_cm, self.size_m, strict=True)
        )
        return Room(
            size_m=self.size_m,
            t60_s=self.t60_s,
            source_m=self.instrument_m,
            microphone_m=(place[0], place[1], place[2]),
            max_order=self.max_order,
        )


class Rig(Section):
    """Everything that the recordings of one take follow from, besides the notes.

    Attributes:
        instrument: what is played.
        seed: of grain, noise and whatever else is random in the recordings.
        surroundings: the room and its light.
        cameras: at least one.
        microphones: perhaps none.
        notes: clock of the MIDI that was recorded with the take, or None.
    """

    instrument: Instrument
    seed: int
    surroundings: Surroundings
    cameras: Annotated[tuple[CameraDevice, ...], Field(min_length=1)]
    microphones: tuple[MicrophoneDevice, ...]
    notes: DeviceClock | None


class RigParams(Section):
    """What rigs are drawn from."""

    sizes: Annotated[tuple[tuple[Side, Side], ...], Field(min_length=1)]  # pixels, width and height
    frame_rates: Annotated[tuple[Rate, ...], Field(min_length=1)]  # as often as they stand here
    n_cameras: Annotated[int, Field(ge=1, le=4)]
    n_microphones: Annotated[int, Field(ge=0, le=3)]
    views_held_out: tuple[str, ...]  # camera positions that only takes for testing have
    max_early_s: Annotated[float, Field(ge=0, le=60)]  # before the score's first second that a device is started
    max_late_s: Annotated[float, Field(ge=0, le=60)]  # after it
    max_drift_ppm: Annotated[float, Field(ge=0, le=2000)]
    t60_s: tuple[float, float]  # of rooms: shortest and longest reverberation
    max_wander_s: Annotated[float, Field(gt=0, le=0.02)]
    lost_s: tuple[float, float]  # length of a block that a device loses


def instrument_corners(instrument: Instrument) -> NDArray[np.float64]:
    """Return the corners of what is struck (4, 3) in cm: low and near, high and near, high and far, low and far."""
    corners = row_corners(bars_of()) if instrument == "marimba-18" else keyboard_corners()
    return np.concatenate([corners, np.zeros((4, 1))], axis=1)


def rig_of(
    seed: int, *, instrument: Instrument, is_test: bool, trait: Trait, duration_s: float, params: RigParams
) -> Rig:
    """Draw a rig: the same for the same arguments.

    Args:
        seed: of everything that is drawn.
        instrument: what it stands around.
        is_test: whether the take is for testing, which alone may have a view that is held out, and then has.
        trait: the one difficulty that is sure to be in it.
        duration_s: of the score, for where a block is lost.
        params: the ranges.
    """
    rng = np.random.default_rng(seed)
    views = _views(instrument, is_test, params, rng)
    room_t60_s = _between(rng, params.t60_s)
    surroundings = Surroundings(
        size_m=(_between(rng, (4.5, 7.5)), _between(rng, (4.2, 6.5)), _between(rng, (2.5, 3.2))),
        t60_s=room_t60_s,
        instrument_m=(_between(rng, (2.1, 2.4)), _between(rng, (1.8, 2.1)), 0.9),
        max_order=6,
        light=Light(
            position_cm=(_between(rng, (-90, 90)), _between(rng, (-20, 90)), _between(rng, (170, 230))),
            ambient=_between(rng, (0.3, 0.5)),
        ),
    )
    special = int(rng.integers(len(views)))  # the camera that has the trait
    wandering = trait == "wandering clock"
    cameras = []
    for number, view in enumerate(views):
        is_special = number == special
        clock = clock_of(rng, params, wanders=wandering and is_special)
        if trait == "lost block" and is_special:
            clock = _with_loss(clock, duration_s, params, rng)
        camera = _camera(rng, instrument, view, clock, params)
        if trait == "variable rate" and is_special:
            camera = camera.model_copy(update={"is_variable": True, "frame_rate": Fraction(30)})
        if trait == "silent camera" and is_special:
            camera = camera.model_copy(update={"sound": None})
        cameras.append(camera)
    microphones = tuple(
        MicrophoneDevice(
            name=name,
            position_cm=_near(rng, _MICROPHONES[name], 10.0),
            # The nearest one is the take's master: it runs before anything is played.
            clock=clock_of(rng, params, wanders=False, is_early=name == "near"),
            sound=_recorder(rng, is_near=name == "near"),
            defect="none",
        )
        for name in list(_MICROPHONES)[: params.n_microphones]
    )
    return Rig(
        instrument=instrument,
        seed=int(rng.integers(2**31)),
        surroundings=surroundings,
        cameras=tuple(cameras),
        microphones=microphones,
        notes=clock_of(rng, params, wanders=False, is_early=True) if rng.random() < 0.5 else None,
    )


def _views(instrument: Instrument, is_test: bool, params: RigParams, rng: np.random.Generator) -> Sequence[str]:
    known = list(VIEWS[instrument])
    others = [view for view in known if view not in params.views_held_out]
    held_out = [view for view in known if view in params.views_held_out][: params.n_cameras] if is_test else []
    chosen = rng.permutation(len(others))[: params.n_cameras - len(held_out)]
    return sorted([*held_out, *(others[index] for index in chosen)])


def _camera(
    rng: np.random.Generator, instrument: Instrument, view: str, clock: DeviceClock, params: RigParams
) -> CameraDevice:
    width, height = params.sizes[int(rng.integers(len(params.sizes)))]
    position_cm = _near(rng, VIEWS[instrument][view], 6.0)
    target_cm, focal = _aimed(position_cm, instrument_corners(instrument), width, height)
    distortion = (_between(rng, (-0.14, 0.04)), _between(rng, (-0.01, 0.02)))
    frame_rate = params.frame_rates[int(rng.integers(len(params.frame_rates)))]
    return CameraDevice(
        name=view,
        position_cm=position_cm,
        target_cm=_near(rng, target_cm, 1.5),
        focal=round(focal, 4),
        distortion=distortion,
        width=width,
        height=height,
        frame_rate=frame_rate,
        is_variable=False,
        exposure_s=round(min(_between(rng, (0.008, 0.02)), float(0.8 / frame_rate)), 4),
        gain=_between(rng, (1.15, 1.55)),
        vignette=_between(rng, (0.05, 0.35)),
        noise=_between(rng, (0.8, 2.2)),
        clock=clock,
        sound=built_in_microphone(rng),
        defect="none",
    )


def _aimed(position_cm: Point, corners_cm: NDArray[np.float64], width: int, height: int) -> tuple[Point, float]:
    """Return the target and the focal length with which corners fill the picture."""
    target_cm, reach = (0.0, 0.0, 0.0), 1.0
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    for _ in range(3):
        wide = Camera(
            position_cm=position_cm, target_cm=target_cm, focal=1.0, distortion=(0.0, 0.0), width=width, height=height
        )
        pixels = wide.project(corners_cm)
        reach = float(np.abs((pixels - middle) / middle).max())
        x, y = wide.on_plane((pixels.min(axis=0) + pixels.max(axis=0)) / 2)
        target_cm = (float(x), float(y), 0.0)
    return target_cm, _FILLED / reach


def clock_of(rng: np.random.Generator, params: RigParams, *, wanders: bool, is_early: bool = False) -> DeviceClock:
    """Draw a device's clock; ``is_early`` starts it before anything is played."""
    latest_s = 0.0 if is_early else params.max_late_s
    return DeviceClock(
        start_s=round(float(rng.uniform(-params.max_early_s, latest_s)), 6),
        drift_ppm=round(float(np.clip(rng.normal(0, params.max_drift_ppm / 3), *_both(params.max_drift_ppm))), 3),
        wander=Wander(amplitude_s=params.max_wander_s, period_s=_between(rng, (18.0, 30.0))) if wanders else None,
        dropped=(),
    )


def _with_loss(clock: DeviceClock, duration_s: float, params: RigParams, rng: np.random.Generator) -> DeviceClock:
    lost = Drop(at_s=_between(rng, (0.35 * duration_s, 0.65 * duration_s)), length_s=_between(rng, params.lost_s))
    return clock.model_copy(update={"dropped": (lost,)})


def built_in_microphone(rng: np.random.Generator) -> SoundDevice:
    """Return a camera's own microphone: narrow, noisy, turned up and down."""
    control = GainControl(target_db=-20, max_gain_db=25, attack_s=0.05, release_s=0.8)
    return SoundDevice(
        sample_rate=int(rng.choice([44_100, 48_000])),
        codec="aac",
        response=Response(
            low_hz=_between(rng, (90, 220)),
            high_hz=_between(rng, (8000, 14_000)),
            bumps=((_between(rng, (1500, 4500)), _between(rng, (-5, 6)), 1.0),),
            phase="zero",
        ),
        gain_control=control if rng.random() < 0.6 else None,
        noise_db=_between(rng, (-32, -18)),
    )


def _recorder(rng: np.random.Generator, *, is_near: bool) -> SoundDevice:
    return SoundDevice(
        sample_rate=48_000 if is_near else int(rng.choice([44_100, 48_000])),
        codec="pcm",
        response=Response(low_hz=_between(rng, (20, 45)), high_hz=18_000, bumps=(), phase="zero"),
        gain_control=None,
        noise_db=_between(rng, (-55, -45) if is_near else (-45, -35)),
    )


def _between(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    return round(float(rng.uniform(*ends)), 4)


def _near(rng: np.random.Generator, point: Point, spread_cm: float) -> Point:
    moved = [round(float(value + rng.uniform(-spread_cm, spread_cm)), 3) for value in point]
    return moved[0], moved[1], moved[2]


def _both(most: float) -> tuple[float, float]:
    return -most, most
