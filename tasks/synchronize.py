"""Verb ``synchronize``: every device of a take on one clock, and how well that is known.

The same is done by hand with any files (`sync_files`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.clock.envelopes import fit_envelopes
from tasks.clock.fit import ClockFit, ScoreFit
from tasks.clock.place import PlaceParams, place_file
from tasks.clock.record import Placed, write_record
from tasks.clock.score import follow_score
from tasks.errors import BadInput
from tasks.features.resample import resample
from tasks.instruments.notes import Notes
from tasks.instruments.synth import thread_synthesizer
from tasks.media.probe import MediaPolicy
from tasks.media.sound import read_pcm
from tasks.media.tracks import Track, write_tracks

TAIL_S = 1.0  # of the sound of notes, after the last one's end
NOTES_MS = 10.0  # by how much the onsets of recorded MIDI lie beside those in the sound
_PROGRAMS = {"piano": 0}  # general MIDI, of an instrument by name; any other is struck bars:
_MARIMBA_PROGRAM = 12
_RENDER_RATE = 48_000
_RENDER_GAIN = 0.1  # so low that no score is too loud; how loud it is changes nothing here


class SynchronizeParams(PlaceParams):
    """How devices are placed on one clock.

    Attributes:
        media: what a file may cost that is named by hand.
    """

    media: MediaPolicy


def sound_of_notes(notes: Notes, *, instrument: str, sample_rate: int) -> NDArray[np.float32]:
    """Return what a synthesizer makes of notes, to be held against a recording of them.

    Args:
        notes: at least one.
        instrument: by which its program is chosen.
        sample_rate: of the result, in Hz.

    Returns:
        (n,) samples, `TAIL_S` longer than the notes.
    """
    duration_s = float(notes.offset_s.max()) + TAIL_S
    synthesizer = thread_synthesizer(sample_rate=_RENDER_RATE, gain=_RENDER_GAIN)
    program = _PROGRAMS.get(instrument, _MARIMBA_PROGRAM)
    return resample(synthesizer.render(notes, None, program=program, duration_s=duration_s), _RENDER_RATE, sample_rate)


def fit_notes(recorded: NDArray[np.float32], rendered: NDArray[np.float32], *, params: SynchronizeParams) -> ClockFit:
    """Place recorded MIDI on a recording's clock; both are `onset_flux`, of the recording and of the notes' sound."""
    return fit_envelopes(recorded, rendered, method="notes", systematic_ms=NOTES_MS, params=params.onsets)


def follow_notes(
    sound: NDArray[np.int16], rendered: NDArray[np.float32], notes: Notes, *, params: SynchronizeParams
) -> ScoreFit:
    """Follow notes through a recording of them in another tempo: the recording's sound, and the notes' own."""
    return follow_score(
        sound,
        rendered,
        sample_rate=params.sample_rate,
        onset_s=notes.onset_s,
        pitch=notes.pitch,
        min_margin=params.onsets.min_margin,
        min_agreement=params.onsets.min_agreement,
    )


def write_clocks(out: Path, master: str, duration_s: float, placed: Sequence[Placed]) -> None:
    """Write the tables of a take's clocks (`tasks.clock.record`) and ``residuals.png``, the picture of them."""
    from tasks.page.figures import draw_residuals  # `sync` draws nothing, and matplotlib is a second and 50 MB

    write_record(out, master, duration_s, placed)
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
            "heard_s": fit.heard_s,
            "margin": _number(fit.margin),
            "coverage": fit.coverage,
            "rivals": [{"delay_s": rival.delay_s, "score": rival.score} for rival in fit.rivals],
        }


@dataclass(frozen=True, kw_only=True)
class SyncReport:
    """Files placed on one file's clock; ``remarks`` are on the reference, as `read_pcm` has them."""

    reference: Path
    others: tuple[Synced, ...]
    remarks: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what ``audiate sync --json`` prints."""
        others = [other.as_json() for other in self.others]
        return {"reference": str(self.reference), "remarks": list(self.remarks), "others": others}


def sync_files(reference: Path, others: Sequence[Path], *, params: SynchronizeParams) -> SyncReport:
    """Place files on the clock of a reference, as the stage places devices on their master's.

    Raises:
        MediaError: the reference cannot be read, or has no sound.
    """
    remarks: list[str] = []
    sound = read_pcm(reference, sample_rate=params.sample_rate, policy=params.media, remark=remarks.append)
    synced = []
    for path in others:
        try:
            fit = place_file(path, sound, params, params.media)
            synced.append(Synced(file=path, fit=fit, reason=fit.reason))
        except BadInput as error:
            synced.append(Synced(file=path, fit=None, reason=str(error)))
    return SyncReport(reference=reference, others=tuple(synced), remarks=tuple(remarks))


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


def _number(value: float) -> float | None:
    """Return a number that JSON can hold."""
    return float(value) if np.isfinite(value) else None
