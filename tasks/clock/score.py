"""A score against its performance by a person: the tempo is the player's, so no line relates the clocks.

Both are sound, the score's by a synthesizer. Pitch classes and where they set in are aligned by dynamic programming,
coarsely over all of both, then finely beside the coarse path; each note is then looked for on its own. The
evidence for the same piece is how much worse controls align that share its keys, its rhythms or its colours: the score
in each of the 11 other transpositions, and the score backwards.

Source:
    Chroma onset features for alignment: Ewert, Müller and Grosche, High resolution audio synchronization using chroma
    onset features, ICASSP 2009. The controls, and that every step goes on by one step of the score, are our own.
"""

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

from tasks.clock.fit import ScoreFit, Times
from tasks.clock.spectra import Samples

_RATE = 50  # Hz, of the features
_COARSE = 10  # of them are averaged for the coarse alignment
_WINDOW_S = 0.128
_LOWEST_PITCH, _HIGHEST_PITCH = 36, 108
_N_PITCHES = _HIGHEST_PITCH - _LOWEST_PITCH
_PART_LENGTH = 2048  # windows transformed at a time
_REST = 0.05  # of the loudest moment's features; quieter ones count as a rest
_FADE_S = 0.1  # in which an onset is forgotten
_STEPS = 4  # most steps of the recording in one step of the score
_UNEVEN = 0.02  # cost of each step more or less than one
_BAND_S = 1.5  # the fine path's largest distance from the coarse one
_REACH_S = 0.08  # around where the path puts a note, in which it is looked for
_AGREES_S = 0.05
_APART_S = 0.25  # two onsets of a pitch that are nearer could be taken for each other
_STIFFNESS = 1e4  # (0.03 s that a path errs by, over what a tempo changes by in a step: 10 % in a second)^2
_FAINT = 1e-6  # weight of a moment without evidence
_USUAL_S = 0.05  # what lies farther from the curve counts less
_REWEIGHTINGS = 6
_LONGEST_COARSE = 100_000_000  # pairs of moments: 33 minutes each


def follow_score(
    reference: Samples,
    score: Samples,
    *,
    sample_rate: int,
    onset_s: Times,
    pitch: NDArray[np.integer],
    min_margin: float,
    min_agreement: float,
) -> ScoreFit:
    """Follow a score through its performance.

    The recording may begin before the score and end after it, but has to hold all of it.

    Args:
        reference: (n,) samples of the recording.
        score: (m,) samples of the score, rendered by a synthesizer.
        sample_rate: Hz, of both, at least 16,000.
        onset_s: (notes,) in the score's time.
        pitch: (notes,) MIDI numbers.
        min_margin: cost of the best control over the score's own, under which they are unrelated.
        min_agreement: part of the notes, 0 to 1, that must be found within 50 ms of where the path puts them.
    """

    def refused(reason: str, margin: float = np.nan, agreement: float = 0.0) -> ScoreFit:
        nothing = np.zeros(0)
        lost = np.full(len(onset_s), np.nan)
        return ScoreFit(
            verdict="unrelated",
            reason=reason,
            score_s=nothing,
            reference_s=nothing,
            lag_s=lost,
            margin=margin,
            agreement=agreement,
        )

    recorded, rendered = _rises(reference, sample_rate), _rises(score, sample_rate)
    for name, rises in (("recording", recorded), ("score", rendered)):
        if len(rises) < 4 * _COARSE or not rises.max() > 0:
            return refused(f"the {name} shows no onset")
    coarse_recorded, coarse_score = _coarse(_features(recorded)), _coarse(_features(rendered))
    if len(coarse_recorded) * len(coarse_score) > _LONGEST_COARSE:
        return refused("score and recording are too long to be followed")
    path, cost = _align(coarse_recorded, coarse_score)
    controls = [_align(coarse_recorded, _transposed(coarse_score, k))[1] for k in range(1, 12)]
    controls.append(_align(coarse_recorded, coarse_score[::-1])[1])
    margin = min(controls) / max(cost, 1e-9)
    if margin < min_margin:
        return refused(f"the score aligns {margin:.2f} times as well as what it is not, expected {min_margin}", margin)

    centre = np.interp(np.arange(len(rendered)) / _COARSE, np.arange(len(path)) + 0.5, (path + 0.5) * _COARSE)
    features = _features(rendered)
    fine = _align_near(_features(recorded), features, np.rint(centre).astype(np.int64))
    # Inside a long note or a roll one path is as good as the other: there the tempo goes on as around it.
    curve_s = _curve(fine / _RATE, _news(features))
    at = np.clip(np.rint(onset_s * _RATE).astype(np.int64), 0, len(rendered) - 1)
    alone = stand_alone(onset_s, pitch)
    lag_s = _lags(recorded, rendered, curve_s[at], onset_s, pitch)
    found = np.isfinite(lag_s)
    n_found = np.bincount(at[found], minlength=len(rendered)).astype(np.float64)
    sums = np.bincount(at[found], lag_s[found], minlength=len(rendered))
    correction = _curve(sums / np.maximum(n_found, 1), n_found)
    reference_s = np.maximum.accumulate(curve_s + correction)
    lag_s -= correction[at]
    agreement = float((np.abs(lag_s[alone]) < _AGREES_S).mean()) if alone.any() else 0.0
    if agreement < min_agreement:
        reason = f"{agreement:.0%} of the notes are found where the score has them, expected {min_agreement:.0%}"
        return refused(reason, margin, agreement)
    return ScoreFit(
        verdict="followed",
        reason="its notes are found in their order",
        score_s=np.arange(len(rendered)) / _RATE,
        reference_s=reference_s,
        lag_s=lag_s,
        margin=float(margin),
        agreement=agreement,
    )


