"""Sound in files: 16-bit FLAC of our own, and whatever people have, read as mono and checked.

Libsndfile reads past many faults in silence: a truncated WAV is a shorter one, NaN is a sample, a damaged
FLAC frame is noise. What is returned here has the length that the file declares and only finite samples.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from tasks.errors import BadInput, DamagedData, PipelineError
from tasks.store.writing import WriteError, remove, writing

BLOCK_LENGTH = 1 << 18  # samples converted at a time
MAX_DURATION_S = 7200.0
_PCM_16_SCALE = 32768
_WHOLE_NUMBERS = ("PCM_16", "PCM_24", "PCM_32")
# Programs that write to a pipe cannot go back to fill in the length, and leave one of these.
_UNKNOWN_WAV_LENGTH = 0x7FFFF000


class AudioError(BadInput):
    """A sound file that cannot be used."""


class ClippingError(PipelineError):
    """Sound that 16 bits cannot hold at the gain it has."""


def write_flac(path: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    """Write mono sound as 16-bit FLAC, the same bytes for the same samples, and read its length back.

    Args:
        path: the file; its folder exists.
        audio: (n,) samples in [-1, 1], rounded to the nearest 1/32768.
        sample_rate: Hz.

    Raises:
        ClippingError: a sample is beyond full scale.
        ValueError: a sample is not a number, or ``audio`` is not one-dimensional.
        WriteError: the disk is full or the folder cannot be written to.
    """
    if audio.ndim != 1:
        raise ValueError(f"audio has shape {audio.shape}, expected one channel (n,)")
    _write_flac(path, audio, sample_rate)


def write_channels(path: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    """Write sound (channels, n) as `write_flac` does, as WAV where the path ends so; raises as it does."""
    if audio.ndim != 2 or not len(audio):
        raise ValueError(f"audio has shape {audio.shape}, expected (channels, n)")
    _write_flac(path, np.ascontiguousarray(audio.T), sample_rate)


def _write_flac(path: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    """Write samples (n,) or (n, channels)."""
    n_channels = 1 if audio.ndim == 1 else audio.shape[1]
    sound_format = "WAV" if path.suffix.lower() == ".wav" else "FLAC"
    _refuse_clipping(path, audio, sample_rate)
    with writing(path):
        try:
            with soundfile.SoundFile(
                path, "w", samplerate=sample_rate, channels=n_channels, format=sound_format, subtype="PCM_16"
            ) as file:
                for start in range(0, len(audio), BLOCK_LENGTH):
                    file.write(_to_pcm_16(audio[start : start + BLOCK_LENGTH]))
            n_written = soundfile.info(path).frames
        except (soundfile.LibsndfileError, RuntimeError) as error:
            # Libsndfile knows a full disk only as "System error".
            raise WriteError(f"{path} cannot be written, is the disk full? {_words(error)}") from error
    if n_written != len(audio):
        remove(path)
        raise WriteError(f"{path} holds {n_written} samples after writing, expected {len(audio)}: is the disk full?")


def read_channels(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read sound (channels, n) that `write_channels` wrote, and its rate in Hz.

    Raises:
        DamagedData: it is missing, or not whole.
    """
    try:
        with soundfile.SoundFile(path) as file:
            audio = file.read(dtype="float32", always_2d=True)
            n_declared, sample_rate = int(file.frames), int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DamagedData(f"{path} cannot be read as sound: {_words(error)}") from error
    if len(audio) != n_declared or not n_declared:
        raise DamagedData(f"{path} ends after {len(audio)} samples, its header says {n_declared}")
    return np.ascontiguousarray(audio.T), sample_rate


