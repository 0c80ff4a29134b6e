"""Verb ``perform``: give one silent video its sound."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData, ParamsError, PipelineError
from tasks.families import load_family
from tasks.families.base import HEADROOM, Film, Performance, VideoFamily, below_full_scale
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import Notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.intake.describe import View, read_take_file
from tasks.intake.folder import TAKE_FILE
from tasks.keyboards.picture import keys_and_roll, named_keys, write_picture
from tasks.keyboards.read import Asked, FoundKeyboard, KeyboardParams, KeyboardReading, find_in_film, read_keyboard_film
from tasks.media.encode import SOUND_RATE, check_output, replace_sound
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError, shown
from tasks.params import Section
from tasks.registry import kind_module

PIANO_PROGRAM = 0  # General MIDI: grand piano


class PerformParams(Section):
    """What a video may be, and how the film of a real keyboard is read."""

    media: MediaPolicy
    min_change: int  # luma levels a pixel must change by for a picture of a drawn keyboard to count as new
    keyboard: KeyboardParams


@dataclass(frozen=True, kw_only=True)
class Region:
    """The part of a picture that is read.

    Attributes:
        crop: x, y, width and height in pixels of the upright picture; None keeps all of it.
        corners: of the instrument's plane, x and y in pixels, from the player's far left clockwise; None where they
            are not known. They come before the crop.
        instrument: whose plan gives the corners' places; ``none`` for any video.
        margins: shares of width and height beside a rectified instrument, as in the stage ``chunk``.
    """

    crop: tuple[int, int, int, int] | None = None
    corners: tuple[tuple[float, float], ...] | None = None
    instrument: str = "none"
    margins: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class ReadFilm:
    """A video as a family takes it.

    Attributes:
        film: its pictures.
        name: of the film, as `VideoFamily.perform` takes them.
        n_decoded: pictures of the video.
        notes: that were read off it on the way; None where the family is given the pictures as they are.
    """

    film: Film
    name: str
    n_decoded: int
    notes: Notes | None = None


@dataclass(frozen=True, kw_only=True)
class Performed:
    """What was made of a video.

    Attributes:
        system: that made the sound.
        n_decoded: pictures of the video.
        n_pictures: of them, those that were inputs of the system.
        duration_s: of the video and its new sound.
        sample_rate: the system's own, in Hz; the file's sound is 48 kHz.
        notes: that the system detected; None where it detects none.
        gain_db: by which the sound was scaled to stay below full scale; 0 or less.
    """

    system: str
    n_decoded: int
    n_pictures: int
    duration_s: float
    sample_rate: int
    notes: Notes | None
    gain_db: float = 0.0


def perform_video(
    video: Path,
    out: Path,
    *,
    family: str,
    trained: Path,
    params: PerformParams,
    accelerator: str,
    progress: Callable[[str], None],
    region: Region | None = None,
    notes_out: Path | None = None,
) -> Performed:
    """Write ``out``: the pictures of ``video`` as they are, with the sound that a family gives them.

    Args:
        video: for a family of scores the keyboard as the simulator draws it, or a film of a real one; for one of
            captures any video. Any size.
        out: a ``.mp4``, ``.mov`` or ``.mkv``.
        family: its first system makes the sound.
        trained: what the family's `fit` wrote.
        params: typed values of the ``perform`` section.
        accelerator: Lightning's word.
        progress: called with what begins, in a few words.
        region: of the picture; None reads all of it.
        notes_out: a MIDI file that the detected notes are written to, before the video is.

    Raises:
        ParamsError: the family takes mixes apart and makes no sound of a video.
        MediaError: the video cannot be used or does not show the instrument, or ``out`` cannot be written.
        DamagedData: the family is not trained, or its files are damaged; the notes are written all the same.
        ToolError: ffmpeg or the synthesizer is missing, or did not do what was requested.
        PipelineError: ``notes_out`` is given and the system detects no notes.
    """
    adapter = load_family(family)
    if not isinstance(adapter, VideoFamily):
        raise ParamsError(f"family {family} takes mixes apart: expected one that makes the sound of a video")
    facts = probe(video, policy=params.media)
    check_output(video, out)
    system = adapter.systems[0]
    reading = kind_module(adapter.data, "perform").read_video
    read: ReadFilm = reading(video, facts, trained / system, params=params, region=region, progress=progress)
    progress(f"{system} makes the sound of {len(read.film.pictures)} pictures")
    performance = _first_of(system, adapter, trained, read, accelerator=accelerator)
    if performance.notes is None:
        performance = replace(performance, notes=read.notes)
    if notes_out is not None:
        _write_notes(notes_out, performance)
    if not np.isfinite(performance.audio).all():
        raise DamagedData(f"{system} made samples that are not numbers: its weights may be damaged")
    audio, gain_db = below_full_scale(performance.audio)
    gain_db += performance.gain_db
    if gain_db:
        progress(f"the sound is lowered by {-gain_db:.1f} dB, to stay below full scale")
    progress("writing the sound under the video")
    replace_sound(video, audio, performance.sample_rate, out)
    return Performed(
        system=performance.system,
        n_decoded=read.n_decoded,
        n_pictures=len(read.film.pictures),
        duration_s=read.film.duration_s,
        sample_rate=performance.sample_rate,
        notes=performance.notes,
        gain_db=gain_db,
    )


def perform_keyboard(
    video: Path,
    out: Path,
    *,
    params: PerformParams,
    asked: Asked,
    notes_out: Path,
    picture_out: Path,
    progress: Callable[[str], None],
) -> tuple[Performed, KeyboardReading]:
    """Write ``out``: the pictures of a real keyboard's film as they are, with a synthesizer's sound of what it plays.

    Args:
        video: a film in which the keys light up, or are pressed.
        out: a ``.mp4``, ``.mov`` or ``.mkv``.
        params: typed values of the ``perform`` section.
        asked: what the user says about the film.
        notes_out: a MIDI file that the notes are written to, before there is any sound.
        picture_out: a PNG of the named keys and the notes.
        progress: called with what begins, in a few words.

    Raises:
        KeyboardError: the keyboard is not found, or cannot be read.
        MediaError: the video cannot be used, or ``out`` cannot be written.
        ToolError: ffmpeg or the synthesizer is missing, or did not do what was requested; the notes are written.
    """
    check_output(video, out)
    reading = read_keyboard_film(video, policy=params.media, params=params.keyboard, asked=asked, progress=progress)
    _write_midi(notes_out, reading.notes, title=video.name)
    write_picture(picture_out, keys_and_roll(reading.found, reading.notes, reading.duration_s))
    progress(f"playing {len(reading.notes)} notes")
    with Synthesizer(
        find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=SOUND_RATE, gain=params.keyboard.gain
    ) as synthesizer:
        loud = synthesizer.render(
            reading.notes, None, program=PIANO_PROGRAM, duration_s=reading.duration_s, may_be_loud=True
        )
    audio, gain_db = fitted_to_full_scale(loud)
    progress("writing the sound under the video")
    replace_sound(video, audio, SOUND_RATE, out)
    performed = Performed(
        system="keyboard",
        n_decoded=reading.n_pictures,
        n_pictures=reading.n_pictures,
        duration_s=reading.duration_s,
        sample_rate=SOUND_RATE,
        notes=reading.notes,
        gain_db=gain_db,
    )
    return performed, reading


def preview_keyboard(
    video: Path, picture_out: Path, *, params: PerformParams, asked: Asked, progress: Callable[[str], None]
) -> FoundKeyboard:
    """Write a PNG of a film's keyboard with the names of its keys, and read no notes.

    Raises:
        KeyboardError: the keyboard is not found.
        MediaError: the video cannot be used, or the picture cannot be written.
        ToolError: ffmpeg is missing, or did not do what was requested.
    """
    facts = probe(video, policy=params.media)
    found = find_in_film(video, facts, policy=params.media, params=params.keyboard, asked=asked, progress=progress)
    write_picture(picture_out, named_keys(found))
    return found


def asked_of(video: Path, region: Region, *, lowest: int | None, lead_s: float | None) -> Asked:
    """Return what is known of a keyboard's film.

    Raises:
        MediaError: ``OTHER_INSTRUMENT``, the film's take.yaml says that it shows no piano.
    """
    if region.instrument not in ("none", "piano"):
        raise MediaError(
            f"{shown(video)}: shows {region.instrument}, expected a piano: choose a family that was trained on it by "
            "--family",
            kind="OTHER_INSTRUMENT",
        )
    return Asked(crop=region.crop, corners=region.corners, lowest=lowest, lead_s=lead_s)


def fitted_to_full_scale(audio: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return sound whose peak is just below full scale, and the gain in dB; silence as it is."""
    peak = float(np.abs(audio).max(initial=0.0))
    if not peak > 0.0:
        return audio, 0.0
    gain = HEADROOM / peak
    return (audio * np.float32(gain)).astype(np.float32), round(20 * float(np.log10(gain)), 3)


