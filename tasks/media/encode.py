"""Videos and sounds out: encoded with the same bytes every run, and checked against what was requested."""

import itertools
import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from tasks.errors import ToolError
from tasks.media.matroska import matroska_head, matroska_picture
from tasks.media.probe import NO_LIMITS, packets_of, probe, stream_packets
from tasks.media.process import (
    LONGEST_S,
    SAFE_INPUT,
    MediaError,
    compiled,
    last_error,
    opened,
    run,
    running,
    shown,
    token,
)

MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
SOUND_MUXERS = MUXERS | {
    ".wav": "wav",
    ".flac": "flac",
    ".m4a": "ipod",
    ".ogg": "ogg",
    ".opus": "ogg",
    ".mp3": "mp3",
    ".aac": "adts",
}
_PROBED_BYTES = 200_000_000
SOUND_RATE = 48_000  # Hz, of every AAC stream: AAC has no 4 kHz, and every player takes 48


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
        ToolError: ffmpeg is not installed, or the file is not what was requested.
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
    with _sound_file(audio, sample_rate) as sound, beside(path) as part:
        command = compile_output(
            [source.video, *([sound.audio] if sound is not None else [])],
            part,
            vcodec="libx264",
            preset="veryfast",
            crf=18,
            pix_fmt="yuv420p",
        )
        n_written = _feed(command, _yuv(itertools.chain([first], frames), height, width), path)
        sound_s = None if audio is None or sample_rate is None else len(audio) / sample_rate
        _verify(part, path, n_pictures=n_written, picture_s=n_written / frame_rate, sound_s=sound_s)
    return n_written


def encode_films(paths: Sequence[Path], pictures: Iterable[NDArray[np.uint8]], *, frame_rate: Fraction) -> int:
    """Write several grey films of one size at once, as `encode_film` without sound; same bytes every run.

    One ffmpeg takes them in one above the other and cuts them apart: starting it costs more than a short small film.

    Args:
        paths: a ``.mp4`` each; they appear when all are whole.
        pictures: (films, height, width) each, even sides, one per tick of ``frame_rate``.
        frame_rate: exact.

    Returns:
        How many pictures were written to each.

    Raises:
        ToolError: ffmpeg is not installed, or a file is not what was requested.
    """
    frames = iter(pictures)
    first = next(frames, None)
    if first is None or len(first) != len(paths) or first.shape[1] % 2 or first.shape[2] % 2:
        shape = None if first is None else first.shape
        raise ValueError(f"pictures of shape {shape} for {len(paths)} films, expected even sides and one a film")
    n_films, height, width = first.shape
    source = ffmpeg.input(
        "pipe:",
        format="rawvideo",
        pix_fmt="yuv420p",
        s=f"{width}x{n_films * height}",
        framerate=f"{frame_rate.numerator}/{frame_rate.denominator}",
        protocol_whitelist="pipe",
    )
    copies = source.video.filter_multi_output("split", n_films)
    with ExitStack() as stack:
        parts = [stack.enter_context(beside(path)) for path in paths]
        outputs = [
            output_of(
                [copies[number].filter("crop", width, height, 0, number * height)],
                part,
                vcodec="libx264",
                preset="superfast",
                crf=22,
                bf=0,
                pix_fmt="yuv420p",
            )
            for number, part in enumerate(parts)
        ]
        tall = (films.reshape(-1, width) for films in itertools.chain([first], frames))
        command = compiled(_quietly(ffmpeg.merge_outputs(*outputs)))
        n_written = _feed(command, _yuv(tall, n_films * height, width), paths[0])
        for path, part in zip(paths, parts, strict=True):
            found = stream_packets(part, "v:0", 0.0, policy=NO_LIMITS)
            if found.n_shown != n_written or abs(found.end_s - n_written / frame_rate) > 1 / frame_rate:
                raise ToolError(
                    f"ffmpeg wrote {shown(path)} with {found.n_shown} pictures in {found.end_s:.3f} s, "
                    f"expected {n_written} in {float(n_written / frame_rate):.3f} s{_free_beside(path)}"
                )
    return n_written


