"""Videos in: small grey pictures at their own times."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Literal

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from tasks.errors import ToolError
from tasks.media.probe import MediaFacts, MediaPolicy, VideoStream, packets_of, patience_s, probe
from tasks.media.process import (
    LOGGED_ERROR,
    SAFE_INPUT,
    MediaError,
    compiled,
    fault_of,
    opened,
    running,
    shown,
    token,
)

PICTURES_AT_A_TIME = 64
MOST_LEFT_OUT = 0.5  # of a film's pictures: with more whose times do not grow it is refused, however lenient one is
SAME_RATE = 0.02  # by which rates differ that are one: headers round, and estimate
SAME_TIME_S = 2e-3  # by which a packet's time and its picture's may differ: containers round to a millisecond
LUMA_FORMATS = "yuv420p|yuvj420p|yuv422p|yuvj422p|yuv444p|yuvj444p|gray"
# By default the output's clock ticks at the declared rate: pictures that come closer than a tick would be an error.
_EACH_AT_ITS_TIME = {"vsync": "passthrough", "enc_time_base:v": "1/1000000"}
SHOWN_FRAME = re.compile(rb"\[Parsed_showinfo\S* @ \S+\] \[info\] n: *\d+ pts: *(\S+) ")
UNORDERED = re.compile(rb"[^\n]*non monoton[^\n]*\n?")  # no damage: pictures out of order are told by their times
SHOWN_TIME_BASE = re.compile(rb"config in time_base: (\d+)/(\d+)")


@dataclass(frozen=True, kw_only=True)
class DecodedFilm:
    """A decoded video's grey pictures.

    Attributes:
        pictures: (P, height, width) luma as coded; pictures hardly unlike the one kept before are left out.
        time_s: (P,) the pictures' own time stamps, from the file's time zero.
        duration_s: end of the video stream.
        frame_rate: the average of the stream.
        n_decoded: pictures that the stream holds.
    """

    pictures: NDArray[np.uint8]
    time_s: NDArray[np.float64]
    duration_s: float
    frame_rate: Fraction
    n_decoded: int


def read_film(
    path: Path,
    *,
    width: int,
    height: int,
    crop: tuple[int, int, int, int] | None,
    min_change: int,
    policy: MediaPolicy,
) -> DecodedFilm:
    """Decode a video to small grey pictures at their own times; a variable rate stays variable.

    The picture is the Y plane as coded (a conversion to grey stretches 16-235 to 0-255), averaged by area. One whose
    time is not after those before is left out.

    Args:
        path: the video.
        width: of the pictures returned, in pixels.
        height: of the pictures returned, in pixels.
        crop: x, y, width and height of what is kept, in pixels of the upright picture; None keeps all.
        min_change: leave a picture out when no pixel is at least so many levels from the last one kept.
        policy: what it may cost.

    Raises:
        MediaError: as in `probe`; no video stream, truncated, damaged, time stamps that do not grow.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    facts = probe(path, policy=policy)
    stream = facts.video
    if stream is None:
        raise MediaError(f"{shown(path)}: holds no video stream", kind="NO_VIDEO")
    packets = packets_of(path, facts, stream, policy=policy)
    chain = ffmpeg.input(token(path), max_pixels=policy.max_pixels, **SAFE_INPUT)[str(stream.index)]
    chain = chain.filter("format", pix_fmts=LUMA_FORMATS).filter("extractplanes", "y")
    if crop is not None:
        chain = chain.filter("crop", crop[2], crop[3], crop[0], crop[1])
    chain = chain.filter("scale", width, height, flags="area").filter("showinfo", checksum=0)
    output = chain.output("pipe:", format="rawvideo", pix_fmt="gray", copyts=None, **_EACH_AT_ITS_TIME)
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
    command = compiled(output)

    kept: list[NDArray[np.uint8]] = []
    kept_at: list[int] = []
    n_decoded = 0
    max_pictures = policy.max_bytes // (width * height)
    with running(command, timeout_s=patience_s(policy)) as (process, log):
        for picture in _pictures(process.stdout, width, height):
            if not kept or int(np.abs(picture.astype(np.int16) - kept[-1]).max()) >= min_change:
                kept.append(picture)
                kept_at.append(n_decoded)
            n_decoded += 1
            if len(kept) > max_pictures:
                process.kill()
                raise MediaError(
                    f"{shown(path)}: more than {max_pictures} different pictures, expected at most "
                    f"{policy.max_bytes} bytes of them",
                    kind="TOO_LARGE",
                )
        process.wait()
        log.seek(0)
        logged = UNORDERED.sub(b"", log.read())
    if process.returncode or LOGGED_ERROR.search(logged):
        kind = "TRUNCATED" if b"partial file" in logged else "DAMAGED_STREAM"
        raise MediaError(f"{shown(path)}: {_undecoded(logged)}", kind=kind)
    time_s = _frame_times(logged, path) - facts.start_s
    if len(time_s) != n_decoded:
        raise ToolError(f"ffmpeg gave {n_decoded} pictures of {shown(path)} and {len(time_s)} time stamps")
    # VP8 has packets that show nothing; elsewhere each packet is a picture.
    if n_decoded == 0 or (n_decoded < packets.n_shown and stream.codec != "vp8"):
        raise MediaError(f"{shown(path)}: {n_decoded} pictures decoded, expected {packets.n_shown}", kind="TRUNCATED")
    is_later = time_s > np.r_[-np.inf, np.maximum.accumulate(time_s)[:-1]]
    in_order = [number for number, at in enumerate(kept_at) if is_later[at]]
    end_s = max(packets.end_s, float(time_s[-1] + 1 / stream.frame_rate))
    return DecodedFilm(
        pictures=np.stack([kept[number] for number in in_order]),
        time_s=time_s[[kept_at[number] for number in in_order]],
        duration_s=end_s,
        frame_rate=stream.frame_rate,
        n_decoded=n_decoded,
    )


