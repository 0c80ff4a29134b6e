"""A network's frames to one sound: raw, windowed, granular, or from magnitudes.

A video frame seldom lasts a whole number of samples, so frame k begins at sample round(k * sample_rate / frame_rate),
exactly: no drift, and neighbouring frames may differ by one sample.

Shapes: F frames, L samples in a frame, K frequency bins, T samples of sound.
"""

from collections.abc import Iterator
from fractions import Fraction
from math import ceil

import librosa
import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

HALF_A_FRAME = Fraction(1, 2)
BLOCK_FRAMES = 1024  # transformed at a time

HOPS_PER_WINDOW = 4
BLOCK_HOPS = 4096  # inverted at a time, about a minute: bounds the memory of an hour-long take
OVERLAP_HOPS = 16  # in which a block goes over into the next

MOST_GRAINS = 19  # parents of a frame, children of a parent
CHILD_LENGTHS = (0.25, 0.99)  # times the length of the grain before
CHILD_SPREAD_S = 735 * 22 / 22050  # children begin at most so long after their parent
SHORTEST_GRAIN = 100 / 735  # of a frame; a grain that short has no more children
ORIGINAL_TURNS_HZ = 0.5  # whole sounds that an oscillator reads a second
ORIGINAL_FULL_SCALE = 4.0


def frame_boundaries(
    n_frames: int, *, sample_rate: int, frame_rate: Fraction, lead: Fraction = Fraction(0)
) -> NDArray[np.int64]:
    """Return the samples at which frames 0 to ``n_frames`` begin, (n_frames + 1,): the last is where the last ends.

    Args:
        n_frames: at least 0.
        sample_rate: Hz.
        frame_rate: frames a second, exact; at most the sample rate.
        lead: frames by which all boundaries are early, so that the first may be negative.
    """
    if n_frames < 0 or frame_rate <= 0 or frame_rate > sample_rate:
        raise ValueError(
            f"{n_frames} frames at {frame_rate} a second and {sample_rate} Hz: expected at least none, and a frame of"
            " at least a sample"
        )
    per_frame = Fraction(sample_rate) / frame_rate
    twice = 2 * per_frame.denominator * lead.denominator
    steps = np.arange(n_frames + 1, dtype=np.int64) * lead.denominator - lead.numerator
    # Python's integers would be exact for any rate; these are for frames of a thousand years.
    return (2 * steps * per_frame.numerator + twice // 2) // twice


def longest_frame(*, sample_rate: int, frame_rate: Fraction, n_hops: int = 1) -> int:
    """Return the samples of the longest ``n_hops`` frames in a row: what a network has to put out."""
    return ceil(n_hops * Fraction(sample_rate) / frame_rate)


def cut_frames(
    sound: NDArray[np.floating],
    n_frames: int,
    *,
    sample_rate: int,
    frame_rate: Fraction,
    n_hops: int = 1,
    lead: Fraction = Fraction(0),
) -> NDArray[np.float32]:
    """Cut sound into what `join_raw` (one hop) or `join_windowed` (two hops) put together again.

    Args:
        sound: (T,) samples; silence is taken to be around it.
        n_frames: frames to cut.
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        n_hops: frames that one cut lasts.
        lead: frames by which a cut begins before its frame.

    Returns:
        (F, L) with L = `longest_frame`; a shorter frame is followed by the sound after it.
    """
    length = longest_frame(sample_rate=sample_rate, frame_rate=frame_rate, n_hops=n_hops)
    first = frame_boundaries(n_frames, sample_rate=sample_rate, frame_rate=frame_rate, lead=lead)[:-1]
    before = max(0, -int(first.min(initial=0)))
    after = max(0, int(first.max(initial=0)) + length - len(sound))
    padded = np.pad(np.asarray(sound, np.float32), (before, after))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, length)[first + before])


def join_raw(frames: NDArray[np.floating], *, sample_rate: int, frame_rate: Fraction) -> NDArray[np.float32]:
    """Put frames end to end, with nothing to smooth the joints.

    Args:
        frames: (F, L), L at least `longest_frame`; of each as many samples are used as its frame lasts.
        sample_rate: Hz.
        frame_rate: frames a second, exact.

    Returns:
        (T,) samples, T = round(F * sample_rate / frame_rate).

    Raises:
        ValueError: frames are too short, or not numbers.

    Source:
        Hindle's videosonify.py, for any rate instead of 735 samples (30 frames a second at 22,050 Hz).
    """
    frames = _checked(frames, longest_frame(sample_rate=sample_rate, frame_rate=frame_rate))
    lengths = np.diff(frame_boundaries(len(frames), sample_rate=sample_rate, frame_rate=frame_rate))
    return frames[np.arange(frames.shape[1]) < lengths[:, None]]


