"""Verb ``render``: the piano simulator. Notes in, the keyboard's pictures and a grand piano's sound out.

The picture stream is kept as what determines it: the state of the 88 keys at every change, 88 bytes a picture.
Drawing it (``tasks.instruments.keyboard.draw_keyboard``) is to a score take what decoding a video is to a capture.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tasks.errors import DamagedData
from tasks.instruments.keyboard import draw_keyboard, key_states, shown_at
from tasks.instruments.midi import Controls
from tasks.instruments.notes import Notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.media.encode import encode_film
from tasks.params import Section
from tasks.step import write_whole
from tasks.store.audio import read_audio, write_flac
from tasks.store.tables import read_table, write_table
from tasks.takes import TAKE_NAME, Take

INGESTED = Path("data/ingested")
RENDERED = Path("data/rendered")

_SYNTHESIZERS = threading.local()  # FluidSynth is not for two threads at once, and loading a SoundFont takes a while


class RenderParams(Section):
    """The simulated piano."""

    sample_rate: int  # Hz, of the synthesis; FluidSynth takes 8,000 to 96,000
    gain: float  # of the synthesizer, the same for all pieces, so that loudness between them is kept
    program: int  # general MIDI: 0 is the grand piano
    tail_s: float  # kept after the last note has ended
    restrike_gap_s: float  # how long a key that is struck again is seen up before
    lit: Literal["flat", "velocity"]  # what a pressed key shows: that it is pressed, or also how hard it was struck


def render_take(take: Take, out: Path, params: RenderParams) -> None:
    """Write ``states.parquet``, ``audio.flac`` and ``render.json`` of one score take.

    Raises:
        SynthError: FluidSynth or the SoundFont is missing, or the sound is not what was asked for.
    """
    notes: Notes
    controls: Controls | None
    notes, controls = read_notes(take.name)
    duration_s = take.duration_s + params.tail_s
    time_s, velocity = key_states(notes, restrike_gap_s=params.restrike_gap_s)
    write_table(out / "states.parquet", {"time_s": time_s, "velocity": velocity})
    if json.loads((INGESTED / take.name / "take.json").read_text())["counts"]["pedal_channels"] > 1:
        # One piano has one pedal: where each channel has its own, the notes are held as long as theirs says.
        notes, controls = replace(notes, offset_s=notes.sounding_offset_s), None
    audio = _synthesizer(params).render(notes, controls, program=params.program, duration_s=duration_s)
    write_flac(out / "audio.flac", audio, params.sample_rate)
    facts = {
        "duration_s": duration_s,
        "lit": params.lit,
        "n_pictures": len(time_s),
        "n_samples": len(audio),
        "peak": float(max(audio.max(initial=0.0), -audio.min(initial=0.0))),
        "sample_rate": params.sample_rate,
    }
    write_whole(out / "render.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")


def read_notes(take: str, folder: Path = INGESTED) -> tuple[Notes, Controls]:
    """Read a take's notes and pedals as ingest wrote them."""
    return Notes(**read_table(folder / take / "notes.parquet")), Controls(
        **read_table(folder / take / "controls.parquet")
    )


def preview(take: str, path: Path, *, frame_rate: Fraction, folder: Path = RENDERED) -> None:
    """Write an mp4 of a rendered take with its sound, for people to look at.

    Raises:
        DamagedData: there is no such take.
        MediaError: ffmpeg is missing or did not write what was asked for.
    """
    if not TAKE_NAME.fullmatch(take) or not (folder / take / "render.json").is_file():
        raise DamagedData(f"{folder} has no take {take!r}: is it a take's name, and has audiate render run?")
    facts = json.loads((folder / take / "render.json").read_text())
    states = read_table(folder / take / "states.parquet")
    audio, sample_rate = read_audio(folder / take / "audio.flac")
    pictures = film_frames(
        states["time_s"], states["velocity"], lit=facts["lit"], frame_rate=frame_rate, duration_s=facts["duration_s"]
    )
    encode_film(path, pictures, frame_rate=frame_rate, audio=audio, sample_rate=sample_rate)


def film_frames(
    time_s: NDArray[np.float64],
    velocity: NDArray[np.uint8],
    *,
    lit: Literal["flat", "velocity"],
    frame_rate: Fraction,
    duration_s: float,
) -> Iterator[NDArray[np.uint8]]:
    """Yield the (57, 780) picture shown at each tick of ``frame_rate``, drawing each change once."""
    n_frames = max(1, round(duration_s * frame_rate))
    shown = shown_at(time_s, rate=frame_rate, start=0, count=n_frames)
    drawn, picture = -1, None
    for index in shown:
        if index != drawn:
            picture, drawn = draw_keyboard(velocity[index : index + 1], lit=lit)[0], index
        if picture is not None:
            yield picture


def _synthesizer(params: RenderParams) -> Synthesizer:
    wanted = (params.sample_rate, params.gain)
    if getattr(_SYNTHESIZERS, "made_for", None) != wanted:
        _SYNTHESIZERS.synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=params.sample_rate, gain=params.gain
        )
        _SYNTHESIZERS.made_for = wanted
    synthesizer: Synthesizer = _SYNTHESIZERS.synthesizer
    return synthesizer
