"""Overhead films by their kinds: what the room, the camera, the hands and the file are like."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes
from tasks.media.edit_list import hide_beginning
from tasks.rig.camera import Camera
from tasks.rig.hand_figures import Skin
from tasks.rig.hands import Fingering, finger
from tasks.rig.made_films import FIRST_S, FilmTruth, Order
from tasks.rig.music import with_keys_released
from tasks.rig.overhead import OverheadFilm, Palette, Sensing, chroma_planes
from tasks.rig.piano import PianoLook, keyboard_corners, travel_times
from tasks.rig.scene import Light

OVERHEADS = tuple(
    f"overhead-{has}"
    for has in (
        "plain",
        "640",
        "1920",
        "gloves",
        "near-axis",
        "off-axis",
        "reflection",
        "tilt",
        "upside-down",
        "mirrored",
        "partial",
        "lights",
        "edit-list",
        "variable-rate",
        "nudged",
        "moved",
    )
)
_SIZES = {"640": (640, 360), "1920": (1920, 1080)}
_PARTIAL = ((15, 75), (3, 75), (15, 63), (27, 63))  # 61, 73, 49 and 37 keys, from C to C
_RELEASED_S = 0.08  # that a key needs to come up before it is struck again
_HIDDEN_S = 1.4  # of a film with an edit list

# Luma in full light, and U and V from no colour.
_SKINS = ((172.0, (-9.0, 14.0)), (150.0, (-12.0, 17.0)), (118.0, (-11.0, 15.0)), (84.0, (-7.0, 10.0)))
_GLOVES = ((36.0, (1.0, 0.0)), (214.0, (1.0, -1.0)), (92.0, (34.0, -18.0)), (150.0, (-20.0, -14.0)))
_SLEEVES = ((48.0, (4.0, -2.0)), (196.0, (0.0, 0.0)), (88.0, (22.0, -10.0)), (96.0, (-8.0, 34.0)), (70.0, (-4.0, -8.0)))
_WOODS = ((0.0, 0.0), (-14.0, 12.0), (-20.0, 22.0), (6.0, -2.0))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A room with a piano, and a camera above it."""

    camera: Camera
    look: PianoLook
    light: Light
    palette: Palette
    skin: Skin
    reach_cm: float
    shadow: float


def draw_scene(rng: np.random.Generator, has: str) -> Scene:
    """Draw a room by what a film has."""
    width, height = _SIZES.get(has, ((640, 360), (1280, 720), (1280, 720))[int(rng.integers(3))])
    keys = _PARTIAL[int(rng.integers(len(_PARTIAL)))] if has == "partial" else (0, N_KEYS - 1)
    corners = np.c_[keyboard_corners(keys), np.zeros(4)]
    middle, half = corners[:2, 0].mean(), np.ptp(corners[:, 0]) / 2
    aside = {"near-axis": rng.uniform(-0.3, 0.3), "off-axis": rng.choice([-1, 1]) * rng.uniform(0.7, 1.1)}
    x = middle + half * float(aside.get(has, rng.uniform(-0.5, 0.5)))
    y = float(rng.uniform(-52, -34) if has == "reflection" else rng.uniform(-26, -4))
    z = float(rng.uniform(130, 160) if has == "near-axis" else rng.uniform(95, 140)) * max(0.55, half / 61.0)
    position = (x, y, z)
    tilt = rng.choice([-1, 1]) * rng.uniform(2, 4) if has == "tilt" else rng.uniform(-0.8, 0.8)
    camera = framed(
        Camera(
            position_cm=position,
            target_cm=(float(middle), 0.0, 0.0),
            focal=1.0,
            distortion=(float(rng.uniform(-0.08, 0.02)), 0.0),
            width=width,
            height=height,
        ),
        corners,
        filled=float(rng.uniform(0.86, 0.97)),
        roll_deg=float(tilt),
        aside=float(rng.uniform(-0.1, 0.25)),
    )
    look = PianoLook(
        seed=int(rng.integers(2**31)),
        keys=keys,
        dots_per_cm=14.0 if width < 1000 else 28.0,
        board_cm=float(rng.uniform(9, 14) if has == "reflection" else rng.uniform(3, 7)),
        reflects=float(rng.uniform(0.3, 0.5) if has == "reflection" else rng.choice([0.0, 0.12])),
    )
    light = Light(
        position_cm=(float(rng.uniform(-90, 90)), float(rng.uniform(-20, 80)), float(rng.uniform(150, 230))),
        ambient=float(rng.uniform(0.3, 0.55)),
    )
    cast = (float(rng.uniform(-7, 4)), float(rng.uniform(-3, 6)))  # of lamps, warm or cold
    wood = _WOODS[int(rng.integers(len(_WOODS)))]
    return Scene(
        camera=camera,
        look=look,
        light=light,
        palette=Palette(keys=cast, wood=(wood[0] + cast[0], wood[1] + cast[1])),
        skin=draw_skin(rng, is_gloved=has == "gloves", cast=cast),
        reach_cm=float(rng.uniform(-0.8, 1.2)),
        shadow=float(rng.uniform(0.2, 0.45)),
    )


