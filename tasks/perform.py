"""Verb ``perform``: give one silent video its sound."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData, PipelineError
from tasks.families import load_family
from tasks.families.base import Film, Performance
from tasks.families.trained import load_facts
from tasks.features.rectify import Rectifier
from tasks.instruments.keyboard import HEIGHT, WIDTH
from tasks.instruments.midi import write_midi
from tasks.instruments.notes import Notes
from tasks.instruments.plan import corner_places
from tasks.intake.describe import View, read_take_file
from tasks.intake.folder import TAKE_FILE
from tasks.media.encode import check_output, replace_sound
from tasks.media.pictures import DecodedFilm, iter_pictures, read_film
from tasks.media.probe import MediaFacts, MediaPolicy, packets_of, probe
from tasks.media.process import MediaError
from tasks.params import Section

CAMERA_PREFIX = "cam_"


class PerformParams(Section):
    """What a video may be."""

    family: str  # that performs when none is named
    media: MediaPolicy
    min_change: int  # luma levels a pixel must change by for a picture of a keyboard to count as new


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Where in the picture to look, for families that learn from captures.

    Attributes:
        crop: x, y, width and height in pixels of the upright picture; None keeps all of it.
        corners: of the instrument's plane, x and y in pixels, from the player's far left clockwise; None where they
            are not known. They come before the crop.
        instrument: whose plan says where corners lie; ``none`` for any video.
        margins: shares of width and height beside a rectified instrument, as in the chunk stage.
    """

    crop: tuple[int, int, int, int] | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    instrument: str = "none"
    margins: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Performed:
    """What came of a video.

    Attributes:
        system: that made the sound.
        n_decoded: pictures of the video.
        n_pictures: of them, those that showed something new, or that the family looked at.
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
    sight: Sight | None = None,
    notes_out: Path | None = None,
) -> Performed:
    """Write ``out``: the pictures of ``video`` as they are, with the sound that a family gives them.

    Args:
        video: for a family that learns from scores the keyboard from above, filling the picture, as the simulator
            draws it; for one that learns from captures any video. Any size.
        out: a ``.mp4``, ``.mov`` or ``.mkv``.
        family: its first system makes the sound.
        trained: what the family's `fit` wrote.
        params: typed values of the ``perform`` section.
        accelerator: Lightning's word.
        progress: is told what begins, in a few words.
        sight: where to look in what a camera took; None looks at all of it.
        notes_out: a MIDI file that what the system saw being played is written to.

    Raises:
        MediaError: the video cannot be used or shows another instrument, or ``out`` cannot be written.
        DamagedData: the family is not trained, or its files are damaged.
        ToolError: ffmpeg or the synthesizer is missing, or did not do what was asked.
        PipelineError: notes are asked for and the system tells none.
    """
    facts = probe(video, policy=params.media)
    check_output(video, out)
    adapter = load_family(family)
    system = adapter.systems[0]
    if adapter.data == "captures":
        width, height, instrument = trained_sight(trained / system)
        sight = sight or Sight()
        if sight.instrument == "none":
            sight = replace(sight, instrument=instrument)
        if instrument not in ("none", sight.instrument):
            raise MediaError(
                f"{video}: shows {sight.instrument}, expected {instrument}, which {system} was trained on",
                kind="OTHER_INSTRUMENT",
            )
        if instrument != "none" and sight.corners is None and sight.crop is None:
            progress(f"nobody says where {instrument} is seen: all of the picture is taken for it")
        progress("reading the video")
        film, n_decoded = camera_film(video, facts, width, height, sight=sight, policy=params.media)
        name = f"{video.name}/{film.camera}"
    else:
        progress("reading the video")
        film, n_decoded = keyboard_film(video, facts, params)
        name = video.name
    progress(f"{system} plays {len(film.pictures)} pictures")
    performances = adapter.perform(trained, {name: film}, accelerator=accelerator, truth=None)
    performance = next(one for one in performances if one.system == system)
    if notes_out is not None:
        _write_notes(notes_out, performance)
    progress("writing the sound under the video")
    replace_sound(video, performance.audio, performance.sample_rate, out)
    return Performed(
        system=performance.system,
        n_decoded=n_decoded,
        n_pictures=len(film.pictures),
        duration_s=film.duration_s,
        sample_rate=performance.sample_rate,
        notes=performance.notes,
    )


def keyboard_film(video: Path, facts: MediaFacts, params: PerformParams) -> tuple[Film, int]:
    """Read a video of the simulated keyboard as its changes; return it and how many pictures were decoded."""
    size = None if facts.video is None else (facts.video.width, facts.video.height)
    decoded = read_film(
        video,
        width=WIDTH,
        height=HEIGHT,
        crop=None if size is None else keyboard_crop(*size),
        min_change=params.min_change,
        policy=params.media,
    )
    return film_of_video(decoded), decoded.n_decoded


def camera_film(
    video: Path, facts: MediaFacts, width: int, height: int, *, sight: Sight, policy: MediaPolicy
) -> tuple[Film, int]:
    """Read every picture that a camera took, as the chunk stage would store them.

    Args:
        video: the file.
        facts: what `probe` says of it.
        width: of the pictures wanted.
        height: of the pictures wanted.
        sight: where to look.
        policy: what it may cost.

    Returns:
        The film, and how many pictures it has.

    Raises:
        MediaError: ``NO_VIDEO``; ``ONE_PICTURE``, a film of one tells nothing of time; ``TOO_LARGE``; the crop or
            the corners lie outside of the picture, ``BAD_SIGHT``; as `iter_pictures` raises.
    """
    if facts.video is None:
        raise MediaError(f"{video}: holds no video stream", kind="NO_VIDEO")
    crop, rectify = sight.crop, None
    whole = facts.video.width, facts.video.height
    if sight.corners is not None:
        rectify = _rectifier(video, sight, whole, width=width, height=height)
        crop = None
    elif crop is not None and (crop[0] + crop[2] > whole[0] or crop[1] + crop[3] > whole[1]):
        raise MediaError(
            f"{video}: crop is {','.join(map(str, crop))}, expected x,y,width,height within {whole[0]}x{whole[1]}",
            kind="BAD_SIGHT",
        )
    read = whole if rectify is not None else (width, height)
    pictures: list[NDArray[np.uint8]] = []
    times: list[NDArray[np.float64]] = []
    n_pictures, max_pictures = 0, policy.max_bytes // (width * height)
    for some, time_s in iter_pictures(video, width=read[0], height=read[1], policy=policy, crop=crop):
        pictures.append(some if rectify is None else rectify(some))
        times.append(time_s)
        n_pictures += len(some)
        if n_pictures > max_pictures:
            raise MediaError(
                f"{video}: more than {max_pictures} pictures, expected at most {policy.max_bytes} bytes of them",
                kind="TOO_LARGE",
            )
    if n_pictures < 2:
        raise MediaError(f"{video}: holds one picture, expected a film", kind="ONE_PICTURE")
    time_s = np.concatenate(times)
    end_s = packets_of(video, facts, facts.video, policy=policy).end_s
    film = Film(
        pictures=np.concatenate(pictures),
        time_s=time_s,
        duration_s=max(end_s, float(time_s[-1] + 1 / facts.video.frame_rate)),
        camera=video.stem,
        instrument=sight.instrument if rectify is not None else None,
        margins=sight.margins if rectify is not None else None,
    )
    return film, n_pictures


def _rectifier(video: Path, sight: Sight, whole: tuple[int, int], *, width: int, height: int) -> Rectifier:
    corners = np.asarray(sight.corners, np.float64)
    places = corner_places(sight.instrument, width=width, height=height, margins=sight.margins)
    # A corner may lie a little outside of what the camera saw.
    if (corners < -np.array(whole)).any() or (corners > 2 * np.array(whole)).any():
        found = ",".join(f"{number:g}" for number in corners.ravel())
        raise MediaError(f"{video}: corners are {found}, far outside of {whole[0]}x{whole[1]}", kind="BAD_SIGHT")
    try:
        return Rectifier(corners, places, width=width, height=height)
    except ValueError as error:
        raise MediaError(f"{video}: {error}", kind="BAD_SIGHT") from None


def sight_of(video: Path, *, margins: tuple[float, float]) -> Sight:
    """Return what the ``take.yaml`` beside a video says of it; all of the picture where there is none.

    Raises:
        TakeFileError: the take.yaml cannot be used.
    """
    path = video.parent / TAKE_FILE
    if not path.is_file():
        return Sight(margins=margins)
    said = read_take_file(path)
    view = said.cameras.get(video.stem, View())
    return Sight(crop=view.crop, corners=view.corners, instrument=said.instrument.name, margins=margins)


def trained_sight(stem: Path) -> tuple[int, int, str]:
    """Return width and height of the pictures that a system was trained on, and the instrument it knows, or ``none``.

    Raises:
        DamagedData: it is not trained, or its JSON does not say.
    """
    facts = load_facts(stem, {"sight": lambda found: (int(found["width"]), int(found["height"]))})
    width, height = facts["sight"]
    if min(width, height) < 1:
        raise DamagedData(f"{stem}.json says that pictures are {width}x{height}, expected at least a pixel")
    return width, height, str(facts.get("instrument", "none"))


def _write_notes(path: Path, performance: Performance) -> None:
    if performance.notes is None:
        raise PipelineError(f"{performance.system} makes sound only and tells no notes: nothing to write to {path}")
    try:
        write_midi(path, performance.notes, title=performance.take)
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}") from None


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
