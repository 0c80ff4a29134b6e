"""Verb ``synchronize``: every device of a capture on one clock, and how well that is known.

The clock is the master's: the device that take.yaml names, else the cleanest microphone, else a camera's own sound.
Sound is compared with sound; a camera whose sound says nothing is placed by what moves in its pictures, and a MIDI
file that was recorded along by its onsets, both with a wider error bar. A score that was played from has the player's
tempo, no clock: it is followed note by note. What cannot be read or placed is told so and left out, never guessed.

An ensemble lives on the clock of its mix, which is that of its stems. A camera that take.yaml calls genlocked has it by
definition; any other is placed as a capture's is.
"""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.clock.envelopes import EnvelopeParams, fit_envelopes
from tasks.clock.fit import ClockFit, Span, Times, WindowTable
from tasks.clock.motion import HEIGHT, WIDTH, motion_flux, summed
from tasks.clock.onsets import onset_flux
from tasks.clock.score import ScoreFit, follow_score, note_lags
from tasks.clock.sound import ClockParams, estimate_clock
from tasks.errors import BadInput
from tasks.features.resample import resample
from tasks.instruments.notes import Notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.intake.ensemble import Ensemble, read_ensemble, read_mix
from tasks.intake.layouts import MIX
from tasks.intake.record import Capture, Device, read_capture
from tasks.media.pictures import check_film, iter_pictures
from tasks.media.probe import NO_LIMITS, MediaPolicy, probe
from tasks.media.sound import SoundBlocks
from tasks.media.tracks import Track, write_tracks
from tasks.params import Section
from tasks.step import write_whole
from tasks.store.tables import read_table, write_table
from tasks.takes import Take

INGESTED = Path("data/ingested")
PROGRAMS = {"piano": 0}  # general MIDI, of an instrument by name; any other is struck bars:
MARIMBA_PROGRAM = 12
RENDER_RATE = 48_000
RENDER_GAIN = 0.1  # so low that no score is too loud; how loud it is changes nothing here
SCORE = "score"

# By how much onsets that are seen, or written down, lie beside those that are heard. On filmed takes whose truth is
# known, mallets were seen to stop within 14 ms of the sound, and piano keys to come to rest 47 ms after it.
MOTION_MS, NOTES_MS = 50.0, 10.0
# Scores played by other instruments in other tempi: in a dry room 19 of 20 moments were within 40 ms, where
# reverberation outweighs the direct sound within 65. Inside of rolls nothing tells one moment from the next.
FOLLOWED_MS = 65.0

_LEVEL_S = 0.02
_PART_LENGTH = 3000  # of such moments: a minute
_FULL_SCALE = 32767
_CLIPPED = 0.999


class SyncError(BadInput):
    """A capture of which nothing can be placed."""


class SynchronizeParams(Section):
    """How devices are placed on one clock.

    Attributes:
        sample_rate: Hz, at which sound is compared; at least 16,000.
        clock: what is believed when sound is compared with sound.
        onsets: what is believed when only onsets can be compared.
        media: what a file may cost that is named by hand.
    """

    sample_rate: int
    clock: ClockParams
    onsets: EnvelopeParams
    media: MediaPolicy


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A device or a score with its clock; what could not be read has none.

    Attributes:
        name: ``cam_top``, or ``score``.
        role: what it is.
        fit: its clock.
        played: how it was played, of a score without a clock that could be followed.
    """

    name: str
    role: Literal["master", "camera", "microphone", "score"]
    fit: ClockFit
    played: ScoreFit | None = None

    @property
    def verdict(self) -> str:
        """``locked``, ``ambiguous`` or ``unrelated``; ``followed`` where there is no clock, but each note's time."""
        return self.fit.verdict if self.played is None else self.played.verdict

    def to_master(self, time_s: Times) -> Times:
        """Return the master's time at moments of the device's or the score's.

        Raises:
            ValueError: it is neither locked nor followed.
        """
        return self.fit.to_reference(time_s) if self.played is None else self.played.to_reference(time_s)


