"""Recordings of several devices side by side in one file, each on one common clock."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import soxr
from numpy.typing import NDArray

from tasks.errors import ToolError
from tasks.media.encode import beside, compile_output, not_written
from tasks.media.probe import NO_LIMITS, MediaFacts, VideoStream, probe, stream_packets
from tasks.media.process import LONGEST_S, SAFE_INPUT, MediaError, compiled, opened, run, running, shown, token
from tasks.media.sound import SoundBlocks

FINER = 4  # times the sample rate, where samples between samples are read off by a cubic
MOST_CHANNELS = 8  # of FLAC; what has more is averaged
MOST_KNOTS = 400  # of a map of pictures: it is an argument on a command line
TICK_S = 1e-3  # Matroska's
BLOCK_SAMPLES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Track:
    """A recording and its place on a common clock.

    Attributes:
        path: its file.
        stretches: of its own time, ascending: start in s, end in s, delay (common time minus own) at the start in s,
            drift in seconds a second; none where its clock is the common one. The first holds before its start too,
            each until the next begins, the last to the end.
    """

    path: Path
    stretches: tuple[tuple[float, float, float, float], ...]

    def to_common(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where moments of its own time lie on the common clock."""
        start_s, delay_s, drift = self._lines()
        line = np.maximum(np.searchsorted(start_s, time_s, side="right") - 1, 0)
        return time_s + delay_s[line] + drift[line] * (time_s - start_s[line])

    def to_own(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return its own time at moments of the common clock; NaN where it dropped a block."""
        start_s, delay_s, drift = self._lines()
        begins_s = start_s + delay_s
        line = np.maximum(np.searchsorted(begins_s, time_s, side="right") - 1, 0)
        own_s = start_s[line] + (time_s - begins_s[line]) / (1 + drift[line])
        ends_s = np.append(start_s[1:], np.inf)
        return np.where(own_s < ends_s[line], own_s, np.nan)

    def _lines(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        table = np.array(self.stretches or ((0.0, np.inf, 0.0, 0.0),), np.float64)
        return table[:, 0], table[:, 2], table[:, 3]


def write_tracks(out: Path, tracks: Sequence[Track]) -> float:
    """Write recordings side by side into one mkv, each stream at its place and named after its file.

    Sound keeps its rate and channels, is resampled where its clock drifts, silent where a device dropped a block, and
    stored as 24-bit FLAC from the file's first sample on: exact to half a sample. Pictures are copied, their times
    mapped: exact to two of Matroska's milliseconds. Memory does not grow with the length of the recordings.

    Returns:
        The common time in s at which the file begins: the earliest start of a recording, at most 0.

    Raises:
        MediaError: a recording cannot be used, ``out`` is one of them, or is not a ``.mkv``.
        ToolError: ffmpeg is not installed, or the file is not what was requested.
    """
    if out.suffix.lower() != ".mkv":
        raise MediaError(f"{shown(out)}: expected a name in .mkv", kind="UNKNOWN_FORMAT")
    if not out.parent.is_dir():
        raise MediaError(f"{shown(out)}: its folder does not exist", kind="NOT_A_FILE")
    if out.exists() and any(out.samefile(track.path) for track in tracks):
        raise MediaError(f"{shown(out)}: is one of the recordings, expected another name", kind="SAME_FILE")
    every = [(track, probe(track.path, policy=NO_LIMITS)) for track in tracks]
    first_s = min([0.0, *(float(track.to_common(np.zeros(1))[0]) for track in tracks)])
    inputs: list[Any] = []
    options: dict[str, Any] = {}
    lengths_s: list[float] = []
    filmed = [(track, facts, facts.video) for track, facts in every if facts.video is not None]
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem[:40]}.") as folder, beside(out) as part:
        for track, facts, stream in filmed:
            options[f"bsf:v:{len(inputs)}"] = _moved(track, facts, first_s)
            options[f"metadata:s:{len(inputs)}"] = f"title={shown(Path(track.path.name))}"
            inputs.append(ffmpeg.input(token(track.path), **SAFE_INPUT)[str(stream.index)])
        for track, facts in every:
            if facts.audio is None:
                continue
            sound = Path(folder) / f"{len(inputs)}.flac"
            lengths_s.append(_write_sound(sound, track, facts, first_s))
            options[f"metadata:s:{len(inputs)}"] = f"title={shown(Path(track.path.name))}"
            inputs.append(ffmpeg.input(token(sound), **SAFE_INPUT).audio)
        if not inputs:
            raise MediaError(f"{shown(out)}: its recordings hold neither pictures nor sound", kind="NO_STREAM")
        # Time stamps as they are: each stream's own map takes its time zero away.
        command = compile_output(inputs, part, c="copy", copyts=None, avoid_negative_ts="disabled", **options)
        ran = run(command, timeout_s=LONGEST_S)
        if ran.returncode:
            raise ToolError(not_written(out, ran.stderr))
        _verify(part, out, filmed, lengths_s, first_s)
    return first_s


def _knots(track: Track, first_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return moments of a recording's own time and where they lie in the file, both ascending: a line in between.

    A step is two knots at one moment. Where two stretches overlap on the common clock, the second is squeezed.
    """
    start_s = np.array([stretch[0] for stretch in track.stretches] or [0.0])
    end_s = np.append(start_s[1:], start_s[-1] + 1.0)
    own_s = np.stack([start_s, np.nextafter(end_s, start_s)], axis=1)
    common_s = track.to_common(own_s) - first_s
    own_s[:, 1] = end_s
    own_s, common_s = own_s.ravel(), np.maximum.accumulate(common_s.ravel())
    if len(own_s) > MOST_KNOTS:  # a clock that wanders: the ends of every some spans tell enough for pictures
        kept = np.unique(np.linspace(0, len(own_s) - 1, MOST_KNOTS).round().astype(int))
        own_s, common_s = own_s[kept], common_s[kept]
    return own_s, common_s


def _moved(track: Track, facts: MediaFacts, first_s: float) -> str:
    """Return the bitstream filter that gives copied pictures their times on the common clock, in Matroska's ticks."""
    own_s, common_s = _knots(track, first_s)
    lines = []
    for k in range(len(own_s) - 1):
        length_s = own_s[k + 1] - own_s[k]
        if length_s > 0:
            slope = (common_s[k + 1] - common_s[k]) / length_s
            lines.append((own_s[k], slope, common_s[k] - slope * (own_s[k] + facts.start_s)))
    maps = []
    for stamp in ("PTS", "DTS"):
        terms = [f"{stamp}*{lines[0][1]:.12g}+({lines[0][2] / TICK_S:.9g})"]
        for (_, slope, at_s), (from_s, next_slope, next_at_s) in pairwise(lines):
            step = f"{stamp}*({next_slope - slope:.9g})+({(next_at_s - at_s) / TICK_S:.9g})"
            terms.append(f"gte({stamp},{(from_s + facts.start_s) / TICK_S:.9g})*({step})")
        maps.append(f"{stamp.lower()}='{'+'.join(terms)}'")
    return "setts=" + ":".join(maps)


def _write_sound(path: Path, track: Track, facts: MediaFacts, first_s: float) -> float:
    """Write a recording's sound as it sounds on the common clock from ``first_s`` on; return its length in s."""
    mix = max((sound.channels for sound in facts.sounds), default=0) > MOST_CHANNELS
    blocks = SoundBlocks(track.path, sample_rate=None, policy=NO_LIMITS, lenient=True, facts=facts, mix=mix)
    rate = blocks.sample_rate
    source = ffmpeg.input("pipe:", format="f32le", ar=rate, ac=blocks.channels, protocol_whitelist="pipe")
    output = source.output(token(path), format="flac", acodec="flac", sample_fmt="s32", fflags="+bitexact", threads=1)
    output = output.global_args("-hide_banner", "-nostats", "-loglevel", "level+warning")
    n_written = 0
    with running(compiled(output.overwrite_output()), timeout_s=LONGEST_S, feed=True) as (process, log):
        stdin = opened(process.stdin)
        try:
            for block in on_common_clock(
                (block.reshape(len(block), -1) for block in blocks), track, sample_rate=rate, first_s=first_s
            ):
                stdin.write(np.ascontiguousarray(block, "<f4").data)
                n_written += len(block)
            stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg left early: its log says why
        process.wait()
        log.seek(0)
        if process.returncode:
            raise ToolError(not_written(path, log.read()))
    return n_written / rate


def on_common_clock(
    blocks: Iterator[NDArray[np.float32]], track: Track, *, sample_rate: int, first_s: float
) -> Iterator[NDArray[np.float32]]:
    """Resample a recording's sound to the common clock.

    Args:
        blocks: its samples from its time zero on, (n, channels) each.
        track: where they belong.
        sample_rate: Hz, of both.
        first_s: common time of the first sample returned, at most that of the recording's time zero.

    Yields:
        (n, channels) each; zeros before the recording begins and where it dropped a block.
    """
    if len(track.stretches) <= 1 and (not track.stretches or track.stretches[0][3] == 0.0):
        yield from _shifted(blocks, round((float(track.to_common(np.zeros(1))[0]) - first_s) * sample_rate))
        return
    finer = FINER * sample_rate
    resampler: soxr.ResampleStream | None = None
    held = np.zeros((0, 1), np.float32)  # finer samples, the first of which is number ``held_from``
    held_from = n_given = 0
    for block, is_last in _and_whether_last(blocks):
        if resampler is None:
            resampler = soxr.ResampleStream(sample_rate, finer, block.shape[1], dtype="float32", quality="HQ")
            held, held_from = np.zeros((2, block.shape[1]), np.float32), -2  # a cubic looks back
        held = np.concatenate([held, resampler.resample_chunk(block, last=is_last).reshape(-1, block.shape[1])])
        if is_last:
            held = np.concatenate([held, np.zeros((2, block.shape[1]), np.float32)])
        if len(held) < 4:
            continue
        ready_s = float(track.to_common(np.array([(held_from + len(held) - 2) / finer]))[0])
        n_ready = int(np.floor((ready_s - first_s) * sample_rate))
        while n_given < n_ready:
            n_now = min(n_ready - n_given, BLOCK_SAMPLES)
            own_s = track.to_own(first_s + np.arange(n_given, n_given + n_now) / sample_rate)
            yield _between(held, own_s * finer - held_from)
            n_given += n_now
        done = max(float(track.to_own(np.array([first_s + (n_given - 1) / sample_rate]))[0]) * finer, held_from + 2)
        drop = int(done) - 2 - held_from if np.isfinite(done) else 0
        held, held_from = held[drop:], held_from + drop


def _shifted(blocks: Iterator[NDArray[np.float32]], by: int) -> Iterator[NDArray[np.float32]]:
    for number, block in enumerate(blocks):
        yield np.concatenate([np.zeros((by, block.shape[1]), np.float32), block]) if number == 0 and by else block


def _between(samples: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return samples (n, channels) at places between them, by the cubic through the four around; NaN gives zero.

    Places that the samples do not reach give zero too.
    """
    inside = (at >= 1) & (at < len(samples) - 2)  # NaN is not
    place = np.where(inside, at, 1.0)
    k = place.astype(np.int64)
    x = (place - k)[:, None].astype(np.float32)
    weights = (
        -x * (x - 1) * (x - 2) / 6,
        (x + 1) * (x - 1) * (x - 2) / 2,
        -(x + 1) * x * (x - 2) / 2,
        (x + 1) * x * (x - 1) / 6,
    )
    value = np.zeros((len(at), samples.shape[1]), np.float32)
    for step, weight in zip((-1, 0, 1, 2), weights, strict=True):
        value += weight * samples[k + step]
    return np.where(inside[:, None], value, np.float32(0))


def _and_whether_last(blocks: Iterator[NDArray[np.float32]]) -> Iterator[tuple[NDArray[np.float32], bool]]:
    waiting = next(blocks, None)
    while waiting is not None:
        following = next(blocks, None)
        yield waiting, following is None
        waiting = following


def _verify(
    part: Path,
    out: Path,
    filmed: Sequence[tuple[Track, MediaFacts, VideoStream]],
    lengths_s: Sequence[float],
    first_s: float,
) -> None:
    """Read the file back: every picture at its time, every sound as long as it was made.

    Raises:
        ToolError: it is not so.
    """
    found = probe(part, policy=NO_LIMITS)
    if found.n_streams != len(filmed) + len(lengths_s):
        raise ToolError(
            f"ffmpeg wrote {shown(out)} with {found.n_streams} streams, expected {len(filmed) + len(lengths_s)}"
        )
    for number, (track, facts, stream) in enumerate(filmed):
        given_s = stream_packets(track.path, str(stream.index), facts.start_s, policy=NO_LIMITS).time_s
        written_s = stream_packets(part, str(number), 0.0, policy=NO_LIMITS).time_s
        own_s, common_s = _knots(track, first_s)
        expected_s = _along(given_s, own_s, common_s)
        if len(written_s) != len(given_s) or (np.abs(written_s - expected_s) > 2 * TICK_S + 1e-9).any():
            raise ToolError(f"ffmpeg wrote {shown(out)} with pictures of {shown(track.path)} at other times than given")
    for number, length_s in enumerate(lengths_s, len(filmed)):
        end_s = stream_packets(part, str(number), 0.0, policy=NO_LIMITS).end_s
        if abs(end_s - length_s) > 0.01:
            raise ToolError(f"ffmpeg wrote {shown(out)} with {end_s:.3f} s of sound, expected {length_s:.3f} s")


def _along(
    time_s: NDArray[np.float64], own_s: NDArray[np.float64], common_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Follow the lines between knots, the first and last ones beyond their ends."""
    keep = np.flatnonzero(np.diff(own_s) > 0)
    line = keep[np.maximum(np.searchsorted(own_s[keep], time_s, side="right") - 1, 0)]
    slope = (common_s[line + 1] - common_s[line]) / (own_s[line + 1] - own_s[line])
    along: NDArray[np.float64] = common_s[line] + slope * (time_s - own_s[line])
    return along
