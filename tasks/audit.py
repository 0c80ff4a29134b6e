"""Verb ``audit``: hold labels against the sound that they are of.

Labels are a MIDI file or a table of notes, played by a synthesizer. Where the onsets of both lie on one line, each note
is looked for on its own, and a line is fitted to what was found: its height is the labels' offset, its slope their
drift. Labels that fit nowhere are held against the other recordings of the folder that have none that fit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasks.clock.fit import ClockFit, Times
from tasks.clock.lines import robust_line
from tasks.clock.onsets import FLUX_RATE, onset_flux
from tasks.clock.score import note_lags, stand_alone
from tasks.errors import BadInput, PipelineError
from tasks.evaluate_notes import MIDI_SUFFIXES, known_recordings, reference_notes
from tasks.instruments.notes import Notes
from tasks.media.formats import RECORDING_SUFFIXES
from tasks.media.sound import FULL_SCALE, read_pcm
from tasks.synchronize import NOTES_MS, SynchronizeParams, fit_notes, follow_notes, sound_of_notes

Verdict = Literal["agrees", "offset", "drifts", "ends", "other tempo", "wrong pair", "unsure", "unreadable"]

TOLERANCE_MS = 20.0
"""Default of how far labels may lie from what is heard. Instruments set in at different speeds: 10 ms say nothing."""

_DRIFT_PPM = 30.0  # less is the difference of two good clocks
_SURE = 3.0  # standard errors
_DRIFTED_S = 0.005  # over all of the labels; less does not matter, and an instrument's registers differ by as much
_FOUND_S = 0.05  # of the line: what lies farther from it is another note
_LEAST_NOTES = 16  # for a line
_N_PARTS = 8  # of the notes in order, that are left out in turn
_ACTIVE_DB = -40.0  # below the loud moments; quieter ones are rests
_LEVEL_S = 0.05
_UNLABELLED_S = 2.0  # of sound before the first label or after the last one ended, that an instrument may ring
_EARLY_S = 0.1  # labels so long before the recording begins, or after it ends, are outside of it
_MOST_TRIED = 24  # recordings and labels that fit nothing, held against each other
_ALIKE_MS = 10.0  # of their median: where nine offsets of ten are so near, they have one cause
_N_DRAWN = 3  # pairs whose notes are drawn


@dataclass(frozen=True, kw_only=True)
class Audited:
    """Labels held against their recording.

    Attributes:
        recording: the file.
        labels: the file with its notes.
        verdict: ``agrees``; ``offset``, the labels lie beside what is heard; ``drifts``, their clock runs at another
            rate; ``ends``, sound without labels or labels without sound at an end; ``other tempo``, they are of a score
            that is played, not of this performance; ``wrong pair``, of another piece; ``unsure``; ``unreadable``.
            Where several hold it is the first of wrong pair, other tempo, drifts, offset, ends.
        reason: all that was found, in words.
        offset_ms: by how much later than labelled the notes are heard, in the middle; NaN where nothing is.
        error_ms: standard error of that, what instruments differ by included.
        drift_ppm: by how much slower the recording's clock runs than the labels', in parts in a million.
        drift_error_ppm: standard error of that.
        heard: part, 0 to 1, of the notes that could be looked for on their own that were found on the line.
        unlabelled_s: of sound before the first label and after the last.
        n_outside: labels before the recording begins or after it ends.
        time_s: of the notes that were found, as labelled.
        lag_ms: by how much later than labelled each was heard.
        fits: the file of labels that does fit this recording, where its own do not.
    """

    recording: Path
    labels: Path
    verdict: Verdict
    reason: str
    offset_ms: float = np.nan
    error_ms: float = np.nan
    drift_ppm: float = np.nan
    drift_error_ppm: float = np.nan
    heard: float = np.nan
    unlabelled_s: tuple[float, float] = (0.0, 0.0)
    n_outside: int = 0
    time_s: Times = field(default_factory=lambda: np.zeros(0))
    lag_ms: Times = field(default_factory=lambda: np.zeros(0))
    fits: Path | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what ``audiate audit --json`` prints of the pair."""
        names = ("offset_ms", "error_ms", "drift_ppm", "drift_error_ppm", "heard")
        return {
            "recording": str(self.recording),
            "labels": str(self.labels),
            "verdict": self.verdict,
            "reason": self.reason,
            **{name: None if np.isnan(getattr(self, name)) else getattr(self, name) for name in names},
            "unlabelled_s": list(self.unlabelled_s),
            "n_outside": self.n_outside,
            "fits": None if self.fits is None else str(self.fits),
        }