def note_lags(
    reference: Samples,
    score: Samples,
    *,
    sample_rate: int,
    expected_s: Times,
    onset_s: Times,
    pitch: NDArray[np.integer],
) -> Times:
    """Return by how much later than expected each note of a score sets in, in s; NaN where it is not found.

    Args:
        reference: (n,) samples of the recording.
        score: (m,) samples of the score, rendered by a synthesizer.
        sample_rate: Hz, of both.
        expected_s: (notes,) when the recording should have them.
        onset_s: (notes,) when the score has them.
        pitch: (notes,) MIDI numbers.
    """
    return _lags(_rises(reference, sample_rate), _rises(score, sample_rate), expected_s, onset_s, pitch)


def _lags(
    recorded: NDArray[np.float32],
    rendered: NDArray[np.float32],
    expected_s: Times,
    onset_s: Times,
    pitch: NDArray[np.integer],
) -> Times:
    # A window contains an onset before its middle does, the earlier the less noise there is, and instruments have slow
    # or fast attacks: only the difference between two recordings is meaningful.
    lag_s = _note_lags(recorded, expected_s, pitch) - _note_lags(rendered, onset_s, pitch)
    return np.where(stand_alone(onset_s, pitch), lag_s, np.nan)


def _rises(audio: Samples, sample_rate: int) -> NDArray[np.float32]:
    """Return by how much each pitch's log energy rises around each step, (n_steps, _N_PITCHES)."""
    length = round(_WINDOW_S * sample_rate)
    n_steps = int(len(audio) * _RATE / sample_rate)
    starts = np.rint(np.arange(n_steps) * (sample_rate / _RATE)).astype(np.int64)
    shape = np.hanning(length + 2)[1:-1].astype(np.float32)
    n_fft = 2 * length
    hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    pitch = 69 + 12 * np.log2(np.maximum(hz, 1) / 440)
    to_pitches = np.maximum(0, 1 - np.abs(pitch[:, None] - np.arange(_LOWEST_PITCH, _HIGHEST_PITCH))).astype(np.float32)
    energy = np.empty((n_steps, _N_PITCHES), np.float32)
    padded = np.pad(audio, (length // 2, length))
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)
    for first in range(0, n_steps, _PART_LENGTH):
        spectrum = scipy.fft.rfft(windows[starts[first : first + _PART_LENGTH]] * shape, n_fft, axis=1)
        energy[first : first + _PART_LENGTH] = (spectrum.real**2 + spectrum.imag**2) @ to_pitches
    # What lies near the noise floor must not count as a rise.
    floor = np.percentile(energy, 25, axis=0) + 1e-4 * energy.max(initial=0.0) if n_steps else 0.0
    level = np.log(energy + 2 * floor + np.float32(1e-30))
    rises = np.zeros_like(level)
    rises[1:-1] = np.maximum(level[2:] - level[:-2], 0)
    return rises


def _features(rises: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (n_steps, 13) of length 1: the 12 pitch classes that set in lately, and how little sets in."""
    chroma = np.zeros((len(rises), 12), np.float32)
    for k in range(_N_PITCHES):
        chroma[:, (_LOWEST_PITCH + k) % 12] += rises[:, k]
    keep = np.float32(np.exp(-1 / (_FADE_S * _RATE)))
    for k in range(1, len(chroma)):
        np.maximum(chroma[k], keep * chroma[k - 1], out=chroma[k])
    strength = np.linalg.norm(chroma, axis=1, keepdims=True)
    loud = float(np.quantile(strength, 0.99))
    features = np.concatenate([chroma, np.full((len(chroma), 1), _REST * loud, np.float32)], axis=1)
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9), np.float32)


def _coarse(features: NDArray[np.float32]) -> NDArray[np.float32]:
    n = len(features) // _COARSE
    means = features[: n * _COARSE].reshape(n, _COARSE, -1).mean(axis=1)
    return np.asarray(means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9), np.float32)


def _transposed(features: NDArray[np.float32], semitones: int) -> NDArray[np.float32]:
    return np.concatenate([np.roll(features[:, :12], semitones, axis=1), features[:, 12:]], axis=1)


def _align(recorded: NDArray[np.float32], rendered: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
    """Return for each step of the score its step of the recording, and the mean cost of a step."""
    n = len(recorded)
    came = np.zeros((len(rendered), n), np.uint8)
    total = 1 - recorded @ rendered[0]
    for k in range(1, len(rendered)):
        total, came[k] = _step(total, 1 - recorded @ rendered[k])
    path = np.empty(len(rendered), np.int64)
    path[-1] = int(np.argmin(total))
    for k in range(len(rendered) - 1, 0, -1):
        path[k - 1] = path[k] - came[k, path[k]]
    return path, float(total[path[-1]]) / len(rendered)


def _align_near(
    recorded: NDArray[np.float32], rendered: NDArray[np.float32], centre: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return a path as `_align` does, among those in a band around a path known coarsely."""
    half = round(_BAND_S * _RATE)
    columns = np.arange(-half, half + 1)
    came = np.zeros((len(rendered), len(columns)), np.int8)
    total = np.zeros(len(columns), np.float32)
    for k in range(len(rendered)):
        at = centre[k] + columns
        outside = (at < 0) | (at >= len(recorded))
        cost = np.where(outside, 10.0, 1 - recorded[np.clip(at, 0, len(recorded) - 1)] @ rendered[k]).astype(np.float32)
        if k:
            # Before, the band stood elsewhere: its columns are moved to where they stand now.
            shift = int(centre[k] - centre[k - 1])
            moved = np.full(len(columns), np.float32(np.inf))
            low, high = max(0, -shift), min(len(columns), len(columns) - shift)
            if low < high:
                moved[low:high] = total[low + shift : high + shift]
            total, came[k] = _step(moved, cost)
        else:
            total = cost
    path = np.empty(len(rendered), np.int64)
    path[-1] = centre[-1] + columns[int(np.argmin(total))]
    for k in range(len(rendered) - 1, 0, -1):
        path[k - 1] = path[k] - came[k, int(path[k] - centre[k]) + half]
    return path


def _step(total: NDArray[np.float32], cost: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Go on by one step of the score: the least total cost at each step of the recording, and how many it went."""
    best = total + np.float32(_UNEVEN)
    came = np.zeros(len(total), np.uint8)
    for k in range(1, min(_STEPS, len(total) - 1) + 1):
        other = total[:-k] + np.float32(_UNEVEN * (k - 1))
        better = other < best[k:]
        best[k:][better] = other[better]
        came[k:][better] = k
    return best + cost, came


def _news(features: NDArray[np.float32]) -> Times:
    """Return how unlike each moment is to the one before, 0 to 1."""
    news = np.zeros(len(features))
    news[1:] = 1 - (features[1:] * features[:-1]).sum(axis=1)
    return np.clip(news / max(float(np.quantile(news, 0.99)), 1e-9), 0, 1)


def _curve(values: Times, weight: Times) -> Times:
    """Return the slowly bending curve through values that are right as often as they are weighty.

    Penalized least squares, reweighted so that what lies far from the curve does not move it.
    """
    n = len(values)
    bend = _STIFFNESS * np.array([np.r_[0, 0, np.ones(n - 2)], np.r_[0, -2, np.full(n - 3, -4.0), -2], np.zeros(n)])
    bend[2] = _STIFFNESS * np.r_[1, 5, np.full(n - 4, 6.0), 5, 1]
    trusted = weight
    curve = values
    for _ in range(_REWEIGHTINGS):
        banded = bend.copy()
        banded[2] += trusted + _FAINT
        curve = scipy.linalg.solveh_banded(banded, (trusted + _FAINT) * values)
        trusted = weight * np.minimum(1, _USUAL_S / np.maximum(np.abs(values - curve), 1e-9))
    return np.asarray(curve)


def stand_alone(onset_s: Times, pitch: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which notes have no other onset of their pitch nearby that could be taken for theirs."""
    alone = np.ones(len(onset_s), bool)
    for note in np.unique(pitch):
        rows = np.flatnonzero(pitch == note)
        near = np.diff(onset_s[rows]) < _APART_S
        alone[rows[1:][near]] = False
        alone[rows[:-1][near]] = False
    return alone


def _note_lags(recorded: NDArray[np.float32], expected_s: Times, pitch: NDArray[np.integer]) -> Times:
    """Return by how much later than expected each note's own pitch rises; NaN where it does not."""
    reach = round(_REACH_S * _RATE)
    lags = np.full(len(pitch), np.nan)
    strong = np.quantile(recorded, 0.9, axis=0)
    for k, (moment_s, note) in enumerate(zip(expected_s, pitch, strict=True)):
        row = int(note) - _LOWEST_PITCH
        middle = round(moment_s * _RATE)
        if not (0 <= row < _N_PITCHES and reach < middle < len(recorded) - reach - 1):
            continue
        near = recorded[middle - reach : middle + reach + 1, row]
        top = int(np.argmax(near))
        if near[top] < strong[row]:
            continue
        at = middle - reach + top
        left, peak, right = recorded[at - 1, row], recorded[at, row], recorded[at + 1, row]
        bend = min(float(left - 2 * peak + right), -1e-9)
        lags[k] = (at + 0.5 * float(np.clip(float(left - right) / bend, -1, 1))) / _RATE - moment_s
    return lags