def join_windowed(
    frames: NDArray[np.floating], *, sample_rate: int, frame_rate: Fraction, lead: Fraction = HALF_A_FRAME
) -> NDArray[np.float32]:
    """Overlap frames of twice the hop by half, each under a Hann window.

    Frame k covers the sound from frame k - ``lead`` to k - ``lead`` + 2. The windows add up to 1 at every sample,
    whatever the rate: frames that `cut_frames` cut give the sound back. At both ends, where one frame alone covers
    the sound, it is not faded.

    A network of one-hop frames is joined so too when it predicts two a frame: ``frame_rate`` is then twice that of
    the pictures.

    Args:
        frames: (F, L), L at least `longest_frame` of two hops.
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        lead: 0 to 1.

    Returns:
        (T,) samples, T = round(F * sample_rate / frame_rate).

    Raises:
        ValueError: frames are too short, or not numbers; the lead is out of range.

    Source:
        Hindle's videosonify2.py, which multiplies 735 samples by Hann(735) without overlap; departure: overlapped,
        so that windowing does not pulse at the frame rate.
    """
    if not 0 <= lead <= 1:
        raise ValueError(f"lead is {lead} frames, expected 0 to 1")
    frames = _checked(frames, longest_frame(sample_rate=sample_rate, frame_rate=frame_rate, n_hops=2))
    n_frames = len(frames)
    total = int(frame_boundaries(n_frames, sample_rate=sample_rate, frame_rate=frame_rate)[-1])
    if not n_frames:
        return np.zeros(0, np.float32)
    bounds = frame_boundaries(n_frames + 1, sample_rate=sample_rate, frame_rate=frame_rate, lead=lead)
    lengths = np.diff(bounds)
    longest = int(lengths.max())
    place = np.arange(longest)
    # A hop's own length, so that what rises and what falls in it add up to 1.
    rising = np.sin(np.pi * (place + 0.5) / (2 * lengths[:, None])) ** 2  # (F + 1, longest)
    # In a hop two frames meet: the second half of the one before and the first half of its own.
    second = np.zeros((n_frames + 1, longest), np.float64)
    columns = lengths[:-1, None] + place
    reach = columns < frames.shape[1]
    second[1:] = np.where(reach, np.take_along_axis(frames, np.minimum(columns, frames.shape[1] - 1), axis=1), 0.0)
    first = np.zeros((n_frames + 1, longest), np.float64)
    first[:-1] = frames[:, :longest]
    rising[0], rising[-1] = 1.0, 0.0
    mixed = second + (first - second) * rising
    sound: NDArray[np.float32] = mixed[place < lengths[:, None]].astype(np.float32)
    return sound[-int(bounds[0]) :][:total]


def join_granular(
    frames: NDArray[np.floating],
    *,
    sample_rate: int,
    frame_rate: Fraction,
    rng: np.random.Generator,
    playback_rate: float = 1.0,
    original: bool = False,
) -> NDArray[np.float32]:
    """Scatter grains of the raw sound around the frames they are from.

    Each frame starts 1 to 19 parents, the j-th (from 1) somewhere from one frame early to j frames late. Each parent
    has up to 19 children in the 0.73 s after it, each 0.25 to 0.99 times as long as the one before, until one is
    shorter than a seventh of a frame, and ever softer. A grain plays the raw sound from its frame's first sample on,
    under a Bartlett window.

    Args:
        frames: (F, L) as for `join_raw`.
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        rng: draws the grains; the same generator gives the same sound.
        playback_rate: how fast a grain plays: 2 is an octave up. Not used by the original.
        original: as published: a grain plays at half of the whole sound's seconds (the oscillator reads the whole
            table every 2 s), so its pitch depends on how long the clip is; the sum of all grains is divided by 4 and
            clipped. Otherwise the sum is divided by the root of the sum of the windows' squares, where more than one
            sounds, so that it is as loud as the raw sound.

    Returns:
        (T,) samples, T = round(F * sample_rate / frame_rate).

    Raises:
        ValueError: as `join_raw`; the playback rate is not above 0.

    Source:
        Hindle's out-2-csound.py and grain.orc. Departures: any rate, where theirs has 735 samples a frame, 100 as the
        shortest grain, and 44.1 kHz out; seeded.
    """
    if not playback_rate > 0:
        raise ValueError(f"playback rate is {playback_rate}, expected above 0")
    raw = join_raw(frames, sample_rate=sample_rate, frame_rate=frame_rate)
    bounds = frame_boundaries(len(frames), sample_rate=sample_rate, frame_rate=frame_rate)
    block = float(Fraction(sample_rate) / frame_rate)
    rate = ORIGINAL_TURNS_HZ * len(raw) / sample_rate if original else playback_rate
    # Table reads go round, as an oscillator's do.
    table = np.append(raw, raw[:1])
    sound, weight = np.zeros(len(raw)), np.zeros(len(raw))
    for frame in range(len(frames)):
        for first, length, amplitude in _grains_of(int(bounds[frame]), block, sample_rate, rng):
            begin, end = max(first, 0), min(first + length, len(raw))
            if begin >= end:
                continue
            place = np.arange(begin - first, end - first)
            window = amplitude * (1 - np.abs(2 * place / (length - 1) - 1))
            read = np.mod(bounds[frame] + rate * place, len(raw))
            low = read.astype(np.int64)
            sound[begin:end] += window * (table[low] + (read - low) * (table[low + 1] - table[low]))
            weight[begin:end] += window * window
    if original:
        return np.clip(sound / ORIGINAL_FULL_SCALE, -1, 1).astype(np.float32)
    return (sound / np.sqrt(np.maximum(weight, 1.0))).astype(np.float32)