@dataclass(kw_only=True)
class _Unplaced:
    """A pair whose labels fit nowhere, until all pairs were heard."""

    audited: Audited
    recorded: NDArray[np.float32]  # onset_flux
    rendered: NDArray[np.float32]


def labelled_recordings(folder: Path) -> list[tuple[Path, Path]]:
    """Return the recordings of a folder, at any depth, with the file of their notes.

    That is the one of the same name; in a take's folder, whose recordings are ``mic_NAME`` and ``cam_NAME``, the only
    MIDI file.

    Raises:
        BadInput: ``NO_PAIRS``, there are none.
    """
    pairs = []
    for midi in sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES):
        beside = sorted(path for path in midi.parent.iterdir() if path.name.startswith(("mic_", "cam_")))
        n_scores = sum(path.suffix.lower() in MIDI_SUFFIXES for path in midi.parent.iterdir())
        if n_scores == 1:
            pairs += [(path, midi) for path in beside if path.suffix.lower() in RECORDING_SUFFIXES]
    try:
        named = known_recordings(folder)
    except BadInput:
        if not pairs:
            raise
        named = []
    taken = {recording for recording, _ in named}
    return sorted([*named, *(pair for pair in pairs if pair[0] not in taken)])


def audit(
    pairs: Sequence[tuple[Path, Path]],
    *,
    instrument: str,
    params: SynchronizeParams,
    tolerance_ms: float = TOLERANCE_MS,
) -> Iterator[Audited]:
    """Hold labels against their recordings; a pair that cannot be used is one with its reason.

    Those whose labels fit nowhere come last, once all have been heard.

    Args:
        pairs: recordings with the files of their notes.
        instrument: what plays the labels: ``piano``, or any other for struck bars.
        params: of the clocks.
        tolerance_ms: labels that lie farther from what is heard than this are off.
    """
    unplaced: list[_Unplaced] = []
    for recording, labels in pairs:
        try:
            found = _audited(recording, labels, instrument=instrument, params=params, tolerance_ms=tolerance_ms)
        except PipelineError as error:
            found = Audited(recording=recording, labels=labels, verdict="unreadable", reason=str(error))
        if isinstance(found, Audited):
            yield found
        else:
            unplaced.append(found)
    for number, one in enumerate(unplaced):
        if number >= _MOST_TRIED:
            yield one.audited
            continue
        yield _with_rival(one, [other for other in unplaced[:_MOST_TRIED] if other is not one], params)


def _audited(
    recording: Path, labels: Path, *, instrument: str, params: SynchronizeParams, tolerance_ms: float
) -> Audited | _Unplaced:
    notes = reference_notes(labels)
    said: list[str] = []
    rate = params.sample_rate
    sound = read_pcm(recording, sample_rate=rate, policy=params.media, remark=said.append)
    nothing = Audited(recording=recording, labels=labels, verdict="unsure", reason="")
    if not len(notes):
        return replace(nothing, reason="the labels have no note")
    if not sound.any():
        return replace(nothing, reason="the recording is silent")
    rendered = sound_of_notes(notes, instrument=instrument, sample_rate=rate)
    recorded_flux, rendered_flux = onset_flux(sound, rate), onset_flux(rendered, rate)
    fit = fit_notes(recorded_flux, rendered_flux, params=params)
    if min(recorded_flux.shape[1], rendered_flux.shape[1]) < params.onsets.min_overlap_s * FLUX_RATE:
        return replace(nothing, reason=fit.reason)
    if fit.verdict != "locked":
        followed = follow_notes(sound, rendered, notes, params=params)
        if followed.verdict == "followed":
            first, last = followed.to_reference(notes.onset_s[[0, -1]])
            tempo = (notes.onset_s[-1] - notes.onset_s[0]) / max(last - first, 1e-9)
            why = f"the notes are heard in their order, at {tempo:.3f} times the labels' tempo and not evenly"
            return replace(nothing, verdict="other tempo", reason=why, heard=followed.agreement)
        audited = replace(nothing, verdict="wrong pair", reason=f"the labels fit nowhere: {fit.reason}")
        if fit.verdict == "ambiguous":
            places = ", ".join(f"{rival.delay_s:.2f} s" for rival in fit.rivals[:3])
            audited = replace(nothing, reason=f"the labels fit in several places: {places}")
        return _Unplaced(audited=audited, recorded=recorded_flux, rendered=rendered_flux)
    expected_s = fit.to_reference(notes.onset_s)
    lag_s = note_lags(
        sound, rendered, sample_rate=rate, expected_s=expected_s, onset_s=notes.onset_s, pitch=notes.pitch
    )
    measured = _measured(nothing, notes, expected_s - notes.onset_s, lag_s, fit)
    duration_s = len(sound) / rate
    outside = (expected_s < -_EARLY_S) | (expected_s > duration_s + _EARLY_S)
    begin_s, end_s = _active_span_s(sound, rate)
    unlabelled = (
        max(0.0, float(expected_s[0]) - begin_s),
        max(0.0, end_s - float(fit.to_reference(notes.sounding_offset_s.max()))),
    )
    measured = replace(measured, unlabelled_s=unlabelled, n_outside=int(outside.sum()))
    return _judged(measured, tolerance_ms, said)


