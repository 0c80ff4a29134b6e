"""Note amplitudes to sound: one oscillator a note, whose phase never jumps and never drifts.

Between its knots, two a video frame, an oscillator's amplitude is a straight line.

Shapes: F rows of note amplitudes, N notes, J knots, V voices (notes and their partials), T samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.features.amplitudes import WINDOW_FRAMES, note_frequencies_hz

KNOTS_PER_FRAME = 2
"""The middle of a window of any number of frames is a knot."""

BLOCK_KNOTS = 512  # computed at a time: bounds the memory of an hour-long take
FIT_ITERATIONS = 30
"""On real marimba features 100 more raise the smallest correlation of a note by less than 0.001."""

_HALF_A_SEMITONE = 2.0 ** (0.5 / 12.0)


@dataclass(frozen=True, kw_only=True)
class Partials:
    """What sounds above the fundamental of a note that is struck.

    Times are counted in cycles of the fundamental: of one instrument's bars, the short ones die away sooner.

    Attributes:
        ratios: frequency over the fundamental's, above 1.
        amplitudes: at the stroke, over the fundamental's highest.
        decay_cycles: in which a partial falls by e.
        fundamental_cycles: in which the fundamental does. What it has more than that is a new stroke.
    """

    ratios: tuple[float, ...]
    amplitudes: tuple[float, ...]
    decay_cycles: tuple[float, ...]
    fundamental_cycles: float

    def __post_init__(self) -> None:
        if not len(self.ratios) == len(self.amplitudes) == len(self.decay_cycles):
            raise ValueError(
                f"{len(self.ratios)} ratios, {len(self.amplitudes)} amplitudes, {len(self.decay_cycles)} decays:"
                " expected one of each for every partial"
            )
        if not all(ratio > 1 for ratio in self.ratios):
            raise ValueError(f"ratios are {self.ratios}, expected above 1")
        if not all(cycles > 0 for cycles in (*self.decay_cycles, self.fundamental_cycles)):
            raise ValueError(
                f"decays are {self.decay_cycles} cycles, the fundamental's {self.fundamental_cycles}: expected above 0"
            )


MARIMBA_PARTIALS = Partials(
    ratios=(4.006, 9.535), amplitudes=(0.504, 0.141), decay_cycles=(12.9, 8.1), fundamental_cycles=38.2
)
"""General MIDI program 12 of TimGM6mb.sf2: medians over the ten lowest of the marimba's 18 notes, as
`python -m benchmarks.sonify --partials` measures them. A marimba's bars are tuned to 4; the third mode is not tuned."""


def full_scale_amplitude(*, frame_rate: Fraction, sample_rate: int, window_frames: int = WINDOW_FRAMES) -> float:
    """Return what `note_amplitudes` reads of a steady sine of amplitude 1: 0.0648 at 25 frames a second."""
    n_window = int(window_frames * sample_rate / frame_rate)
    return (0.54 * n_window - 0.46) / sample_rate


