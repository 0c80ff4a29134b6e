"""Recordings in: sound at one rate, every sample at its own time.

This is the one way in which verbs open sound: which stream of a file, which of its channels, and what of a damaged or
unfinished file is used is the same for all of them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from tasks.media.channels import SILENT, ChannelMeter, UsedChannels
from tasks.media.probe import AudioStream, MediaFacts, MediaPolicy, ffprobe, patience_s, probe
from tasks.media.process import (
    LOGGED_ERROR,
    SAFE_INPUT,
    MediaError,
    compiled,
    fault_of,
    opened,
    run,
    running,
    shown,
    token,
    url,
)
from tasks.media.wav_header import wav_is_unfinished, wav_lacks

BLOCK_SAMPLES = 1 << 18  # read at a time
PACKED_SAMPLES = 1 << 14  # handed over at a time by ffmpeg: its own thousand would cost a system call each
# Sound that comes later than the samples before it say is put where its time stamp says. One lost packet is longer
# than this (AAC 21 ms, Opus 20 ms); time stamps in milliseconds jitter by less.
HOLE_S = 0.015
START_S = 2e-5  # a stream that begins later than this begins where it says: a sample
TOLERANCE_S = 0.05  # between the declared length and the decoded one
# What an MP3 or AAC encoder puts before and behind the sound, and its header may count: two blocks, 72 ms at 32 kHz.
PADDING_SAMPLES = 2 * 1152
MP3_BLOCK_BYTES = 1441  # of the longest block
FULL_SCALE = 32767  # of samples of 16 bits
MOST_LOST = 0.5  # of a recording's length: with more holes it is refused, however lenient one is
# Codecs whose every block has a checksum. Unasked, ffmpeg does not look at it and hands out what a flipped bit made of
# the samples; asked, it leaves the block out, which makes a hole.
CHECKED_CODECS = ("flac", "tta", "wavpack")
CHECKED = {"err_detect": "crccheck+explode"}
PUT_IN = re.compile(rb"adding (\d+) audio samples of silence")


@dataclass(frozen=True, kw_only=True)
class DecodedSound:
    """The sound of a recording.

    Attributes:
        samples: (n,) mono, the mean of the channels that are used (`tasks.media.channels`); sample k sounds
            ``k / sample_rate`` s after the file's time zero. A stream that begins later, or has a hole, has zeros
            there.
        sample_rate: Hz.
        start_s: when sample 0 sounds, from the file's time zero: always 0.
        stream: which of the file's streams it is.
        holes: where nothing was recorded, or nothing decodes: (start, end) in s each.
        n_patched: samples that were no numbers and are zeros now.
        truncated_at_s: where the sound ends when that is before its declared end, else None.
        remarks: what was chosen, left out or put in that nobody asked for, a line each.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    start_s: float
    stream: int
    holes: tuple[tuple[float, float], ...]
    n_patched: int
    truncated_at_s: float | None
    remarks: tuple[str, ...]


def read_sound(
    path: Path,
    *,
    sample_rate: int | None,
    policy: MediaPolicy,
    stream: int | None = None,
    lenient: bool = False,
    facts: MediaFacts | None = None,
) -> DecodedSound:
    """Decode one of a recording's audio streams whole.

    Args:
        path: any container read here.
        sample_rate: Hz, to resample to; None keeps the stream's own, and averages channels as numbers of 32 bits.
        policy: what it may cost.
        stream: index among the file's streams; None takes the first one that decodes and has sound.
        lenient: keep what decodes of a truncated or damaged file.
        facts: what `tasks.media.probe.probe` found in the file, if it was called with this policy.

    Raises:
        MediaError: as in `SoundBlocks`.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    mix = sample_rate is not None
    blocks = SoundBlocks(
        path, sample_rate=sample_rate, policy=policy, stream=stream, lenient=lenient, facts=facts, mix=mix
    )
    parts: list[NDArray[np.float32]] = []
    meter = ChannelMeter(blocks.channels)
    for block in blocks:
        parts.append(block)
        if not mix:
            meter.add(block)
    samples = np.concatenate(parts)
    remarks = blocks.remarks
    if not mix:
        used = meter.used()
        samples = used.mix(samples)[:, 0]
        remarks = (*remarks, used.remark) if used.remark else remarks
    return DecodedSound(
        samples=samples,
        sample_rate=blocks.sample_rate,
        start_s=0.0,
        stream=blocks.stream,
        holes=blocks.holes,
        n_patched=blocks.n_patched,
        truncated_at_s=blocks.truncated_at_s,
        remarks=remarks,
    )


def iter_sound(
    path: Path, *, sample_rate: int, policy: MediaPolicy, stream: int | None = None, lenient: bool = False
) -> Iterator[NDArray[np.float32]]:
    """Decode a recording's sound as `read_sound` does, in blocks: memory does not grow with its length.

    Raises:
        MediaError: as in `SoundBlocks`.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    yield from SoundBlocks(path, sample_rate=sample_rate, policy=policy, stream=stream, lenient=lenient)


