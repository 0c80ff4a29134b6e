"""Verb ``sonify``: a file of note amplitudes to sound."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import log10, prod
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import scipy.io
import soundfile
from numpy.typing import NDArray

from tasks.errors import BadInput
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.instruments.marimba import MARIMBA_18
from tasks.media.formats import SOUND_SUFFIXES
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound
from tasks.sound.additive import MARIMBA_PARTIALS, Partials, additive_blocks, check_amplitudes, check_band, peak_of
from tasks.sound.nearest import BankTake, GrainBank
from tasks.store.arrays import open_arrays
from tasks.store.tables import read_metadata, read_table
from tasks.store.writing import WriteError, writing

Method = Literal["additive", "nearest"]
PartialsName = Literal["none", "marimba"]

PITCHES: dict[str, tuple[int, ...]] = {
    "marimba-18": MARIMBA_18,
    "piano": tuple(range(LOWEST_PITCH, LOWEST_PITCH + N_KEYS)),
}
PARTIALS: dict[PartialsName, Partials | None] = {"none": None, "marimba": MARIMBA_PARTIALS}
DEFAULT_FRAME_RATE = Fraction(25)
PEAK_LIMIT = 0.999
"""Of full scale: the 16-bit sample below it."""

OUT_SUFFIXES = (".wav", ".flac")
STAY = 0.1
LONGEST_ALIGNMENT_S = 0.003
"""On filmed marimba takes with a bank of three others: aligned grains raise the correlation of amplitudes from 0.875 to
0.934 and frame F1 from 0.59 to 0.83; staying saves a tenth of the joints and costs 0.003."""

_COLUMN = re.compile(r"(?:pitch_?|note_?|p)?(\d{1,3})")
_MAT_NUMBERS = ("double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))
_DEFLATED = 1032  # bytes that deflate packs into one, at most; MATLAB stores a value in one byte, at least
_MAT_VARIABLE = "audio_vectors"  # the marimba project's name


class AmplitudeError(BadInput):
    """A file of note amplitudes that cannot be played."""


@dataclass(frozen=True, kw_only=True)
class AmplitudeFile:
    """Note amplitudes as they were in a file.

    Attributes:
        values: (F, N), at least 0, float64.
        pitches: of the columns.
        frame_rate: rows a second; None where the file has none.
    """

    values: NDArray[np.float64]
    pitches: tuple[int, ...]
    frame_rate: Fraction | None


@dataclass(frozen=True, kw_only=True)
class Sonified:
    """What was written.

    Attributes:
        n_rows: of the file.
        pitches: its notes.
        frame_rate: rows a second.
        duration_s: of the sound.
        sample_rate: Hz.
        peak: of the sound before its level was limited, full scale 1.
        gain_db: by which it was made softer, 0 where it was not too loud.
    """

    n_rows: int
    pitches: tuple[int, ...]
    frame_rate: Fraction
    duration_s: float
    sample_rate: int
    peak: float
    gain_db: float


def pitches_named(name: str) -> tuple[int, ...]:
    """Return the pitches of ``marimba-18``, ``piano``, or of a list such as ``66,68,70``.

    Raises:
        ValueError: it is neither, or a pitch is named twice or is no MIDI number.
    """
    if name in PITCHES:
        return PITCHES[name]
    try:
        pitches = tuple(int(part) for part in name.split(","))
    except ValueError:
        raise ValueError(f"{name!r}, expected {', '.join(PITCHES)} or MIDI numbers such as 66,68,70") from None
    if not all(0 <= pitch <= 127 for pitch in pitches) or len(set(pitches)) != len(pitches):
        raise ValueError(f"{name!r}, expected MIDI numbers from 0 to 127, each once")
    return pitches


def sonify_file(
    path: Path,
    out: Path,
    *,
    method: Method = "additive",
    bank: Sequence[Path] = (),
    pitches: tuple[int, ...] | None = None,
    frame_rate: Fraction | None = None,
    sample_rate: int = 44_100,
    fit_window: bool = False,
    partials: Partials | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Sonified:
    """Write the sound of a file of note amplitudes.

    Args:
        path: see `read_amplitudes`.
        out: a ``.wav`` or ``.flac``, 16 bits, mono. A sound that is too loud is scaled down as a whole.
        method: ``additive`` plays a sine a note; ``nearest`` the most alike grains of ``bank``.
        bank: for ``nearest``: recordings (sound files, or folders of them) whose note amplitudes are measured here,
            and arrays of the stage ``chunk`` (``arrays.zarr``, or folders with them, of which takes of other notes
            are left out). All with ``sample_rate``.
        pitches: of the columns; None takes those that the file names, or else the only known instrument of as many
            notes.
        frame_rate: rows a second; None takes the file's, or else 25.
        sample_rate: Hz of the sound.
        fit_window: for ``additive``, see `render_additive`.
        partials: for ``additive``.
        progress: called with what begins, in a few words.

    Raises:
        AmplitudeError: the file cannot be played; kinds are ``MISSING``, ``FORMAT``, ``UNREADABLE``, ``SHAPE``,
            ``PITCHES``, ``VALUE``, ``EMPTY``, ``ABOVE_NYQUIST``, and ``BANK`` where the bank is the reason.
        AudioError: a sound file of the bank cannot be used.
        WriteError: the disk is full, or ``out`` cannot be written.
    """
    if out.suffix.lower() not in OUT_SUFFIXES:
        raise AmplitudeError(f"{out}: expected a name that ends in {' or '.join(OUT_SUFFIXES)}", kind="FORMAT")
    progress(f"reading {path.name}")
    found = read_amplitudes(path, pitches=pitches)
    rate = frame_rate or found.frame_rate or DEFAULT_FRAME_RATE
    try:
        check_band(note_frequencies_hz(found.pitches), np.asarray(found.pitches, np.float64), sample_rate)
    except ValueError as error:
        raise AmplitudeError(f"{path}: {error}", kind="ABOVE_NYQUIST") from None
    progress(f"{len(found.values)} rows of {len(found.pitches)} notes to sound")
    if method == "nearest":
        grains = read_bank(bank, pitches=found.pitches, frame_rate=rate, sample_rate=sample_rate, progress=progress)
        half_period_s = 0.5 / float(note_frequencies_hz(min(found.pitches)))
        audio = grains.render(found.values, stay=STAY, align_s=min(half_period_s, LONGEST_ALIGNMENT_S))
        blocks: Callable[[], Iterator[NDArray[np.float32]]] = lambda: iter([audio])  # noqa: E731
    else:

        def blocks() -> Iterator[NDArray[np.float32]]:
            return additive_blocks(
                found.values,
                found.pitches,
                frame_rate=rate,
                sample_rate=sample_rate,
                partials=partials,
                fit_window=fit_window,
            )

    # Played twice: playing is fast, and hours of sound need not be held to find out how loud they get.
    peak = max((peak_of(block) for block in blocks()), default=0.0)
    gain = min(1.0, PEAK_LIMIT / peak) if peak else 1.0
    progress(f"writing {out.name}")
    n_samples = _write_sound(out, blocks(), gain, sample_rate)
    return Sonified(
        n_rows=len(found.values),
        pitches=found.pitches,
        frame_rate=rate,
        duration_s=n_samples / sample_rate,
        sample_rate=sample_rate,
        peak=peak,
        gain_db=20 * log10(gain),
    )


def read_amplitudes(path: Path, *, pitches: tuple[int, ...] | None = None) -> AmplitudeFile:
    """Read note amplitudes.

    Args:
        path: ``.parquet`` with a column for each pitch, named by its MIDI number (66, p66 or pitch_66; others are
            left alone), or with one column ``amplitudes`` of lists; ``.npy`` with a matrix; ``.mat`` (MATLAB 5 to 7)
            with one matrix, or with one of the name ``audio_vectors``; or ``arrays.zarr`` as the stages ``extract``
            and ``chunk`` write it, or the take's folder around it. Rows may be notes or frames: the number of notes
            tells.
        pitches: of the notes, in order; None takes the file's own, or else marimba-18 for 18 notes, piano for 88.

    Raises:
        AmplitudeError: as `sonify_file`.
        DamagedData: a Parquet file or an array is damaged.
    """
    if not path.exists():
        raise AmplitudeError(f"{path} is missing", kind="MISSING")
    if (path / "arrays.zarr").is_dir():
        path = path / "arrays.zarr"
    suffix = path.suffix.lower()
    named: tuple[int, ...] | None = None
    frame_rate: Fraction | None = None
    if suffix == ".parquet":
        matrix, named, frame_rate = _read_parquet(path)
    elif suffix == ".zarr":
        arrays = open_arrays(path)
        if "amplitudes" not in arrays:
            raise AmplitudeError(f"{path} has no amplitudes, found {', '.join(sorted(arrays))}", kind="SHAPE")
        matrix = arrays["amplitudes"][:]
        named = tuple(int(pitch) for pitch in arrays.attributes["pitches"])
        frame_rate = Fraction(arrays.attributes["frame_rate"])
    elif suffix == ".npy":
        matrix = _read_npy(path)
    elif suffix == ".mat":
        matrix = _read_mat(path)
    else:
        raise AmplitudeError(f"{path}: expected .parquet, .npy, .mat or arrays.zarr", kind="FORMAT")
    values, pitches = _oriented(path, matrix, named, pitches)
    if not len(values):
        raise AmplitudeError(f"{path} has no row", kind="EMPTY")
    try:
        return AmplitudeFile(
            values=check_amplitudes(values, np.asarray(pitches, np.float64)), pitches=pitches, frame_rate=frame_rate
        )
    except ValueError as error:
        raise AmplitudeError(f"{path}: {error}", kind="VALUE") from None


def read_bank(
    paths: Sequence[Path],
    *,
    pitches: tuple[int, ...],
    frame_rate: Fraction,
    sample_rate: int,
    progress: Callable[[str], None] = lambda _: None,
) -> GrainBank:
    """Read recordings as a bank of grains; arguments as `sonify_file`.

    Raises:
        AmplitudeError: kind ``BANK``: there is no recording, or one has another sample rate, frame rate or notes.
        AudioError: a sound file cannot be used.
    """
    takes = []
    for path in paths:
        for file in _bank_files(path):
            progress(f"bank: {file}")
            if file.suffix != ".zarr":
                takes.append(_recorded_take(file, pitches, frame_rate, sample_rate))
            elif path == file or tuple(open_arrays(file).attributes.get("pitches", ())) == pitches:
                takes.append(_stored_take(file, pitches, frame_rate, sample_rate))
    where = ", ".join(map(str, paths)) or "none was named"
    if not takes:
        raise AmplitudeError(
            f"a bank needs recordings of {_short(pitches)} ({where}), found no sound file and no arrays.zarr of them",
            kind="BANK",
        )
    try:
        return GrainBank(takes, frame_rate=frame_rate, sample_rate=sample_rate)
    except ValueError as error:
        raise AmplitudeError(f"bank {where}: {error}", kind="BANK") from None


def _bank_files(path: Path) -> list[Path]:
    if not path.exists():
        raise AmplitudeError(f"{path} is missing", kind="BANK")
    if path.suffix == ".zarr" or not path.is_dir():
        return [path]
    stored = sorted(path.rglob("arrays.zarr"))
    return stored or sorted(file for file in path.iterdir() if file.suffix.lower() in SOUND_SUFFIXES)


def _recorded_take(file: Path, pitches: tuple[int, ...], frame_rate: Fraction, sample_rate: int) -> BankTake:
    sound = read_sound(file, sample_rate=None, policy=NO_LIMITS, lenient=True)
    audio, found_rate = sound.samples, sound.sample_rate
    if found_rate != sample_rate:
        raise AmplitudeError(f"{file} has {found_rate} Hz, expected the sound's {sample_rate}", kind="BANK")
    values = note_amplitudes(
        audio,
        sample_rate=sample_rate,
        frame_rate=frame_rate,
        frequency_hz=note_frequencies_hz(pitches),
        n_frames=int(len(audio) * frame_rate / sample_rate),
    )
    return BankTake(values=values, sound=audio)


def _stored_take(file: Path, pitches: tuple[int, ...], frame_rate: Fraction, sample_rate: int) -> BankTake:
    arrays = open_arrays(file)
    facts = arrays.attributes
    if "sound" not in arrays or "amplitudes" not in arrays:
        raise AmplitudeError(
            f"{file} has no sound beside its amplitudes, found {', '.join(sorted(arrays))}", kind="BANK"
        )
    theirs = (tuple(facts["pitches"]), Fraction(facts["frame_rate"]), int(facts["sound_rate"]))
    for what, found, expected in zip(
        ("notes", "frames a second", "Hz of sound"), theirs, (pitches, frame_rate, sample_rate), strict=True
    ):
        if found != expected:
            raise AmplitudeError(f"{file}: {what} are {_short(found)}, expected {_short(expected)}", kind="BANK")
    return BankTake(values=arrays["amplitudes"][:], sound=arrays["sound"])


def _short(value: object) -> str:
    return f"{len(value)} pitches from {value[0]} to {value[-1]}" if isinstance(value, tuple) and value else str(value)


def _read_parquet(path: Path) -> tuple[NDArray[Any], tuple[int, ...] | None, Fraction | None]:
    columns = read_table(path)
    facts = read_metadata(path)
    try:
        frame_rate = Fraction(facts["frame_rate"]) if "frame_rate" in facts else None
        listed = tuple(int(pitch) for pitch in re.findall(r"\d+", facts["pitches"])) if "pitches" in facts else None
    except (ValueError, ZeroDivisionError):
        raise AmplitudeError(
            f"{path}: frame_rate is {facts['frame_rate']!r}, expected a number", kind="VALUE"
        ) from None
    if "amplitudes" in columns and columns["amplitudes"].ndim == 2:
        return columns["amplitudes"], listed, frame_rate
    named = {name: match for name in columns if (match := _COLUMN.fullmatch(name))}
    if not named:
        raise AmplitudeError(
            f"{path} has columns {', '.join(columns)}: expected one for each pitch, named by its MIDI number",
            kind="PITCHES",
        )
    pitches = tuple(int(match[1]) for match in named.values())
    if len(set(pitches)) != len(pitches):
        raise AmplitudeError(f"{path}: two columns are of one pitch, found {', '.join(named)}", kind="PITCHES")
    for name in named:
        if columns[name].dtype.kind not in "iuf" or columns[name].ndim != 1:
            raise AmplitudeError(f"{path}: column {name} holds no numbers", kind="VALUE")
    matrix = np.stack([columns[name] for name in named], axis=1)
    return matrix, pitches, frame_rate


def _read_npy(path: Path) -> NDArray[Any]:
    """Read an array whose header claims no more bytes than the file has."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="r")  # refuses a header that the file is too short for
        return np.array(mapped)
    except (OSError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise _unreadable(path, f"a NumPy array of its {path.stat().st_size} bytes", error) from None


def _read_mat(path: Path) -> NDArray[Any]:
    """Read the one matrix, or the one that has the name; others are not read."""
    try:
        listed = scipy.io.whosmat(path)
    except NotImplementedError:
        raise AmplitudeError(f"{path} is of MATLAB 7.3 (HDF5): save it with '-v7'", kind="FORMAT") from None
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise _unreadable(path, "a MATLAB file", error) from None
    shapes = {name: shape for name, shape, of in listed if len(shape) == 2 and of in _MAT_NUMBERS}
    if _MAT_VARIABLE not in shapes and len(shapes) != 1:
        names = ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "none"
        raise AmplitudeError(f"{path}: expected one matrix or one named {_MAT_VARIABLE}, found {names}", kind="SHAPE")
    name = _MAT_VARIABLE if _MAT_VARIABLE in shapes else next(iter(shapes))
    n_bytes = path.stat().st_size
    if prod(shapes[name]) > n_bytes * _DEFLATED:
        raise AmplitudeError(
            f"{path}: {name} claims {shapes[name][0]} by {shapes[name][1]} values, more than {n_bytes} bytes can hold",
            kind="UNREADABLE",
        )
    try:
        matrix: NDArray[Any] = scipy.io.loadmat(path, variable_names=[name])[name]
    except Exception as error:  # the same
        raise _unreadable(path, "a MATLAB file", error) from None
    return matrix


def _oriented(
    path: Path, matrix: NDArray[Any], named: tuple[int, ...] | None, requested: tuple[int, ...] | None
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return (F, N) and the pitches of its columns."""
    if matrix.ndim != 2 or matrix.dtype.kind not in "iuf":
        raise AmplitudeError(
            f"{path} holds {matrix.dtype} of shape {matrix.shape}, expected a matrix of numbers", kind="SHAPE"
        )
    if named is not None:  # columns are notes
        if matrix.shape[1] != len(named):
            raise AmplitudeError(f"{path}: {matrix.shape[1]} columns for {len(named)} pitches", kind="PITCHES")
        if requested is not None and set(requested) != set(named):
            raise AmplitudeError(
                f"{path} is of {len(named)} pitches from {min(named)} to {max(named)}, requested were {len(requested)}"
                f" from {min(requested)} to {max(requested)}",
                kind="PITCHES",
            )
        return matrix, named
    if requested is None:
        fitting = [pitches for pitches in PITCHES.values() if len(pitches) in matrix.shape]
        if len(fitting) != 1:
            raise AmplitudeError(
                f"{path} is {matrix.shape[0]} by {matrix.shape[1]}: name its pitches, as it could be"
                f" {'several instruments' if fitting else 'no instrument known here'}",
                kind="PITCHES",
            )
        requested = fitting[0]
    if matrix.shape == (len(requested), len(requested)):
        raise AmplitudeError(
            f"{path} is {len(requested)} by {len(requested)}: with as many frames as notes, rows and columns cannot be"
            " told apart; a Parquet file names its columns",
            kind="SHAPE",
        )
    if len(requested) not in matrix.shape:
        raise AmplitudeError(
            f"{path} is {matrix.shape[0]} by {matrix.shape[1]}, expected {len(requested)} notes one way", kind="SHAPE"
        )
    return (matrix if matrix.shape[1] == len(requested) else matrix.T), requested


def _unreadable(path: Path, kind: str, error: Exception) -> AmplitudeError:
    return AmplitudeError(f"{path} cannot be read as {kind}: {' '.join(str(error).split())}", kind="UNREADABLE")


def _write_sound(out: Path, blocks: Iterator[NDArray[np.float32]], gain: float, sample_rate: int) -> int:
    """Write blocks as 16-bit mono sound, and return how many samples stand in the file."""
    n_samples = 0
    with writing(out):
        try:
            with soundfile.SoundFile(
                out,
                "w",
                samplerate=sample_rate,
                channels=1,
                format=out.suffix[1:].upper(),
                subtype="PCM_16",
            ) as file:
                for block in blocks:
                    file.write(np.rint(block * np.float32(gain * 32768)).clip(-32768, 32767).astype(np.int16))
                    n_samples += len(block)
            n_written = soundfile.info(out).frames
        except (soundfile.LibsndfileError, RuntimeError) as error:
            # Libsndfile reports a full disk only as "System error".
            raise WriteError(f"{out} cannot be written: {' '.join(str(error).split())}") from error
        if n_written != n_samples:
            raise WriteError(f"{out} holds {n_written} samples after writing, expected {n_samples}: is the disk full?")
    return n_samples


METHODS: tuple[Method, ...] = get_args(Method)
