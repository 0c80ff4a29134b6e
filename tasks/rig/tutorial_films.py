"""Tutorial films by their kinds."""

from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import IS_BLACK, LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes
from tasks.rig.camera import Camera
from tasks.rig.falling_notes import Banner, FallingNotes, Look
from tasks.rig.hand_figures import HandFigure
from tasks.rig.hands import finger, place_hand
from tasks.rig.made_films import FIRST_S, FilmTruth, Order
from tasks.rig.music import held_till_struck_again, with_keys_released
from tasks.rig.overhead import chroma_planes
from tasks.rig.overhead_films import draw_skin
from tasks.rig.piano import KEY_CM, keyboard_corners, travel_times
from tasks.rig.scene import Light

TUTORIALS = tuple(
    f"tutorial-{has}"
    for has in ("plain", "repeated", "one-hue", "partial", "names", "fade", "popup", "clock", "200k", "hands")
)
_TITLED_S = 1.5  # of a film, before its keyboard fades in
_ABOVE_CM = 300.0  # the drawn keyboard, of the camera that films the hands

# Hues of both hands, blue, green, red: pairs of equal and of unequal chroma.
_HUES = (
    ((255.0, 160.0, 60.0), (90.0, 220.0, 110.0)),
    ((200.0, 120.0, 60.0), (60.0, 200.0, 250.0)),
    ((220.0, 190.0, 150.0), (40.0, 60.0, 235.0)),  # a pale one beside a strong one
    ((235.0, 90.0, 160.0), (150.0, 225.0, 180.0)),
    ((90.0, 220.0, 110.0), (60.0, 150.0, 70.0)),  # one hue, light and dark
)
_SIZES = ((640, 360), (854, 480), (1280, 720), (1280, 720), (1920, 1080))
_WHOLE = (0, N_KEYS - 1)
_PARTIAL = ((15, 75), (3, 75), (15, 63), (27, 63))  # 61, 73, 49 and 37 keys, from C to C; 3 is C1


def tutorial_film(order: Order) -> FilmTruth:
    """Draw a tutorial film."""
    rng, duration_s = order.rng, order.duration_s
    has = order.kind.removeprefix("tutorial-")
    keys = _PARTIAL[int(rng.integers(len(_PARTIAL)))] if has in ("partial", "names") else _WHOLE
    width, height = _SIZES[int(rng.integers(3 if has == "hands" else len(_SIZES)))]
    hues = _HUES[int(rng.integers(len(_HUES)))]
    left = float(rng.choice([0.0, 0.0, rng.uniform(2, 0.05 * width)]))
    n_whites = int((~IS_BLACK[keys[0] : keys[1] + 1]).sum())
    white_px = (width - 2 * left) / n_whites
    length = min(white_px * float(rng.uniform(4.6, 6.6)), 0.4 * height)
    below = rng.uniform(0.2, 0.3) if has == "hands" else rng.choice([0.0, 0.03])  # the keys, as a share of the height
    bottom = height - round(below * height)
    intro_s = _TITLED_S if has == "fade" else 0.0
    first_s = FIRST_S + (intro_s + 0.5 if intro_s else 0.0)
    pitches = (LOWEST_PITCH + keys[0], LOWEST_PITCH + keys[1])
    notes = order.music(first_s, duration_s - 0.4, pitches, repeats=0.5 if has == "repeated" else 0.12)
    if has == "repeated":
        notes = held_till_struck_again(with_keys_released(notes, gap_s=0.0))
    else:
        notes = with_keys_released(notes, gap_s=float(rng.uniform(0.05, 0.08)))
    banner = None
    if has == "popup":
        start_s = float(rng.uniform(0.3, 0.6)) * duration_s
        banner = Banner(
            start_s=start_s,
            end_s=start_s + float(rng.uniform(1.5, 2.5)),
            left=float(rng.uniform(0.05, 0.6)),
            width=float(rng.uniform(0.2, 0.35)),
        )
    white = float(rng.uniform(220, 250))
    look = Look(
        width=width,
        height=height,
        keys=keys,
        left=left,
        top=bottom - round(length),
        bottom=bottom,
        fall_s=float(rng.uniform(1.6, 3.0)),
        hues=(hues[0], hues[0]) if has == "one-hue" else hues,
        split=int(rng.integers(56, 64)),
        background=(float(rng.uniform(15, 50)), float(rng.uniform(15, 50)), float(rng.uniform(15, 50))),
        gap=float(rng.uniform(2.0, 4.0)) * max(1.0, height / 480) if has == "repeated" else 0.0,
        names=has == "names",
        glow=bool(rng.random() < 0.5),
        white=(white, white + float(rng.uniform(-5, 3)), white + float(rng.uniform(-8, 3))),
        black_length=float(rng.uniform(0.58, 0.68)),
        intro_s=intro_s,
        banner=banner,
    )
    clock = 1.008 if has == "clock" else 1.0
    film = FallingNotes(look, notes, end_s=duration_s)
    time_s = order.picture_times()
    shown_s = np.array([float(moment) / clock for moment in time_s])
    pictures: Iterable[NDArray[np.uint8]] = (
        np.asarray(cv2.cvtColor(film.picture(moment), cv2.COLOR_BGR2YUV_I420), np.uint8) for moment in shown_s.tolist()
    )
    if has == "hands":
        pictures = _under_hands(pictures, _figures(rng, look, film.notes, shown_s))
    bit_rate = 200_000 if has == "200k" else None
    order.write(pictures, time_s, crf=int(rng.integers(20, 29)), bit_rate=bit_rate)
    return FilmTruth(
        path=order.path,
        kind=order.kind,
        seed=order.seed,
        corners=look.corners(),
        first_pitch=pitches[0],
        n_keys=pitches[1] - pitches[0] + 1,
        white_px=look.white_px,
        notes=film.notes,
        time_s=np.array([float(moment) for moment in time_s]),
        clock=clock,
        hidden_s=film.hidden_s(),
        is_lit=True,
    )


