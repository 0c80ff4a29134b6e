"""What a recording is, found without decoding it: its container, streams, times and packets."""

import json
import stat
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.media.formats import HEAD_LENGTH, NAMES, begins_as_media
from tasks.media.process import LONGEST_S, SAFE_INPUT, START_S, MediaError, fault_of, run, shown, url
from tasks.params import Section

ENCODER_DELAYS = (1024, 1600, 2112)  # samples that AAC encoders put first: ffmpeg's, Android's, Apple's
TRIED_PACKETS = 50  # of each of several streams of pictures, to tell the film from a cover
CONTAINER_TICK_S = 2e-3  # containers round starts to a millisecond each


class MediaPolicy(Section):
    """What a video may cost before it is refused."""

    max_pixels: int  # of one picture, as coded
    max_duration_s: float
    max_bytes: int  # of the grey pictures kept in memory
    max_streams: int
    max_file_bytes: int


# For what we wrote, and for copying a stream that is not decoded.
NO_LIMITS = MediaPolicy(max_pixels=2**31 - 1, max_duration_s=1e9, max_bytes=0, max_streams=10_000, max_file_bytes=2**62)


@dataclass(frozen=True, kw_only=True)
class VideoStream:
    """Facts of one of a file's video streams.

    Attributes:
        index: among the file's streams.
        codec: ffmpeg's name.
        width: pixels, after rotation.
        height: pixels, after rotation.
        rotation: degrees that the picture is turned by to be upright.
        frame_rate: the average; pictures may come at other times.
        time_base: seconds per tick of the time stamps.
        start_s: from the earliest start of the file's streams.
        duration_s: as the container declares it for this stream, or None.
        n_declared: pictures that the container counts, or None where it counts none.
    """

    index: int
    codec: str
    width: int
    height: int
    rotation: int
    frame_rate: Fraction
    time_base: Fraction
    start_s: float
    duration_s: float | None
    n_declared: int | None = None


@dataclass(frozen=True, kw_only=True)
class AudioStream:
    """Facts of one of a file's audio streams.

    Attributes:
        index: among the file's streams.
        codec: ffmpeg's name.
        sample_rate: Hz.
        channels: how many.
        start_s: from the earliest start of the file's streams.
        duration_s: as the container declares it for this stream, or None.
    """

    index: int
    codec: str
    sample_rate: int
    channels: int
    start_s: float
    duration_s: float | None


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """What ffprobe says of a file; a stream the file lacks is None, an unknown duration too.

    Attributes:
        container: ffmpeg's name of the format.
        n_streams: of any kind.
        start_s: earliest start of a stream, on the file's own clock: time zero of everything else here.
        duration_s: as the container declares it.
        video: the stream of pictures that is used: of several the first that is a film and decodes.
        videos: all streams of pictures that are not marked as covers.
        sounds: all audio streams.
    """

    container: str
    n_streams: int
    start_s: float
    duration_s: float | None
    video: VideoStream | None
    videos: tuple[VideoStream, ...]
    sounds: tuple[AudioStream, ...]

    @property
    def audio(self) -> AudioStream | None:
        """The first audio stream, if there is one."""
        return self.sounds[0] if self.sounds else None

    def with_video(self, path: Path, index: int | None) -> "MediaFacts":
        """Return the same facts with another stream of pictures in use; None keeps the one that is.

        Raises:
            MediaError: ``NO_VIDEO``, the stream holds no pictures.
        """
        if index is None:
            return self
        for video in self.videos:
            if video.index == index:
                return replace(self, video=video)
        known = ", ".join(str(video.index) for video in self.videos) or "none"
        raise MediaError(f"{shown(path)}: stream {index} holds no pictures, expected one of {known}", kind="NO_VIDEO")

    @property
    def audio_rate(self) -> int | None:
        """Sample rate of the first audio stream in Hz, if there is one."""
        return None if self.audio is None else self.audio.sample_rate


