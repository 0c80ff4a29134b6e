"""Note amplitudes: how strong each note's fundamental is while each three video frames are shown."""

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

WINDOW_FRAMES = 3
BLOCK_FRAMES = 512  # video frames transformed at a time: bounds the memory of an hour-long take
FOLDED_FRAMES = 128  # of which are multiplied at a time: their samples stay in the cache


def note_frequencies_hz(pitches: ArrayLike) -> NDArray[np.float64]:
    """Return the fundamentals of MIDI pitches in equal temperament, A4 (69) at 440 Hz."""
    frequency_hz: NDArray[np.float64] = 440.0 * 2.0 ** ((np.asarray(pitches, np.float64) - 69.0) / 12.0)
    return frequency_hz


def first_samples_of_frames(n_frames: int, *, sample_rate: int, frame_rate: Fraction) -> NDArray[np.int64]:
    """Return for video frames 0 to ``n_frames - 1`` the first sample at or after the moment each is shown."""
    samples_per_frame = Fraction(sample_rate) / frame_rate
    frames = np.arange(n_frames, dtype=np.int64)
    return -(-frames * samples_per_frame.numerator // samples_per_frame.denominator)


def window_length(*, sample_rate: int, frame_rate: Fraction) -> int:
    """Return the samples in a window of three frames; where that is no whole number, the part is left out."""
    return int(WINDOW_FRAMES * sample_rate / frame_rate)


def note_amplitudes(
    audio: NDArray[np.float32],
    *,
    sample_rate: int,
    frame_rate: Fraction,
    frequency_hz: NDArray[np.float64],
    n_frames: int,
) -> NDArray[np.float32]:
    """Measure sound at the exact frequency of each note, once a video frame.

    Row k is the magnitude of the Fourier transform, not rounded to a bin, of the ``window_length`` samples
    that begin with video frame k, under a symmetric Hamming window: frames k to k + 2, the same three as a
    space-time stack of pictures. Sound that ends early is continued with silence.

    The scale is that of a transform zero-padded to one second: 2 / ``sample_rate`` of the magnitude. A
    full-scale sine gives (0.54 n - 0.46) / ``sample_rate`` for a window of n samples, which is 0.0648 at 25
    frames a second, whatever the sample rate.

    Args:
        audio: (n,) samples; those after the last frame are ignored.
        sample_rate: Hz.
        frame_rate: video frames a second, exact.
        frequency_hz: (N,) above 0 and below half the sample rate, in any order.
        n_frames: video frames of the take.

    Returns:
        (n_frames - 2, N), or no row for fewer than three frames. Errors stay below 1e-6 of what a full-scale
        sine gives.

    Raises:
        ValueError: a frequency is out of range (they are named), a frame is shorter than a sample, or a
            sample is not a number.

    Source:
        The marimba project's computeAudioVectors.m, with three departures: the exact frequency instead of
        the maximum of a band of 1-Hz bins, which were 1.088 Hz apart at 48 kHz; no lead of one frame; a
        window of 3 n samples instead of 3 n + 1.
    """
    frequency_hz = np.asarray(frequency_hz, np.float64)
    _check(frequency_hz, sample_rate, frame_rate)
    audio = np.ascontiguousarray(audio, np.float32)
    n_rows = max(n_frames - WINDOW_FRAMES + 1, 0)
    amplitude = np.empty((n_rows, len(frequency_hz)), np.float32)
    first = first_samples_of_frames(n_frames + 1, sample_rate=sample_rate, frame_rate=frame_rate)
    transform = _FrameTransform(sample_rate, frame_rate, frequency_hz)
    for start in range(0, n_rows, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, n_rows)
        with np.errstate(invalid="ignore", over="ignore"):  # refused below, with the sample's place
            transform.rows(audio, first[start : stop + WINDOW_FRAMES], out=amplitude[start:stop])
    if not np.isfinite(amplitude).all():
        found = np.isfinite(audio)
        raise ValueError(f"sample {int(np.argmin(found))} of the sound is {audio[np.argmin(found)]}")
    return amplitude


class _FrameTransform:
    """The transform of a window as the sum of the transforms of its three frames.

    Under the Hamming window, a note of frequency w is the sum of three plain exponentials, w and w -/+ d,
    with d one turn in a window. Around the centre of a frame their cosines depend only on the even half of
    the samples, their sines only on the odd half. So each frame is folded, multiplied once, and serves as first,
    second and third part of three windows with three phases: half the work of windows one by one.
    The phases are those of the frame's own offset in the window, so that frames of unequal length are exact.
    """

    def __init__(self, sample_rate: int, frame_rate: Fraction, frequency_hz: NDArray[np.float64]) -> None:
        self.sample_rate = sample_rate
        per_frame = Fraction(sample_rate) / frame_rate
        self.is_whole = per_frame.denominator == 1
        self.frame_length = -(-per_frame.numerator // per_frame.denominator)  # of the longest frame
        self.centre = (self.frame_length - 1) / 2
        self.window_length = window_length(sample_rate=sample_rate, frame_rate=frame_rate)
        self.turn = 2 * np.pi / (self.window_length - 1)  # the window's own radians a sample
        self.radians = 2 * np.pi * frequency_hz / sample_rate  # of each note, a sample

        n_half = (self.frame_length + 1) // 2
        place = (np.arange(n_half) - self.centre)[:, None]  # from the frame's centre, at most 0
        scale = np.full((n_half, 1), 2 / sample_rate)
        if self.frame_length % 2:
            scale[-1] /= 2  # the middle sample is folded onto itself
        cosine, sine = scale * np.cos(place * self.radians), scale * np.sin(place * self.radians)
        slow_cosine, slow_sine = np.cos(place * self.turn), np.sin(place * self.turn)
        self.folded = np.empty((FOLDED_FRAMES, n_half), np.float32)
        self.even, self.odd = np.empty((2, BLOCK_FRAMES + WINDOW_FRAMES - 1, 3 * len(frequency_hz)), np.float32)
        self.even_basis = _columns(0.54 * cosine, 0.46 * cosine * slow_cosine, 0.46 * sine * slow_sine)
        self.odd_basis = _columns(0.54 * sine, 0.46 * sine * slow_cosine, 0.46 * cosine * slow_sine)

    def rows(self, audio: NDArray[np.float32], first: NDArray[np.int64], *, out: NDArray[np.float32]) -> None:
        """Write the amplitudes of one window for each row of ``out``.

        ``first`` is the first sample of each frame that the windows cover, and of the frame after the last.
        """
        n_rows = len(out)
        begin, end = int(first[0]), int(first[-1])
        sound = audio[begin : end + self.frame_length]
        if len(sound) < end - begin + self.frame_length:
            sound = np.pad(sound, (0, end - begin + self.frame_length - len(sound)))
        frames = self._frames(sound, first - begin)
        even, odd = self._products(frames)

        real, imaginary = np.zeros_like(out), np.zeros_like(out)
        for part in range(WINDOW_FRAMES):
            rows = slice(part, part + n_rows)
            # A part begins at the same offset in every window, or at one of two.
            offsets, which = np.unique(first[rows] - first[:n_rows], return_inverse=True)
            centres = (offsets + self.centre)[:, None]
            slow_cosine, slow_sine, cosine, sine = (
                table.astype(np.float32)[which if len(offsets) > 1 else slice(None)]
                for table in (
                    np.cos(centres * self.turn),
                    np.sin(centres * self.turn),
                    np.cos(centres * self.radians),
                    np.sin(centres * self.radians),
                )
            )
            with_cosine = even[rows, 0] - slow_cosine * even[rows, 1] + slow_sine * odd[rows, 2]
            with_sine = odd[rows, 0] - slow_cosine * odd[rows, 1] + slow_sine * even[rows, 2]
            real += cosine * with_cosine
            real -= sine * with_sine
            imaginary += sine * with_cosine
            imaginary += cosine * with_sine
        if not self.is_whole:
            self._leave_out_last(sound, first - begin, real, imaginary)
        np.sqrt(real * real + imaginary * imaginary, out=out)

    def _products(self, frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what each frame's even and odd half give: (frames, 3, notes) each."""
        n_half = len(self.even_basis)
        half, mirrored = frames[:, :n_half], frames[:, ::-1][:, :n_half]
        even, odd = self.even[: len(frames)], self.odd[: len(frames)]
        for start in range(0, len(frames), FOLDED_FRAMES):
            rows = slice(start, start + FOLDED_FRAMES)
            folded = self.folded[: len(half[rows])]
            np.matmul(np.add(half[rows], mirrored[rows], out=folded), self.even_basis, out=even[rows])
            np.matmul(np.subtract(half[rows], mirrored[rows], out=folded), self.odd_basis, out=odd[rows])
        return even.reshape(len(frames), 3, -1), odd.reshape(len(frames), 3, -1)

    def _frames(self, sound: NDArray[np.float32], first: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the samples of each frame (frames, frame_length), shorter frames ended with a zero."""
        if self.is_whole:
            return sound[: first[-1]].reshape(-1, self.frame_length)
        windows = np.lib.stride_tricks.sliding_window_view(sound, self.frame_length)
        frames = windows[first[:-1]]
        frames[np.diff(first) < self.frame_length, -1] = 0.0
        return frames

    def _leave_out_last(
        self,
        sound: NDArray[np.float32],
        first: NDArray[np.int64],
        real: NDArray[np.float32],
        imaginary: NDArray[np.float32],
    ) -> None:
        """Subtract the sample by which some three frames are longer than a window."""
        n = self.window_length
        is_longer = first[WINDOW_FRAMES:] - first[:-WINDOW_FRAMES] > n
        last = np.where(is_longer, sound[first[:-WINDOW_FRAMES] + n], 0.0)[:, None]
        weight = (0.54 - 0.46 * np.cos(n * self.turn)) * 2 / self.sample_rate
        real -= last * (weight * np.cos(n * self.radians)).astype(np.float32)
        imaginary -= last * (weight * np.sin(n * self.radians)).astype(np.float32)


def _columns(*parts: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.hstack(parts), np.float32)


def _check(frequency_hz: NDArray[np.float64], sample_rate: int, frame_rate: Fraction) -> None:
    if sample_rate < frame_rate:
        raise ValueError(f"{sample_rate} samples a second cannot be cut into {frame_rate} frames a second")
    bad = frequency_hz[~((frequency_hz > 0) & (frequency_hz < sample_rate / 2))]
    if len(bad):
        names = ", ".join(f"{value:.2f}" for value in bad)
        raise ValueError(
            f"frequencies {names} Hz cannot be measured at {sample_rate} samples a second, "
            f"expected above 0 and below {sample_rate / 2:g} Hz"
        )
