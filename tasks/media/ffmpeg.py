"""Videos in and out: the one module that runs ffmpeg and ffprobe.

Commands are lists that never see a shell. Files are named ``file:...``, so that no name is taken for an
option or a protocol. Demuxers and protocols are whitelisted: a playlist called ``x.mp4`` would open its
neighbours.
An exit code of 0 proves nothing (a truncated file decodes with 0), so what came out is
compared with what was asked.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from tasks.errors import BadInput, ToolError
from tasks.params import Section

INSTALL = "install it with `apt-get install ffmpeg`"
SAFE_INPUT = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi",
}
MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
# First bytes of the whitelisted containers: an offset and what may stand there.
ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
EBML = b"\x1a\x45\xdf\xa3"
LUMA_FORMATS = "yuv420p|yuvj420p|yuv422p|yuvj422p|yuv444p|yuvj444p|gray"
SOUND_RATE = 48_000  # Hz, of every AAC stream: AAC has no 4 kHz, and every player takes 48
START_S = 60.0  # allowed to any command before what its length explains
NAME_IN_HEX = "name-in-hex:"
LONGEST_S = 6 * 3600.0  # no command is waited for longer
SHOWN_FRAME = re.compile(rb"\[Parsed_showinfo\S* @ \S+\] \[info\] n: *\d+ pts: *(\S+) ")
SHOWN_TIME_BASE = re.compile(rb"config in time_base: (\d+)/(\d+)")
LOGGED_ERROR = re.compile(rb"\[(?:error|fatal|panic)\] *(.*)")


class MediaError(BadInput):
    """A video that cannot be used: its name, what was found, what was expected."""


class MediaPolicy(Section):
    """What a video may cost before it is refused."""

    max_pixels: int  # of one picture, as coded
    max_duration_s: float
    max_bytes: int  # of the grey pictures kept in memory


# For what we wrote, and for copying a stream that is not decoded.
NO_LIMITS = MediaPolicy(max_pixels=2**31 - 1, max_duration_s=1e9, max_bytes=0)


@dataclass(frozen=True, kw_only=True)
class VideoStream:
    """Facts of a file's first video stream.

    Attributes:
        index: among the file's streams.
        codec: ffmpeg's name.
        width: pixels, after rotation.
        height: pixels, after rotation.
        frame_rate: the average; pictures may come at other times.
        time_base: seconds per tick of the time stamps.
        start_s: from the earliest start of the file's streams.
    """

    index: int
    codec: str
    width: int
    height: int
    frame_rate: Fraction
    time_base: Fraction
    start_s: float


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What ffprobe says of a file; a stream the file lacks is None, an unknown duration too.

    Attributes:
        start_s: earliest start of a stream, on the file's own clock: time zero of everything else here.
        duration_s: as the container declares it.
        video: the first video stream that is not a cover picture.
        audio_rate: of the first audio stream, in Hz.
    """

    start_s: float
    duration_s: float | None
    video: VideoStream | None
    audio_rate: int | None


@dataclass(frozen=True, kw_only=True)
class Packets:
    """When the packets of a stream say that they begin and end, in seconds from the file's time zero."""

    n_shown: int  # without those that an edit list discards
    end_s: float


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


def ffmpeg_version() -> str:
    """Return the version of the ffmpeg that runs here, ``5.1.9-0+deb12u1``.

    Raises:
        ToolError: ffmpeg is not installed.
    """
    banner = _run(["ffmpeg", "-version"], timeout_s=START_S).stdout
    found = re.match(rb"ffmpeg version (\S+)", banner)
    if found is None:
        raise ToolError(f"ffmpeg -version printed {banner[:60]!r}, expected `ffmpeg version ...`")
    return found[1].decode()


