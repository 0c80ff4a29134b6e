"""Render one score: the states of the piano's keys and pedal, and the piano's sound, of notes on one grid."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.instruments.grid import controls_on_grid, largest_move_s, on_grid
from tasks.instruments.keyboard import key_states, with_pedal
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
    """Write ``notes.parquet``, ``states.parquet``, ``audio.flac`` and ``render.json`` of one score.

    The notes are those that the pictures show and the sound plays: on the grid.

    Raises:
        SynthError: FluidSynth or the SoundFont is missing, or the sound is silent or not finite.
        TooLoud: the sound leaves full scale at this gain.
    """
    written, step_s = read_notes(take.name), params.step_s
    controls: Controls | None = read_controls(take.name)
    if json.loads((INGESTED / take.name / "take.json").read_text())["counts"]["pedal_channels"] > 1:
        controls = None
    notes, moved = on_grid(written, step_s), largest_move_s(written, controls, step_s)
    write_table(out / "notes.parquet", notes.columns())
    duration_s = max(take.duration_s, float(notes.offset_s.max(initial=0.0))) + params.tail_s
    time_s, velocity = key_states(notes, restrike_gap_s=params.restrike_gap_s, step_s=step_s)
    if controls is None:
        # One piano has one pedal: where each channel has its own, each note is held as long as its own pedal holds it.
        sounding = replace(notes, offset_s=notes.sounding_offset_s)
    else:
        sounding, controls = notes, controls_on_grid(controls, step_s)
    time_s, velocity, pedal = with_pedal(time_s, velocity, controls if params.pedal == "drawn" else None)
    write_table(out / "states.parquet", {"time_s": time_s, "velocity": velocity, "pedal": pedal})
    synthesizer = thread_synthesizer(sample_rate=params.sample_rate, gain=params.gain)
    audio = synthesizer.render(sounding, controls, program=params.program, duration_s=duration_s)
    write_flac(out / "audio.flac", audio, params.sample_rate)
    facts = {
        "duration_s": duration_s,
        "largest_move_s": moved,
        "lit": params.lit,
        "n_merged": len(written) - len(notes),
        "n_pictures": len(time_s),
        "n_samples": len(audio),
        "peak": float(max(audio.max(initial=0.0), -audio.min(initial=0.0))),
        "sample_rate": params.sample_rate,
        "step_s": str(step_s),
    }
    write_whole(out / "render.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
