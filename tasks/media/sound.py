"""Recordings in: sound at one rate, every sample at its own time."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np
from numpy.typing import NDArray

from tasks.errors import ToolError
from tasks.media.probe import AudioStream, MediaFacts, MediaPolicy, ffprobe, patience_s, probe
from tasks.media.process import (
    LOGGED_ERROR,
    SAFE_INPUT,
    MediaError,
    compiled,
    last_error,
    opened,
    run,
    running,
    shown,
    token,
    url,
)

BLOCK_SAMPLES = 1 << 18  # read at a time
PACKED_SAMPLES = 1 << 14  # handed over at a time by ffmpeg: its own thousand would cost a system call each
# Sound that comes later than the samples before it say is put where its time stamp says. One lost packet is longer
# than this (AAC 21 ms, Opus 20 ms); time stamps in milliseconds jitter by less.
HOLE_S = 0.015
START_S = 2e-5  # a stream that begins later than this begins where it says: a sample
TOLERANCE_S = 0.05  # between the declared length and the decoded one
# What an MP3 or AAC encoder puts before and behind the sound, and its header may count: two blocks, 72 ms at 32 kHz.
PADDING_SAMPLES = 2 * 1152
FULL_SCALE = 32767  # of samples of 16 bits
MOST_LOST = 0.5  # of a recording's length: with more holes it is refused, however lenient one is
PUT_IN = re.compile(rb"adding (\d+) audio samples of silence")


@dataclass(frozen=True, kw_only=True)
class DecodedSound:
    """The sound of a recording.

    Attributes:
        samples: (n,) mono, the mean of all channels; sample k sounds ``k / sample_rate`` s after the file's time
            zero. A stream that begins later, or has a hole, has zeros there.
        sample_rate: Hz.
        start_s: when sample 0 sounds, from the file's time zero: always 0.
        stream: which of the file's streams it is.
        holes: where nothing was recorded, or nothing decodes: (start, end) in s each.
        n_patched: samples that were no numbers and are zeros now.
        truncated_at_s: where the sound ends when that is before its declared end, else None.
    """

    samples: NDArray[np.float32]
    sample_rate: int
    start_s: float
    stream: int
    holes: tuple[tuple[float, float], ...]
    n_patched: int
    truncated_at_s: float | None


def read_sound(
    path: Path,
    *,
    sample_rate: int,
    policy: MediaPolicy,
    stream: int | None = None,
    lenient: bool = False,
    facts: MediaFacts | None = None,
) -> DecodedSound:
    """Decode one of a recording's audio streams whole.

    The mean is over all channels, silent ones too: what a channel holds never changes how loud another one is.

    Args:
        path: any container read here.
        sample_rate: Hz, to resample to.
        policy: what it may cost.
        stream: index among the file's streams; the first audio stream if None.
        lenient: keep what decodes of a truncated or damaged file.
        facts: what `tasks.media.probe.probe` found in the file, if it was called with this policy.

    Raises:
        MediaError: as in `SoundBlocks`.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    blocks = SoundBlocks(path, sample_rate=sample_rate, policy=policy, stream=stream, lenient=lenient, facts=facts)
    parts = list(blocks)
    return DecodedSound(
        samples=np.concatenate(parts) if parts else np.zeros(0, np.float32),
        sample_rate=sample_rate,
        start_s=0.0,
        stream=blocks.stream,
        holes=blocks.holes,
        n_patched=blocks.n_patched,
        truncated_at_s=blocks.truncated_at_s,
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


def read_pcm(path: Path, *, sample_rate: int, policy: MediaPolicy) -> NDArray[np.int16]:
    """Decode what a recording holds of sound to 16 bits, with no second copy of it: an hour at 16 kHz is 115 MB.

    Returns:
        (n,) mono in [-32768, 32767], full scale at `FULL_SCALE`.

    Raises:
        MediaError: as in `SoundBlocks`, when it is lenient.
        ToolError: ffmpeg is not installed or did not do what was requested.
    """
    facts = probe(path, policy=policy)
    blocks = SoundBlocks(path, sample_rate=sample_rate, policy=policy, lenient=True, facts=facts)
    sound = np.empty(round((facts.duration_s or 0.0) * sample_rate) + 1, np.int16)
    n = 0
    for block in blocks:
        if n + len(block) > len(sound):  # longer than its header says
            sound.resize(2 * len(sound) + len(block), refcheck=False)
        sound[n : n + len(block)] = np.rint(block * FULL_SCALE).clip(-32768, 32767)
        n += len(block)
    sound.resize(n, refcheck=False)
    return sound


class SoundBlocks:
    """A recording's sound in blocks of (n,), or (n, channels) where channels are kept; iterate once.

    After that the attributes ``stream``, ``holes``, ``n_patched`` and ``truncated_at_s`` are known
    (`DecodedSound` says what they are).

    Args:
        path: any container read here.
        sample_rate: Hz, to resample to; None keeps the stream's own, which ``sample_rate`` then names.
        policy: what it may cost.
        stream: index among the file's streams; the first audio stream if None.
        lenient: keep what decodes of a truncated or damaged file, with zeros for samples that are no numbers.
        facts: what `tasks.media.probe.probe` found in the file, if it was called with this policy.
        mix: average the channels.

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
        self._stream = _chosen(path, self._facts, stream)
        self._mix = mix
        self.stream = self._stream.index
        self.sample_rate = sample_rate or self._stream.sample_rate
        self.channels = 1 if mix else self._stream.channels
        self.holes: tuple[tuple[float, float], ...] = ()
        self.n_patched = 0
        self.truncated_at_s: float | None = None

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks in order of time."""
        lacks = wav_lacks(self._path)
        if lacks is not None and not self._lenient:
            raise MediaError(f"{shown(self._path)}: {lacks}", kind="TRUNCATED")
        channels = self.channels
        n_samples = 0
        command = _command(self._path, self._stream, self.sample_rate, self._facts.start_s, mix=self._mix)
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
        if returncode or not decoded_s:
            raise MediaError(f"{name}: its sound does not decode: {last_error(logged)}", kind="DAMAGED_STREAM")
        errors = LOGGED_ERROR.findall(logged)
        declared_s = _declared_end_s(self._facts, self._stream)
        if declared_s is not None and decoded_s < declared_s - _tolerance_s(self._stream):
            if not self._lenient:
                raise MediaError(
                    f"{name}: its sound ends at {decoded_s:.3f} s, expected {declared_s:.3f} s as its header says",
                    kind="TRUNCATED",
                )
            self.truncated_at_s = decoded_s
        elif errors and not self._lenient:
            raise MediaError(
                f"{name}: parts of its sound do not decode, {len(errors)} errors: {last_error(logged)}",
                kind="DAMAGED_STREAM",
            )
        if declared_s is not None and decoded_s > declared_s + 60:
            raise ToolError(f"ffmpeg gave {decoded_s:.3f} s of {name}, expected {declared_s:.3f} s")
        n_put_in = len(PUT_IN.findall(logged)) - (self._stream.start_s > START_S)
        if n_put_in > 0 or errors:
            self.holes = _holes(self._path, self._stream, self._facts.start_s, self._policy)
            lost_s = sum(end_s - start_s for start_s, end_s in self.holes)
            if errors and lost_s > MOST_LOST * decoded_s:
                raise MediaError(
                    f"{name}: {lost_s:.3f} s of its {decoded_s:.3f} s of sound do not decode, {len(errors)} errors",
                    kind="DAMAGED_STREAM",
                )


def wav_lacks(path: Path) -> str | None:
    """Return what a WAV file lacks of the samples that its header counts, None when it has all or is no WAV."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return None
        file.seek(12)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            left = path.stat().st_size - file.tell()
            if head[:4] == b"data":
                # The largest numbers stand for a length that was not known when the header was written.
                return f"holds {left} bytes of sound, its header says {size}" if left < size < 0xFFFF0000 else None
            file.seek(size + size % 2, 1)
    return None


def _chosen(path: Path, facts: MediaFacts, stream: int | None) -> AudioStream:
    if facts.audio is None:
        raise MediaError(f"{shown(path)}: holds no audio stream", kind="NO_AUDIO")
    if stream is None:
        return facts.audio
    for sound in facts.sounds:
        if sound.index == stream:
            return sound
    known = ", ".join(str(sound.index) for sound in facts.sounds)
    raise MediaError(f"{shown(path)}: stream {stream} is no sound, expected one of {known}", kind="NO_AUDIO")


def _tolerance_s(stream: AudioStream) -> float:
    is_exact = stream.codec.startswith("pcm_") or stream.codec in ("flac", "alac")
    return TOLERANCE_S if is_exact else max(TOLERANCE_S, PADDING_SAMPLES / stream.sample_rate)


def _declared_end_s(facts: MediaFacts, stream: AudioStream) -> float | None:
    if stream.duration_s is not None:
        return stream.start_s + stream.duration_s
    return facts.duration_s if facts.n_streams == 1 else None


def _holes(path: Path, stream: AudioStream, time_zero_s: float, policy: MediaPolicy) -> tuple[tuple[float, float], ...]:
    """Decode once more and list where the next samples come later than the last ones end."""
    command = [*ffprobe(policy), "-select_streams", str(stream.index), "-show_frames"]
    command += ["-show_entries", "frame=pts_time,nb_samples", "-of", "csv=p=0:nk=0", url(path)]
    ran = run(command, timeout_s=patience_s(policy))
    found: list[tuple[float, float]] = []
    end_s: float | None = None
    for line in ran.stdout.decode("ascii", "replace").splitlines():
        values = dict(field.partition("=")[::2] for field in line.split(","))
        if values.get("pts_time", "N/A") == "N/A" or not values.get("nb_samples", "").isdigit():
            continue
        start_s = float(values["pts_time"]) - time_zero_s
        if end_s is not None and start_s > end_s + HOLE_S:
            found.append((max(end_s, 0.0), start_s))
        end_s = max(end_s or 0.0, start_s + int(values["nb_samples"]) / stream.sample_rate)
    return tuple(found)


def _command(path: Path, stream: AudioStream, sample_rate: int, time_zero_s: float, *, mix: bool) -> list[str]:
    # Placed by time stamps: what a hole leaves out must not move what comes behind it. Samples before time zero, an
    # encoder's own, are cut off.
    placing = f"async=1:first_pts=0:min_comp={START_S}:min_hard_comp={HOLE_S}"
    chain = [f"aresample={sample_rate}:{placing}", f"asetnsamples={PACKED_SAMPLES}:p=0"]
    if time_zero_s:
        chain.insert(0, f"asetpts=PTS-({time_zero_s:.9f})/TB")
    if mix and stream.channels > 1:
        # The mean of all channels as they are: ffmpeg's own downmix weighs them by where speakers stand.
        gains = "+".join(f"{1 / stream.channels:.9f}*c{channel}" for channel in range(stream.channels))
        chain.insert(0, f"pan=mono|c0={gains}")
    sound = ffmpeg.input(token(path), **SAFE_INPUT)[str(stream.index)]
    output = sound.output("pipe:", format="f32le", acodec="pcm_f32le", af=",".join(chain), copyts=None)
    # Verbose, for then it tells of the silence that it puts in.
    output = output.global_args("-nostdin", "-hide_banner", "-nostats", "-loglevel", "level+verbose")
    return compiled(output)