def read_pcm(
    path: Path,
    *,
    sample_rate: int,
    policy: MediaPolicy,
    stream: int | None = None,
    remark: Callable[[str], None] | None = None,
) -> NDArray[np.int16]:
    """Decode what a recording holds of sound to 16 bits, with no second copy of it: an hour at 16 kHz is 115 MB.

    Args:
        path: any container read here.
        sample_rate: Hz, to resample to.
        policy: what it may cost.
        stream: as in `read_sound`.
        remark: called with each of the remarks of `DecodedSound`.

    Returns:
        (n,) mono in [-32768, 32767], full scale at `FULL_SCALE`.

    Raises:
        MediaError: as in `SoundBlocks`, when it is lenient.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    facts = probe(path, policy=policy)
    blocks = SoundBlocks(path, sample_rate=sample_rate, policy=policy, stream=stream, lenient=True, facts=facts)
    sound = np.empty(round((facts.duration_s or 0.0) * sample_rate) + 1, np.int16)
    n = 0
    for block in blocks:
        if n + len(block) > len(sound):  # longer than its header says
            sound.resize(2 * len(sound) + len(block), refcheck=False)
        sound[n : n + len(block)] = np.rint(block * FULL_SCALE).clip(-32768, 32767)
        n += len(block)
    sound.resize(n, refcheck=False)
    if remark is not None:
        for words in blocks.remarks:
            remark(words)
    return sound


class SoundBlocks:
    """A recording's sound in blocks of (n,), or (n, channels) where channels are kept; iterate once.

    After that the attributes ``stream``, ``holes``, ``n_patched``, ``truncated_at_s`` and ``remarks`` are known
    (`DecodedSound` says what they are).

    Args:
        path: any container read here.
        sample_rate: Hz, to resample to; None keeps the stream's own, which ``sample_rate`` then names.
        policy: what it may cost.
        stream: index among the file's streams; None takes the first one that decodes and has sound.
        lenient: keep what decodes of a truncated or damaged file, with zeros for samples that are no numbers.
        facts: what `tasks.media.probe.probe` found in the file, if it was called with this policy.
        mix: give the mean of the channels that `tasks.media.channels` uses; several are decoded once more to tell.

    Raises:
        MediaError: as in `tasks.media.probe.probe`; ``NO_AUDIO``; ``TRUNCATED``, it ends before its declared end;
            ``DAMAGED_STREAM``, parts of it do not decode, or, if lenient, most of it; ``NOT_FINITE``, a sample is
            no number; ``TOO_LONG``.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """

    def __init__(
        self,
        path: Path,
        *,
        sample_rate: int | None,
        policy: MediaPolicy,
        lenient: bool,
        stream: int | None = None,
        facts: MediaFacts | None = None,
        mix: bool = True,
    ) -> None:
        self._path = path
        self._policy = policy
        self._lenient = lenient
        self._facts = facts or probe(path, policy=policy)
        self._stream, chosen = _chosen(path, self._facts, policy, stream)
        self._mix = mix
        self._remarks = [chosen] if chosen else []
        self._used: UsedChannels | None = None
        if mix and self._stream.channels > 1:
            self._used = used_channels(path, policy=policy, stream=self._stream.index, facts=self._facts)
            self._remarks += [self._used.remark] if self._used.remark else []
        self.stream = self._stream.index
        self.sample_rate = sample_rate or self._stream.sample_rate
        self.channels = 1 if mix else self._stream.channels
        self.holes: tuple[tuple[float, float], ...] = ()
        self.n_patched = 0
        self.truncated_at_s: float | None = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was chosen, left out or put in that nobody asked for, a line each."""
        found = list(self._remarks)
        if self.n_patched:
            found.append(f"{self.n_patched} samples are not numbers: zeros take their place")
        if self.holes:
            found.append(
                "1 hole in its sound is filled with silence"
                if len(self.holes) == 1
                else f"{len(self.holes)} holes in its sound are filled with silence"
            )
        if self.truncated_at_s is not None:
            found.append(f"its sound ends at {self.truncated_at_s:.3f} s, before its header says")
        return tuple(found)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks in order of time."""
        lacks = wav_lacks(self._path)
        if lacks is not None and not self._lenient:
            raise MediaError(f"{shown(self._path)}: {lacks}", kind="TRUNCATED")
        is_unfinished = wav_is_unfinished(self._path)
        if is_unfinished:
            self._remarks.append("its header was never finished: all that follows it is read as sound")
        channels = self.channels
        n_samples = 0
        used = None if self._used is None else self._used.used
        command = _command(
            self._path, self._stream, self.sample_rate, self._facts.start_s, used=used, to_the_end=is_unfinished
        )
        with running(command, timeout_s=patience_s(self._policy)) as (process, log):
            pipe = opened(process.stdout)
            while data := pipe.read(4 * channels * BLOCK_SAMPLES):
                block = np.frombuffer(data[: len(data) // (4 * channels) * 4 * channels], "<f4")
                block = block.astype(np.float32, copy=False).reshape(-1, channels)
                block = self._finite(block, n_samples)
                n_samples += len(block)
                if n_samples > self._policy.max_duration_s * self.sample_rate:
                    raise MediaError(
                        f"{shown(self._path)}: longer than {self._policy.max_duration_s} s, as much as is expected",
                        kind="TOO_LONG",
                    )
                yield block[:, 0] if self._mix else block
            process.wait()
            log.seek(0)
            logged = log.read()
        self._check(n_samples / self.sample_rate, logged, process.returncode)
        if lacks is not None:
            self.truncated_at_s = n_samples / self.sample_rate

    def _finite(self, block: NDArray[np.float32], n_before: int) -> NDArray[np.float32]:
        finite = np.isfinite(block)
        if finite.all():
            return block
        if not self._lenient:
            sample = n_before + int(np.argmin(finite.all(axis=1)))
            raise MediaError(
                f"{shown(self._path)}: sample {sample} at {sample / self.sample_rate:.3f} s is no number",
                kind="NOT_FINITE",
            )
        self.n_patched += int((~finite).sum())
        return np.where(finite, block, np.float32(0))

    def _check(self, decoded_s: float, logged: bytes, returncode: int) -> None:
        """Hold what came out against what the container promised."""
        name = shown(self._path)
        errors = LOGGED_ERROR.findall(logged)
        if not decoded_s and not errors and not returncode:
            raise MediaError(f"{name}: holds no samples, expected sound", kind="NO_SAMPLES")
        if returncode or not decoded_s:
            found = fault_of(logged, "it is damaged")
            raise MediaError(f"{name}: its sound does not decode: {found}", kind="DAMAGED_STREAM")
        declared_s = declared_end_s(self._path, self._facts, self._stream)
        if declared_s is not None and decoded_s < declared_s - _tolerance_s(self._stream):
            if not self._lenient:
                raise MediaError(
                    f"{name}: its sound ends at {decoded_s:.3f} s, expected {declared_s:.3f} s as its header says",
                    kind="TRUNCATED",
                )
            self.truncated_at_s = decoded_s
        elif errors and not self._lenient:
            raise MediaError(f"{name}: parts of its sound do not decode, {len(errors)} errors", kind="DAMAGED_STREAM")
        n_put_in = len(PUT_IN.findall(logged)) - (self._stream.start_s > START_S)
        if n_put_in > 0 or errors:
            self.holes = _holes(self._path, self._stream, self._facts.start_s, self._policy)
            lost_s = sum(end_s - start_s for start_s, end_s in self.holes)
            if errors and lost_s > MOST_LOST * decoded_s:
                raise MediaError(
                    f"{name}: {lost_s:.3f} s of its {decoded_s:.3f} s of sound do not decode, {len(errors)} errors",
                    kind="DAMAGED_STREAM",
                )


def used_channels(
    path: Path, *, policy: MediaPolicy, stream: int | None = None, facts: MediaFacts | None = None
) -> UsedChannels:
    """Decode a recording's sound, at its own rate and leniently, and return which of its channels are used.

    Raises:
        MediaError: as in `SoundBlocks`.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    facts = facts or probe(path, policy=policy)
    chosen, _ = _chosen(path, facts, policy, stream)
    return _used_channels(path, _state(path), facts, policy, chosen.index)