def encode_camera(
    path: Path,
    pictures: Iterable[NDArray[np.uint8]],
    *,
    time_s: Sequence[Fraction],
    time_base: Fraction,
    audio: NDArray[np.float32] | None = None,
    sample_rate: int | None = None,
    audio_codec: Literal["aac", "pcm"] | None = None,
    audio_start_s: float = 0.0,
    crf: int = 22,
    in_colour: bool = False,
    bit_rate: int | None = None,
) -> None:
    """Write what a camera records: pictures, each at its own time, with or without sound; same bytes every run.

    Args:
        path: a ``.mp4``, ``.mov`` or ``.mkv``; it appears when whole.
        pictures: (height, width) each, even sides, all of one size; with ``in_colour`` the planes of I420, one below
            the other, (height * 3 / 2, width).
        time_s: when each picture is shown, growing; the first is the file's time zero or later.
        time_base: seconds a tick of the file's own clock; times are rounded to it.
        audio: (n,) mono in [-1, 1].
        sample_rate: of ``audio``, in Hz; the file keeps it.
        audio_codec: needed with ``audio``; PCM goes into ``.mov`` and ``.mkv``.
        audio_start_s: when its first sample sounds, not negative.
        crf: x264's constant rate factor; a higher one is cheaper and worse.
        in_colour: the pictures are grey without it.
        bit_rate: bits a second of the pictures, in place of ``crf``.

    Raises:
        ToolError: ffmpeg is not installed, or the file is not what was requested.
    """
    ticks = [round(moment / time_base) for moment in time_s]
    if not ticks or ticks[0] < 0 or any(b <= a for a, b in itertools.pairwise(ticks)):
        raise ValueError("the times of the pictures do not grow by a tick each")
    # By default ffmpeg probes two large pictures, too few to know a rate: the last one would have no length.
    source = ffmpeg.input("pipe:", format="matroska", protocol_whitelist="pipe", probesize=_PROBED_BYTES)
    with _sound_file(audio, sample_rate, start_s=audio_start_s) as sound, beside(path) as part:
        streams = [source.video, *([sound.audio] if sound is not None else [])]
        options: dict[str, Any] = {
            "vcodec": "libx264",
            "preset": "superfast",
            **({"crf": crf} if bit_rate is None else {"video_bitrate": bit_rate}),
            "bf": 0,
            "pix_fmt": "yuv420p",
            "vsync": "passthrough",
            "enc_time_base:v": f"{time_base.numerator}/{time_base.denominator}",
        }
        if MUXERS[_true_suffix(part)] != "matroska":
            # Where sound begins is stored in ticks of the film's own clock: they must fit samples too.
            ticks_a_second = math.lcm(time_base.denominator, sample_rate or 1)
            options |= {"video_track_timescale": time_base.denominator, "movie_timescale": ticks_a_second}
        if sound is not None:
            codec = {"aac": "aac", "pcm": "pcm_s16le"}.get(audio_codec or "")
            if codec is None:
                raise ValueError(f"audio_codec is {audio_codec}, expected aac or pcm")
            options |= {"acodec": codec, "ar": sample_rate or SOUND_RATE}
        command = compile_output(streams, part, **options)
        n_written = _feed(command, _matroska(pictures, ticks, time_base, in_colour=in_colour), path)
        if n_written != len(ticks):
            raise ValueError(f"{n_written} pictures and {len(ticks)} times, expected as many")
        facts = probe(part, policy=NO_LIMITS)
        if facts.video is None or (facts.audio is None) != (audio is None):
            raise ToolError(f"ffmpeg wrote {shown(path)} without a stream that it was given")
        found = stream_packets(part, str(facts.video.index), facts.start_s, policy=NO_LIMITS)
        if found.n_shown != n_written:
            raise ToolError(f"ffmpeg wrote {found.n_shown} of {n_written} pictures to {shown(path)}")


def encode_sound(
    path: Path,
    audio: NDArray[np.float32],
    *,
    sample_rate: int,
    codec: Literal["pcm_s16le", "pcm_s24le", "flac", "aac", "opus", "mp3"],
) -> None:
    """Write a sound file; its suffix names the container; same bytes every run.

    Args:
        path: ``.wav``, ``.flac``, ``.m4a``, ``.mp4``, ``.ogg``, ``.opus``, ``.mp3``, ``.mkv`` or ``.aac``.
        audio: (n,) mono or (n, channels), in [-1, 1].
        sample_rate: Hz; opus is always written at 48 kHz.
        codec: that the container takes.

    Raises:
        MediaError: the suffix is none of those written here.
        ToolError: ffmpeg is not installed, or the file is not what was requested.
    """
    encoder = {"opus": "libopus", "mp3": "libmp3lame"}.get(codec, codec)
    with _sound_file(audio, sample_rate) as sound, beside(path, SOUND_MUXERS) as part:
        options: dict[str, Any] = {"acodec": encoder, "ar": 48_000 if codec == "opus" else sample_rate}
        if codec in ("aac", "opus", "mp3"):
            options["audio_bitrate"] = "128k"
        command = compile_output([sound.audio], part, SOUND_MUXERS, **options)
        ran = run(command, timeout_s=LONGEST_S)
        if ran.returncode:
            raise ToolError(not_written(path, ran.stderr))
        facts = probe(part, policy=NO_LIMITS)
        ended_s = stream_packets(part, "a:0", facts.start_s, policy=NO_LIMITS).end_s
        if abs(ended_s - len(audio) / sample_rate) > 0.1:
            raise ToolError(
                f"ffmpeg wrote {shown(path)} with {ended_s:.3f} s of sound, expected {len(audio) / sample_rate:.3f} s"
            )