def read_audio(path: Path, *, max_duration_s: float = MAX_DURATION_S) -> tuple[NDArray[np.float32], int]:
    """Read a WAV, FLAC, Ogg or MP3 file as mono, the mean of its channels.

    A 16-bit FLAC is compared with the digest of the samples in its header, so that a changed byte is noticed.

    Args:
        path: the file.
        max_duration_s: longer files are refused before they are decoded.

    Returns:
        Samples (n,), nominally in [-1, 1], and the sample rate in Hz.

    Raises:
        AudioError: kind ``MISSING``, ``UNREADABLE``, ``EMPTY``, ``TOO_LONG``, ``TRUNCATED``, ``DAMAGED`` or
            ``NOT_FINITE``, with the first bad sample where there is one.
    """
    if not path.is_file():
        raise AudioError(f"{path} is missing or is no file", kind="MISSING")
    _refuse_truncated_wav(path)
    try:
        with soundfile.SoundFile(path) as file:
            return _read_checked(path, file, max_duration_s), int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be read as sound: {_words(error)}", kind="UNREADABLE") from error


class PcmWav:
    """A WAV file of whole numbers, in blocks (n, channels) of samples in [-1, 1]; iterate once.

    Such a file has nothing that could be decoded wrongly, so it needs no other program to be read.

    Args:
        path: the file.
        block_length: samples at a time.

    Raises:
        AudioError: kind ``UNREADABLE``, `is_pcm_wav` would say no; ``TRUNCATED``, it ends before its header says.
    """

    def __init__(self, path: Path, *, block_length: int = BLOCK_LENGTH) -> None:
        self._path = path
        self._block_length = block_length
        self.sample_rate, self.channels, self.n_samples, self.subtype = _pcm_facts(path)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks in order of time."""
        n_read = 0
        try:
            with soundfile.SoundFile(self._path) as file:
                while len(block := file.read(self._block_length, dtype="float32", always_2d=True)):
                    n_read += len(block)
                    yield block
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{self._path} cannot be read as sound: {_words(error)}", kind="UNREADABLE") from error
        if n_read != self.n_samples:
            raise AudioError(
                f"{self._path} ends after {n_read} samples, its header says {self.n_samples}", kind="TRUNCATED"
            )


def is_pcm_wav(path: Path) -> bool:
    """Say whether a file is a WAV of whole numbers that holds all that its header says."""
    try:
        _pcm_facts(path)
    except AudioError:
        return False
    return True


def _pcm_facts(path: Path) -> tuple[int, int, int, str]:
    """Return sample rate in Hz, channels, samples and the kind of number."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise AudioError(f"{path} is no WAV file", kind="UNREADABLE")
    _refuse_truncated_wav(path)
    try:
        found = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be read as sound: {_words(error)}", kind="UNREADABLE") from error
    if found.format not in ("WAV", "WAVEX") or found.subtype not in _WHOLE_NUMBERS or not found.frames:
        raise AudioError(f"{path} is {found.format} {found.subtype}, {found.frames} samples", kind="UNREADABLE")
    return int(found.samplerate), int(found.channels), int(found.frames), str(found.subtype)


def read_flac(path: Path, *, sample_rate: int) -> NDArray[np.float32]:
    """Read a file that ``write_flac`` wrote for another stage.

    Raises:
        DamagedData: it is missing, damaged, or of another rate.
    """
    try:
        audio, found = read_audio(path, max_duration_s=float("inf"))
    except AudioError as error:
        raise DamagedData(str(error)) from error
    if found != sample_rate:
        raise DamagedData(f"{path} has {found} samples a second, expected {sample_rate}")
    return audio