def draw_skin(rng: np.random.Generator, *, is_gloved: bool, cast: tuple[float, float]) -> Skin:
    """Draw what hands and forearms are covered with, in light of this U and V."""
    covers = _GLOVES if is_gloved else _SKINS
    luma, chroma = covers[int(rng.integers(len(covers)))]
    sleeve_luma, sleeve_chroma = _SLEEVES[int(rng.integers(len(_SLEEVES)))]
    if rng.random() < 0.25:  # bare arms
        sleeve_luma, sleeve_chroma = luma, chroma
    return Skin(
        luma=luma,
        chroma=(chroma[0] + cast[0], chroma[1] + cast[1]),
        has_nails=not is_gloved,
        sleeve_luma=sleeve_luma,
        sleeve_chroma=(sleeve_chroma[0] + cast[0], sleeve_chroma[1] + cast[1]),
    )


def framed(camera: Camera, corners_cm: NDArray[np.float64], *, filled: float, roll_deg: float, aside: float) -> Camera:
    """Return a camera turned and zoomed so that a keyboard lies across its picture.

    Args:
        camera: whose place, lens and picture are kept.
        corners_cm: of the keyboard, (4, 3), as ``keyboard_corners`` orders them.
        filled: share of the picture's width that it takes.
        roll_deg: that it is turned in the picture.
        aside: of the picture's height, that its middle is above the picture's.
    """
    for _ in range(8):
        pixels = camera.project(corners_cm)
        aim = (pixels.min(axis=0) + pixels.max(axis=0)) / 2 + np.array([0.0, aside * camera.height])
        x, y = camera.on_plane(aim).tolist()
        camera = replace(camera, target_cm=(x, y, 0.0))
        pixels = camera.project(corners_cm)
        along = pixels[1] - pixels[0] + pixels[2] - pixels[3]
        turned = float(np.rad2deg(np.arctan2(along[1], along[0])))
        camera = replace(camera, roll_deg=camera.roll_deg + turned - roll_deg)
        wide = float(np.ptp(camera.project(corners_cm)[:, 0]))
        camera = replace(camera, focal=camera.focal * filled * camera.width / wide)
    return camera


def filmed_scene(
    scene: Scene,
    rng: np.random.Generator,
    *,
    notes: Notes,
    fingerings: list[Fingering],
    time_s: NDArray[np.float64],
    gain: NDArray[np.float64],
    lifted_cm: float = 0.0,
    still: NDArray[np.float32] | None = None,
) -> OverheadFilm:
    """Film what happens in a room: ``notes`` press keys, the hands do what their fingerings say."""
    return OverheadFilm(
        scene.camera,
        look=scene.look,
        light=scene.light,
        palette=scene.palette,
        sensing=Sensing(
            exposure_s=float(rng.uniform(0.008, 0.02)),
            gain=gain * float(rng.uniform(1.0, 1.45)),
            noise=float(rng.uniform(0.8, 2.6)),
            seed=int(rng.integers(2**31)),
        ),
        notes=notes,
        travel_s=travel_times(notes.velocity),
        fingerings=fingerings,
        skin=scene.skin,
        reach_cm=scene.reach_cm,
        lifted_cm=lifted_cm,
        shadow=scene.shadow,
        time_s=time_s,
        still=still,
    )


def overhead_film(order: Order) -> FilmTruth:
    """Draw a film of hands that play a piano, from above."""
    rng, has = order.rng, order.kind.removeprefix("overhead-")
    if has == "edit-list":
        order = replace(order, duration_s=order.duration_s + _HIDDEN_S)
    scene = draw_scene(rng, has)
    keys = scene.look.keys
    notes = with_keys_released(order.music(FIRST_S, order.duration_s - 0.4, _pitches(scene, has)), gap_s=_RELEASED_S)
    if has == "edit-list":  # no stroke near the cut could be scored
        near = (notes.onset_s > _HIDDEN_S - 0.5) & (notes.onset_s < _HIDDEN_S + 0.3)
        near |= (notes.onset_s <= _HIDDEN_S) & (notes.offset_s > _HIDDEN_S - 0.1)
        notes = notes.take(~near)
    ticks = order.picture_times(is_variable=has == "variable-rate", most_a_second=30)
    time_s = np.array([float(tick) for tick in ticks])
    home = keyboard_corners(keys)[:2, 0].mean() + np.array([-18.0, 18.0])
    film = filmed_scene(
        scene,
        rng,
        notes=notes,
        fingerings=finger(notes, travel_times(notes.velocity), home_cm=(float(home[0]), float(home[1]))),
        time_s=time_s,
        gain=_gains(rng, has, time_s),
    )
    moves = _moves(rng, has, order.duration_s, scene.camera.width)
    order.write(_turned(film, has, moves, time_s), ticks, crf=int(rng.integers(18, 26)))
    corners = _corners(scene.camera, keys, has)
    if has == "edit-list":
        hide_beginning(order.path, _HIDDEN_S)
        after = notes.onset_s > _HIDDEN_S
        shown = time_s >= _HIDDEN_S - 1e-9
        time_s = time_s[shown] - _HIDDEN_S
        notes = notes.take(after)
        notes = replace(notes, onset_s=notes.onset_s - _HIDDEN_S, offset_s=notes.offset_s - _HIDDEN_S)
        notes = replace(notes, sounding_offset_s=notes.offset_s)
    whites = 7 / 12 * (keys[1] - keys[0]) + 1 if keys != (0, N_KEYS - 1) else 52
    return FilmTruth(
        path=order.path,
        kind=order.kind,
        seed=order.seed,
        corners=corners,
        first_pitch=LOWEST_PITCH + keys[0],
        n_keys=keys[1] - keys[0] + 1,
        white_px=float(np.linalg.norm(corners[1] - corners[0]) + np.linalg.norm(corners[2] - corners[3])) / 2 / whites,
        notes=notes,
        time_s=time_s,
        moves=[(at_s, float(np.hypot(*shift))) for at_s, shift, _ in moves],
    )


