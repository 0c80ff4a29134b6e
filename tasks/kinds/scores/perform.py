"""Verb ``perform`` for families of scores: a video of the simulated keyboard, read as its changes.

A film of a real keyboard is read by `tasks.keyboards`, and what it plays is drawn as the simulator draws it: on the
simulator's grid of times, so that a network that learned from drawn pictures sees them in phase with its sound.
"""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.families.base import Film
from tasks.instruments.grid import fine_step_s, on_grid
from tasks.instruments.keyboard import (
    HEIGHT,
    WIDTH,
    draw_keyboard,
    key_states,
    read_keyboard,
    read_pedal,
    with_pedal,
)
from tasks.keyboards.read import read_keyboard_film
from tasks.media.encode import SOUND_RATE
from tasks.media.pictures import DecodedFilm, read_film
from tasks.media.probe import MediaFacts
from tasks.media.process import MediaError, shown
from tasks.perform import PerformParams, ReadFilm, Region, asked_of, check_crop

NOT_DRAWN = "NO_KEYBOARD"
# Of what is drawn of a real film: as `render` has them in every preset that is shipped.
STEP_S = fine_step_s(SOUND_RATE, (4_000, 8_000, 16_000), section="render")
RESTRIKE_GAP_S = 0.05
# Luma. Films of `audiate render --preview` that x264 coded again (crf 28 and 35; a third to twice the size) are 2 to 32
# away from what is read from them, most of it at edges; white 59; grey, black, noise, ffmpeg's test pictures and films
# of the virtual rigs' cameras 78 and more.
MAX_DIFFERENCE = 40.0
MOST_KEYS = 30  # that are down at once: a picture of more is compared with a keyboard at rest
_N_COMPARED = 256  # pictures of a film, evenly taken; 44 kB each


def read_video(
    video: Path,
    facts: MediaFacts,
    stem: Path,  # noqa: ARG001 - a drawn keyboard has one size
    *,
    params: PerformParams,
    region: Region | None,
    progress: Callable[[str], None],
) -> ReadFilm:
    """Read a video of a keyboard, as the simulator draws it or a real one; arguments as `tasks.perform` has them.

    Corners, which a drawn keyboard has no use for, are those of a real one.

    Raises:
        MediaError: as `keyboard_film`, and as `tasks.keyboards.read.read_keyboard_film` where it shows none that the
            simulator drew; ``OTHER_INSTRUMENT``, the film's take.yaml says that it shows no piano.
    """
    region = region or Region()
    if region.corners is not None:
        return played_film(video, params, region, progress=progress)
    progress("reading the video")
    try:
        film, n_decoded = keyboard_film(video, facts, params, crop=region.crop)
    except MediaError as error:
        if error.kind != NOT_DRAWN:
            raise
        progress("no keyboard that the simulator drew: looking for a real one")
        try:
            return played_film(video, params, region, progress=progress)
        except MediaError as other:
            drawn = str(error).removeprefix(f"{shown(video)}: ")
            raise MediaError(f"{other}; as the simulator's keyboard: {drawn}", kind=other.kind) from None
    return ReadFilm(film=film, name=video.name, n_decoded=n_decoded)


def played_film(
    video: Path, params: PerformParams, region: Region, *, progress: Callable[[str], None] = lambda _: None
) -> ReadFilm:
    """Read a film of a real keyboard, and draw what it plays as the simulator draws it; its pedals are not seen.

    Raises:
        MediaError: as `tasks.keyboards.read.read_keyboard_film`; ``OTHER_INSTRUMENT``.
    """
    asked = asked_of(video, region, lowest=None, lead_s=None)
    reading = read_keyboard_film(video, policy=params.media, params=params.keyboard, asked=asked, progress=progress)
    for remark in reading.remarks:
        progress(remark)
    notes = on_grid(reading.notes, STEP_S)
    time_s, velocity, pedal = with_pedal(*key_states(notes, restrike_gap_s=RESTRIKE_GAP_S, step_s=STEP_S), None)
    film = Film(
        pictures=draw_keyboard(velocity, lit="velocity", pedal=pedal),
        time_s=time_s,
        duration_s=max(reading.duration_s, float(time_s[-1]) + float(STEP_S)),
    )
    return ReadFilm(film=film, name=video.name, n_decoded=reading.n_pictures, notes=notes)