@lru_cache(maxsize=256)
def _used_channels(
    path: Path,
    state: tuple[int, int],  # noqa: ARG001 - a file that was written again has another one
    facts: MediaFacts,
    policy: MediaPolicy,
    stream: int,
) -> UsedChannels:
    blocks = SoundBlocks(path, sample_rate=None, policy=policy, stream=stream, lenient=True, facts=facts, mix=False)
    meter = ChannelMeter(blocks.channels)
    for block in blocks:
        meter.add(block)
    return meter.used()


def _chosen(path: Path, facts: MediaFacts, policy: MediaPolicy, stream: int | None) -> tuple[AudioStream, str]:
    """Return a file's audio stream that is used, and which one it is where there are several and none was named."""
    if facts.audio is None:
        raise MediaError(f"{shown(path)}: holds no audio stream", kind="NO_AUDIO")
    by_index = {sound.index: sound for sound in facts.sounds}
    if stream is not None:
        if stream not in by_index:
            known = ", ".join(map(str, by_index))
            raise MediaError(f"{shown(path)}: stream {stream} is no sound, expected one of {known}", kind="NO_AUDIO")
        return by_index[stream], ""
    if len(by_index) == 1:
        return facts.audio, ""
    index, others = _first_with_sound(path, _state(path), facts, policy)
    return by_index[index], f"stream {index} is used, the first of {len(by_index)} with sound{others}"