def check_crop(video: Path, crop: tuple[int, int, int, int] | None, size: tuple[int, int]) -> None:
    """Refuse a crop that does not lie within a picture of ``size``, width and height in pixels.

    Raises:
        MediaError: ``BAD_REGION``.
    """
    if crop is not None and (crop[0] + crop[2] > size[0] or crop[1] + crop[3] > size[1]):
        raise MediaError(
            f"{shown(video)}: crop is {','.join(map(str, crop))}, expected x,y,width,height within {size[0]}x{size[1]}",
            kind="BAD_REGION",
        )


def region_of(video: Path, *, margins: tuple[float, float]) -> Region:
    """Return the region that the ``take.yaml`` beside a video gives; all of the picture where there is none.

    Raises:
        TakeFileError: the take.yaml cannot be used.
    """
    path = video.parent / TAKE_FILE
    if not path.is_file():
        return Region(margins=margins)
    described = read_take_file(path)
    view = described.cameras.get(video.stem, View())
    return Region(crop=view.crop, corners=view.corners, instrument=described.instrument.name, margins=margins)


def _first_of(
    system: str, family: VideoFamily[Any, Any], trained: Path, read: ReadFilm, *, accelerator: str
) -> Performance:
    """Return one system's performance of a film; the family's other systems are not run once it is made."""
    for performance in family.perform(trained, {read.name: read.film}, accelerator=accelerator, truth=None):
        if performance.system == system:
            return performance
    raise PipelineError(f"{system} made no sound of {read.name}: is the film one of train.{system}.cameras?")


def _write_notes(path: Path, performance: Performance) -> None:
    if performance.notes is None:
        raise PipelineError(
            f"{performance.system} predicts sound only and detects no notes: there is nothing to write to {path}"
        )
    _write_midi(path, performance.notes, title=performance.take)


def _write_midi(path: Path, notes: Notes, *, title: str) -> None:
    try:
        write_midi(path, notes, title=title)
    except OSError as error:
        raise PipelineError(f"{path} cannot be written: {error.strerror}") from None