def _figures(rng: np.random.Generator, look: Look, notes: Notes, time_s: NDArray[np.float64]) -> list[HandFigure]:
    """Return hands that play on the drawn keyboard, as if a camera high above it filmed them."""
    (left, front), (right, _) = keyboard_corners(look.keys)[:2]
    px_per_cm = look.white_px / KEY_CM
    x, y = (left + right) / 2, front + (look.bottom - look.height / 2) / px_per_cm
    camera = Camera(
        position_cm=(x, y, _ABOVE_CM),
        target_cm=(x, y, 0.0),
        focal=_ABOVE_CM * px_per_cm / look.width,
        distortion=(0.0, 0.0),
        width=look.width,
        height=look.height,
    )
    light = Light(position_cm=(float(rng.uniform(-60, 60)), 20.0, 200.0), ambient=0.5)
    skin = draw_skin(rng, is_gloved=bool(rng.random() < 0.2), cast=(0.0, 0.0))
    shadow, reach_cm, seed = float(rng.uniform(0.0, 0.35)), float(rng.uniform(-0.8, 1.2)), int(rng.integers(2**31))
    return [
        HandFigure(
            camera,
            light,
            skin,
            place_hand(fingering, time_s, reach_cm=reach_cm, lifted_cm=0.0, seed=seed),
            shadow=shadow,
        )
        for fingering in finger(notes, travel_times(notes.velocity), home_cm=(x - 18.0, x + 18.0))
    ]


def _under_hands(pictures: Iterable[NDArray[np.uint8]], figures: Sequence[HandFigure]) -> Iterator[NDArray[np.uint8]]:
    """Lay hands over pictures, planes of I420."""
    for number, planes in enumerate(pictures):
        height = len(planes) * 2 // 3
        luma = planes[:height].astype(np.float32)
        chroma = np.stack(chroma_planes(planes, height)).astype(np.float32) - np.float32(128)
        for figure in figures:
            figure.draw(luma, chroma, number)
        planes[:height] = np.clip(np.rint(luma), 0, 255)
        for plane, place in zip(chroma, chroma_planes(planes, height), strict=True):
            place[:] = np.clip(np.rint(plane) + 128, 0, 255)
        yield planes