def probe(path: Path, *, policy: MediaPolicy) -> MediaFacts:
    """Read a file's facts without decoding it.

    Raises:
        MediaError: not a regular file, not one of the containers read here, damaged, too large or too long.
        ToolError: ffprobe is not installed or did not answer.
    """
    _check_is_container(path)
    ran = _run([*_ffprobe(policy), "-show_format", "-show_streams", "-of", "json", _url(path)], timeout_s=START_S)
    if ran.returncode:
        raise MediaError(f"{_shown(path)}: {_last_error(ran.stderr)}", kind="CORRUPT_CONTAINER")
    try:
        told: dict[str, Any] = json.loads(ran.stdout)
        facts = _facts(told)
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise MediaError(f"{_shown(path)}: ffprobe's facts lack sense ({error})", kind="CORRUPT_CONTAINER") from None
    if facts.video and facts.video.width * facts.video.height > policy.max_pixels:
        raise MediaError(
            f"{_shown(path)}: pictures of {facts.video.width}x{facts.video.height}, "
            f"expected at most {policy.max_pixels} pixels",
            kind="TOO_LARGE",
        )
    if facts.duration_s is not None and facts.duration_s > policy.max_duration_s:
        raise MediaError(
            f"{_shown(path)}: {facts.duration_s:.1f} s long, expected at most {policy.max_duration_s} s",
            kind="TOO_LONG",
        )
    return facts


def read_film(
    path: Path,
    *,
    width: int,
    height: int,
    crop: tuple[int, int] | None,
    min_change: int,
    policy: MediaPolicy,
) -> DecodedFilm:
    """Decode a video to small grey pictures at their own times; a variable rate stays variable.

    The picture is the Y plane as coded (a conversion to grey stretches 16-235 to 0-255), averaged by area.

    Args:
        path: the video.
        width: of the pictures returned, in pixels.
        height: of the pictures returned, in pixels.
        crop: keep so many pixels (width, height) from the upper left before scaling; None keeps all.
        min_change: leave a picture out when no pixel is at least so many levels from the last one kept.
        policy: what it may cost.

    Raises:
        MediaError: as in `probe`; no video stream, truncated, damaged, time stamps that do not grow.
        ToolError: ffmpeg is not installed or did not do what was asked.
    """
    facts = probe(path, policy=policy)
    stream = facts.video
    if stream is None:
        raise MediaError(f"{_shown(path)}: holds no video stream", kind="NO_VIDEO")
    packets = _packets(path, facts, stream, policy=policy)
    chain = ffmpeg.input(_token(path), max_pixels=policy.max_pixels, **SAFE_INPUT)[str(stream.index)]
    chain = chain.filter("format", pix_fmts=LUMA_FORMATS).filter("extractplanes", "y")
    if crop is not None:
        chain = chain.filter("crop", crop[0], crop[1], 0, 0)
    chain = chain.filter("scale", width, height, flags="area").filter("showinfo", checksum=0)
    output = chain.output("pipe:", format="rawvideo", pix_fmt="gray", vsync="passthrough")
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+info")
    command = _compiled(output)

    kept: list[NDArray[np.uint8]] = []
    kept_at: list[int] = []
    n_decoded = 0
    max_pictures = policy.max_bytes // (width * height)
    with _running(command, timeout_s=_patience_s(policy)) as (process, log):
        for picture in _pictures(process.stdout, width, height):
            if not kept or int(np.abs(picture.astype(np.int16) - kept[-1]).max()) >= min_change:
                kept.append(picture)
                kept_at.append(n_decoded)
            n_decoded += 1
            if len(kept) > max_pictures:
                process.kill()
                raise MediaError(
                    f"{_shown(path)}: more than {max_pictures} different pictures, expected at most "
                    f"{policy.max_bytes} bytes of them",
                    kind="TOO_LARGE",
                )
        process.wait()
        log.seek(0)
        logged = log.read()
    if process.returncode or LOGGED_ERROR.search(logged):
        kind = "TRUNCATED" if b"partial file" in logged else "DAMAGED_STREAM"
        raise MediaError(f"{_shown(path)}: its pictures do not decode: {_last_error(logged)}", kind=kind)
    time_s = _frame_times(logged, path)
    if len(time_s) != n_decoded:
        raise ToolError(f"ffmpeg gave {n_decoded} pictures of {_shown(path)} and {len(time_s)} time stamps")
    # VP8 has packets that show nothing; elsewhere each packet is a picture.
    if n_decoded == 0 or (n_decoded < packets.n_shown and stream.codec != "vp8"):
        raise MediaError(f"{_shown(path)}: {n_decoded} pictures decoded, expected {packets.n_shown}", kind="TRUNCATED")
    if (np.diff(time_s) <= 0).any():
        at = int(np.flatnonzero(np.diff(time_s) <= 0)[0])
        raise MediaError(
            f"{_shown(path)}: picture {at + 1} comes at {time_s[at + 1]:.6f} s, not after {time_s[at]:.6f} s",
            kind="BAD_TIMESTAMPS",
        )
    end_s = max(packets.end_s, float(time_s[-1] + 1 / stream.frame_rate))
    return DecodedFilm(
        pictures=np.stack(kept),
        time_s=time_s[kept_at],
        duration_s=end_s,
        frame_rate=stream.frame_rate,
        n_decoded=n_decoded,
    )