@dataclass(frozen=True, kw_only=True)
class FilmCheck:
    """What decoding all of a video's pictures showed.

    Attributes:
        n_pictures: decoded, each later than the one before.
        first_s: time stamp of the first one, from the file's time zero.
        last_s: time stamp of the last one.
        frame_rate: the average that the header declares; where the pictures' times say otherwise, what they say.
        is_variable: whether steps between time stamps differ by more than the time base explains.
        truncated_at_s: where the pictures end when that is before the file says, else None.
        lost_s: times of pictures that do not decode though later ones do.
        n_left_out: pictures without a time, or with one that is not after the picture before.
    """

    n_pictures: int
    first_s: float
    last_s: float
    frame_rate: Fraction
    is_variable: bool
    truncated_at_s: float | None
    lost_s: tuple[float, ...] = ()
    n_left_out: int = 0

    @property
    def end_s(self) -> float:
        """When the last picture has been shown."""
        return self.last_s + float(1 / self.frame_rate)


@dataclass
class _Tally:
    """What has come of a film: how many pictures were given and left out, and the time of the last one given.

    With ``loses_unordered`` a picture that is not after the one before is left out, however strict all else is.
    """

    loses_unordered: bool = False
    n_given: int = 0
    n_left_out: int = 0
    last_s: float = -np.inf