@dataclass(frozen=True, kw_only=True)
class Packets:
    """When the packets of a stream say that they begin and end, in seconds from the file's time zero."""

    n_shown: int  # without those that an edit list discards
    end_s: float
    time_s: NDArray[np.float64]  # of those with a time stamp, ascending


def probe(path: Path, *, policy: MediaPolicy) -> MediaFacts:
    """Read a file's facts without decoding it.

    Raises:
        MediaError: not a regular file, not one of the containers read here, damaged, too large or too long.
        ToolError: ffprobe is not installed or did not answer.
    """
    _check_is_container(path, policy)
    ran = run([*ffprobe(policy), "-show_format", "-show_streams", "-of", "json", url(path)], timeout_s=START_S)
    if ran.returncode:
        raise MediaError(
            f"{shown(path)}: {fault_of(ran.stderr, 'its container cannot be read')}", kind="CORRUPT_CONTAINER"
        )
    try:
        probed: dict[str, Any] = json.loads(ran.stdout)
        facts = _facts(probed)
    except (ValueError, KeyError, ZeroDivisionError) as error:
        raise MediaError(f"{shown(path)}: ffprobe's facts lack sense ({error})", kind="CORRUPT_CONTAINER") from None
    if facts.n_streams > policy.max_streams:
        raise MediaError(
            f"{shown(path)}: {facts.n_streams} streams, expected at most {policy.max_streams}", kind="TOO_LARGE"
        )
    if len(facts.videos) > 1:
        facts = replace(facts, video=_first_film(path, facts.videos, policy))
    if facts.video and facts.video.width * facts.video.height > policy.max_pixels:
        raise MediaError(
            f"{shown(path)}: pictures of {facts.video.width}x{facts.video.height}, "
            f"expected at most {policy.max_pixels} pixels",
            kind="TOO_LARGE",
        )
    if facts.duration_s is not None and facts.duration_s > policy.max_duration_s:
        raise MediaError(
            f"{shown(path)}: {facts.duration_s:.1f} s long, expected at most {policy.max_duration_s} s",
            kind="TOO_LONG",
        )
    return facts


def _check_is_container(path: Path, policy: MediaPolicy) -> None:
    """Refuse what is no regular file (opening a FIFO hangs) or does not begin like a container read here."""
    try:
        found = path.lstat()
    except OSError as error:
        raise MediaError(f"{shown(path)}: {error.strerror}", kind="NOT_A_FILE") from None
    if not stat.S_ISREG(found.st_mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
        what = kinds.get(stat.S_IFMT(found.st_mode), "a device or socket")
        raise MediaError(f"{shown(path)}: is {what}, expected a regular file", kind="NOT_A_FILE")
    if found.st_size > policy.max_file_bytes:
        raise MediaError(
            f"{shown(path)}: {found.st_size} bytes, expected at most {policy.max_file_bytes}", kind="TOO_LARGE"
        )
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_LENGTH)
    except OSError as error:
        raise MediaError(f"{shown(path)}: {error.strerror}", kind="UNREADABLE") from None
    if not head:
        raise MediaError(f"{shown(path)}: is empty", kind="CORRUPT_CONTAINER")
    if not begins_as_media(head):
        raise MediaError(f"{shown(path)}: begins with {head[:8]!r}, expected {NAMES}", kind="NOT_MEDIA")


def _facts(probed: dict[str, Any]) -> MediaFacts:
    """Read ffprobe's answer."""
    form = probed["format"]
    pictures = [
        stream
        for stream in probed["streams"]
        if stream.get("codec_type") == "video" and not stream.get("disposition", {}).get("attached_pic")
    ]
    sounds = [stream for stream in probed["streams"] if stream.get("codec_type") == "audio"]
    start_s = _time_zero_s(pictures, sounds, float(form.get("start_time", 0.0)))
    videos = tuple(_video(stream, start_s) for stream in pictures)
    container = str(form.get("format_name", "unknown"))
    declared_s = float(form["duration"]) if "duration" in form else None
    if declared_s is not None and "matroska" in container:
        declared_s -= max(start_s, 0.0)  # it counts from its own clock's zero, wherever the first stream begins
    return MediaFacts(
        container=container,
        n_streams=len(probed["streams"]),
        start_s=start_s,
        duration_s=declared_s,
        video=videos[0] if videos else None,
        videos=videos,
        sounds=tuple(_audio(stream, start_s) for stream in sounds),
    )