@lru_cache(maxsize=256)
def _first_with_sound(
    path: Path,
    state: tuple[int, int],  # noqa: ARG001 - a file that was written again has another one
    facts: MediaFacts,
    policy: MediaPolicy,
) -> tuple[int, str]:
    """Return the first stream that decodes and has sound, else the first that decodes, else the first of all.

    And what is wrong with those before it.
    """
    silent: list[int] = []
    passed: list[str] = []
    for sound in facts.sounds:
        try:
            if _has_sound(path, facts, policy, sound.index):
                return sound.index, f" ({', '.join(passed)})" if passed else ""
            silent.append(sound.index)
            passed.append(f"stream {sound.index} is silent")
        except MediaError:
            passed.append(f"stream {sound.index} does not decode")
    first = silent[0] if silent else facts.sounds[0].index
    return first, f" ({', '.join(passed)})"


def _has_sound(path: Path, facts: MediaFacts, policy: MediaPolicy, stream: int) -> bool:
    """Say whether a stream swings at all; it is decoded until it does.

    Raises:
        MediaError: it does not decode.
    """
    blocks = SoundBlocks(path, sample_rate=None, policy=policy, stream=stream, lenient=True, facts=facts, mix=False)
    low, high = np.inf, -np.inf
    for block in blocks:
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        if (high - low >= 2 * SILENT).any():
            return True
    return False