def synchronize_take(take: Take, out: Path, params: SynchronizeParams) -> None:
    """Write ``clock.parquet``, ``windows.parquet``, ``clock.json`` and ``residuals.png`` of one capture or ensemble.

    With a MIDI file also ``notes.parquet``: the notes whose times on the master's clock are known, and by how much
    each was heard beside its time (``residual_ms``; NaN where it is not heard on its own).

    Raises:
        SyncError: ``NO_SOUND``, no device has sound, so there is no clock to place the others on.
    """
    if take.kind == "ensemble":
        _synchronize_ensemble(read_ensemble(take.name), out, params)
        return
    capture = read_capture(take.name)
    sounds: dict[str, NDArray[np.int16]] = {}
    faults: dict[str, str] = {}
    for device in capture.devices:
        if device.has_sound:
            try:
                sounds[device.name] = read_compact(device.path, params.sample_rate, NO_LIMITS)
            except BadInput as error:
                faults[device.name] = str(error)
    master = _master(capture, sounds, params.sample_rate)
    placed = [Placed(name=master, role="master", fit=_itself(sounds[master], params.sample_rate))]
    placed += [
        _place(device, sounds.get(device.name), sounds[master], params, faults.get(device.name))
        for device in capture.devices
        if device.name != master
    ]
    if capture.notes is not None:
        notes = Notes(**read_table(INGESTED / capture.take / "notes.parquet"))
        score, lag_s = _place_score(capture, notes, sounds[master], params)
        placed.append(score)
        if score.verdict in ("locked", "followed"):
            write_table(out / "notes.parquet", _notes_on_master(notes, score, lag_s))
    write_clocks(out, master, len(sounds[master]) / params.sample_rate, placed)


def _synchronize_ensemble(ensemble: Ensemble, out: Path, params: SynchronizeParams) -> None:
    rate = params.sample_rate
    n_samples = round(ensemble.duration_s * rate)
    free = [device for device in ensemble.devices if device.name not in ensemble.genlocked]
    # Without a device to place nobody needs to hear the mix.
    master = np.zeros(n_samples, np.int16)
    if free:
        heard = read_mix(ensemble, sample_rate=rate, channels=1, n_samples=n_samples)[0]
        master = np.rint(heard / max(1.0, float(np.abs(heard).max(initial=0.0))) * _FULL_SCALE).astype(np.int16)
    placed = [Placed(name=MIX, role="master", fit=_itself(master, rate))]
    for device in ensemble.devices:
        if device.name in ensemble.genlocked:
            placed.append(Placed(name=device.name, role=device.role, fit=_genlocked(device, ensemble.duration_s)))
            continue
        sound, fault = None, None
        if device.has_sound:
            try:
                sound = read_compact(device.path, rate, NO_LIMITS)
            except BadInput as error:
                fault = str(error)
        placed.append(_place(device, sound, master, params, fault))
    write_clocks(out, MIX, ensemble.duration_s, placed)


def write_clocks(out: Path, master: str, duration_s: float, placed: Sequence[Placed]) -> None:
    """Write the tables and the picture of a capture's clocks."""
    from tasks.page.figures import draw_residuals  # `sync` draws nothing, and matplotlib is a second and 50 MB

    rows = [row for one in placed for row in _span_rows(one)]
    write_table(out / "clock.parquet", {name: _column([row[name] for row in rows]) for name in rows[0]})
    windows = [(one, one.fit.windows) for one in placed]
    write_table(
        out / "windows.parquet",
        {
            "device": [one.name for one, table in windows for _ in range(len(table))],
            "time_s": np.concatenate([table.time_s for _, table in windows]),
            "residual_ms": np.concatenate([table.residual_ms for _, table in windows]),
            "used": np.concatenate([table.used for _, table in windows]),
        },
    )
    facts = {
        "master": master,
        "duration_s": duration_s,
        "devices": {
            one.name: {
                "role": one.role,
                "method": one.fit.method,
                "verdict": one.verdict,
                "reason": one.fit.reason,
                "rivals": [{"delay_s": rival.delay_s, "score": rival.score} for rival in one.fit.rivals],
            }
            for one in placed
        },
    }
    write_whole(out / "clock.json", json.dumps(facts, indent=1, sort_keys=True) + "\n")
    draw_residuals(
        out / "residuals.png",
        {
            one.name: (
                one.to_master(one.fit.windows.time_s),
                one.fit.windows.residual_ms,
                one.fit.windows.used,
            )
            for one in placed
            if one.role != "master" and one.fit.method != "genlock" and one.verdict in ("locked", "followed")
        },
        duration_s=duration_s,
    )