def _first_film(path: Path, videos: tuple[VideoStream, ...], policy: MediaPolicy) -> VideoStream:
    """Return the first stream that decodes to several pictures, else the first to one, else the first of all.

    Covers are not always marked as such, and recorders put small or unknown streams beside the film.
    """
    decoded = []
    for video in videos:
        command = [*ffprobe(policy), "-select_streams", str(video.index), "-read_intervals", f"%+#{TRIED_PACKETS}"]
        ran = run([*command, "-show_entries", "frame=pts_time", "-of", "csv=p=0", url(path)], timeout_s=START_S)
        decoded.append(len(ran.stdout.split()))
        if decoded[-1] > 1:
            return video
    return videos[decoded.index(max(decoded))]


def _time_zero_s(pictures: list[dict[str, Any]], sounds: list[dict[str, Any]], container_s: float) -> float:
    """Return the earliest moment at which a stream is shown or sounds, on the file's own clock.

    The blocks that an encoder of sound puts before the sound itself are not played: containers begin such a stream
    below zero, or just so much before the pictures when it was copied.
    """
    starts = [float(stream["start_time"]) for stream in pictures if "start_time" in stream]
    first_picture_s = min(starts, default=None)
    for stream in sounds:
        if "start_time" not in stream:
            continue
        start_s = float(stream["start_time"])
        lead_s = [n_samples / int(stream["sample_rate"]) for n_samples in ENCODER_DELAYS]
        if first_picture_s is not None and any(
            abs(first_picture_s - start_s - lead) < CONTAINER_TICK_S for lead in lead_s
        ):
            start_s = first_picture_s
        starts.append(0.0 if -0.1 < start_s < 0.0 else start_s)
    return min(starts, default=container_s)


def _declared_s(stream: dict[str, Any], begins_s: float) -> float | None:
    """Return how long a stream says it is."""
    if "duration" in stream:
        return float(stream["duration"])
    if "DURATION" in stream.get("tags", {}):  # Matroska: when the stream ends
        hours, minutes, seconds = stream["tags"]["DURATION"].split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - begins_s
    return None


def _video(stream: dict[str, Any], start_s: float) -> VideoStream:
    begins_s = float(stream.get("start_time", start_s))
    width, height = int(stream["width"]), int(stream["height"])
    turned = [int(data["rotation"]) for data in stream.get("side_data_list", []) if "rotation" in data]
    rotation = turned[0] if turned else 0
    if rotation % 180:
        width, height = height, width
    average = Fraction(stream["avg_frame_rate"]) if stream["avg_frame_rate"] != "0/0" else Fraction(0)
    video = VideoStream(
        index=int(stream["index"]),
        codec=str(stream.get("codec_name", "unknown")),
        width=width,
        height=height,
        rotation=rotation,
        frame_rate=average or Fraction(stream["r_frame_rate"]),
        time_base=Fraction(stream["time_base"]),
        start_s=begins_s - start_s,
        duration_s=_declared_s(stream, begins_s),
        n_declared=int(stream["nb_frames"]) if str(stream.get("nb_frames", "")).isdigit() else None,
    )
    if video.frame_rate <= 0 or width <= 0 or height <= 0:
        raise ValueError(f"{width}x{height} at {video.frame_rate}")
    return video