def _measured(audited: Audited, notes: Notes, away_s: Times, lag_s: Times, fit: ClockFit) -> Audited:
    """Fit a line to what was heard of each note; where too few were, the line of the onsets as a whole stands."""
    found = np.isfinite(lag_s)
    alone = int(stand_alone(notes.onset_s, notes.pitch).sum())
    middle_s = float(np.mean(notes.onset_s[[0, -1]]))
    if found.sum() < _LEAST_NOTES:
        offset_ms = 1e3 * float(np.interp(middle_s, notes.onset_s, away_s))
        return replace(audited, offset_ms=offset_ms, error_ms=fit.error_ms, drift_ppm=fit.drift_ppm)
    time_s, late_s = notes.onset_s[found], (away_s + lag_s)[found]
    offset_s, drift = _line(time_s - middle_s, late_s)
    close = np.abs(late_s - offset_s - drift * (time_s - middle_s)) < _FOUND_S
    # Neighbours err alike (a chord, a register, a pedal), so errors are those of parts of the time, each left out.
    part = np.arange(len(time_s)) * _N_PARTS // len(time_s)
    without = np.array([_line((time_s - middle_s)[part != k], late_s[part != k]) for k in range(_N_PARTS)])
    statistical_s, drift_error = np.sqrt((_N_PARTS - 1) * without.var(axis=0))
    least_drift = max(_SURE * float(drift_error), _DRIFT_PPM * 1e-6, _DRIFTED_S / max(float(np.ptp(time_s)), 1.0))
    sure_of_drift = abs(drift) > least_drift
    return replace(
        audited,
        verdict="drifts" if sure_of_drift else "agrees",
        offset_ms=1e3 * float(offset_s),
        error_ms=float(np.hypot(1e3 * statistical_s, 0.7 * NOTES_MS)),
        drift_ppm=1e6 * float(drift),
        drift_error_ppm=1e6 * float(drift_error),
        heard=float(close.sum() / max(alone, 1)),
        time_s=time_s[close],
        lag_ms=1e3 * late_s[close],
    )


def _line(time_s: Times, late_s: Times) -> tuple[float, float]:
    """Return height and slope of the line through lags; what lies far from it counts for nothing."""
    basis = np.stack([np.ones(len(time_s)), time_s], axis=1)
    values = robust_line(late_s, np.ones(len(time_s)), basis, tolerance_s=_FOUND_S, prior=np.zeros((2, 2)))
    return float(values[0]), float(values[1])


def _judged(audited: Audited, tolerance_ms: float, said: Sequence[str]) -> Audited:
    """Return the verdict on what was measured, with the words for it."""
    verdict: Verdict = audited.verdict if audited.verdict == "drifts" else "agrees"
    words = []
    if verdict == "drifts":
        words.append(f"the labels' clock is off by {audited.drift_ppm:+.0f} ppm")
    off_ms = audited.offset_ms
    if abs(off_ms) > tolerance_ms:
        verdict = verdict if verdict == "drifts" else "offset"
        words.append(f"the notes are heard {abs(off_ms):.0f} ms {'after' if off_ms > 0 else 'before'} their labels")
    before_s, after_s = audited.unlabelled_s
    ends = [
        f"{seconds:.1f} s of sound {where}"
        for seconds, where in ((before_s, "before the first label"), (after_s, "after the last label ends"))
        if seconds > _UNLABELLED_S
    ]
    if audited.n_outside:
        ends.append(f"{audited.n_outside} labels outside of the recording")
    if ends and verdict == "agrees":
        verdict = "ends"
    words += ends
    if not words:
        words.append("the labels are where their notes are heard")
    return replace(audited, verdict=verdict, reason="; ".join([*words, *said]))