def _read_checked(path: Path, file: Any, max_duration_s: float) -> NDArray[np.float32]:
    n_samples, sample_rate = int(file.frames), int(file.samplerate)
    if n_samples < 1 or sample_rate < 1:
        raise AudioError(f"{path} holds {n_samples} samples at {sample_rate} Hz", kind="EMPTY")
    if n_samples > max_duration_s * sample_rate:
        raise AudioError(
            f"{path} is {n_samples / sample_rate:.0f} s long, expected at most {max_duration_s:.0f} s",
            kind="TOO_LONG",
        )
    expected_digest = _flac_digest(path) if (file.format, file.subtype) == ("FLAC", "PCM_16") else None
    if expected_digest is None:
        audio, _ = _read_blocks(file, n_samples, "float32", 1.0)
    else:
        audio, digest = _read_blocks(file, n_samples, "int16", _PCM_16_SCALE)
        if len(audio) == n_samples and digest != expected_digest:
            raise AudioError(f"{path} is damaged: its samples differ from the digest in its header", kind="DAMAGED")
    if len(audio) != n_samples:
        raise AudioError(f"{path} ends after {len(audio)} samples, its header says {n_samples}", kind="TRUNCATED")
    finite = np.isfinite(audio)
    if not finite.all():
        first = int(np.argmin(finite))
        raise AudioError(
            f"{path}: sample {first} (at {first / sample_rate:.3f} s) is {audio[first]}", kind="NOT_FINITE"
        )
    return audio


def _read_blocks(file: Any, n_samples: int, dtype: str, full_scale: float) -> tuple[NDArray[np.float32], bytes]:
    """Decode to mono a block at a time; also return the MD5 of the decoded bytes."""
    audio = np.empty(n_samples, np.float32)
    digest = hashlib.md5(usedforsecurity=False)  # the one that FLAC's header holds
    n_read = 0
    while n_read < n_samples:
        block = file.read(min(BLOCK_LENGTH, n_samples - n_read), dtype=dtype, always_2d=True)
        if len(block) == 0:
            break
        if dtype == "int16":
            digest.update(block.astype("<i2", copy=False).tobytes())
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float64)
        # Full scale is a power of two, so its inverse is exact; in float64, dividing would be 3 times as slow.
        np.multiply(mono, np.float32(1 / full_scale), out=audio[n_read : n_read + len(block)], casting="same_kind")
        n_read += len(block)
    return audio[:n_read], digest.digest()


def _flac_digest(path: Path) -> bytes | None:
    """Return the MD5 of the samples in FLAC's STREAMINFO, or None where the encoder left it out."""
    with path.open("rb") as file:
        head = file.read(42)  # "fLaC", a block header of 4 bytes, 34 bytes of STREAMINFO
    if head[:4] != b"fLaC" or len(head) < 42 or not any(head[26:]):
        return None
    return head[26:]


def _refuse_truncated_wav(path: Path) -> None:
    """Compare the length in a WAV's header with the file's: libsndfile reads what is there in silence."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return
        while len(header := file.read(8)) == 8:
            length = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                n_left = size - file.tell()
                if n_left < length < _UNKNOWN_WAV_LENGTH:
                    raise AudioError(
                        f"{path} is truncated: {n_left} bytes of samples, its header says {length}",
                        kind="TRUNCATED",
                    )
                return
            file.seek(length + length % 2, 1)


def _refuse_clipping(path: Path, audio: NDArray[np.float32], sample_rate: int) -> None:
    if len(audio) == 0:
        return
    n_channels = audio.size // len(audio)
    peak = float(max(audio.max(), -audio.min()))
    if peak <= 1.0:  # written so that NaN is refused too
        return
    if np.isfinite(audio).all():
        first = int(np.argmax(np.abs(audio) > 1.0)) // n_channels
        raise ClippingError(
            f"{path} would clip: the sound peaks at {peak:.3f} ({20 * np.log10(peak):.1f} dB too much), "
            f"first at {first / sample_rate:.3f} s; expected at most 1.0: lower the gain"
        )
    first = int(np.argmin(np.isfinite(audio))) // n_channels
    raise ValueError(f"{path}: sample {first} is {audio[first]}, expected a number in [-1, 1]")


def _to_pcm_16(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    # 1.0 itself is one step more than 16 bits hold.
    steps = np.minimum(np.rint(audio * np.float32(_PCM_16_SCALE)), _PCM_16_SCALE - 1)
    return np.asarray(steps, np.int16)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())