def replace_sound(video: Path, audio: NDArray[np.float32], sample_rate: int, out: Path) -> None:
    """Write ``video`` with ``audio`` for its only sound; its pictures are copied, not encoded again.

    Args:
        video: never written to.
        audio: (n,) mono in [-1, 1], starting at the video's time zero; becomes AAC at 48 kHz.
        sample_rate: of ``audio``, in Hz.
        out: a ``.mp4``, ``.mov`` or ``.mkv``; it appears when whole.

    Raises:
        MediaError: ``video`` cannot be used, or is ``out``.
        ToolError: ffmpeg is not installed, or the file is not what was requested.
    """
    facts = probe(video, policy=NO_LIMITS)
    if facts.video is None:
        raise MediaError(f"{shown(video)}: holds no video stream", kind="NO_VIDEO")
    check_output(video, out)
    before = packets_of(video, facts, facts.video, policy=NO_LIMITS)
    source = ffmpeg.input(token(video), **SAFE_INPUT)[str(facts.video.index)]
    with _sound_file(audio, sample_rate) as sound, beside(out) as part:
        command = compile_output([source, sound.audio], part, vcodec="copy")
        ran = run(command, timeout_s=LONGEST_S)
        if ran.returncode:
            raise ToolError(not_written(out, ran.stderr))
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
        raise MediaError(f"{shown(out)}: is the video itself, expected another name", kind="SAME_FILE")
    if out.suffix.lower() not in MUXERS:
        raise MediaError(f"{shown(out)}: expected a name in {', '.join(MUXERS)}", kind="UNKNOWN_FORMAT")
    if not out.parent.is_dir():
        raise MediaError(f"{shown(out)}: its folder does not exist", kind="NOT_A_FILE")


def compile_output(streams: list[Any], part: Path, /, muxers: Mapping[str, str] = MUXERS, **options: Any) -> list[str]:
    """Return the command that writes ``streams`` to ``part``, with flags that make its bytes repeatable."""
    return compiled(_quietly(output_of(streams, part, muxers, **options)))


def output_of(streams: list[Any], part: Path, /, muxers: Mapping[str, str] = MUXERS, **options: Any) -> Any:
    """Return the output that writes ``streams`` to ``part``, with flags that make its bytes repeatable."""
    muxer = muxers[_true_suffix(part)]
    flags: dict[str, str | int] = {
        "format": muxer,
        "threads": 1,  # x264's bytes depend on it
        "fflags": "+bitexact",
        "flags:v": "+bitexact",
        "flags:a": "+bitexact",
        "map_metadata": -1,
        **options,
    }
    if muxer in ("mp4", "mov", "ipod"):
        flags["movflags"] = "+faststart"  # a browser can begin before it has all
    if len(streams) > 1 and "acodec" not in flags:
        flags |= {"acodec": "aac", "ar": SOUND_RATE, "audio_bitrate": "128k"}
    return ffmpeg.output(*streams, token(part), **flags)


def _quietly(output: Any) -> Any:
    return output.overwrite_output().global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+warning")


def _verify(part: Path, path: Path, *, n_pictures: int, picture_s: Fraction, sound_s: float | None) -> None:
    """Check that a file just written holds the pictures and the sound requested.

    Raises:
        ToolError: it does not.
    """
    try:
        facts = probe(part, policy=NO_LIMITS)
        if facts.video is None:
            raise ToolError(f"ffmpeg wrote {shown(path)} without a video stream{_free_beside(path)}")
        found = packets_of(part, facts, facts.video, policy=NO_LIMITS)
        ended_s = None if sound_s is None else stream_packets(part, "a:0", facts.start_s, policy=NO_LIMITS).end_s
    except MediaError as error:  # where the disk fills up while a file ends, ffmpeg says that all went well
        raise ToolError(f"ffmpeg wrote {shown(path)}, which cannot be read: {error}{_free_beside(path)}") from None
    if found.n_shown != n_pictures or abs(found.end_s - picture_s) > 1 / facts.video.frame_rate:
        raise ToolError(
            f"ffmpeg wrote {shown(path)} with {found.n_shown} pictures in {found.end_s:.3f} s, "
            f"expected {n_pictures} in {float(picture_s):.3f} s{_free_beside(path)}"
        )
    if ended_s is None or sound_s is None:
        return
    if abs(ended_s - sound_s) > 2 * 1024 / SOUND_RATE:  # AAC rounds up to its blocks of 1024 samples
        raise ToolError(
            f"ffmpeg wrote {shown(path)} with {ended_s:.3f} s of sound, expected {sound_s:.3f} s{_free_beside(path)}"
        )


