"""Verb ``perform``: give one silent video of a keyboard its sound."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from tasks.families import load_family
from tasks.families.base import Film
from tasks.instruments.keyboard import HEIGHT, WIDTH
from tasks.instruments.notes import Notes
from tasks.media.encode import check_output, replace_sound
from tasks.media.pictures import DecodedFilm, read_film
from tasks.media.probe import MediaPolicy, probe
from tasks.params import Section


class PerformParams(Section):
    """What a video may be."""

    family: str  # that performs when none is named
    media: MediaPolicy
    min_change: int  # luma levels a pixel must change by for a picture to count as new


@dataclass(frozen=True, kw_only=True)
class Performed:
    """What came of a video.

    Attributes:
        system: that made the sound.
        n_decoded: pictures of the video.
        n_pictures: of them, those that showed something new.
        duration_s: of the video and its new sound.
        sample_rate: the system's own, in Hz; the file's sound is 48 kHz.
        notes: what the system says was played, if it does.
    """

    system: str
    n_decoded: int
    n_pictures: int
    duration_s: float
    sample_rate: int
    notes: Notes | None


def perform_video(
    video: Path,
    out: Path,
    *,
    family: str,
    trained: Path,
    params: PerformParams,
    accelerator: str,
    progress: Callable[[str], None],
) -> Performed:
    """Write ``out``: the pictures of ``video`` as they are, with the sound that a family gives them.

    Args:
        video: the keyboard from above, filling the picture, as the simulator draws it; any size.
        out: a ``.mp4``, ``.mov`` or ``.mkv``.
        family: its first system makes the sound.
        trained: what the family's `fit` wrote.
        params: typed values of the ``perform`` section.
        accelerator: Lightning's word.
        progress: is told what begins, in a few words.

    Raises:
        MediaError: the video cannot be used, or ``out`` cannot be written.
        DamagedData: the family is not trained, or its files are damaged.
        ToolError: ffmpeg or the synthesizer is missing, or did not do what was asked.
    """
    facts = probe(video, policy=params.media)
    check_output(video, out)
    progress("reading the video")
    size = None if facts.video is None else (facts.video.width, facts.video.height)
    decoded = read_film(
        video,
        width=WIDTH,
        height=HEIGHT,
        crop=None if size is None else keyboard_crop(*size),
        min_change=params.min_change,
        policy=params.media,
    )
    adapter = load_family(family)
    progress(f"{adapter.systems[0]} plays {len(decoded.pictures)} pictures")
    film = film_of_video(decoded)
    performances = adapter.perform(trained, {video.name: film}, accelerator=accelerator, truth=None)
    performance = next(one for one in performances if one.system == adapter.systems[0])
    progress("writing the sound under the video")
    replace_sound(video, performance.audio, performance.sample_rate, out)
    return Performed(
        system=performance.system,
        n_decoded=decoded.n_decoded,
        n_pictures=len(film.pictures),
        duration_s=film.duration_s,
        sample_rate=performance.sample_rate,
        notes=performance.notes,
    )


def keyboard_crop(width: int, height: int) -> tuple[int, int] | None:
    """Return the part of a picture that is keyboard, when it has a row too many: H.264 needs an even height."""
    keyboard_height = round(Fraction(width * HEIGHT, WIDTH))
    return (width, keyboard_height) if keyboard_height + 1 == height else None


def film_of_video(decoded: DecodedFilm) -> Film:
    """Return a decoded video as a film of changes.

    A change first seen in a picture happened at some time since the picture before: the middle of the two is the
    nearest guess, so each picture but the first is put half a frame earlier than it was shown.
    """
    half_frame_s = float(1 / (2 * decoded.frame_rate))
    time_s = decoded.time_s - half_frame_s
    time_s[0] = 0.0
    keep = np.append(True, time_s[1:] > 0)  # a video may show its second picture within half of its average frame
    return Film(pictures=decoded.pictures[keep], time_s=time_s[keep], duration_s=decoded.duration_s)