def iter_pictures(
    path: Path,
    *,
    width: int,
    height: int,
    policy: MediaPolicy,
    crop: tuple[int, int, int, int] | None = None,
    lenient: bool = False,
    facts: MediaFacts | None = None,
    stream: int | None = None,
    loses_unordered: bool = False,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Decode a video to small grey pictures, some at a time; memory does not grow with its length.

    Args:
        path: the video.
        width: of the pictures returned, in pixels; they are averaged by area.
        height: of the pictures returned, in pixels.
        policy: what it may cost.
        crop: x, y, width and height of what is kept, in pixels of the upright picture; None keeps all.
        lenient: give what decodes of a truncated or damaged file, without pictures whose times do not grow.
        facts: what `tasks.media.probe.probe` found in the file, if it was called with this policy.
        stream: which of the file's; None takes the one of its facts.
        loses_unordered: leave pictures out whose times do not grow, however strict all else is.

    Yields:
        (n, height, width) luma as coded, and (n,) their own time stamps in s from the file's time zero.

    Raises:
        MediaError: as in `tasks.media.probe.probe`; no video stream, truncated, damaged, time stamps that do not grow.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    facts = (facts or probe(path, policy=policy)).with_video(path, stream)
    tally = _Tally(loses_unordered=loses_unordered)
    yield from _decoded(path, facts, (width, height), policy, crop=crop, lenient=lenient, tally=tally)


def iter_colours(
    path: Path,
    *,
    width: int,
    height: int,
    policy: MediaPolicy,
    crop: tuple[int, int, int, int] | None = None,
    facts: MediaFacts | None = None,
    every: int = 1,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Decode a video to small coloured pictures, some at a time; memory does not grow with its length.

    A picture without a time, or not after the one before, is left out: a doubled time stamp costs a picture. With
    ``every`` n each n-th is given. The rest is as in `iter_pictures`, but (n, 3, height, width): luma, two of chroma.
    """
    facts, tally = facts or probe(path, policy=policy), _Tally(loses_unordered=True)
    yield from _decoded(
        path, facts, (width, height), policy, crop=crop, lenient=False, tally=tally, n_planes=3, every=every
    )


def _decoded(
    path: Path,
    facts: MediaFacts,
    size: tuple[int, int],
    policy: MediaPolicy,
    *,
    crop: tuple[int, int, int, int] | None,
    lenient: bool,
    tally: _Tally,
    n_planes: Literal[1, 3] = 1,
    every: int = 1,
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float64]]]:
    """Decode as `iter_pictures`, or with three planes as `iter_colours`, and count."""
    stream = facts.video
    if stream is None:
        raise MediaError(f"{shown(path)}: holds no video stream", kind="NO_VIDEO")
    width, height = size
    chain = ffmpeg.input(token(path), max_pixels=policy.max_pixels, **SAFE_INPUT)[str(stream.index)]
    chain = chain.filter("format", pix_fmts=LUMA_FORMATS)
    if n_planes == 1:
        chain = chain.filter("extractplanes", "y")
    if every > 1:
        chain = chain.filter("select", f"not(mod(n,{every}))")
    if crop is not None:
        chain = chain.filter("crop", crop[2], crop[3], crop[0], crop[1])
    chain = chain.filter("scale", width, height, flags="area").filter("showinfo", checksum=0)
    pix_fmt = "gray" if n_planes == 1 else "yuv444p"
    output = chain.output("pipe:", format="rawvideo", pix_fmt=pix_fmt, copyts=None, **_EACH_AT_ITS_TIME)
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
    with running(compiled(output), timeout_s=patience_s(policy)) as (process, log):
        stamps = _Stamps(log, time_zero_s=facts.start_s)
        waiting: list[NDArray[np.uint8]] = []
        for picture in _pictures(process.stdout, width, height, n_planes):
            waiting.append(picture)
            if len(waiting) == PICTURES_AT_A_TIME:
                time_s = stamps.take(len(waiting))
                n_now = len(time_s)  # ffmpeg's log may lag behind its pictures
                kept = _check_times(time_s, tally, path, policy, lenient=lenient)
                if kept.any():
                    yield np.stack(waiting[:n_now])[kept], time_s[kept]
                waiting = waiting[n_now:]
        process.wait()
        time_s = stamps.take(len(waiting))
        logged = UNORDERED.sub(b"", stamps.rest())
    if len(time_s) != len(waiting):
        raise ToolError(f"ffmpeg gave more pictures of {shown(path)} than time stamps")
    kept = _check_times(time_s, tally, path, policy, lenient=lenient)
    if kept.any():
        yield np.stack(waiting)[kept], time_s[kept]
    if tally.n_left_out > MOST_LEFT_OUT * (tally.n_given + tally.n_left_out):
        raise MediaError(
            f"{shown(path)}: the times of {tally.n_left_out} of its {tally.n_given + tally.n_left_out} pictures are "
            "missing or not after the picture before",
            kind="BAD_TIMESTAMPS",
        )
    if lenient:
        return
    if process.returncode or LOGGED_ERROR.search(logged):
        kind = "TRUNCATED" if b"partial file" in logged else "DAMAGED_STREAM"
        raise MediaError(f"{shown(path)}: {_undecoded(logged)}", kind=kind)
    if tally.n_given == 0:
        raise MediaError(f"{shown(path)}: holds no picture that decodes", kind="DAMAGED_STREAM")


def _undecoded(logged: bytes) -> str:
    """Return in words that pictures do not decode, and how many errors there are."""
    n_errors = len(LOGGED_ERROR.findall(logged))
    return f"its pictures do not decode: {fault_of(logged, 'they are damaged')} ({n_errors} errors)"


def check_film(path: Path, policy: MediaPolicy, *, lenient: bool = False, facts: MediaFacts | None = None) -> FilmCheck:
    """Decode all pictures of a video and keep none.

    Args:
        path: the video.
        policy: what it may cost.
        lenient: tell where a truncated file ends instead of refusing it.
        facts: what `tasks.media.probe.probe` found in the file, if it was called with this policy.

    Raises:
        MediaError: as in `iter_pictures`; ``TRUNCATED``, it ends before its packets or its header say.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    facts = facts or probe(path, policy=policy)
    stream = facts.video
    if stream is None:
        raise MediaError(f"{shown(path)}: holds no video stream", kind="NO_VIDEO")
    tally = _Tally()
    parts = _decoded(path, facts, (2, 2), policy, crop=None, lenient=lenient, tally=tally)
    times = [time_s for _, time_s in parts]
    time_s = np.concatenate(times) if times else np.zeros(0)
    truncated_at_s, lost_s = None, np.zeros(0)
    if not _is_whole(stream, time_s):
        truncated_at_s, lost_s = _lacking(path, facts, stream, time_s, policy, tally, lenient=lenient)
    if not len(time_s):
        raise MediaError(f"{shown(path)}: holds no picture that decodes", kind="DAMAGED_STREAM")
    steps = np.diff(time_s)
    return FilmCheck(
        n_pictures=len(time_s),
        first_s=float(time_s[0]),
        last_s=float(time_s[-1]),
        frame_rate=_average_rate(time_s, len(lost_s) + tally.n_left_out, stream.frame_rate),
        is_variable=bool(len(steps) and np.ptp(steps) > 2.5 * float(stream.time_base) + 1e-6),
        truncated_at_s=truncated_at_s,
        lost_s=tuple(round(float(moment), 6) for moment in lost_s),
        n_left_out=tally.n_left_out,
    )


def _average_rate(time_s: NDArray[np.float64], n_more: int, declared: Fraction) -> Fraction:
    """Return the declared average rate, or that of the pictures' times where they disagree.

    Args:
        time_s: (n,) of the pictures, ascending.
        n_more: pictures among them that are not given.
        declared: by the header, or estimated of its first packets.
    """
    n_steps = len(time_s) - 1 + n_more
    length_s = float(time_s[-1] - time_s[0])
    if length_s <= 0:
        return declared
    found = n_steps / length_s
    apart = max(found / float(declared), float(declared) / found) - 1
    if apart <= max(SAME_RATE, 1 / n_steps):
        return declared
    return Fraction(found).limit_denominator(1001)


def _is_whole(stream: VideoStream, time_s: NDArray[np.float64]) -> bool:
    """Say whether every picture that the header counts has been decoded, up to the end that it declares."""
    if stream.duration_s is None or not len(time_s) or stream.n_declared != len(time_s):
        return False
    return float(time_s[-1]) + float(2 / stream.frame_rate) >= stream.start_s + stream.duration_s


def _lacking(
    path: Path,
    facts: MediaFacts,
    stream: VideoStream,
    time_s: NDArray[np.float64],
    policy: MediaPolicy,
    tally: _Tally,
    *,
    lenient: bool,
) -> tuple[float | None, NDArray[np.float64]]:
    """Return where the pictures end, if that is before the file's packets or its header say, and those lost before.

    Raises:
        MediaError: if not lenient, ``TRUNCATED`` or ``DAMAGED_STREAM``.
    """
    nothing = np.zeros(0)
    try:
        packets = packets_of(path, facts, stream, policy=policy)
    except MediaError as error:
        if not lenient or error.kind != "TRUNCATED" or not len(time_s):
            raise
        return float(time_s[-1]), nothing
    # VP8 has packets that show nothing; elsewhere each packet is a picture.
    n_decoded = len(time_s) + tally.n_left_out
    if n_decoded >= packets.n_shown or stream.codec == "vp8" or not len(time_s):
        return None, nothing
    at = np.searchsorted(time_s, packets.time_s)
    before, after = time_s[np.maximum(at - 1, 0)], time_s[np.minimum(at, len(time_s) - 1)]
    away_s = np.minimum(np.abs(packets.time_s - before), np.abs(packets.time_s - after))
    lost_s = packets.time_s[away_s > SAME_TIME_S]
    is_cut = bool((lost_s > time_s[-1]).any())
    if not lenient:
        raise MediaError(
            f"{shown(path)}: {n_decoded} pictures decoded, expected {packets.n_shown}",
            kind="TRUNCATED" if is_cut else "DAMAGED_STREAM",
        )
    return float(time_s[-1]) if is_cut else None, lost_s[lost_s < time_s[-1]]


class _Stamps:
    """The time stamps that showinfo logs while the pictures come."""

    def __init__(self, log: IO[bytes], *, time_zero_s: float) -> None:
        self._log = log
        self._time_zero_s = time_zero_s
        self._from = 0
        self._text = b""
        self._other = b""
        self._base: Fraction | None = None
        self._times: list[float] = []

    def take(self, n: int) -> NDArray[np.float64]:
        """Return the next time stamps, at most n: those that are logged by now."""
        self._read()
        taken, self._times = self._times[:n], self._times[n:]
        return np.array(taken, np.float64)

    def rest(self) -> bytes:
        """Return everything else that was logged."""
        self._read()
        return self._other + self._text

    def _read(self) -> None:
        text = self._text + os.pread(self._log.fileno(), 1 << 30, self._from)
        self._from += len(text) - len(self._text)
        *whole, self._text = text.split(b"\n")
        for line in whole:
            if (stamp := SHOWN_FRAME.search(line)) is not None:
                is_known = self._base is not None and stamp[1] != b"NOPTS"
                tick_s = self._base or Fraction(0)
                self._times.append(float(int(stamp[1]) * tick_s) - self._time_zero_s if is_known else np.nan)
            elif (base := SHOWN_TIME_BASE.search(line)) is not None:
                self._base = Fraction(int(base[1]), int(base[2]))
            elif b"showinfo" not in line:
                self._other += line + b"\n"


def _check_times(
    time_s: NDArray[np.float64], tally: _Tally, path: Path, policy: MediaPolicy, *, lenient: bool
) -> NDArray[np.bool_]:
    """Return which of the next pictures (n,) are later than those before; a picture without a time has NaN.

    Raises:
        MediaError: ``TOO_LONG``, whatever the header says; ``BAD_TIMESTAMPS``, if not lenient, one is not later.
    """
    kept = np.zeros(len(time_s), bool)
    for number, moment_s in enumerate(time_s.tolist()):
        if moment_s > policy.max_duration_s:
            raise MediaError(
                f"{shown(path)}: longer than {policy.max_duration_s} s, as much as is expected", kind="TOO_LONG"
            )
        if moment_s > tally.last_s:
            kept[number] = True
            tally.n_given += 1
            tally.last_s = moment_s
        elif lenient or tally.loses_unordered:
            tally.n_left_out += 1
        else:
            found = "has no time stamp" if np.isnan(moment_s) else f"comes at {moment_s:.6f} s"
            raise MediaError(
                f"{shown(path)}: picture {tally.n_given} {found}, expected one after {tally.last_s:.6f} s",
                kind="BAD_TIMESTAMPS",
            )
    return kept


def _frame_times(logged: bytes, path: Path) -> NDArray[np.float64]:
    """Read the pictures' time stamps from showinfo's log, exact up to the last division."""
    base = SHOWN_TIME_BASE.search(logged)
    stamps = SHOWN_FRAME.findall(logged)
    if base is None or b"NOPTS" in stamps:
        raise MediaError(f"{shown(path)}: a picture has no time stamp", kind="BAD_TIMESTAMPS")
    numerator, denominator = int(base[1]), int(base[2])
    return np.array([int(stamp) * numerator / denominator for stamp in stamps], np.float64)


def _pictures(pipe: IO[bytes] | None, width: int, height: int, n_planes: int = 1) -> Iterator[NDArray[np.uint8]]:
    """Cut a stream of bytes into pictures (height, width), or (planes, height, width) where there are several."""
    size = n_planes * width * height
    shape = (height, width) if n_planes == 1 else (n_planes, height, width)
    stream = opened(pipe)
    while len(data := stream.read(size)) == size:
        yield np.frombuffer(data, np.uint8).reshape(shape)
