"""What a camera's or a microphone's file holds, measured by decoding all of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import BadInput
from tasks.intake.folder import Role, role_of, shown
from tasks.media.levels import measure_sound
from tasks.media.pictures import check_film
from tasks.media.probe import AudioStream, MediaFacts, MediaPolicy, VideoStream, probe
from tasks.media.process import MediaError
from tasks.params import Section


class DeviceError(BadInput):
    """A recording that decodes and yet is of no use: the file, what was found, what was expected."""


class CaptureParams(Section):
    """What is accepted of a device.

    Attributes:
        lenient: keep what decodes of a file that ends too early; else it is refused.
        min_duration_s: a shorter recording is refused.
        short_fraction: a device that holds less of its take's longest one is flagged ``short``.
        silence_db: sound that never rises above this level, in dB of full scale, is flagged ``silent``.
    """

    lenient: bool
    min_duration_s: float
    short_fraction: float
    silence_db: float


@dataclass(frozen=True, kw_only=True)
class Examined:
    """A recording that can be used: its facts as in the catalog, and flags for what is wrong with it.

    The flags: ``no_audio`` and ``damaged_audio`` (of a camera), ``silent``, ``truncated``.
    """

    facts: dict[str, Any]
    flags: tuple[str, ...]


def probe_device(path: Path, role: Role, *, policy: MediaPolicy) -> MediaFacts:
    """Read a recording's facts without decoding it.

    Raises:
        MediaError: it is damaged, too large, or no recording at all.
        DeviceError: ``NO_VIDEO``, a camera's file without pictures; ``NO_AUDIO``, a microphone's, stem's
            or mix's without sound.
    """
    facts = probe(path, policy=policy)
    if role == "camera" and facts.video is None:
        raise DeviceError(f"{shown(path)}: holds no pictures, expected a camera's", kind="NO_VIDEO")
    if role in ("microphone", "stem", "mix") and facts.audio is None:
        raise DeviceError(f"{shown(path)}: holds no sound, expected a microphone's", kind="NO_AUDIO")
    return facts


def examine_device(path: Path, *, policy: MediaPolicy, params: CaptureParams, role: Role | None = None) -> Examined:
    """Decode a recording from end to end and return what it holds.

    A microphone's pictures are left alone. A camera whose sound does not decode is a camera without sound.

    Args:
        path: the recording.
        policy: what it may cost.
        params: what is accepted of it.
        role: what it is; None takes it from the name.

    Returns:
        Facts: ``container``, ``duration_s``, ``video`` and ``audio`` (None where there is none, or none is used), and
        ``truncated_at_s`` where the file ends before its header's end, which is ``declared_s`` if it has one. Times
        count from the file's time zero.

    Raises:
        MediaError: it is damaged, too large, ends too early where that is not allowed, or is no recording at all.
        DeviceError: as in `probe_device`; ``TOO_SHORT``.
    """
    role = role or role_of(path.name)
    facts = probe_device(path, role, policy=policy)
    video = None
    if role == "camera" and facts.video is not None:
        video = _video(path, facts, facts.video, policy, lenient=params.lenient)
    flags: list[str] = []
    audio = None
    try:
        if facts.audio is not None:
            audio = _audio(path, facts, facts.audio, policy, lenient=params.lenient)
    except MediaError:
        if video is None:
            raise
        flags.append("damaged_audio")
    ends_s = [part.end_s for part in (video, audio) if part is not None]
    cuts_s = [part.truncated_at_s for part in (video, audio) if part is not None and part.truncated_at_s is not None]
    duration_s = max(ends_s)
    if duration_s < params.min_duration_s:
        raise DeviceError(
            f"{shown(path)}: {duration_s:.3f} s long, expected at least {params.min_duration_s} s", kind="TOO_SHORT"
        )
    if facts.audio is None:
        flags.append("no_audio")
    if audio is not None and audio.facts["peak_db"] < params.silence_db:
        flags.append("silent")
    if cuts_s:
        flags.append("truncated")
    return Examined(
        facts={
            "container": facts.container,
            "duration_s": duration_s,
            "video": None if video is None else video.facts,
            "audio": None if audio is None else audio.facts,
            "truncated_at_s": min(cuts_s) if cuts_s else None,
            "declared_s": _declared_s(facts) if cuts_s else None,
        },
        flags=tuple(flags),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The pictures or the sound of a file."""

    facts: dict[str, Any]
    end_s: float
    truncated_at_s: float | None


def _declared_s(facts: MediaFacts) -> float | None:
    streams = [stream for stream in (facts.video, facts.audio) if stream is not None]
    return max((part.start_s + part.duration_s for part in streams if part.duration_s is not None), default=None)


def _video(path: Path, facts: MediaFacts, stream: VideoStream, policy: MediaPolicy, *, lenient: bool) -> _Part:
    film = check_film(path, policy, lenient=lenient, facts=facts)
    return _Part(
        facts={
            "codec": stream.codec,
            "width": stream.width,
            "height": stream.height,
            "rotation": stream.rotation,
            "frame_rate": str(film.frame_rate),
            "is_variable": film.is_variable,
            "n_pictures": film.n_pictures,
            "first_s": film.first_s,
            "last_s": film.last_s,
        },
        end_s=film.last_s + float(1 / film.frame_rate),
        truncated_at_s=film.truncated_at_s,
    )


def _audio(path: Path, facts: MediaFacts, stream: AudioStream, policy: MediaPolicy, *, lenient: bool) -> _Part:
    measured = measure_sound(path, policy=policy, lenient=lenient, facts=facts)
    return _Part(
        facts={
            "codec": stream.codec,
            "sample_rate": stream.sample_rate,
            "channels": stream.channels,
            "start_s": stream.start_s,
            "peak_db": round(max(measured.facts.peak_db, -120.0), 1),
            "clipped": round(measured.facts.clipped, 6),
            "dead_channels": list(measured.facts.dead_channels),
            "holes": [list(hole) for hole in measured.holes],
        },
        end_s=measured.facts.duration_s,
        truncated_at_s=measured.truncated_at_s,
    )