def render_additive(
    values: NDArray[np.floating],
    pitches: ArrayLike,
    *,
    frame_rate: Fraction,
    sample_rate: int,
    window_frames: int = WINDOW_FRAMES,
    partials: Partials | None = None,
    fit_window: bool = False,
    peak_limit: float | None = 1.0,
) -> NDArray[np.float32]:
    """Play note amplitudes, each note a sine at its fundamental.

    Row k stands at the middle of its window, (k + window_frames / 2) / ``frame_rate`` seconds. Amplitudes are
    interpolated in between (see `interpolated_knots`), and held before the first row and after the last. Every
    oscillator is a sine that begins at sample 0: its phase is computed from the sample's number, and is no sum of
    rounded steps.

    Args:
        values: (F, N) note amplitudes on the scale of `tasks.features.amplitudes.note_amplitudes`, at least 0.
        pitches: (N,) MIDI numbers; fractions are between the keys.
        frame_rate: rows a second, exact.
        sample_rate: Hz of the sound.
        window_frames: video frames in a row's window.
        partials: sound above each fundamental too; None for sines alone. A partial at or above half the sample rate
            is left out, and so is one within half a semitone of another of the ``pitches``: what sounds there is in
            that note's own amplitude.
        fit_window: find the amplitudes whose means under the analysis window are ``values``: see `fit_knots`.
            Without, what the window has blurred once is played, and blurred twice when it is analysed again.
        peak_limit: a louder sound is scaled down as a whole until its peak is here; None leaves it alone.

    Returns:
        (T,) samples, T = round((F + window_frames - 1) * sample_rate / frame_rate): what the F windows cover.

    Raises:
        ValueError: shapes do not fit, a value is negative or not a number, or fundamentals are not below half the
            sample rate (they are named).

    Source:
        "Additive synthesis" of the marimba project, which describes it in a sentence; amplitudes fitted to the
        window, and partials, are additions.
    """
    blocks = additive_blocks(
        values,
        pitches,
        frame_rate=frame_rate,
        sample_rate=sample_rate,
        window_frames=window_frames,
        partials=partials,
        fit_window=fit_window,
    )
    n_samples = additive_length(
        len(values), frame_rate=frame_rate, sample_rate=sample_rate, window_frames=window_frames
    )
    audio = np.zeros(n_samples, np.float32)
    done = 0
    for block in blocks:
        audio[done : done + len(block)] = block
        done += len(block)
    if peak_limit is not None:
        peak = peak_of(audio)
        if peak > peak_limit:
            audio *= np.float32(peak_limit / peak)
            np.clip(audio, -peak_limit, peak_limit, out=audio)  # rounding may leave the peak a hair above
    return audio


def additive_length(n_rows: int, *, frame_rate: Fraction, sample_rate: int, window_frames: int = WINDOW_FRAMES) -> int:
    """Return the samples that the windows of ``n_rows`` rows cover; none for no row."""
    return round((n_rows + window_frames - 1) * sample_rate / frame_rate) if n_rows else 0


def additive_blocks(
    values: NDArray[np.floating],
    pitches: ArrayLike,
    *,
    frame_rate: Fraction,
    sample_rate: int,
    window_frames: int = WINDOW_FRAMES,
    partials: Partials | None = None,
    fit_window: bool = False,
) -> Iterator[NDArray[np.float32]]:
    """Return the sound of `render_additive` in blocks of some seconds, its peak not limited: for takes of hours.

    Raises:
        ValueError: as `render_additive`, at once.
    """
    pitch = np.asarray(pitches, np.float64)
    check_amplitudes(values, pitch)
    if frame_rate <= 0 or frame_rate > sample_rate or window_frames < 1:
        raise ValueError(
            f"frame rate {frame_rate}, sample rate {sample_rate} Hz, windows of {window_frames} frames: expected frames"
            " of at least a sample, and at least one in a window"
        )
    frequency_hz = note_frequencies_hz(pitch)
    check_band(frequency_hz, pitch, sample_rate)
    values = check_amplitudes(values, pitch) / full_scale_amplitude(
        frame_rate=frame_rate, sample_rate=sample_rate, window_frames=window_frames
    )
    knots = (fit_knots if fit_window else interpolated_knots)(values, window_frames=window_frames)
    if partials is not None:
        knots, frequency_hz = _with_partials(knots, frequency_hz, partials, float(frame_rate), sample_rate)
    per_knot = Fraction(sample_rate) / frame_rate / KNOTS_PER_FRAME
    return _voices(knots, frequency_hz / sample_rate, per_knot)


def peak_of(audio: NDArray[np.float32]) -> float:
    """Return the largest distance of a sample from 0."""
    return max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))