def _audio(stream: dict[str, Any], start_s: float) -> AudioStream:
    begins_s = float(stream.get("start_time", start_s))
    audio = AudioStream(
        index=int(stream["index"]),
        codec=str(stream.get("codec_name", "unknown")),
        sample_rate=int(stream["sample_rate"]),
        channels=int(stream["channels"]),
        start_s=begins_s - start_s,
        duration_s=_declared_s(stream, begins_s),
    )
    if audio.sample_rate <= 0 or audio.channels <= 0:
        raise ValueError(f"{audio.channels} channels at {audio.sample_rate} Hz")
    return audio


def packets_of(path: Path, facts: MediaFacts, stream: VideoStream, *, policy: MediaPolicy) -> Packets:
    """List the video's packets, and refuse a file whose streams end before its header says.

    Raises:
        MediaError: truncated, or longer than allowed.
    """
    packets = stream_packets(path, str(stream.index), facts.start_s, policy=policy)
    if packets.end_s > policy.max_duration_s:
        raise MediaError(
            f"{shown(path)}: {packets.end_s:.1f} s long, expected at most {policy.max_duration_s} s",
            kind="TOO_LONG",
        )
    if stream.n_declared is not None and packets.n_shown >= stream.n_declared:
        return packets  # all pictures that the header counts are there, whatever lengths it declares
    one_picture_s = _one_picture_s(packets, stream)
    end_s = packets.end_s
    if stream.duration_s is not None:
        declared_s = stream.start_s + stream.duration_s
    elif facts.duration_s is not None and facts.n_streams == len(facts.sounds) + len(facts.videos):
        # Of the file: sound may end it. Subtitles and data would too, and are not read.
        declared_s = facts.duration_s
        if end_s < declared_s - one_picture_s and facts.audio is not None:
            end_s = max(end_s, stream_packets(path, "a:0", facts.start_s, policy=policy).end_s)
    else:
        return packets
    if end_s < declared_s - one_picture_s - 1e-3:  # some headers count in milliseconds
        raise MediaError(
            f"{shown(path)}: ends at {end_s:.3f} s, expected {declared_s:.3f} s as its header says",
            kind="TRUNCATED",
        )
    return packets


def _one_picture_s(packets: Packets, stream: VideoStream) -> float:
    """Return how long a picture is shown, by the packets' own times or by the average rate, whichever is longer.

    A last packet may not say how long it is shown.
    """
    steps = np.diff(packets.time_s)
    return max(float(1 / stream.frame_rate), float(np.median(steps)) if len(steps) else 0.0)


def stream_packets(path: Path, stream: str, start_s: float, *, policy: MediaPolicy) -> Packets:
    """Read the packets of one stream without decoding them."""
    entries = "packet=pts_time,duration_time,flags"
    command = [*ffprobe(policy), "-select_streams", stream, "-show_packets", "-show_entries", entries]
    ran = run([*command, "-of", "csv=p=0:nk=0", url(path)], timeout_s=patience_s(policy))
    n_shown, end_s = 0, 0.0
    times_s: list[float] = []
    for line in ran.stdout.decode("ascii", "replace").splitlines():
        values = dict(field.partition("=")[::2] for field in line.split(","))
        if "D" in values.get("flags", ""):
            continue
        n_shown += 1
        if values.get("pts_time", "N/A") != "N/A":
            length = values.get("duration_time", "N/A")
            times_s.append(float(values["pts_time"]) - start_s)
            end_s = max(end_s, times_s[-1] + (0.0 if length == "N/A" else float(length)))
    return Packets(n_shown=n_shown, end_s=end_s, time_s=np.sort(np.array(times_s, np.float64)))


def ffprobe(policy: MediaPolicy) -> list[str]:
    """Return the beginning of every ffprobe command."""
    options = {**SAFE_INPUT, "max_pixels": str(policy.max_pixels), "loglevel": "level+error"}
    return [
        "ffprobe",
        "-hide_banner",
        *(word for key, value in options.items() for word in (f"-{key}", value)),
    ]


def patience_s(policy: MediaPolicy) -> float:
    """Return how long a command may take with the longest file allowed."""
    return min(START_S + 4 * policy.max_duration_s, LONGEST_S)