def _grains_of(
    first: int, block: float, sample_rate: int, rng: np.random.Generator
) -> Iterator[tuple[int, int, float]]:
    """Yield first sample, length and amplitude of each grain that one frame starts."""
    for parent in range(int(rng.integers(1, MOST_GRAINS + 1))):
        begin = first + int(rng.uniform(-block, (parent + 1) * block))
        length = round(block)
        yield begin, length, 1.0
        for child in range(int(rng.integers(1, MOST_GRAINS + 1))):
            if length <= SHORTEST_GRAIN * block:
                break
            length = max(2, int(length * rng.uniform(*CHILD_LENGTHS)))
            yield begin + int(rng.uniform(0, CHILD_SPREAD_S * sample_rate)), length, 1.0 / (child + 1)


def frame_magnitudes(
    sound: NDArray[np.floating], n_frames: int, *, sample_rate: int, frame_rate: Fraction, n_fft: int
) -> NDArray[np.float32]:
    """Return the magnitudes of ``n_fft`` samples around the middle of each frame, under a Hann window.

    Args:
        sound: (T,) samples; silence is taken to be around it.
        n_frames: frames.
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        n_fft: samples of a window, and of its transform.

    Returns:
        (F, n_fft // 2 + 1); a steady sine of amplitude 1 in the middle of a bin reads n_fft / 4.
    """
    middle = frame_boundaries(n_frames, sample_rate=sample_rate, frame_rate=frame_rate, lead=-HALF_A_FRAME)[:-1]
    first = middle - n_fft // 2
    before = max(0, -int(first.min(initial=0)))
    after = max(0, int(first.max(initial=0)) + n_fft - len(sound))
    padded = np.pad(np.asarray(sound, np.float32), (before, after))
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_fft)
    window = scipy.signal.get_window("hann", n_fft).astype(np.float32)
    magnitudes = np.empty((n_frames, n_fft // 2 + 1), np.float32)
    for start in range(0, n_frames, BLOCK_FRAMES):
        block = slice(start, start + BLOCK_FRAMES)
        magnitudes[block] = np.abs(scipy.fft.rfft(windows[first[block] + before] * window))
    return magnitudes


def invert_magnitudes(
    magnitudes: NDArray[np.floating],
    *,
    sample_rate: int,
    frame_rate: Fraction,
    n_iterations: int = 32,
    seed: int = 0,
    neighbour: NDArray[np.floating] | None = None,
) -> NDArray[np.float32]:
    """Find sound whose frames have these magnitudes, as `frame_magnitudes` measures them.

    Frames are too far apart to agree on phases, and their rate is seldom a whole hop: magnitudes are interpolated
    linearly in time, to a hop of a quarter of the window.

    Args:
        magnitudes: (F, K), K = n_fft // 2 + 1, at least 0.
        sample_rate: Hz.
        frame_rate: frames a second, exact.
        n_iterations: of Griffin-Lim.
        seed: of the phases it begins with.
        neighbour: sound whose phases are taken as they are, without Griffin-Lim; a shorter one is repeated.

    Returns:
        (T,) samples, T = round(F * sample_rate / frame_rate).

    Raises:
        ValueError: magnitudes are not (F, K), negative or not numbers; the neighbour has no sample.

    Source:
        Griffin & Lim 1984 with the momentum of Perraudin et al. 2013 (librosa). Phases of another sound: of Hindle's
        twelve experiments with phase, the one that neither buzzed nor displeased their author.
    """
    magnitudes = np.asarray(magnitudes, np.float32)
    if magnitudes.ndim != 2 or magnitudes.shape[1] < 5 or not (np.isfinite(magnitudes) & (magnitudes >= 0)).all():
        raise ValueError(
            f"magnitudes have shape {magnitudes.shape}, expected (frames, bins): numbers of at least 0, at least 5 bins"
        )
    if neighbour is not None and not len(neighbour):
        raise ValueError("the neighbour has no sample to take phases from")
    n_fft = 2 * (magnitudes.shape[1] - 1)
    hop_length = max(1, n_fft // HOPS_PER_WINDOW)
    n_samples = int(frame_boundaries(len(magnitudes), sample_rate=sample_rate, frame_rate=frame_rate)[-1])
    sound = np.zeros(n_samples, np.float32)
    n_hops = -(-n_samples // hop_length)
    fade = np.sin(np.pi / 2 * (np.arange(OVERLAP_HOPS * hop_length) + 0.5) / (OVERLAP_HOPS * hop_length))
    for start in range(0, max(n_hops - OVERLAP_HOPS, 1) if n_hops else 0, BLOCK_HOPS):
        first = start * hop_length
        part = sound[first : first + (BLOCK_HOPS + OVERLAP_HOPS) * hop_length]
        length = max(len(part), n_fft)  # one window is the least that can be transformed
        # Moments of the hops, in frames from the middle of the first one.
        moments = (first + hop_length * np.arange(1 + length // hop_length)) * float(frame_rate / sample_rate) - 0.5
        dense = _at_moments(magnitudes, moments).T
        if neighbour is None:
            new = librosa.griffinlim(
                dense, n_iter=n_iterations, hop_length=hop_length, n_fft=n_fft, length=length, random_state=seed
            )
        else:
            theirs = np.take(neighbour, np.arange(first, first + length), mode="wrap").astype(np.float32)
            phases = librosa.stft(theirs, hop_length=hop_length, n_fft=n_fft)
            phases /= np.maximum(np.abs(phases), 1e-12)
            new = librosa.istft(dense * phases, hop_length=hop_length, n_fft=n_fft, length=length)
        new = new[: len(part)]
        if start:
            n_faded = min(len(fade), len(part))
            new[:n_faded] = _faded(part[:n_faded], new[:n_faded], fade[:n_faded])
        part[:] = new
    return sound


def _faded(old: NDArray[np.float32], new: NDArray[np.float32], fade: NDArray[np.float64]) -> NDArray[np.float64]:
    """Go over from one sound to another that is as loud, at no loss of level, however alike the two are.

    ``fade`` rises from 0 to 1 as a sine.
    """
    energy = float(np.sqrt(np.square(old, dtype=np.float64).sum() * np.square(new, dtype=np.float64).sum()))
    alike = float(np.dot(old.astype(np.float64), new)) / energy if energy else 1.0
    falling = np.sqrt(1 - fade**2)
    level = np.sqrt(np.maximum(1 + 2 * fade * falling * alike, 0.1))
    return np.asarray((old * falling + new * fade) / level, np.float64)


def _at_moments(magnitudes: NDArray[np.float32], moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return rows between the rows, linearly, held before the first and after the last."""
    moments = np.clip(moments, 0, len(magnitudes) - 1)
    low = np.minimum(moments.astype(np.int64), max(len(magnitudes) - 2, 0))
    high = np.minimum(low + 1, len(magnitudes) - 1)
    share = (moments - low).astype(np.float32)[:, None]
    rows: NDArray[np.float32] = magnitudes[low] * (1 - share) + magnitudes[high] * share
    return rows


def _checked(frames: NDArray[np.floating], length: int) -> NDArray[np.float32]:
    frames = np.asarray(frames, np.float32)
    if frames.ndim != 2 or frames.shape[1] < length:
        raise ValueError(f"frames have shape {frames.shape}, expected (frames, samples) with at least {length} samples")
    finite = np.isfinite(frames)
    if not finite.all():
        row, column = np.argwhere(~finite)[0].tolist()
        raise ValueError(f"sample {column} of frame {row} is {frames[row, column]}, expected a number")
    return frames