def check_amplitudes(values: NDArray[np.floating], pitches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return note amplitudes (F, N) that can be played.

    Raises:
        ValueError: they are not (F, N) with a column for each pitch, or one is negative or not finite.
    """
    amplitudes: NDArray[np.float64] = np.asarray(values, np.float64)
    if amplitudes.ndim != 2 or pitches.ndim != 1 or amplitudes.shape[1] != len(pitches):
        raise ValueError(
            f"amplitudes have shape {amplitudes.shape}, expected (rows, {pitches.size}): a column for each pitch"
        )
    good = np.isfinite(amplitudes) & (amplitudes >= 0)
    if not good.all():
        row, column = np.argwhere(~good)[0].tolist()
        raise ValueError(
            f"amplitude of pitch {pitches[column]:g} in row {row} of {len(amplitudes)} is {amplitudes[row, column]},"
            " expected a number of at least 0"
        )
    return amplitudes


def check_band(frequency_hz: NDArray[np.float64], pitches: NDArray[np.float64], sample_rate: int) -> None:
    """Raise ValueError, naming the pitches, where a fundamental is not below half the sample rate."""
    high = frequency_hz >= sample_rate / 2
    if high.any():
        named = ", ".join(f"{p:g} ({f:.0f} Hz)" for p, f in zip(pitches[high], frequency_hz[high], strict=True))
        raise ValueError(
            f"a sample rate of {sample_rate} Hz holds notes below {sample_rate / 2:g} Hz, found pitch {named}"
        )


def interpolated_knots(values: NDArray[np.floating], *, window_frames: int = WINDOW_FRAMES) -> NDArray[np.float64]:
    """Return amplitudes at every half frame from those at the rows' middles (F, N), held at both ends.

    Halfway between two rows is a monotone cubic (PCHIP): never beyond the two, rounder at a peak than a straight line,
    and so nearer to what is measured again: on real marimba features the smallest correlation of a note that sounds
    is 0.953, with straight lines 0.950.

    Returns:
        (J, N), J = 2 (F + window_frames - 1) + 1; row k is at knot 2 k + window_frames.
    """
    from scipy.interpolate import PchipInterpolator  # half a second that a training need not wait

    values = np.asarray(values, np.float64)
    n_rows = len(values)
    if not n_rows:
        return np.zeros((0, values.shape[1]))
    knots = np.empty((KNOTS_PER_FRAME * (n_rows + window_frames - 1) + 1, values.shape[1]))
    last = window_frames + KNOTS_PER_FRAME * (n_rows - 1)
    knots[:window_frames] = values[0]
    knots[window_frames : last + 1 : KNOTS_PER_FRAME] = values
    if n_rows > 1:
        row = np.arange(n_rows, dtype=np.float64)
        for note in range(values.shape[1]):  # one by one: the polynomials are four times as large as the values
            cubic = PchipInterpolator(row, values[:, note])
            knots[window_frames + 1 : last : KNOTS_PER_FRAME, note] = cubic(row[:-1] + 0.5)
    knots[last + 1 :] = values[-1]
    return knots


def fit_knots(
    values: NDArray[np.floating], *, window_frames: int = WINDOW_FRAMES, n_iterations: int = FIT_ITERATIONS
) -> NDArray[np.float64]:
    """Return amplitudes at every half frame whose means under the Hamming window are ``values``, or come near.

    Nonnegative least squares, from the interpolated amplitudes on, by projected gradients with momentum. A note is
    fitted by itself: the little that a stroke leaks into its neighbours' bands is not taken into account.

    Args:
        values: (F, N), at least 0.
        window_frames: video frames in a row's window.
        n_iterations: steps.

    Returns:
        (J, N), at least 0, as `interpolated_knots`.

    Source:
        Beck & Teboulle 2009, FISTA with constant step.
    """
    values = np.asarray(values, np.float64)
    knots = interpolated_knots(values, window_frames=window_frames)
    weights = _window_weights(window_frames)
    # The gradient's largest growth: the weights are all positive, so steady amplitudes are what grows most.
    step = 1.0 / max(weights[part::KNOTS_PER_FRAME].sum() for part in range(KNOTS_PER_FRAME))
    for column in range(knots.shape[1]) if len(values) else ():
        wanted = values[:, column]
        found = knots[:, column].copy()
        ahead, momentum = found, 1.0
        for _ in range(n_iterations):
            new = np.maximum(ahead - step * _spread(_windowed(ahead, weights) - wanted, weights), 0.0)
            next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = new + (momentum - 1) / next_momentum * (new - found)
            found, momentum = new, next_momentum
        knots[:, column] = found
    return knots


def _window_weights(window_frames: int) -> NDArray[np.float64]:
    """Return what each knot of a window adds to its mean: the Hamming window over a hat around each knot."""
    fine = 512  # places a frame; the sum is the integral to 1e-6
    n_places = window_frames * fine
    place = (np.arange(n_places) + 0.5) / fine * KNOTS_PER_FRAME  # in knots
    knot = np.arange(KNOTS_PER_FRAME * window_frames + 1)
    hats = np.clip(1 - np.abs(place - knot[:, None]), 0, None)
    weights: NDArray[np.float64] = hats @ np.hamming(n_places)
    weights /= weights.sum()
    return weights


def _windowed(knots: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means (F,) of knots (J,) under each row's window."""
    means: NDArray[np.float64] = np.convolve(knots, weights[::-1], mode="valid")[::KNOTS_PER_FRAME]
    return means


def _spread(rows: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transpose of `_windowed` of rows (F,): (J,)."""
    apart = np.zeros(KNOTS_PER_FRAME * (len(rows) - 1) + 1)
    apart[::KNOTS_PER_FRAME] = rows
    return np.convolve(apart, weights, mode="full")


def _with_partials(
    knots: NDArray[np.float64],
    frequency_hz: NDArray[np.float64],
    partials: Partials,
    frame_rate: float,
    sample_rate: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return knots (J, V) and frequencies (V,) of the notes and of their partials.

    What a fundamental has more than decay would have left it is a stroke. A stroke sets a partial going, which then
    dies away by itself.
    """
    import scipy.signal  # a second that sines alone need not wait

    amplitudes, frequencies = [knots], [frequency_hz]
    fading = np.exp(-frequency_hz / (KNOTS_PER_FRAME * frame_rate * partials.fundamental_cycles))  # a knot
    before = np.concatenate([np.zeros_like(knots[:1]), knots[:-1]])
    strokes = np.maximum(knots - fading * before, 0.0)
    for ratio, amplitude, cycles in zip(partials.ratios, partials.amplitudes, partials.decay_cycles, strict=True):
        above_hz = frequency_hz * ratio
        met = np.abs(np.log(above_hz[:, None] / frequency_hz)).min(axis=1, initial=np.inf) <= np.log(_HALF_A_SEMITONE)
        for note in np.flatnonzero((above_hz < sample_rate / 2) & ~met).tolist():
            stays = np.exp(-frequency_hz[note] / (KNOTS_PER_FRAME * frame_rate * cycles))
            rung = scipy.signal.lfilter([amplitude], [1.0, -stays], strokes[:, note])
            amplitudes.append(rung[:, None])
            frequencies.append(above_hz[note : note + 1])
    return np.concatenate(amplitudes, axis=1), np.concatenate(frequencies)


def _voices(
    knots: NDArray[np.float64], turns: NDArray[np.float64], per_knot: Fraction
) -> Iterator[NDArray[np.float32]]:
    """Yield the sum of sines of ``turns`` cycles a sample (V,), their amplitudes (J, V) linear between the knots.

    Between two knots a voice is (level + slope * place) * sin(phase + angle * place), the sum of four products of
    what belongs to the interval and what is the same in all: so the intervals of a block are two matrix products.
    Phases are computed once an interval, in float64, from the number of its first sample.
    """
    if len(knots) < 2:
        return
    n_intervals = len(knots) - 1
    longest = ceil(per_knot)
    place = np.arange(longest)
    angle = 2 * np.pi * turns[:, None] * place
    waves = np.concatenate([np.sin(angle), np.cos(angle)])  # (2 V, longest)
    rising = (waves * (place / longest)).astype(np.float32)
    waves = waves.astype(np.float32)
    length = float(per_knot)
    for start in range(0, n_intervals, BLOCK_KNOTS):
        stop = min(start + BLOCK_KNOTS, n_intervals)
        moments = [number * per_knot for number in range(start, stop + 1)]
        first = np.array([ceil(moment) for moment in moments], np.int64)
        if stop == n_intervals:
            first[-1] = round(moments[-1])
        late = np.array([float(ceil(moment) - moment) for moment in moments[:-1]])  # of the first sample, in samples
        slope = np.diff(knots[start : stop + 1], axis=0) / length
        level = knots[start:stop] + slope * late[:, None]
        phase = 2 * np.pi * np.modf(first[:-1, None] * turns)[0]
        cosine, sine = np.cos(phase), np.sin(phase)
        steady = np.concatenate([level * cosine, level * sine], axis=1).astype(np.float32)
        changing = np.concatenate([slope * cosine, slope * sine], axis=1) * longest
        sound = steady @ waves + changing.astype(np.float32) @ rising  # (intervals, longest)
        yield sound[place < np.diff(first)[:, None]]