def _pitches(scene: Scene, has: str) -> tuple[int, int]:
    """Return the lowest and the highest pitch that is played."""
    first, last = scene.look.keys
    if has != "near-axis":
        return LOWEST_PITCH + first, LOWEST_PITCH + last
    ends = keyboard_corners()[:2, 0]
    middle = round(float(np.interp(scene.camera.position_cm[0], ends, (0, N_KEYS - 1))))
    low = int(np.clip(middle - 14, first, last - 28))
    return LOWEST_PITCH + low, LOWEST_PITCH + low + 28


def _gains(rng: np.random.Generator, has: str, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what is left of the light in each picture."""
    drift = 0.01 * np.sin(2 * np.pi * time_s / rng.uniform(6, 15) + rng.uniform(0, 6))
    if has == "lights":
        drift = 8 * drift
        fades = np.clip((time_s - rng.uniform(0.3, 0.7) * time_s[-1]) / 0.4, 0, 1)
        drift -= 0.18 * fades
    gains: NDArray[np.float64] = 1 + drift
    return gains


_Move = tuple[float, tuple[float, float], float]  # when, pixels, degrees


def _moves(rng: np.random.Generator, has: str, duration_s: float, width: int) -> list[_Move]:
    """Return the moves of the camera."""
    if has not in ("nudged", "moved"):
        return []
    at_s = float(rng.uniform(0.35, 0.65)) * duration_s
    way = width * float(rng.uniform(0.0015, 0.004) if has == "nudged" else rng.uniform(0.03, 0.06))
    angle = float(rng.uniform(0, 2 * np.pi))
    degrees = 0.0 if has == "nudged" else float(rng.uniform(-1, 1))
    return [(at_s, (way * np.cos(angle), way * np.sin(angle)), degrees)]


def _turned(
    film: OverheadFilm, has: str, moves: list[_Move], time_s: NDArray[np.float64]
) -> Iterator[NDArray[np.uint8]]:
    """Yield the film's pictures as the camera holds them: moved, upside down, mirrored."""
    for number, moment in enumerate(time_s.tolist()):
        planes = film.picture(number)
        for at_s, shift, degrees in moves:
            share = float(np.clip((moment - at_s) / 0.15, 0, 1))  # of the move that is done
            if share:
                planes = _shifted(planes, share * np.array(shift), share * degrees)
        if has == "upside-down":
            planes = _flipped(planes, -1)
        elif has == "mirrored":
            planes = _flipped(planes, 1)
        yield planes


def _each_plane(planes: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    height = planes.shape[0] * 2 // 3
    return [planes[:height], *chroma_planes(planes, height)]


def _flipped(planes: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    """Mirror all planes as OpenCV's ``flip`` does."""
    flipped = np.empty_like(planes)
    for old, new in zip(_each_plane(planes), _each_plane(flipped), strict=True):
        new[:] = cv2.flip(old, code)
    return flipped


def _shifted(planes: NDArray[np.uint8], shift: NDArray[np.float64], degrees: float) -> NDArray[np.uint8]:
    moved = np.empty_like(planes)
    for scale, (old, new) in zip((1, 2, 2), zip(_each_plane(planes), _each_plane(moved), strict=True), strict=True):
        height, width = old.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        matrix[:, 2] = matrix[:, 2] + shift / scale
        new[:] = cv2.warpAffine(old, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved


def _corners(camera: Camera, keys: tuple[int, int], has: str) -> NDArray[np.float64]:
    """Return the keyboard's corners in the film's picture, clockwise from the player's far left."""
    corners = camera.project(np.c_[keyboard_corners(keys), np.zeros(4)])[::-1]
    if has in ("upside-down", "mirrored"):
        corners[:, 0] = camera.width - 1 - corners[:, 0]
    if has == "upside-down":
        corners[:, 1] = camera.height - 1 - corners[:, 1]
    return corners
