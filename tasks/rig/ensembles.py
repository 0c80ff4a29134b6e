"""The rig around an ensemble: a recorder with a stem a player, a camera for each, and one camera of all players.

``ensemble_rig_of`` draws one from a seed, as ``tasks.rig.rigs`` does for one instrument. The recorder's clock is the
take's; each player's own camera is locked to it. The camera of all has a clock of its own, and records the mix in the
room.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tasks.instruments.notes import Notes
from tasks.params import Section
from tasks.rig.clocks import DeviceClock
from tasks.rig.drawing import Drawing, Shape
from tasks.rig.moves import Floats, moves_of
from tasks.rig.players import shapes_of
from tasks.rig.rigs import Point, Rate, RigParams, Side, SoundDevice, Surroundings, built_in_microphone, clock_of
from tasks.rig.scene import Light

VIEW_SIZE = 96  # pixels of a player's own picture, each way
VIEW_RATE = Fraction(25)  # pictures a second of the players' own cameras
_LARGEST_ROW = 4  # players that sit side by side
_FASTEST = 30  # pictures a second of the camera of all


class Seat(Section):
    """A player's place, and where it is in the cameras' pictures.

    Attributes:
        instrument: code of the orchestra.
        gain_db: of the player's stem over the others'.
        microphone_cm: the player's own microphone, from the seat.
        view_origin: the middle of the crown of the player's head in their own camera's picture, in pixels.
        view_scale: pixels of a body there.
        all_origin: the same in the picture of all.
        all_scale: pixels of a body there.
        light: share of full light on the player.
        seed: of the player's clothes and motion.
    """

    instrument: str
    gain_db: float
    microphone_cm: Point
    view_origin: tuple[float, float]
    view_scale: float
    all_origin: tuple[float, float]
    all_scale: float
    light: float
    seed: int


class StageCamera(Section):
    """The camera of all; its file is ``cam_all``.

    Attributes:
        width: pixels.
        height: pixels.
        frame_rate: pictures a second.
        noise: standard deviation, in luma.
        jitter: standard deviation of its tremble, in pixels.
        position_cm: where it stands, from the middle of the ensemble.
        clock: of its pictures and its sound.
        sound: its own microphone.
    """

    width: Side
    height: Side
    frame_rate: Rate
    noise: Annotated[float, Field(ge=0)]
    jitter: Annotated[float, Field(ge=0)]
    position_cm: Point
    clock: DeviceClock
    sound: SoundDevice


class EnsembleRig(Section):
    """Everything that the recordings of an ensemble follow from, besides the notes.

    Attributes:
        seed: of noise, backdrops and whatever else is random in the recordings.
        recorder: the clock of stems, mix and the players' own cameras.
        surroundings: the room.
        view_noise: standard deviation of the players' cameras' noise, in luma.
        view_jitter: standard deviation of their tremble, in pixels.
        seats: one a player, in the players' order.
        camera: of all.
    """

    seed: int
    recorder: DeviceClock
    surroundings: Surroundings
    view_noise: Annotated[float, Field(ge=0)]
    view_jitter: Annotated[float, Field(ge=0)]
    seats: Annotated[tuple[Seat, ...], Field(min_length=1)]
    camera: StageCamera


def ensemble_rig_of(seed: int, *, instruments: Sequence[str], params: RigParams, max_gain_db: float) -> EnsembleRig:
    """Draw a rig: the same for the same arguments.

    Args:
        seed: of everything that is drawn.
        instruments: a code a player.
        params: the ranges.
        max_gain_db: by which a player is louder or softer than the others, at most.
    """
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 4)

    surroundings = Surroundings(
        size_m=(between(5.5, 8.5), between(4.8, 7.0), between(2.6, 3.4)),
        t60_s=between(*params.t60_s),
        instrument_m=(between(2.4, 2.9), between(1.6, 2.0), 1.0),
        max_order=6,
        light=Light(position_cm=(between(-90, 90), between(-20, 90), between(170, 230)), ambient=0.4),
    )
    width, height, places = _stage(len(instruments), rng)
    seats = []
    for code, (x, y, scale) in zip(instruments, places, strict=True):
        seats.append(
            Seat(
                instrument=code,
                gain_db=between(-max_gain_db, max_gain_db),
                microphone_cm=(between(-40, 40), between(30, 70), between(10, 50)),
                view_origin=(48 + between(-4, 4), between(4, 9)),
                view_scale=between(76, 86),
                all_origin=(round(x, 2), round(y, 2)),
                all_scale=round(scale, 2),
                light=between(0.82, 1.12),
                seed=int(rng.integers(2**31)),
            )
        )
    rates = [rate for rate in params.frame_rates if rate <= _FASTEST] or [VIEW_RATE]
    return EnsembleRig(
        seed=int(rng.integers(2**31)),
        recorder=DeviceClock(start_s=between(-1.2, -0.6), drift_ppm=0.0, wander=None, dropped=()),
        surroundings=surroundings,
        view_noise=between(0.8, 2.2),
        view_jitter=between(0.03, 0.2),
        seats=tuple(seats),
        camera=StageCamera(
            width=width,
            height=height,
            frame_rate=rates[int(rng.integers(len(rates)))],
            noise=between(0.8, 2.2),
            jitter=between(0.02, 0.08),
            position_cm=(between(-80, 80), between(160, 240), between(20, 60)),
            clock=clock_of(rng, params, wanders=False),
            sound=built_in_microphone(rng),
        ),
    )


def _stage(n_players: int, rng: np.random.Generator) -> tuple[int, int, list[tuple[float, float, float]]]:
    """Return width and height of the picture of all, and for each player x, y and the pixels of a body."""
    rows = [n_players] if n_players <= _LARGEST_ROW else [n_players // 2, n_players - n_players // 2]
    width, height = 480, 160 if len(rows) == 1 else 184
    scale = 124.0 if len(rows) == 1 else 78.0
    places = []
    for number, n_seats in enumerate(rows):
        cell = width / n_seats
        for seat in range(n_seats):
            mine = min(scale * float(rng.uniform(0.93, 1.07)), cell / 1.02)
            x = cell * (seat + 0.5) + float(rng.uniform(-0.06, 0.06)) * cell
            y = height - (len(rows) - 1 - number) * height / 2 - mine - float(rng.uniform(2, 8))
            places.append((x, y, mine))
    return width, height, places


def own_view(rig: EnsembleRig, number: int, notes: Notes, time_s: Floats) -> Drawing:
    """Return the figure of player ``number``, from 0, for the player's own camera, at moments of the world."""
    seat = rig.seats[number]
    origin = np.tile(seat.view_origin, (len(time_s), 1))
    return Drawing([(_figure(seat, notes, time_s), origin, seat.view_scale, seat.light)])


def view_of_all(rig: EnsembleRig, players: Sequence[Notes], time_s: Floats) -> Drawing:
    """Return the figures of all players for the camera of all; its ``boxes`` are the players' places."""
    return Drawing(
        [
            (_figure(seat, notes, time_s), np.tile(seat.all_origin, (len(time_s), 1)), seat.all_scale, seat.light)
            for seat, notes in zip(rig.seats, players, strict=True)
        ]
    )


def _figure(seat: Seat, notes: Notes, time_s: NDArray[np.float64]) -> list[Shape]:
    return shapes_of(seat.instrument, moves_of(notes, seat.instrument, time_s, seed=seat.seed), seed=seat.seed + 1)
