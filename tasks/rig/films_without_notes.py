"""Films in which no key is played: hands alone, drums, stripes, black, a keyboard that rests under hands or none."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import LOWEST_PITCH
from tasks.instruments.notes import Notes, sorted_notes
from tasks.rig.hands import finger
from tasks.rig.made_films import FilmTruth, Order
from tasks.rig.music import with_keys_released
from tasks.rig.overhead_films import draw_scene, filmed_scene
from tasks.rig.piano import keyboard_corners, travel_times

IDLE = ("idle-keyboard", "idle-under-hands")
NO_KEYBOARD = ("no-hands-alone", "no-drums", "no-black", "no-stripes")
SILENT = IDLE + NO_KEYBOARD
_LIFTED_CM = (2.0, 5.0)  # of hands that press nothing


def silent_film(order: Order) -> FilmTruth:
    """Draw a film in which no key is played."""
    ticks = order.picture_times(most_a_second=30)
    time_s = np.array([float(tick) for tick in ticks])
    corners, white_px, pictures = _DRAWN[order.kind](order, time_s)
    order.write(pictures, ticks, crf=int(order.rng.integers(18, 26)))
    return FilmTruth(
        path=order.path,
        kind=order.kind,
        seed=order.seed,
        corners=corners,
        first_pitch=LOWEST_PITCH,
        n_keys=0 if corners is None else 88,
        white_px=white_px,
        notes=_none(),
        time_s=time_s,
    )


_Drawn = tuple[NDArray[np.float64] | None, float, Iterator[NDArray[np.uint8]]]


def _none() -> Notes:
    return sorted_notes(np.zeros(0), np.zeros(0), np.zeros(0, np.uint8), np.zeros(0, np.uint8))


def _with_hands(order: Order, time_s: NDArray[np.float64]) -> _Drawn:
    """Draw a keyboard at rest, hands that move over it, or hands alone on a table."""
    rng = order.rng
    scene = draw_scene(rng, "plain")
    look, camera = scene.look, scene.camera
    pitches = (LOWEST_PITCH + look.keys[0], LOWEST_PITCH + look.keys[1])
    notes = with_keys_released(order.music(0.2, order.duration_s, pitches), gap_s=0.08)
    has_hands = order.kind != "idle-keyboard"
    still = None
    if order.kind == "no-hands-alone":
        still = np.full((camera.height, camera.width), float(rng.choice([4.0, 70.0, 150.0])), np.float32)
        grain = rng.normal(0, 5, (camera.height // 8, camera.width // 8)).astype(np.float32)
        still += cv2.resize(grain, (camera.width, camera.height), interpolation=cv2.INTER_CUBIC)
    film = filmed_scene(
        scene,
        rng,
        notes=_none(),
        fingerings=finger(notes, travel_times(notes.velocity), home_cm=(-18.0, 18.0)) if has_hands else [],
        time_s=time_s,
        gain=np.ones(len(time_s)),
        lifted_cm=float(rng.uniform(*_LIFTED_CM)),
        still=still,
    )
    pictures = (film.picture(number) for number in range(len(time_s)))
    if order.kind == "no-hands-alone":
        return None, 0.0, pictures
    corners = camera.project(np.c_[keyboard_corners(look.keys), np.zeros(4)])[::-1]
    return corners, float(np.linalg.norm(corners[1] - corners[0])) / 52, pictures


def _black(order: Order, time_s: NDArray[np.float64]) -> _Drawn:
    noise = float(order.rng.choice([0.0, 1.5]))
    rng = np.random.default_rng(order.seed)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for _ in time_s:
            planes = np.full((360 * 3 // 2, 640), 128, np.uint8)
            planes[:360] = np.clip(16 + noise * rng.standard_normal((360, 640)), 0, 255)
            yield planes

    return None, 0.0, pictures()


def _drums(order: Order, time_s: NDArray[np.float64]) -> _Drawn:
    """Draw drums and cymbals from above, and sticks that strike them."""
    rng = order.rng
    width, height = (640, 360) if rng.random() < 0.5 else (1280, 720)
    still = np.full((height, width, 3), rng.uniform(30, 90, 3), np.uint8)
    n_drums = int(rng.integers(5, 9))
    middles = np.c_[rng.uniform(0.1, 0.9, n_drums) * width, rng.uniform(0.15, 0.85, n_drums) * height]
    for x, y in middles:
        radius = int(rng.uniform(0.06, 0.14) * width)
        skin = rng.uniform(150, 230, 3) if rng.random() < 0.6 else np.array([70.0, 170.0, 200.0])
        cv2.circle(still, (int(x), int(y)), radius, (40, 40, 40), -1, cv2.LINE_AA)
        cv2.circle(still, (int(x), int(y)), radius - 4, skin.tolist(), -1, cv2.LINE_AA)
        for ring in range(radius - 12, 8, -10):
            cv2.circle(still, (int(x), int(y)), ring, (0.93 * skin).tolist(), 1, cv2.LINE_AA)
    beat_s = rng.uniform(0.2, 0.4)
    goals = middles[rng.integers(0, n_drums, (2, int(time_s[-1] / beat_s) + 3))]  # of both sticks

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for moment in time_s.tolist():
            picture = still.copy()
            beat, share = divmod(moment / beat_s, 1.0)
            for side, goal in enumerate(goals):
                tip = (1 - share) * goal[int(beat)] + share * goal[int(beat) + 1]
                tip = tip - (0, 0.12 * height * np.sin(np.pi * share))
                hand = tip + np.array([width * (0.1 if side else -0.1), 0.3 * height])
                arm = hand + np.array([0, 0.6 * height])
                cv2.line(picture, _point(arm), _point(hand), (110, 140, 190), max(8, width // 28), cv2.LINE_AA)
                cv2.line(picture, _point(tip), _point(hand), (150, 190, 220), max(3, width // 160), cv2.LINE_AA)
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)

    return None, 0.0, pictures()


def _stripes(order: Order, time_s: NDArray[np.float64]) -> _Drawn:
    """Draw a page of stripes as a keyboard has them, even or as a bar code, that slides or is scrolled."""
    rng = order.rng
    width, height = 1280, 720
    page = np.full((height, 2 * width), 235, np.uint8)
    even = rng.random() < 0.5
    step, x = float(rng.uniform(18, 30)), 0.0
    top, bottom = int(rng.uniform(0.1, 0.4) * height), int(rng.uniform(0.6, 0.95) * height)
    while x < 2 * width:
        thick = 0.55 * step if even else float(rng.uniform(0.1, 0.9)) * step
        page[top:bottom, round(x) : round(x + thick)] = 25
        x += step if even else thick + float(rng.uniform(0.2, 0.9)) * step
    for line in range(bottom + 20, height - 10, 18):
        page[line : line + 3, 80 : 2 * width - 80] = 120
    speed = float(rng.choice([0.0, 0.0, rng.uniform(5, 60)]))

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for moment in time_s.tolist():
            planes = np.full((height * 3 // 2, width), 128, np.uint8)
            left = round(speed * moment) % width
            planes[:height] = page[:, left : left + width]
            yield planes

    return None, 0.0, pictures()


def _point(place: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(place[0])), round(float(place[1]))


_DRAWN: dict[str, Callable[[Order, NDArray[np.float64]], _Drawn]] = {
    "idle-keyboard": _with_hands,
    "idle-under-hands": _with_hands,
    "no-hands-alone": _with_hands,
    "no-drums": _drums,
    "no-black": _black,
    "no-stripes": _stripes,
}
