"""Verb ``perform`` for families of scores: a video of the simulated keyboard, read as its changes."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.families.base import Film
from tasks.instruments.keyboard import HEIGHT, WIDTH, draw_keyboard, read_keyboard, read_pedal
from tasks.media.pictures import DecodedFilm, read_film
from tasks.media.probe import MediaFacts
from tasks.media.process import MediaError, shown
from tasks.perform import PerformParams, ReadFilm, Region, check_crop

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
    """Read a video of the keyboard from above, as the simulator draws it; arguments as `tasks.perform` has them.

    Raises:
        MediaError: as `keyboard_film`; ``BAD_REGION``, corners are given, or a crop outside of the picture.
    """
    region = region or Region()
    if region.corners is not None:
        raise MediaError(
            f"{shown(video)}: corners are given, but a family of scores reads a keyboard straight from above: expected "
            "a crop, or all of the picture",
            kind="BAD_REGION",
        )
    progress("reading the video")
    film, n_decoded = keyboard_film(video, facts, params, crop=region.crop)
    return ReadFilm(film=film, name=video.name, n_decoded=n_decoded)


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
            kind="NO_KEYBOARD",
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