@dataclass(frozen=True, kw_only=True)
class Synced:
    """One file placed on the reference's clock; ``fit`` is None when it could not be read."""

    file: Path
    fit: ClockFit | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return what ``audiate sync --json`` prints of the file."""
        if self.fit is None:
            return {"file": str(self.file), "status": "unreadable", "reason": self.reason}
        fit, is_locked = self.fit, self.fit.verdict == "locked"
        return {
            "file": str(self.file),
            "status": fit.verdict,
            "reason": self.reason,
            "method": fit.method,
            "delay_s": fit.delay_s if is_locked else None,
            "drift_ppm": fit.drift_ppm if is_locked else None,
            "spans": [
                {
                    "start_s": span.start_s,
                    "end_s": span.end_s,
                    "delay_s": span.delay_s,
                    "drift_ppm": span.drift_ppm,
                }
                for span in fit.spans
            ],
            "residual_p95_ms": _number(fit.residual_p95_ms),
            "error_ms": _number(fit.error_ms),
            "margin": _number(fit.margin),
            "coverage": fit.coverage,
            "rivals": [{"delay_s": rival.delay_s, "score": rival.score} for rival in fit.rivals],
        }


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """Files placed on one file's clock."""

    reference: Path
    others: tuple[Synced, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what ``audiate sync --json`` prints."""
        return {"reference": str(self.reference), "others": [other.as_json() for other in self.others]}


def sync_files(reference: Path, others: Sequence[Path], *, params: SynchronizeParams) -> SyncReport:
    """Place files on the clock of a reference, as `synchronize_take` places devices on their master's.

    Raises:
        MediaError: the reference cannot be read, or has no sound.
    """
    heard = read_compact(reference, params.sample_rate, params.media)
    synced = []
    for path in others:
        try:
            fit = _place_file(path, heard, params)
            synced.append(Synced(file=path, fit=fit, reason=fit.reason))
        except BadInput as error:
            synced.append(Synced(file=path, fit=None, reason=str(error)))
    return SyncReport(reference=reference, others=tuple(synced))


def write_aligned(report: SyncReport, out: Path) -> list[Path]:
    """Write one mkv of the reference and every file that is locked to it; return those that are not in it."""
    tracks = [Track(path=report.reference, stretches=())]
    left_out = []
    for other in report.others:
        if other.fit is None or not other.fit.spans:
            left_out.append(other.file)
        else:
            stretches = tuple((span.start_s, span.end_s, span.delay_s, span.drift) for span in other.fit.spans)
            tracks.append(Track(path=other.file, stretches=stretches))
    write_tracks(out, tracks)
    return left_out


def _place(
    device: Device,
    sound: NDArray[np.int16] | None,
    master: NDArray[np.int16],
    params: SynchronizeParams,
    fault: str | None,
) -> Placed:
    fit: ClockFit | None = None
    if sound is not None:
        fit = estimate_clock(master, sound, sample_rate=params.sample_rate, params=params.clock)
    duration_s = float(device.facts["duration_s"])
    # Sound that leaves a choice is not overruled by pictures that say less.
    if (fit is None or fit.verdict == "unrelated") and device.role == "camera":
        try:
            seen = _place_pictures(device.path, duration_s, master, params, NO_LIMITS, device.crop)
            fit = seen if fault is None else replace(seen, reason=f"{seen.reason}; {fault}")
        except BadInput as error:
            fault = str(error)
    if fit is None:
        fit = _silent(len(master) / params.sample_rate, duration_s, fault or "it has neither sound nor pictures")
    return Placed(name=device.name, role=device.role, fit=fit)


def _place_file(path: Path, reference: NDArray[np.int16], params: SynchronizeParams) -> ClockFit:
    facts = probe(path, policy=params.media)
    fit: ClockFit | None = None
    if facts.audio is not None:
        sound = read_compact(path, params.sample_rate, params.media)
        fit = estimate_clock(reference, sound, sample_rate=params.sample_rate, params=params.clock)
    if facts.video is not None and (fit is None or fit.verdict == "unrelated"):
        film = check_film(path, params.media, lenient=True)
        fit = _place_pictures(path, facts.duration_s or 0.0, reference, params, params.media, None)
        if film.truncated_at_s is not None:
            fit = replace(fit, reason=f"{fit.reason}; its pictures end at {film.truncated_at_s:.3f} s, cut short")
    return fit if fit is not None else _silent(len(reference) / params.sample_rate, 0.0, "it has no stream")


def _place_pictures(
    path: Path,
    duration_s: float,
    reference: NDArray[np.int16],
    params: SynchronizeParams,
    policy: MediaPolicy,
    crop: tuple[int, int, int, int] | None,
) -> ClockFit:
    parts = iter_pictures(path, width=WIDTH, height=HEIGHT, policy=policy, crop=crop, lenient=True)
    seen = motion_flux(parts, duration_s=duration_s)
    return fit_envelopes(
        summed(onset_flux(reference, params.sample_rate)),
        seen[:1],
        fine=seen[1:],
        method="motion",
        systematic_ms=MOTION_MS,
        params=params.onsets,
    )


def _place_score(
    capture: Capture, notes: Notes, master: NDArray[np.int16], params: SynchronizeParams
) -> tuple[Placed, Times]:
    """Place a MIDI file on the master's clock, played by the synthesizer; also by how much each note is heard late."""
    rate, nowhere = params.sample_rate, np.full(len(notes), np.nan)
    master_s = len(master) / rate
    if not len(notes):
        return Placed(name=SCORE, role="score", fit=_silent(master_s, 0.0, "it has no notes")), nowhere
    program = PROGRAMS.get(capture.instrument, MARIMBA_PROGRAM)
    duration_s = float(notes.offset_s.max()) + 1.0
    played = resample(_synthesizer().render(notes, None, program=program, duration_s=duration_s), RENDER_RATE, rate)
    if capture.notes == "recorded":
        fit = fit_envelopes(
            onset_flux(master, rate),
            onset_flux(played, rate),
            method="notes",
            systematic_ms=NOTES_MS,
            params=params.onsets,
        )
        lag_s = nowhere
        if fit.verdict == "locked":
            expected_s = fit.to_reference(notes.onset_s)
            lag_s = note_lags(
                master, played, sample_rate=rate, expected_s=expected_s, onset_s=notes.onset_s, pitch=notes.pitch
            )
        return Placed(name=SCORE, role="score", fit=fit), lag_s
    followed = follow_score(
        master,
        played,
        sample_rate=rate,
        onset_s=notes.onset_s,
        pitch=notes.pitch,
        min_margin=params.onsets.min_margin,
        min_agreement=params.onsets.min_agreement,
    )
    fit = _without_clock(followed, notes, master_s, duration_s)
    is_followed = followed.verdict == "followed"
    return Placed(name=SCORE, role="score", fit=fit, played=followed if is_followed else None), followed.lag_s


def _without_clock(followed: ScoreFit, notes: Notes, master_s: float, duration_s: float) -> ClockFit:
    """Return what the tables hold of a score that a player's tempo keeps from having a clock."""
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


def _master(capture: Capture, sounds: Mapping[str, NDArray[np.int16]], sample_rate: int) -> str:
    """Return the device whose clock the take lives on."""
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
    power = np.concatenate([np.square(part / _FULL_SCALE).mean(axis=1) for part in parts]) + 1e-12
    quiet, loud = np.quantile(power, [0.1, 0.95])
    n_clipped = sum(int((np.abs(part / _FULL_SCALE) > _CLIPPED).sum()) for part in parts)
    return float(10 * np.log10(loud / quiet)) - 1000.0 * n_clipped / len(audio)


def read_compact(path: Path, sample_rate: int, policy: MediaPolicy) -> NDArray[np.int16]:
    """Decode a recording's sound to 16 bits, never holding a second copy of it: an hour at 16 kHz is 115 MB.

    Raises:
        MediaError: as in `tasks.media.sound.SoundBlocks`, asked to be lenient.
    """
    facts = probe(path, policy=policy)
    blocks = SoundBlocks(path, sample_rate=sample_rate, policy=policy, lenient=True, facts=facts)
    sound = np.empty(round((facts.duration_s or 0.0) * sample_rate) + 1, np.int16)
    n = 0
    for block in blocks:
        if n + len(block) > len(sound):  # longer than it says
            sound.resize(2 * len(sound) + len(block), refcheck=False)
        sound[n : n + len(block)] = np.rint(block * _FULL_SCALE).clip(-32768, 32767)
        n += len(block)
    sound.resize(n, refcheck=False)
    return sound


def _itself(sound: NDArray[np.int16], sample_rate: int) -> ClockFit:
    duration_s = len(sound) / sample_rate
    return _by_definition("it is the clock", method="sound", master_s=duration_s, duration_s=duration_s)


def _genlocked(device: Device, master_s: float) -> ClockFit:
    reason = "it runs on the master's clock by definition"
    return _by_definition(reason, method="genlock", master_s=master_s, duration_s=float(device.facts["duration_s"]))


def _by_definition(reason: str, *, method: Literal["sound", "genlock"], master_s: float, duration_s: float) -> ClockFit:
    return ClockFit(
        verdict="locked",
        reason=reason,
        method=method,
        reference_duration_s=master_s,
        duration_s=duration_s,
        spans=(Span(start_s=0.0, end_s=duration_s, delay_s=0.0, drift_ppm=0.0),),
        residual_p50_ms=0.0,
        residual_p95_ms=0.0,
        margin=np.inf,
        coverage=1.0,
        error_ms=0.0,
        windows=WindowTable.empty(),
    )


def _silent(reference_s: float, duration_s: float, reason: str) -> ClockFit:
    return ClockFit(
        verdict="unrelated",
        reason=reason,
        method="sound",
        reference_duration_s=reference_s,
        duration_s=duration_s,
        windows=WindowTable.empty(),
    )


def _span_rows(one: Placed) -> list[dict[str, Any]]:
    fit = one.fit
    about = {
        "device": one.name,
        "role": one.role,
        "method": fit.method,
        "verdict": one.verdict,
        "residual_p50_ms": fit.residual_p50_ms,
        "residual_p95_ms": fit.residual_p95_ms,
        "error_ms": fit.error_ms,
        "margin": fit.margin,
        "coverage": fit.coverage,
    }
    nothing = {"start_s": np.nan, "end_s": np.nan, "delay_s": np.nan, "drift_ppm": np.nan}
    spans = [
        {"start_s": span.start_s, "end_s": span.end_s, "delay_s": span.delay_s, "drift_ppm": span.drift_ppm}
        for span in fit.spans
    ]
    return [about | span for span in spans or [nothing]]


def _column(values: list[Any]) -> Any:
    return values if isinstance(values[0], str) else np.array(values, np.float64)


def _number(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return float(value) if np.isfinite(value) else None


_SYNTHESIZERS = threading.local()


def _synthesizer() -> Synthesizer:
    if getattr(_SYNTHESIZERS, "synthesizer", None) is None:
        _SYNTHESIZERS.synthesizer = Synthesizer(
            find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=RENDER_RATE, gain=RENDER_GAIN
        )
    synthesizer: Synthesizer = _SYNTHESIZERS.synthesizer
    return synthesizer