def encode_film(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    frame_rate: Fraction,
    audio: NDArray[np.float32] | None = None,
    sample_rate: int | None = None,
) -> int:
    """Write grey pictures as H.264 in an mp4 that browsers play, with or without sound; same bytes every run.

    The pictures are the Y plane as they are. H.264 wants even sides: the last row or column is repeated once.

    Args:
        path: a ``.mp4``; it appears when whole.
        pictures: (height, width) each, one per tick of ``frame_rate``, all of one size.
        frame_rate: exact.
        audio: (n,) mono in [-1, 1]; becomes AAC at 48 kHz.
        sample_rate: of ``audio``, in Hz.

    Returns:
        How many pictures were written.

    Raises:
        ToolError: ffmpeg is not installed, or the file is not what was asked for.
    """
    frames = iter(pictures)
    first = next(frames, None)
    if first is None:
        raise ValueError("no pictures to encode")
    height, width = first.shape
    even_height, even_width = height + height % 2, width + width % 2
    source = ffmpeg.input(
        "pipe:",
        format="rawvideo",
        pix_fmt="yuv420p",
        s=f"{even_width}x{even_height}",
        framerate=f"{frame_rate.numerator}/{frame_rate.denominator}",
        protocol_whitelist="pipe",
    )
    n_written = 0
    with _sound_file(audio, sample_rate) as sound, _beside(path) as part:
        command = _compile_output(
            [source.video, *([sound.audio] if sound is not None else [])],
            part,
            vcodec="libx264",
            preset="veryfast",
            crf=18,
            pix_fmt="yuv420p",
        )
        yuv = np.full(even_height * even_width * 3 // 2, 128, np.uint8)  # 128: no colour
        luma = yuv[: even_height * even_width].reshape(even_height, even_width)
        with _running(command, timeout_s=LONGEST_S, feed=True) as (process, log):
            stdin = _opened(process.stdin)
            try:
                for picture in _and_first(first, frames):
                    if picture.shape != (height, width):
                        raise ValueError(f"picture {n_written} is {picture.shape}, expected {(height, width)}")
                    luma[:height, :width] = picture
                    luma[height:, :width] = picture[-1]
                    luma[:, width:] = luma[:, width - 1 : width]
                    stdin.write(yuv.data)
                    n_written += 1
                stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg left early: its log says why
            process.wait()
            log.seek(0)
            logged = log.read()
        if process.returncode:
            raise ToolError(_not_written(path, logged))
        sound_s = None if audio is None or sample_rate is None else len(audio) / sample_rate
        _verify(part, path, n_pictures=n_written, picture_s=n_written / frame_rate, sound_s=sound_s)
    return n_written


def replace_sound(video: Path, audio: NDArray[np.float32], sample_rate: int, out: Path) -> None:
    """Write ``video`` with ``audio`` for its only sound; its pictures are copied, not encoded again.

    Args:
        video: never written to.
        audio: (n,) mono in [-1, 1], starting at the video's time zero; becomes AAC at 48 kHz.
        sample_rate: of ``audio``, in Hz.
        out: a ``.mp4``, ``.mov`` or ``.mkv``; it appears when whole.

    Raises:
        MediaError: ``video`` cannot be used, or is ``out``.
        ToolError: ffmpeg is not installed, or the file is not what was asked for.
    """
    facts = probe(video, policy=NO_LIMITS)
    if facts.video is None:
        raise MediaError(f"{_shown(video)}: holds no video stream", kind="NO_VIDEO")
    check_output(video, out)
    before = _packets(video, facts, facts.video, policy=NO_LIMITS)
    source = ffmpeg.input(_token(video), **SAFE_INPUT)[str(facts.video.index)]
    with _sound_file(audio, sample_rate) as sound, _beside(out) as part:
        command = _compile_output([source, sound.audio], part, vcodec="copy")
        ran = _run(command, timeout_s=LONGEST_S)
        if ran.returncode:
            raise ToolError(_not_written(out, ran.stderr))
        _verify(
            part,
            out,
            n_pictures=before.n_shown,
            picture_s=Fraction(before.end_s),
            sound_s=len(audio) / sample_rate,
        )


def check_output(video: Path, out: Path) -> None:
    """Refuse a name that `replace_sound` could not write, before work is put into its sound.

    Raises:
        MediaError: ``out`` is ``video`` itself, ends in another suffix than those written here, or its folder
            does not exist.
    """
    if out.exists() and out.samefile(video):
        raise MediaError(f"{_shown(out)}: is the video itself, expected another name", kind="SAME_FILE")
    if out.suffix.lower() not in MUXERS:
        raise MediaError(f"{_shown(out)}: expected a name in {', '.join(MUXERS)}", kind="UNKNOWN_FORMAT")
    if not out.parent.is_dir():
        raise MediaError(f"{_shown(out)}: its folder does not exist", kind="NOT_A_FILE")


def _compile_output(streams: list[Any], part: Path, **options: str | int) -> list[str]:
    """Return the command that writes ``streams`` to ``part``, with flags that make its bytes repeatable."""
    muxer = MUXERS[_true_suffix(part)]
    flags: dict[str, str | int] = {
        "format": muxer,
        "threads": 1,  # x264's bytes depend on it
        "fflags": "+bitexact",
        "flags:v": "+bitexact",
        "flags:a": "+bitexact",
        "map_metadata": -1,
        **options,
    }
    if muxer != "matroska":
        flags["movflags"] = "+faststart"  # a browser can begin before it has all
    if len(streams) > 1:
        flags |= {"acodec": "aac", "ar": SOUND_RATE, "audio_bitrate": "128k"}
    output = ffmpeg.output(*streams, _token(part), **flags).overwrite_output()
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+warning")
    return _compiled(output)


def _verify(part: Path, path: Path, *, n_pictures: int, picture_s: Fraction, sound_s: float | None) -> None:
    """Check that a file just written holds the pictures and the sound asked for.

    Raises:
        ToolError: it does not.
    """
    facts = probe(part, policy=NO_LIMITS)
    if facts.video is None:
        raise ToolError(f"ffmpeg wrote {_shown(path)} without a video stream")
    found = _packets(part, facts, facts.video, policy=NO_LIMITS)
    if found.n_shown != n_pictures or abs(found.end_s - picture_s) > 1 / facts.video.frame_rate:
        raise ToolError(
            f"ffmpeg wrote {_shown(path)} with {found.n_shown} pictures in {found.end_s:.3f} s, "
            f"expected {n_pictures} in {float(picture_s):.3f} s"
        )
    if sound_s is None:
        return
    heard = _stream_packets(part, "a:0", facts.start_s, policy=NO_LIMITS).end_s
    if abs(heard - sound_s) > 2 * 1024 / SOUND_RATE:  # AAC rounds up to its blocks of 1024 samples
        raise ToolError(f"ffmpeg wrote {_shown(path)} with {heard:.3f} s of sound, expected {sound_s:.3f} s")


def _check_is_container(path: Path) -> None:
    """Refuse what is no regular file (opening a FIFO hangs) or does not begin like a container read here."""
    try:
        mode = path.lstat().st_mode
    except OSError as error:
        raise MediaError(f"{_shown(path)}: {error.strerror}", kind="NOT_A_FILE") from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
        found = kinds.get(stat.S_IFMT(mode), "a device or socket")
        raise MediaError(f"{_shown(path)}: is {found}, expected a regular file", kind="NOT_A_FILE")
    with path.open("rb") as file:
        head = file.read(12)
    if not head:
        raise MediaError(f"{_shown(path)}: is empty", kind="CORRUPT_CONTAINER")
    is_avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    if head[4:8] not in ATOMS and head[:4] != EBML and not is_avi:
        raise MediaError(
            f"{_shown(path)}: begins with {head[:8]!r}, expected mp4, mov, matroska, webm or avi",
            kind="NOT_MEDIA",
        )


def _facts(told: dict[str, Any]) -> MediaFacts:
    """Read ffprobe's answer."""
    form = told["format"]
    start_s = float(form.get("start_time", 0.0))
    video = audio_rate = None
    for stream in told["streams"]:
        is_cover = stream.get("disposition", {}).get("attached_pic")
        if stream.get("codec_type") == "video" and video is None and not is_cover:
            width, height = int(stream["width"]), int(stream["height"])
            turned = [int(data["rotation"]) for data in stream.get("side_data_list", []) if "rotation" in data]
            if turned and turned[0] % 180:
                width, height = height, width
            average = Fraction(stream["avg_frame_rate"]) if stream["avg_frame_rate"] != "0/0" else Fraction(0)
            video = VideoStream(
                index=int(stream["index"]),
                codec=str(stream.get("codec_name", "unknown")),
                width=width,
                height=height,
                frame_rate=average or Fraction(stream["r_frame_rate"]),
                time_base=Fraction(stream["time_base"]),
                start_s=float(stream.get("start_time", start_s)) - start_s,
            )
            if video.frame_rate <= 0 or width <= 0 or height <= 0:
                raise ValueError(f"{width}x{height} at {video.frame_rate}")
        if stream.get("codec_type") == "audio" and audio_rate is None:
            audio_rate = int(stream["sample_rate"])
    duration_s = float(form["duration"]) if "duration" in form else None
    return MediaFacts(start_s=start_s, duration_s=duration_s, video=video, audio_rate=audio_rate)


def _packets(path: Path, facts: MediaFacts, stream: VideoStream, *, policy: MediaPolicy) -> Packets:
    """List the video's packets, and refuse a file whose streams end before its header says.

    Raises:
        MediaError: truncated, or longer than allowed.
    """
    shown = _stream_packets(path, str(stream.index), facts.start_s, policy=policy)
    if shown.end_s > policy.max_duration_s:
        raise MediaError(
            f"{_shown(path)}: {shown.end_s:.1f} s long, expected at most {policy.max_duration_s} s",
            kind="TOO_LONG",
        )
    if facts.duration_s is None:
        return shown
    one_frame_s = float(1 / stream.frame_rate)
    end_s = shown.end_s
    if end_s < facts.duration_s - one_frame_s and facts.audio_rate is not None:
        end_s = max(end_s, _stream_packets(path, "a:0", facts.start_s, policy=policy).end_s)
    if end_s < facts.duration_s - one_frame_s - 1e-3:  # some headers count in milliseconds
        raise MediaError(
            f"{_shown(path)}: ends at {end_s:.3f} s, expected {facts.duration_s:.3f} s as its header says",
            kind="TRUNCATED",
        )
    return shown


def _stream_packets(path: Path, stream: str, start_s: float, *, policy: MediaPolicy) -> Packets:
    """Read the packets of one stream without decoding them."""
    entries = "packet=pts_time,duration_time,flags"
    command = [*_ffprobe(policy), "-select_streams", stream, "-show_packets", "-show_entries", entries]
    ran = _run([*command, "-of", "csv=p=0:nk=0", _url(path)], timeout_s=_patience_s(policy))
    n_shown, end_s = 0, 0.0
    for line in ran.stdout.decode("ascii", "replace").splitlines():
        values = dict(field.partition("=")[::2] for field in line.split(","))
        if "D" in values.get("flags", ""):
            continue
        n_shown += 1
        if values.get("pts_time", "N/A") != "N/A":
            length = values.get("duration_time", "N/A")
            end_s = max(end_s, float(values["pts_time"]) - start_s + (0.0 if length == "N/A" else float(length)))
    return Packets(n_shown=n_shown, end_s=end_s)


def _frame_times(logged: bytes, path: Path) -> NDArray[np.float64]:
    """Read the pictures' time stamps from showinfo's log, exact up to the last division."""
    base = SHOWN_TIME_BASE.search(logged)
    stamps = SHOWN_FRAME.findall(logged)
    if base is None or b"NOPTS" in stamps:
        raise MediaError(f"{_shown(path)}: a picture has no time stamp", kind="BAD_TIMESTAMPS")
    numerator, denominator = int(base[1]), int(base[2])
    return np.array([int(stamp) * numerator / denominator for stamp in stamps], np.float64)


def _pictures(pipe: IO[bytes] | None, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Cut a stream of bytes into pictures."""
    size = width * height
    stream = _opened(pipe)
    while len(data := stream.read(size)) == size:
        yield np.frombuffer(data, np.uint8).reshape(height, width)


def _opened(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe


def _and_first(first: NDArray[np.uint8], rest: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    yield first
    yield from rest


@contextmanager
def _sound_file(audio: NDArray[np.float32] | None, sample_rate: int | None) -> Iterator[Any]:
    """Lend ``audio`` to ffmpeg as an input; None when there is none.

    Raises:
        ValueError: not mono, empty, not finite, or its rate is missing.
    """
    if audio is None:
        yield None
        return
    if sample_rate is None or audio.ndim != 1 or not len(audio) or not np.isfinite(audio).all():
        raise ValueError(f"sound of shape {audio.shape} at {sample_rate} Hz, expected finite mono samples")
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        file.write(audio.astype("<f4").tobytes())
        file.flush()
        yield ffmpeg.input(_token(Path(file.name)), format="f32le", ar=sample_rate, ac=1, protocol_whitelist="file")


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Lend a name beside ``path`` to write to; it becomes ``path`` when the block succeeds.

    Raises:
        MediaError: the suffix is none of those written here.
    """
    if path.suffix.lower() not in MUXERS:
        raise MediaError(f"{_shown(path)}: expected a name in {', '.join(MUXERS)}", kind="UNKNOWN_FORMAT")
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _true_suffix(part: Path) -> str:
    """Return the suffix of the file that ``.NAME.SUFFIX.part`` will become."""
    return Path(part.stem).suffix.lower()


def _ffprobe(policy: MediaPolicy) -> list[str]:
    """Return the beginning of every ffprobe command."""
    options = {**SAFE_INPUT, "max_pixels": str(policy.max_pixels), "loglevel": "level+error"}
    return [
        "ffprobe",
        "-hide_banner",
        *(word for key, value in options.items() for word in (f"-{key}", value)),
    ]


def _run(command: list[str], *, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end.

    Raises:
        ToolError: the program is not installed, or is not done in time.
    """
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise ToolError(f"{command[0]} is not installed: {INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command[0]} was not done after {timeout_s:.0f} s and was stopped") from None


@contextmanager
def _running(
    command: list[str], *, timeout_s: float, feed: bool = False
) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    """Run a command beside us, its log in a file, and stop it when the block ends or the time is up.

    Raises:
        ToolError: the program is not installed, or was stopped because its time was up.
    """
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
                stderr=log,
            )
        except FileNotFoundError:
            raise ToolError(f"{command[0]} is not installed: {INSTALL}") from None
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(timeout_s, stop)
        timer.start()
        try:
            yield process, log
            if late.is_set():
                raise ToolError(f"{command[0]} was not done after {timeout_s:.0f} s and was stopped")
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None and not pipe.closed:
                    pipe.close()


def _patience_s(policy: MediaPolicy) -> float:
    """Return how long a command may take with the longest file allowed."""
    return min(START_S + 4 * policy.max_duration_s, LONGEST_S)


def _url(path: Path) -> str:
    """Return the name under which ffmpeg takes any path for a file."""
    return f"file:{path}"


def _token(path: Path) -> str:
    """Return a stand-in for ``_url(path)``: ffmpeg-python cannot hold names that are not UTF-8."""
    return NAME_IN_HEX + os.fsencode(_url(path)).hex()


def _compiled(output: Any) -> list[str]:
    """Return the command of an ffmpeg-python output, with the names that the tokens stand for."""
    command: list[str] = output.compile()
    return [
        os.fsdecode(bytes.fromhex(word.removeprefix(NAME_IN_HEX))) if word.startswith(NAME_IN_HEX) else word
        for word in command
    ]


def _shown(path: Path) -> str:
    """Return a path for a message: control characters and broken bytes as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))


def _clean(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text) or "no reason given"


def _not_written(path: Path, logged: bytes) -> str:
    # On a full disk ffmpeg may end without a word.
    free = f" ({shutil.disk_usage(path.parent).free >> 20} MiB free there)" if path.parent.is_dir() else ""
    return f"ffmpeg could not write {_shown(path)}: {_last_error(logged)}{free}"


def _last_error(logged: bytes) -> str:
    """Return the last line that ffmpeg logged as an error, or its last line."""
    errors = LOGGED_ERROR.findall(logged)
    return _clean(errors[-1] if errors else (logged.strip().splitlines() or [b""])[-1])
