"""Sound in files: 16-bit FLAC of our own, and whatever people have, read as mono and checked.

Libsndfile reads past many faults in silence: a truncated WAV is a shorter one, NaN is a sample, a damaged
FLAC frame is noise. What is returned here has the length that the file declares and only finite samples.
"""

import hashlib
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
    _refuse_clipping(path, audio, sample_rate)
    with writing(path):
        try:
            with soundfile.SoundFile(
                path, "w", samplerate=sample_rate, channels=1, format="FLAC", subtype="PCM_16"
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
    peak = float(max(audio.max(), -audio.min()))
    if peak <= 1.0:  # written so that NaN is refused too
        return
    if np.isfinite(audio).all():
        first = int(np.argmax(np.abs(audio) > 1.0))
        raise ClippingError(
            f"{path} would clip: the sound peaks at {peak:.3f} ({20 * np.log10(peak):.1f} dB too much), "
            f"first at {first / sample_rate:.3f} s; expected at most 1.0: lower the gain"
        )
    first = int(np.argmin(np.isfinite(audio)))
    raise ValueError(f"{path}: sample {first} is {audio[first]}, expected a number in [-1, 1]")


def _to_pcm_16(audio: NDArray[np.float32]) -> NDArray[np.int16]:
    # 1.0 itself is one step more than 16 bits hold.
    steps = np.minimum(np.rint(audio * np.float32(_PCM_16_SCALE)), _PCM_16_SCALE - 1)
    return np.asarray(steps, np.int16)


def _words(error: Exception) -> str:
    return " ".join(str(error).split())
