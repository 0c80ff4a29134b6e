"""What a camera's or a microphone's file holds, measured by decoding all of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import BadInput
from tasks.intake.describe import StreamsNamed
from tasks.intake.folder import Role, role_of, shown
from tasks.media.levels import measure_sound, notable_facts
from tasks.media.pictures import check_film
from tasks.media.probe import MediaFacts, MediaPolicy, VideoStream, probe
from tasks.media.process import MediaError
from tasks.media.sound import declared_end_s
from tasks.media.wav_header import wav_is_unfinished
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

    The flags: ``no_audio`` and ``damaged_audio`` (of a camera), ``silent``, ``truncated``, ``dead_channel``,
    ``channels_cancel``, ``not_finite`` (samples that are not numbers), ``unfinished`` (a header that was never filled
    in), ``lost_pictures``, ``bad_timestamps`` (pictures that are left out as their time is not after the one before),
    ``declared_otherwise`` (its header says another length or rate than it has).
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


def examine_device(
    path: Path,
    *,
    policy: MediaPolicy,
    params: CaptureParams,
    role: Role | None = None,
    streams: StreamsNamed | None = None,
) -> Examined:
    """Decode a recording from end to end and return what it holds.

    A microphone's pictures are left alone. A camera whose sound does not decode is a camera without sound.

    Args:
        path: the recording.
        policy: what it may cost.
        params: what is accepted of it.
        role: what it is; None takes it from the name.
        streams: those that take.yaml names of a file with several.

    Returns:
        Facts: ``container``, ``duration_s``, ``video`` and ``audio`` (None where there is none, or none is used), and
        ``truncated_at_s`` where the file ends before its header's end, which is ``declared_s`` if it has one. All of
        it is what was decoded; what the header declares is there beside it where it is something else. Times count
        from the file's time zero. Only where there is something to say: ``stream`` of several, ``channels_used``,
        ``not_finite``, ``lost_s`` (times of pictures that do not decode), ``left_out`` (pictures whose times do not
        grow), ``audio_fault`` (why a camera's sound is not used).

    Raises:
        MediaError: it is damaged, too large, ends too early where that is not allowed, or is no recording at all.
        DeviceError: as in `probe_device`; ``TOO_SHORT``.
    """
    role = role or role_of(path.name)
    streams = streams or StreamsNamed()
    facts = probe_device(path, role, policy=policy).with_video(path, streams.pictures)
    video = None
    if role == "camera" and facts.video is not None:
        video = _video(path, facts, facts.video, policy, lenient=params.lenient)
    flags: list[str] = []
    audio, fault = None, ""
    try:
        if facts.audio is not None:
            audio = _audio(path, facts, streams.sound, policy, lenient=params.lenient)
    except MediaError as error:
        if video is None:
            raise
        flags.append("damaged_audio")
        fault = str(error)
    parts = [part for part in (video, audio) if part is not None]
    cuts_s = [part.truncated_at_s for part in parts if part.truncated_at_s is not None]
    duration_s = max(part.end_s for part in parts)
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
    flags += [flag for part in parts for flag in part.flags]
    declared_s = max((part.declared_s for part in parts if part.declared_s is not None), default=None)
    is_otherwise = not cuts_s and declared_s is not None and abs(declared_s - duration_s) > _declared_tolerance_s(facts)
    if is_otherwise or (video is not None and "declared_rate" in video.facts):
        flags.append("declared_otherwise")
    return Examined(
        facts={
            "container": facts.container,
            "duration_s": duration_s,
            "video": None if video is None else video.facts,
            "audio": None if audio is None else audio.facts,
            "truncated_at_s": min(cuts_s) if cuts_s else None,
            "declared_s": declared_s if cuts_s or is_otherwise else None,
        }
        | ({"audio_fault": fault} if fault else {}),
        flags=tuple(flags),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The pictures or the sound of a file."""

    facts: dict[str, Any]
    end_s: float
    truncated_at_s: float | None
    declared_s: float | None
    flags: tuple[str, ...]


def _declared_tolerance_s(facts: MediaFacts) -> float:
    """Return by how much a header's length may be another one: a picture, a block of sound, a container's rounding."""
    one_picture_s = 0.0 if facts.video is None else float(1 / facts.video.frame_rate)
    return 0.2 + one_picture_s


def _video(path: Path, facts: MediaFacts, stream: VideoStream, policy: MediaPolicy, *, lenient: bool) -> _Part:
    film = check_film(path, policy, lenient=lenient, facts=facts)
    found: dict[str, Any] = {
        "codec": stream.codec,
        "width": stream.width,
        "height": stream.height,
        "rotation": stream.rotation,
        "frame_rate": str(film.frame_rate),
        "is_variable": film.is_variable,
        "n_pictures": film.n_pictures,
        "first_s": film.first_s,
        "last_s": film.last_s,
    }
    flags = []
    if len(facts.videos) > 1:
        found["stream"] = stream.index
    if film.frame_rate != stream.frame_rate:
        found["declared_rate"] = str(stream.frame_rate)
    if film.lost_s:
        found["lost_s"] = list(film.lost_s)
        flags.append("lost_pictures")
    if film.n_left_out:
        found["left_out"] = film.n_left_out
        flags.append("bad_timestamps")
    return _Part(
        facts=found,
        end_s=film.end_s,
        truncated_at_s=film.truncated_at_s,
        declared_s=None if stream.duration_s is None else stream.start_s + stream.duration_s,
        flags=tuple(flags),
    )


def _audio(path: Path, facts: MediaFacts, stream: int | None, policy: MediaPolicy, *, lenient: bool) -> _Part:
    measured = measure_sound(path, policy=policy, stream=stream, lenient=lenient, facts=facts)
    coded = next(sound for sound in facts.sounds if sound.index == measured.stream)
    used = measured.facts.channels_used
    found = {
        "codec": coded.codec,
        "sample_rate": coded.sample_rate,
        "channels": coded.channels,
        "start_s": coded.start_s,
        "peak_db": round(max(measured.facts.peak_db, -120.0), 1),
        "clipped": round(measured.facts.clipped, 6),
        "dead_channels": list(used.dead),
        "holes": [list(hole) for hole in measured.holes],
    } | notable_facts(measured.facts, n_patched=measured.n_patched)
    if len(facts.sounds) > 1:
        found["stream"] = measured.stream
    noted = {
        "dead_channel": bool(used.dead),
        "channels_cancel": used.cancels,
        "not_finite": measured.n_patched > 0,
        "unfinished": wav_is_unfinished(path),
    }
    return _Part(
        facts=found,
        end_s=measured.facts.duration_s,
        truncated_at_s=measured.truncated_at_s,
        declared_s=declared_end_s(path, facts, coded),
        flags=tuple(flag for flag, is_so in noted.items() if is_so),
    )
