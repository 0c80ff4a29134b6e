"""Film captures: one instrument, cameras and microphones around it, each with a clock of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, ParamsError
from tasks.film import (
    SAMPLE,
    SCORE_POLICY,
    FilmParams,
    RecordingParams,
    describe_piece,
    synthesizer,
    write_descriptions,
)
from tasks.instruments.grid import controls_on_grid, fine_step_s, on_grid
from tasks.instruments.midi import Controls
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import Notes
from tasks.media.encode import encode_camera, encode_sound
from tasks.rig.clocks import DeviceClock, notes_on_clock
from tasks.rig.frames import picture_times, time_base
from tasks.rig.played_pianos import PlayedRig, beginning, played_pictures, played_rig_of
from tasks.rig.recording import record_sound
from tasks.rig.rigs import VIEWS, CameraDevice, Defect, Instrument, Rig, Trait, rig_of
from tasks.rig.truth import device_truth, note_rows, picture_truth, write_truth
from tasks.rig.views import filmed, place_of_instrument
from tasks.takes import Part

TOOLS = ("ffmpeg", "fluidsynth", "soundfont")

# Where the pieces of each instrument lie, and its program of general MIDI.
FOLDERS: dict[Instrument, Path] = {"marimba-18": SAMPLE / "marimba", "piano": SAMPLE}
PROGRAMS: dict[Instrument, int] = {"marimba-18": 12, "piano": 0}

# One take in eight has each of these; the others are plain.
_TRAITS: dict[int, Trait] = {1: "silent camera", 3: "lost block", 4: "variable rate", 6: "wandering clock"}
_TRAITS_REPEAT = 8
_OF_HANDS = 1  # parts the seeds of played pianos from those of other takes
_CUT = 0.6  # of a truncated file's bytes are there


@dataclass(frozen=True, kw_only=True)
class FilmedTake:
    """One take to be filmed: what is played, and the seed of the rig that stands around it."""

    name: str
    piece: str
    part: Part | None
    title: str
    instrument: Instrument
    midi: str  # path of the score
    trait: Trait | Literal["hands"]  # a piano that hands are seen to play
    seed: int
    data_set: ClassVar[str] = "captures"


def takes_to_film(params: FilmParams) -> list[FilmedTake]:
    """List the captures that the params request.

    Raises:
        ParamsError: a piece is not among those of its instrument, or there is none; a view is unknown; there is a
            piano, and its grid of times would be too coarse.
    """
    pieces = [(instrument, piece) for instrument, names in params.pieces.items() for piece in names]
    if not pieces and params.n_takes:
        raise ParamsError("params.yaml: film.pieces names no piece, expected one or more")
    if params.played_pianos or any(instrument == "piano" for instrument, _ in pieces):
        recording_step_s(params.recording)
    known = {view for views in VIEWS.values() for view in views}
    for view in params.recording.rig.views_held_out:
        if view not in known:
            raise ParamsError(
                f"params.yaml: film.recording.rig.views_held_out names {view!r}, expected {sorted(known)}"
            )
    takes = []
    for number in range(params.n_takes):
        instrument, piece = pieces[number % len(pieces)]
        title, part = describe_piece(FOLDERS[instrument], piece)
        takes.append(
            FilmedTake(
                name=f"filmed_{piece}_{number // len(pieces) + 1}",
                piece=piece,
                part=part,
                title=title,
                instrument=instrument,
                midi=(FOLDERS[instrument] / "midi" / f"{piece}.mid").as_posix(),
                trait=_TRAITS.get(number % _TRAITS_REPEAT, "plain"),
                seed=int(np.random.SeedSequence([params.seed, number]).generate_state(1)[0]),
            )
        )
    return takes + [_played_piano(piece, number, params.seed) for number, piece in enumerate(params.played_pianos)]


def _played_piano(piece: str, number: int, seed: int) -> FilmedTake:
    title, part = describe_piece(FOLDERS["piano"], piece)
    return FilmedTake(
        name=f"filmed_{piece}_hands_{number + 1}",
        piece=piece,
        part=part,
        title=title,
        instrument="piano",
        midi=(FOLDERS["piano"] / "midi" / f"{piece}.mid").as_posix(),
        trait="hands",
        seed=int(np.random.SeedSequence([seed, number, _OF_HANDS]).generate_state(1)[0]),
    )


def recording_step_s(params: RecordingParams) -> Fraction:
    """Return the step in s of the grid that keyboards are played on.

    Raises:
        ParamsError: it is too coarse.
    """
    return fine_step_s(params.sample_rate, params.code_rates, section="film.recording")


def inputs(take: FilmedTake) -> Sequence[Path]:
    """Return the score."""
    return [Path(take.midi)]


def film_take(take: FilmedTake, out: Path, params: RecordingParams) -> None:
    """Write the films, the recordings, ``take.yaml``, ``rig.yaml``, ``truth.json`` and perhaps ``score.mid`` of a take.

    A piano's notes and pedals are on one grid of times, as in render; a marimba's are where the score has them. Where
    hands are seen, take.yaml names no corners and no crop: ``ingest`` finds the keyboard.

    Raises:
        BadInput: the score cannot be used, or its sound leaves full scale.
        ToolError: ffmpeg, FluidSynth or the SoundFont is missing, or its output is not what was requested.
    """
    if take.trait == "hands":
        _film_played(take, out, params)
        return
    notes, controls = excerpt(Path(take.midi), params.excerpt_s)
    if take.instrument == "piano":
        step_s = recording_step_s(params)
        notes, controls = on_grid(notes, step_s), controls_on_grid(controls, step_s)
    rig = rig_of(
        take.seed,
        instrument=take.instrument,
        is_test=take.part == "test",
        trait=take.trait,
        duration_s=float(notes.offset_s.max()),
        params=params.rig,
    )
    record_rig(rig, notes, controls, out, params)
    more = {
        "instrument": take.instrument,
        **({"master": f"mic_{rig.microphones[0].name}"} if rig.microphones else {}),
        **({"notes": "recorded"} if rig.notes else {}),
        "cameras": {camera.name: place_of_instrument(rig, camera) for camera in rig.cameras},
    }
    write_descriptions(out, rig, piece=take.piece, part=take.part, title=take.title, more=more)


def _film_played(take: FilmedTake, out: Path, params: RecordingParams) -> None:
    """Write the take of a piano that hands are seen to play, without pedals."""
    score, _ = excerpt(Path(take.midi), params.hands.length_s)
    notes = on_grid(beginning(score, params.hands.length_s), recording_step_s(params))
    rig = played_rig_of(take.seed, duration_s=float(notes.offset_s.max()), params=params.rig, hands=params.hands)
    record_rig(rig, notes, None, out, params)
    more = {
        "instrument": take.instrument,
        **({"master": f"mic_{rig.microphones[0].name}"} if rig.microphones else {}),
        "notes": "recorded",
    }
    write_descriptions(out, rig, piece=take.piece, part=take.part, title=take.title, more=more)


def record_rig(rig: Rig, notes: Notes, controls: Controls | None, out: Path, params: RecordingParams) -> None:
    """Write the recording of each device of a rig, and ``truth.json``, into a folder.

    Args:
        rig: the devices.
        notes: what is played, in the world's time; 0 is the beginning of the score.
        controls: the pedals, or None.
        out: an existing folder.
        params: ``excerpt_s`` and ``rig`` of it are not used.
    """
    cv2.setNumThreads(1)  # takes already fill the cores
    end_s = float(notes.offset_s.max()) + params.tail_s
    dry = synthesizer(params).render(notes, controls, program=PROGRAMS[rig.instrument], duration_s=end_s)
    devices: dict[str, Any] = {}
    for number, microphone in enumerate(rig.microphones):
        device = f"mic_{microphone.name}"
        duration_s = microphone.clock.duration_until(end_s)
        audio, delay_s = record_sound(
            dry,
            params.sample_rate,
            microphone.sound,
            rig.surroundings,
            position_cm=microphone.position_cm,
            clock=microphone.clock,
            duration_s=duration_s,
            is_silent=microphone.defect == "silent",
            rng=np.random.default_rng([rig.seed, 1, number]),
        )
        if microphone.sound.codec == "aac":
            path = out / f"{device}.m4a"
            encode_sound(path, audio, sample_rate=microphone.sound.sample_rate, codec="aac")
        else:
            path = out / f"{device}.wav"
            encode_sound(path, audio, sample_rate=microphone.sound.sample_rate, codec="pcm_s16le")
        _break(path, microphone.defect)
        devices[device] = device_truth(microphone.clock, duration_s, delay_s, microphone.defect)
    for number, camera in enumerate(rig.cameras):
        device = f"cam_{camera.name}"
        suffix = ".mov" if camera.sound is not None and camera.sound.codec == "pcm" else ".mp4"
        devices[device] = _record_camera(
            rig, camera, number, notes, dry, out / f"{device}{suffix}", end_s=end_s, sample_rate=params.sample_rate
        )
    if rig.notes is not None:
        write_midi(out / "score.mid", notes_on_clock(notes, rig.notes), pedal=_controls_on_clock(controls, rig.notes))
        devices["score"] = device_truth(rig.notes, rig.notes.duration_until(end_s), 0.0, "none")
    write_truth(out, duration_s=end_s, devices=devices, notes=note_rows(notes))


def excerpt(midi: Path, longest_s: float) -> tuple[Notes, Controls]:
    """Read a score as far as the first moment after ``longest_s`` at which no key is down, or all of it.

    Raises:
        BadInput: the file is no MIDI file that can be used, or has no notes.
    """
    score = read_midi(midi, SCORE_POLICY)
    notes = score.notes
    if not len(notes):
        raise BadInput(f"{midi}: no notes, expected a score to film", kind="NO_NOTES")
    held_until_s = np.maximum.accumulate(notes.offset_s)[:-1]  # notes are in order of onset
    clean = np.flatnonzero((held_until_s >= longest_s) & (notes.onset_s[1:] >= held_until_s))
    if not len(clean):
        return notes, score.controls
    kept = notes.take(np.arange(clean[0] + 1))
    end_s = float(held_until_s[clean[0]])
    kept = replace(kept, sounding_offset_s=np.minimum(kept.sounding_offset_s, end_s + 1.0))
    moves = score.controls
    before = moves.time_s <= end_s
    return kept, Controls(time_s=moves.time_s[before], control=moves.control[before], value=moves.value[before])


def _record_camera(
    rig: Rig,
    camera: CameraDevice,
    number: int,
    notes: Notes,
    dry: NDArray[np.float32],
    path: Path,
    *,
    end_s: float,
    sample_rate: int,
) -> dict[str, Any]:
    """Write a camera's file and return the truth about it."""
    rng = np.random.default_rng([rig.seed, 2, number])
    duration_s = camera.clock.duration_until(end_s)
    device_s = picture_times(duration_s, frame_rate=camera.frame_rate, rng=rng if camera.is_variable else None)
    world_s = camera.clock.to_world([float(moment) for moment in device_s])
    audio, delay_s = None, None
    if camera.sound is not None:
        audio, delay_s = record_sound(
            dry,
            sample_rate,
            camera.sound,
            rig.surroundings,
            position_cm=camera.position_cm,
            clock=camera.clock,
            duration_s=duration_s,
            is_silent=camera.defect == "silent",
            rng=rng,
        )
    if isinstance(rig, PlayedRig):
        pictures = played_pictures(rig, notes, world_s)
        coding: dict[str, Any] = {"crf": rig.cameras[number].crf, "in_colour": True}
    else:
        pictures, coding = filmed(rig, camera, number, notes, world_s).pictures(), {}
    encode_camera(
        path,
        pictures,
        time_s=device_s,
        time_base=time_base(camera.frame_rate, is_variable=camera.is_variable),
        audio=audio,
        sample_rate=camera.sound.sample_rate if camera.sound else sample_rate,
        audio_codec=camera.sound.codec if camera.sound else None,
        **coding,
    )
    _break(path, camera.defect)
    return {
        **device_truth(camera.clock, duration_s, delay_s, camera.defect),
        "pictures": picture_truth(device_s, world_s, camera.frame_rate, is_variable=camera.is_variable),
    }


def _controls_on_clock(controls: Controls | None, clock: DeviceClock) -> Controls | None:
    if controls is None or not len(controls.time_s):
        return None
    return replace(controls, time_s=clock.to_device(controls.time_s))


def _break(path: Path, defect: Defect) -> None:
    if defect == "truncated":
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * _CUT)])