@contextmanager
def _sound_file(audio: NDArray[np.float32] | None, sample_rate: int | None, *, start_s: float = 0.0) -> Iterator[Any]:
    """Lend ``audio`` to ffmpeg as an input; None when there is none.

    Raises:
        ValueError: not mono, empty, not finite, or its rate is missing.
    """
    if audio is None:
        yield None
        return
    if sample_rate is None or audio.ndim > 2 or not len(audio) or not np.isfinite(audio).all():
        raise ValueError(f"sound of shape {audio.shape} at {sample_rate} Hz, expected finite samples")
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        file.write(audio.astype("<f4").tobytes())
        file.flush()
        late = {"itsoffset": start_s} if start_s else {}
        channels = 1 if audio.ndim == 1 else audio.shape[1]
        yield ffmpeg.input(
            token(Path(file.name)), format="f32le", ar=sample_rate, ac=channels, protocol_whitelist="file", **late
        )


@contextmanager
def beside(path: Path, muxers: Mapping[str, str] = MUXERS) -> Iterator[Path]:
    """Lend a name beside ``path`` to write to; it becomes ``path`` when the block succeeds.

    Raises:
        MediaError: the suffix is none of those written here.
    """
    if path.suffix.lower() not in muxers:
        raise MediaError(f"{shown(path)}: expected a name in {', '.join(muxers)}", kind="UNKNOWN_FORMAT")
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


def not_written(path: Path, logged: bytes) -> str:
    """Return why ffmpeg did not write a file: its last error, and the space left, for of that it may say nothing."""
    return f"ffmpeg could not write {shown(path)}: {last_error(logged)}{_free_beside(path)}"


def _free_beside(path: Path) -> str:
    return f" ({shutil.disk_usage(path.parent).free >> 20} MiB free there)" if path.parent.is_dir() else ""


def _feed(command: list[str], pieces: Iterable[bytes | memoryview], path: Path) -> int:
    """Hand ffmpeg what it reads, a piece a picture, and return how many it was handed.

    Raises:
        ToolError: it did not write ``path``.
    """
    n_written = 0
    with running(command, timeout_s=LONGEST_S, feed=True) as (process, log):
        stdin = opened(process.stdin)
        try:
            for piece in pieces:
                stdin.write(piece)
                n_written += 1
            stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg left early: its log says why
        process.wait()
        log.seek(0)
        logged = log.read()
    if process.returncode:
        raise ToolError(not_written(path, logged))
    return n_written


def _yuv(pictures: Iterable[NDArray[np.uint8]], height: int, width: int) -> Iterator[memoryview]:
    """Give grey pictures a colourless yuv420p form, odd sides made even; each piece is valid until the next."""
    even_height, even_width = height + height % 2, width + width % 2
    yuv = np.full(even_height * even_width * 3 // 2, 128, np.uint8)  # 128: no colour
    luma = yuv[: even_height * even_width].reshape(even_height, even_width)
    for number, picture in enumerate(pictures):
        if picture.shape != (height, width):
            raise ValueError(f"picture {number} is {picture.shape}, expected {(height, width)}")
        luma[:height, :width] = picture
        luma[height:, :width] = picture[-1]
        luma[:, width:] = luma[:, width - 1 : width]
        yield yuv.data


def _matroska(
    pictures: Iterable[NDArray[np.uint8]], ticks: Sequence[int], time_base: Fraction, *, in_colour: bool
) -> Iterator[bytes]:
    """Give pictures the time that each is shown."""
    head, step = b"", 1
    for number, picture in enumerate(pictures):
        if number == len(ticks):
            raise ValueError(f"more than {number} pictures, expected as many as times")
        if not number:
            rows, width = picture.shape
            head = matroska_head(width, rows * 2 // 3 if in_colour else rows)
        # The last one stays as long as the one before it: without, readers would leave it out.
        step = ticks[number + 1] - ticks[number] if number + 1 < len(ticks) else step
        yield head + matroska_picture(picture, ticks[number] * time_base, step * time_base, in_colour=in_colour)
        head = b""