def _with_rival(one: _Unplaced, others: Sequence[_Unplaced], params: SynchronizeParams) -> Audited:
    """Return a pair whose labels fit nowhere, with the other labels that fit its recording best, if any do."""
    best: tuple[float, Path] | None = None
    for other in others:
        fit = fit_notes(one.recorded, other.rendered, params=params)
        if fit.verdict == "locked" and (best is None or fit.margin > best[0]):
            best = fit.margin, other.audited.labels
    if best is None:
        return one.audited
    reason = f"the labels fit nowhere; those of {best[1].name} do"
    return replace(one.audited, verdict="wrong pair", fits=best[1], reason=reason)


def _active_span_s(sound: NDArray[np.int16], rate: int) -> tuple[float, float]:
    """Return when the sound first and last rises above its rests."""
    length = round(_LEVEL_S * rate)
    moments = sound[: len(sound) // length * length].reshape(-1, length)
    power = np.square(moments / FULL_SCALE).mean(axis=1) + 1e-12
    level_db = 10 * np.log10(power)
    active = np.flatnonzero(level_db > np.quantile(level_db, 0.99) + _ACTIVE_DB)
    return float(active[0] * _LEVEL_S), float((active[-1] + 1) * _LEVEL_S)


def folder_summary(found: Sequence[Audited]) -> dict[str, Any]:
    """Return how many pairs have each verdict, and the offset that they have in common.

    Returns:
        ``counts`` by verdict; ``offset_ms``, the median, and ``spread_ms``, the median distance from it, of the pairs
        that have one (None where there are none); ``is_constant``: nine of ten, of at least three, lie within 10 ms
        of it.
    """
    counts: dict[str, int] = {}
    for one in found:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    offsets = np.array([one.offset_ms for one in found if np.isfinite(one.offset_ms)])
    if not len(offsets):
        return {"counts": counts, "offset_ms": None, "spread_ms": None, "is_constant": False}
    middle = float(np.median(offsets))
    spread = float(np.median(np.abs(offsets - middle)))
    return {
        "counts": counts,
        "offset_ms": middle,
        "spread_ms": spread,
        "is_constant": len(offsets) >= 3 and float(np.quantile(np.abs(offsets - middle), 0.9)) < _ALIKE_MS,
    }


def draw_audit(found: Sequence[Audited], path: Path) -> None:
    """Draw each pair's offset with its error, and the lag of each note of those that are farthest off."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    placed = [one for one in found if np.isfinite(one.offset_ms)]
    worst = sorted((one for one in placed if len(one.time_s)), key=lambda one: -abs(one.offset_ms))[:_N_DRAWN]
    figure = Figure(figsize=(9.0, 1.5 + 0.28 * len(placed) + 1.8 * len(worst)), layout="constrained")
    FigureCanvasAgg(figure)
    heights = [1.0 + 0.28 * len(placed), *[1.8] * len(worst)]
    axes = np.atleast_1d(figure.subplots(1 + len(worst), 1, height_ratios=heights))
    rows = np.arange(len(placed))
    axes[0].errorbar(
        [one.offset_ms for one in placed], rows, xerr=[2 * one.error_ms for one in placed], fmt="o", color="#1f5fa8"
    )
    axes[0].axvline(0.0, color="0.6", linewidth=0.8)
    axes[0].set_yticks(rows, [one.recording.name for one in placed])
    axes[0].invert_yaxis()
    axes[0].set_xlabel("heard after their labels, ms (bars: two standard errors)")
    for axis, one in zip(axes[1:], worst, strict=True):
        axis.plot(one.time_s, one.lag_ms, ".", color="#1f5fa8", markersize=3)
        axis.set_title(f"{one.recording.name}: {one.reason}", fontsize=9, loc="left")
        axis.set_ylabel("ms")
    if worst:
        axes[-1].set_xlabel("time of the label, s")
    figure.savefig(path, dpi=110)