def _state(path: Path) -> tuple[int, int]:
    """Return size and time of the last change of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _tolerance_s(stream: AudioStream) -> float:
    is_exact = stream.codec.startswith("pcm_") or stream.codec in ("flac", "alac")
    return TOLERANCE_S if is_exact else max(TOLERANCE_S, PADDING_SAMPLES / stream.sample_rate)


def declared_end_s(path: Path, facts: MediaFacts, stream: AudioStream) -> float | None:
    """Return where a file's header says that a stream of sound ends; None where none says so, and it was estimated."""
    if facts.container == "aac" or (facts.container == "mp3" and not _counts_blocks(path)):
        return None  # by the size of the file and the rate of its first blocks
    if wav_is_unfinished(path):
        return None
    if stream.duration_s is not None:
        return stream.start_s + stream.duration_s
    return facts.duration_s if facts.n_streams == 1 else None


def _counts_blocks(path: Path) -> bool:
    """Say whether an MP3 file begins with the block that counts those behind it."""
    with path.open("rb") as file:
        head = file.read(10)
        n_bytes = 0
        if head[:3] == b"ID3":
            n_bytes = 10 + sum(byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        file.seek(n_bytes)
        block = file.read(MP3_BLOCK_BYTES)
    return any(name in block for name in (b"Xing", b"Info", b"VBRI"))


def _holes(path: Path, stream: AudioStream, time_zero_s: float, policy: MediaPolicy) -> tuple[tuple[float, float], ...]:
    """Decode once more and list where the next samples come later than the last ones end."""
    options = (word for key, value in _checked(stream).items() for word in (f"-{key}", value))
    command = [*ffprobe(policy), *options, "-select_streams", str(stream.index), "-show_frames"]
    command += ["-show_entries", "frame=pts_time,nb_samples", "-of", "csv=p=0:nk=0", url(path)]
    ran = run(command, timeout_s=patience_s(policy))
    found: list[tuple[float, float]] = []
    end_s: float | None = None
    for line in ran.stdout.decode("ascii", "replace").splitlines():
        values = dict(field.partition("=")[::2] for field in line.split(","))
        if not values.get("nb_samples", "").isdigit():
            continue
        if values.get("pts_time", "N/A") == "N/A":  # behind damage: it goes on from the block before
            end_s = None if end_s is None else end_s + int(values["nb_samples"]) / stream.sample_rate
            continue
        start_s = float(values["pts_time"]) - time_zero_s
        if end_s is not None and start_s > end_s + HOLE_S:
            found.append((max(end_s, 0.0), start_s))
        end_s = max(end_s or 0.0, start_s + int(values["nb_samples"]) / stream.sample_rate)
    return tuple(found)


def _checked(stream: AudioStream) -> dict[str, str]:
    return CHECKED if stream.codec in CHECKED_CODECS else {}


def _command(
    path: Path,
    stream: AudioStream,
    sample_rate: int,
    time_zero_s: float,
    *,
    used: tuple[int, ...] | None,
    to_the_end: bool,
) -> list[str]:
    # Placed by time stamps: what a hole leaves out must not move what comes behind it. Samples before time zero, an
    # encoder's own, are cut off.
    placing = f"async=1:first_pts=0:min_comp={START_S}:min_hard_comp={HOLE_S}"
    chain = [f"aresample={sample_rate}:{placing}", f"asetnsamples={PACKED_SAMPLES}:p=0"]
    if time_zero_s:
        chain.insert(0, f"asetpts=PTS-({time_zero_s:.9f})/TB")
    if used is not None:
        # The mean of the channels as they are: ffmpeg's own downmix weighs them by where speakers stand.
        gains = "+".join(f"{1 / len(used):.9f}*c{channel}" for channel in used)
        chain.insert(0, f"pan=mono|c0={gains}")
    whole = {"ignore_length": 1} if to_the_end else {}  # of a WAV file, whatever its header counts
    sound = ffmpeg.input(token(path), **SAFE_INPUT, **whole, **_checked(stream))[str(stream.index)]
    output = sound.output("pipe:", format="f32le", acodec="pcm_f32le", af=",".join(chain), copyts=None)
    # Verbose, for then it tells of the silence that it puts in.
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+verbose")
    return compiled(output)
