"""Render one score: the states of the piano's keys, and the piano's sound."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.instruments.keyboard import key_states
from tasks.instruments.midi import Controls
from tasks.instruments.synth import thread_synthesizer
from tasks.intake.notes import read_notes
from tasks.intake.pedals import read_controls
from tasks.intake.record import INGESTED
from tasks.render import RenderParams
from tasks.step import write_whole
from tasks.store.audio import write_flac
from tasks.store.tables import write_table
from tasks.takes import Take

TOOLS = ("fluidsynth", "soundfont")


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads of the stages before: the notes that ingest wrote."""
    return [INGESTED / take.name]


def render_take(take: Take, out: Path, params: RenderParams) -> None:
    """Write ``states.parquet``, ``audio.flac`` and ``render.json`` of one score.

    Raises:
        SynthError: FluidSynth or the SoundFont is missing, or the sound is silent or not finite.
        TooLoud: the sound leaves full scale at this gain.
    """
    notes = read_notes(take.name)
    controls: Controls | None = read_controls(take.name)
    duration_s = take.duration_s + params.tail_s
    time_s, velocity = key_states(notes, restrike_gap_s=params.restrike_gap_s)
    write_table(out / "states.parquet", {"time_s": time_s, "velocity": velocity})
    if json.loads((INGESTED / take.name / "take.json").read_text())["counts"]["pedal_channels"] > 1:
        # One piano has one pedal: where each channel has its own, each note is held as long as its own pedal holds it.
        notes, controls = replace(notes, offset_s=notes.sounding_offset_s), None
    synthesizer = thread_synthesizer(sample_rate=params.sample_rate, gain=params.gain)
    audio = synthesizer.render(notes, controls, program=params.program, duration_s=duration_s)
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
