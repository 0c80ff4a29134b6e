"""Synchronize one capture: its cameras, its microphones and its score, on the clock of one device.

The clock is the master's: the device that take.yaml names, else the cleanest microphone, else the cleanest camera's
own sound. A MIDI file that was recorded with the take has a clock, which is fitted by onsets. A score that was played
from has the player's tempo and no clock: it is followed note by note.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import ClockFit, ScoreFit, Times, WindowTable
from tasks.clock.onsets import onset_flux
from tasks.clock.place import place_device, place_master, without_evidence
from tasks.clock.record import Placed
from tasks.clock.score import note_lags
from tasks.errors import BadInput
from tasks.instruments.notes import Notes
from tasks.intake.notes import read_notes
from tasks.intake.record import INGESTED, Capture, read_capture
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import FULL_SCALE, read_pcm
from tasks.store.tables import write_table
from tasks.synchronize import TAIL_S, SynchronizeParams, fit_notes, follow_notes, sound_of_notes, write_clocks
from tasks.takes import Take

TOOLS = ("ffmpeg", "fluidsynth", "soundfont")

SCORE = "score"

# Scores played by other instruments in other tempi: in a dry room 19 of 20 moments were within 40 ms, where
# reverberation outweighs the direct sound within 65. Inside of rolls one moment is like the next.
FOLLOWED_MS = 65.0

_LEVEL_S = 0.02
_PART_LENGTH = 3000  # of such moments: a minute
_CLIPPED = 0.999


class SyncError(BadInput):
    """A capture of which nothing can be placed."""


def inputs(take: Take) -> Sequence[Path]:
    """Return what the work reads: what ingest wrote, and the files of all devices."""
    return [INGESTED / take.name, *read_capture(take.name).paths]


def synchronize_take(take: Take, out: Path, params: SynchronizeParams) -> None:
    """Write ``clock.parquet``, ``windows.parquet``, ``clock.json`` and ``residuals.png`` of one capture.

    With a MIDI file also ``notes.parquet``: the notes whose times on the master's clock are known, and by how much
    later than its time each was found in the sound (``residual_ms``; NaN where it could not be found on its own).

    Raises:
        SyncError: ``NO_SOUND``, no device has sound, so there is no clock to place the others on.
    """
    capture = read_capture(take.name)
    sounds: dict[str, NDArray[np.int16]] = {}
    faults: dict[str, str] = {}
    for device in capture.devices:
        if device.has_sound:
            try:
                sounds[device.name] = read_pcm(
                    device.path, sample_rate=params.sample_rate, policy=NO_LIMITS, stream=device.sound_stream
                )
            except BadInput as error:
                faults[device.name] = str(error)
    master = choose_master(capture, sounds, params.sample_rate)
    master_s = len(sounds[master]) / params.sample_rate
    placed = [place_master(master, master_s)]
    placed += [
        place_device(device, sounds.get(device.name), sounds[master], params, faults.get(device.name))
        for device in capture.devices
        if device.name != master
    ]
    if capture.notes is not None:
        notes = read_notes(capture.take)
        score, lag_s = _place_score(capture, notes, sounds[master], params)
        placed.append(score)
        if score.verdict in ("locked", "followed"):
            write_table(out / "notes.parquet", _notes_on_master(notes, score, lag_s))
    write_clocks(out, master, master_s, placed)


def choose_master(capture: Capture, sounds: Mapping[str, NDArray[np.int16]], sample_rate: int) -> str:
    """Return the device whose clock the take lives on.

    Args:
        capture: the take.
        sounds: of each device that has sound, (n,), by name.
        sample_rate: of the sounds, in Hz.

    Raises:
        SyncError: ``NO_SOUND``, no device recorded any sound.
    """
    named = capture.master or ""
    if named in sounds and sounds[named].any():
        return named
    for role in ("microphone", "camera"):
        clean = {
            device.name: cleanness_db(sounds[device.name], sample_rate)
            for device in capture.devices
            if device.role == role and device.name in sounds
        }
        audible = {name: db for name, db in clean.items() if np.isfinite(db)}
        if audible:
            return max(sorted(audible), key=lambda name: audible[name])
    raise SyncError(f"take {capture.take}: no device recorded any sound, expected one to be the clock", kind="NO_SOUND")


def cleanness_db(audio: NDArray[np.int16], sample_rate: int) -> float:
    """Return by how much a recording's loud moments stand over its quiet ones, in dB; less where it clips.

    Silence gives minus infinity.
    """
    length = max(1, round(_LEVEL_S * sample_rate))
    moments = audio[: len(audio) // length * length].reshape(-1, length)
    if len(moments) < 2 or not audio.any():
        return -np.inf
    # By parts: squares of an hour in 64 bits would fill half a gigabyte.
    parts = [moments[first : first + _PART_LENGTH] for first in range(0, len(moments), _PART_LENGTH)]
    power = np.concatenate([np.square(part / FULL_SCALE).mean(axis=1) for part in parts]) + 1e-12
    quiet, loud = np.quantile(power, [0.1, 0.95])
    n_clipped = sum(int((np.abs(part / FULL_SCALE) > _CLIPPED).sum()) for part in parts)
    return float(10 * np.log10(loud / quiet)) - 1000.0 * n_clipped / len(audio)


def _place_score(
    capture: Capture, notes: Notes, master: NDArray[np.int16], params: SynchronizeParams
) -> tuple[Placed, Times]:
    """Place a MIDI file, rendered by the synthesizer, on the master's clock; also return each note's lag in s."""
    rate, nowhere = params.sample_rate, np.full(len(notes), np.nan)
    master_s = len(master) / rate
    if not len(notes):
        fit = without_evidence("it has no notes", reference_s=master_s, duration_s=0.0)
        return Placed(name=SCORE, role="score", fit=fit), nowhere
    rendered = sound_of_notes(notes, instrument=capture.instrument, sample_rate=rate)
    duration_s = float(notes.offset_s.max()) + TAIL_S
    if capture.notes == "recorded":
        fit = fit_notes(onset_flux(master, rate), onset_flux(rendered, rate), params=params)
        lag_s = nowhere
        if fit.verdict == "locked":
            expected_s = fit.to_reference(notes.onset_s)
            lag_s = note_lags(
                master, rendered, sample_rate=rate, expected_s=expected_s, onset_s=notes.onset_s, pitch=notes.pitch
            )
        return Placed(name=SCORE, role="score", fit=fit), lag_s
    followed = follow_notes(master, rendered, notes, params=params)
    fit = _without_clock(followed, notes, master_s, duration_s)
    is_followed = followed.verdict == "followed"
    return Placed(name=SCORE, role="score", fit=fit, followed=followed if is_followed else None), followed.lag_s


def _without_clock(followed: ScoreFit, notes: Notes, master_s: float, duration_s: float) -> ClockFit:
    """Return what the tables hold of a score that has no clock, because its tempo is the player's."""
    found = np.isfinite(followed.lag_s)
    away_ms = 1e3 * np.abs(followed.lag_s[found])
    is_followed = followed.verdict == "followed" and found.any()
    return ClockFit(
        verdict="unrelated",
        reason=followed.reason,
        method="notes",
        reference_duration_s=master_s,
        duration_s=duration_s,
        residual_p50_ms=float(np.quantile(away_ms, 0.5)) if is_followed else np.nan,
        residual_p95_ms=float(np.quantile(away_ms, 0.95)) if is_followed else np.nan,
        error_ms=FOLLOWED_MS if is_followed else np.nan,
        margin=followed.margin,
        coverage=followed.agreement,
        windows=WindowTable(
            time_s=notes.onset_s,
            residual_ms=1e3 * followed.lag_s,
            weight=found.astype(np.float64),
            used=found,
        )
        if is_followed
        else WindowTable.empty(),
    )


def _notes_on_master(notes: Notes, score: Placed, lag_s: Times) -> dict[str, NDArray[Any]]:
    return {
        "onset_s": score.to_master(notes.onset_s),
        "offset_s": score.to_master(notes.offset_s),
        "sounding_offset_s": score.to_master(notes.sounding_offset_s),
        "pitch": notes.pitch,
        "velocity": notes.velocity,
        "residual_ms": 1e3 * lag_s,
    }