def keyboard_film(
    video: Path, facts: MediaFacts, params: PerformParams, *, crop: tuple[int, int, int, int] | None = None
) -> tuple[Film, int]:
    """Read a video of the simulated keyboard as its changes; return it and how many pictures were decoded.

    Args:
        video: the file.
        facts: of the file, as `probe` returns them.
        params: what a video may be.
        crop: x, y, width and height of the keyboard in the picture; None where it fills it.

    Raises:
        MediaError: the video cannot be used, or does not show the keyboard; ``BAD_REGION``, the crop lies outside of
            the picture.
        ToolError: ffmpeg is missing, or did not do what was requested.
    """
    if facts.video is not None:
        check_crop(video, crop, (facts.video.width, facts.video.height))
        x, y, *size = crop or (0, 0, facts.video.width, facts.video.height)
        keyboard = keyboard_crop(size[0], size[1])
        crop = crop if keyboard is None else (x, y, *keyboard)
    decoded = read_film(
        video,
        width=WIDTH,
        height=HEIGHT,
        crop=crop,
        min_change=params.min_change,
        policy=params.media,
    )
    found = keyboard_difference(decoded.pictures)
    if not found <= MAX_DIFFERENCE:
        raise MediaError(
            f"{shown(video)}: its pictures differ by {found:.1f} luma from a keyboard that is read from them, expected"
            f" at most {MAX_DIFFERENCE:.0f}: the whole picture has to be the keyboard from above as audiate render"
            " --preview draws it",
            kind=NOT_DRAWN,
        )
    return film_of_video(decoded), decoded.n_decoded


def keyboard_difference(pictures: NDArray[np.uint8]) -> float:
    """Return by how much pictures (C, 57, 780) differ from the keyboard drawn of what is read from them, in luma.

    The mean of the absolute difference. Keys can be read from anything, so a picture in which more are down than
    anyone plays is compared with the keyboard at rest.
    """
    picked = pictures[np.linspace(0, len(pictures) - 1, min(len(pictures), _N_COMPARED)).astype(np.intp)]
    velocity, pedal = read_keyboard(picked), read_pedal(picked).astype(np.uint8)
    velocity[np.count_nonzero(velocity, axis=1) > MOST_KEYS] = 0
    drawn = draw_keyboard(velocity, lit="velocity", pedal=pedal)  # flat films are read as one velocity
    return float(np.abs(picked.astype(np.int16) - drawn).mean())


def keyboard_crop(width: int, height: int) -> tuple[int, int] | None:
    """Return the part of a picture that is keyboard, when there is more: H.264 needs an even height.

    Either a film with a row too many was scaled, and that row with it, or a row was added to a scaled keyboard.
    """
    keyboard_height = round(Fraction(width * HEIGHT, WIDTH))
    if height > keyboard_height and abs(height - Fraction(width * (HEIGHT + 1), WIDTH)) <= 1:
        return width, round(Fraction(height * HEIGHT, HEIGHT + 1))
    return (width, keyboard_height) if height == keyboard_height + 1 else None


def film_of_video(decoded: DecodedFilm) -> Film:
    """Return a decoded video as a film of changes.

    A change that a picture shows first happened at some time since the picture before: the middle of the two is the
    nearest guess, so each picture but the first is put half a frame earlier than it was shown.
    """
    half_frame_s = float(1 / (2 * decoded.frame_rate))
    time_s = decoded.time_s - half_frame_s
    time_s[0] = 0.0
    keep = np.append(True, time_s[1:] > 0)  # a video may show its second picture within half of its average frame
    return Film(pictures=decoded.pictures[keep], time_s=time_s[keep], duration_s=decoded.duration_s)
