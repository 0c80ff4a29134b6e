"""Films of keyboards as people make them, with the exact truth about each: tutorials, overhead films, and no keyboards.

``film_of`` draws a film of a kind by a seed: the same for the same arguments.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.instruments.keyboard import IS_BLACK, LOWEST_PITCH, N_KEYS
from tasks.instruments.notes import Notes
from tasks.media.encode import encode_camera
from tasks.rig.falling_notes import Banner, FallingNotes, Look
from tasks.rig.music import excerpt_of, held_till_struck_again, random_music, with_keys_released

_TIME_BASE = Fraction(1, 90_000)
_TITLED_S = 1.5  # of a film, before its keyboard fades in
_FIRST_S = 1.0  # before which no key moves


@dataclass(frozen=True, kw_only=True)
class FilmTruth:
    """The truth about a made film.

    Attributes:
        path: of the film.
        kind: what was made.
        seed: that it was drawn by.
        corners: of the keys in the first picture, pixels (4, 2), from the player's far left clockwise as the player sees
            it (far left, far right, near right, near left); None where the film shows no keyboard.
        first_pitch: of the lowest key that is drawn.
        n_keys: that are drawn.
        white_px: pixels from a white key to the next, on average.
        notes: on the clock that ``clock`` relates to the film's; keys go down before.
        time_s: when each picture that is shown appears.
        clock: the film's seconds a second of the notes.
        hidden_s: spans in which the keyboard, or a part of it, is not shown.
        moves: (seconds, pixels) of each move of the camera.
        is_lit: keys light up; else they are pressed.
    """

    path: Path
    kind: str
    seed: int
    corners: NDArray[np.float64] | None
    first_pitch: int
    n_keys: int
    white_px: float
    notes: Notes
    time_s: NDArray[np.float64]
    clock: float = 1.0
    hidden_s: list[tuple[float, float]] = field(default_factory=list)
    moves: list[tuple[float, float]] = field(default_factory=list)
    is_lit: bool = False


def film_of(kind: str, seed: int, folder: Path, *, score: Notes | None = None, duration_s: float = 12.0) -> FilmTruth:
    """Draw a film of a kind into ``folder``.

    Args:
        kind: one of ``KINDS``.
        seed: of everything that is drawn.
        folder: that exists; the film is ``KIND-SEED.mp4``.
        score: music that an excerpt is played of; None is random music.
        duration_s: of the film.

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"no film of kind {kind!r}, expected one of {', '.join(KINDS)}")
    rng = np.random.default_rng([seed, *kind.encode()])
    return KINDS[kind](kind, seed, rng, folder / f"{kind}-{seed}.mp4", score, duration_s)


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


def _tutorial(
    kind: str, seed: int, rng: np.random.Generator, path: Path, score: Notes | None, duration_s: float
) -> FilmTruth:
    has = kind.removeprefix("tutorial-")
    keys = _PARTIAL[int(rng.integers(len(_PARTIAL)))] if has in ("partial", "names") else _WHOLE
    width, height = _SIZES[int(rng.integers(3 if has == "hands" else len(_SIZES)))]
    hues = _HUES[int(rng.integers(len(_HUES)))]
    left = float(rng.choice([0.0, 0.0, rng.uniform(2, 0.05 * width)]))
    n_whites = int((~IS_BLACK[keys[0] : keys[1] + 1]).sum())
    white_px = (width - 2 * left) / n_whites
    length = min(white_px * float(rng.uniform(4.6, 6.6)), 0.4 * height)
    bottom = height - int(rng.choice([0, round(0.03 * height)]))
    intro_s = _TITLED_S if has == "fade" else 0.0
    first_s = _FIRST_S + (intro_s + 0.5 if intro_s else 0.0)
    pitches = (LOWEST_PITCH + keys[0], LOWEST_PITCH + keys[1])
    notes = _music(rng, score, first_s, duration_s - 0.4, pitches, repeats=0.5 if has == "repeated" else 0.12)
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
        background=tuple(float(v) for v in rng.uniform(15, 50, 3)),  # type: ignore[arg-type]
        gap=float(rng.uniform(2.0, 4.0)) * max(1.0, height / 480) if has == "repeated" else 0.0,
        names=has == "names",
        glow=bool(rng.random() < 0.5),
        white=tuple(float(rng.uniform(215, 250)) for _ in range(3)),  # type: ignore[arg-type]
        black_length=float(rng.uniform(0.58, 0.68)),
        intro_s=intro_s,
        banner=banner,
    )
    clock = 1.008 if has == "clock" else 1.0
    film = FallingNotes(look, notes, end_s=duration_s)
    time_s = _picture_times(rng, duration_s)
    pictures = (cv2.cvtColor(film.picture(float(moment) / clock), cv2.COLOR_BGR2YUV_I420) for moment in time_s)
    bit_rate = 200_000 if has == "200k" else None
    _write(path, pictures, time_s, crf=int(rng.integers(20, 29)), bit_rate=bit_rate)
    return FilmTruth(
        path=path,
        kind=kind,
        seed=seed,
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


def _music(
    rng: np.random.Generator,
    score: Notes | None,
    start_s: float,
    end_s: float,
    pitches: tuple[int, int],
    *,
    repeats: float,
) -> Notes:
    if score is None:
        return random_music(rng, start_s=start_s, end_s=end_s, pitches=pitches, repeats=repeats)
    latest_s = max(0.0, float(score.onset_s[-1]) - (end_s - start_s))
    from_s = float(rng.uniform(0, latest_s))
    return excerpt_of(score, from_s=from_s, to_s=from_s + end_s - start_s, start_s=start_s, pitches=pitches)


def _picture_times(rng: np.random.Generator, duration_s: float) -> list[Fraction]:
    rate = (Fraction(30), Fraction(25), Fraction(30000, 1001), Fraction(30))[int(rng.integers(4))]
    return [number / rate for number in range(int(duration_s * rate))]


def _write(
    path: Path, pictures: Iterable[NDArray[np.uint8]], time_s: Sequence[Fraction], *, crf: int, bit_rate: int | None
) -> None:
    encode_camera(
        path, pictures, time_s=time_s, time_base=_TIME_BASE, crf=crf, in_colour=True, bit_rate=bit_rate
    )


_Maker = Callable[[str, int, np.random.Generator, Path, Notes | None, float], FilmTruth]
_TUTORIALS = ("plain", "repeated", "one-hue", "partial", "names", "fade", "popup", "clock", "200k")
KINDS: dict[str, _Maker] = {f"tutorial-{has}": _tutorial for has in _TUTORIALS}
