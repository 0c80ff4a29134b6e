"""Folders of known data sets, by their structure and names alone: what each becomes in our own layout.

=============  ======================================================  ================================================
data set       a folder                                                becomes
=============  ======================================================  ================================================
Bach10         ``P/P.wav``, ``P-violin.wav``, ..., ``P.mid``           an ensemble, a player a stem; its MIDI is a score
MUSDB18-HQ     ``T/mixture.wav``, ``drums.wav``, ``bass.wav``, ...     an ensemble of a band; stem files are
                                                                       `tasks.intake.layouts`' matter
MedleyDB       ``T/T_MIX.wav``, ``T_STEMS/T_STEM_01.wav``, ...,        an ensemble; instruments are in the metadata,
               ``T_METADATA.yaml``                                     raw tracks are not used
Slakh2100      ``TrackN/mix.flac``, ``stems/S00.flac``, ...,           an ensemble; instruments are in the metadata,
               ``metadata.yaml``                                       MIDI files are not used
MUSIC          ``solo/cello/VIDEO.mp4``                                an ensemble of one player a video, who is filmed
MAESTRO        ``2018/NAME.wav`` beside ``NAME.midi``                  a capture of a piano with the notes that were
                                                                       recorded with it
=============  ======================================================  ================================================

URMP's folders are read as they stand (`tasks.intake.layouts`). An ensemble without a film goes through ingest,
synchronize, extract, chunk and the separators; what looks at players has nothing to look at. A capture without a camera
has no pictures, so ``chunk`` has nothing for the families that see.

Source:
    Duan and Pardo, Bach10 dataset, 2010. Rafii et al., MUSDB18-HQ, 2019. Bittner et al., MedleyDB, 2014. Manilow et
    al., Cutting Music Source Separation Some Slakh, 2019. Zhao et al., The Sound of Pixels, 2018. Hawthorne et al.,
    MAESTRO, 2019.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.intake.folder import MAX_TAKE_FILE_BYTES, TAKE_FILE, fault_of, shown
from tasks.intake.layouts import STEM_STREAMS
from tasks.intake.plain_yaml import PlainYamlError, read_plain
from tasks.media.formats import RECORDING_SUFFIXES, SOUND_SUFFIXES

_BACH_ORDER = ("violin", "clarinet", "saxphone", "saxophone", "bassoon")
_MEDLEY_STEM = re.compile(r".+_STEM_(\d{1,3})", re.IGNORECASE)
_SLAKH_STEM = re.compile(r"S(\d{1,3})", re.IGNORECASE)
_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_MAESTRO = re.compile(r"(?:ORIG-)?MIDI-Unprocessed|ORIG-MIDI")
_MAX_METADATA_BYTES = MAX_TAKE_FILE_BYTES


@dataclass(frozen=True, kw_only=True)
class KnownFolder:
    """A take of a known data set.

    Attributes:
        name: the take's, before it is checked.
        files: name in our layout -> file.
        made: name in our layout -> bytes of a file that is written for it.
    """

    name: str
    files: Mapping[str, Path]
    made: Mapping[str, bytes]


def plain_name(name: str) -> str:
    """Return a name with nothing in it that a take's name may not have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_.-")[:100]


def known_takes(folder: Path, inside: Sequence[Path]) -> list[KnownFolder]:
    """Return the takes of a folder that has a known data set's structure; none of any other.

    Args:
        folder: the folder.
        inside: what it holds.

    Raises:
        BadInput: ``BAD_METADATA``, its description of the stems cannot be read.
    """
    sounds = {path.stem.lower(): path for path in inside if path.suffix.lower() in SOUND_SUFFIXES}
    for read in (_musdb, _medley, _slakh, _bach):
        files = read(folder, inside, sounds)
        if files:
            return [KnownFolder(name=plain_name(folder.name), files=files, made={})]
    return _solos(folder, inside)


def is_recorded_piano(name: str) -> bool:
    """Return whether a MIDI file beside a recording is, by MAESTRO's names, what the piano recorded of itself."""
    return _MAESTRO.match(name) is not None


RECORDED_PIANO = b"instrument: piano\nnotes: recorded\n"


def _numbered(mix: Path | None, stems: Sequence[tuple[str, Path]]) -> dict[str, Path]:
    """Return our names of a mix and stems, each an instrument in words and a file, in the order of the players."""
    files = {} if mix is None else {f"mix{mix.suffix.lower()}": mix}
    for number, (words, path) in enumerate(stems, start=1):
        word = _word(words)
        files[f"stem_{number}_{word}{path.suffix.lower()}"] = path
    return files


def _word(words: str) -> str:
    """Return an instrument in words as a file's name has it; an electric bass or a bass drum is no double bass."""
    word = re.sub(r"[^a-z]+", "_", words.lower()).strip("_")
    word = "bassguitar" if word == "bass" else re.sub(r"_bass(?=_|$)", "bass", word).replace("bass_drum", "bassdrum")
    return word[:50].strip("_") or "other"


def _musdb(_folder: Path, _inside: Sequence[Path], sounds: Mapping[str, Path]) -> dict[str, Path]:
    stems = [(name, sounds[name]) for name in STEM_STREAMS if name in sounds]
    if "mixture" not in sounds or len(stems) < 2:
        return {}
    return {f"mix{sounds['mixture'].suffix.lower()}": sounds["mixture"]} | {
        f"stem_{name}{path.suffix.lower()}": path for name, path in stems
    }


def _bach(_folder: Path, inside: Sequence[Path], sounds: Mapping[str, Path]) -> dict[str, Path]:
    for name, mix in sounds.items():
        others = {other.removeprefix(f"{name}-"): path for other, path in sounds.items() if path != mix}
        if len(others) < 2 or any(word == path.stem.lower() or not word.isalpha() for word, path in others.items()):
            continue
        order = [word for word in _BACH_ORDER if word in others] + sorted(set(others) - {*_BACH_ORDER})
        files = _numbered(mix, [(word, others[word]) for word in order])
        score = next((path for path in inside if path.name.lower() == f"{name}.mid"), None)
        return files if score is None else files | {"score.mid": score}
    return {}


def _medley(folder: Path, inside: Sequence[Path], sounds: Mapping[str, Path]) -> dict[str, Path]:
    name = folder.name.lower()
    stems = _numbered_files(_inner(inside, f"{name}_stems"), _MEDLEY_STEM)
    if f"{name}_mix" not in sounds or not stems:
        return {}
    described = _stems_of(next((path for path in inside if path.name.lower() == f"{name}_metadata.yaml"), None))
    return _numbered(
        sounds[f"{name}_mix"],
        [(str(described.get(f"S{number:02}", {}).get("instrument", "other")), path) for number, path in stems],
    )


def _slakh(_folder: Path, inside: Sequence[Path], sounds: Mapping[str, Path]) -> dict[str, Path]:
    stems = _numbered_files(_inner(inside, "stems"), _SLAKH_STEM)
    metadata = next((path for path in inside if path.name.lower() == "metadata.yaml"), None)
    if not stems or metadata is None:
        return {}
    described = _stems_of(metadata)
    found = [(described.get(f"S{number:02}", {}), path) for number, path in stems]
    words = [
        (str(row.get("midi_program_name") or row.get("inst_class") or "other"), path)
        if not row.get("is_drum")
        else ("drums", path)
        for row, path in found
    ]
    return _numbered(sounds.get("mix"), words)


def _solos(folder: Path, inside: Sequence[Path]) -> list[KnownFolder]:
    """Return a take a video of a folder that is named after an instrument, in a folder of solos."""
    videos = [path for path in inside if path.suffix.lower() in {*RECORDING_SUFFIXES} - {*SOUND_SUFFIXES}]
    word = re.sub(r"[^a-z]+", "_", folder.name.lower()).strip("_")
    is_named = folder.resolve().parent.name.lower() in ("solo", "solos") and re.fullmatch(r"[A-Za-z_ -]+", folder.name)
    if not videos or not is_named or len(word) > 30 or not all(_VIDEO_ID.fullmatch(path.stem) for path in videos):
        return []
    found = []
    for path in videos:
        device = f"solo_{word}_{path.stem}"
        player = json.dumps([{"instrument": word.replace("_", " "), "stem": device, "camera": device}])
        found.append(
            KnownFolder(
                name=f"{word}_{path.stem}",
                files={f"{device}{path.suffix.lower()}": path},
                made={TAKE_FILE: f"players: {player}\n".encode()},
            )
        )
    return found


def _inner(inside: Sequence[Path], name: str) -> list[Path]:
    for path in inside:
        if path.name.lower() == name and path.is_dir() and not path.is_symlink():
            return sorted(inner for inner in path.iterdir() if not inner.name.startswith("."))
    return []


def _numbered_files(paths: Sequence[Path], pattern: re.Pattern[str]) -> list[tuple[int, Path]]:
    found = [(pattern.fullmatch(path.stem), path) for path in paths if path.suffix.lower() in SOUND_SUFFIXES]
    return sorted((int(named[1]), path) for named, path in found if named is not None)


def _stems_of(path: Path | None) -> dict[str, dict[str, object]]:
    """Return what a data set's metadata say of each stem; nothing where there are none."""
    if path is None:
        return {}
    fault = fault_of(path, _MAX_METADATA_BYTES)
    if fault is not None:
        raise BadInput(fault[1], kind=fault[0])
    try:
        values, _ = read_plain(path.read_bytes())
    except PlainYamlError as error:
        raise BadInput(f"{shown(path)}, line {error.line}: {error}", kind="BAD_METADATA") from None
    stems = values.get("stems") if isinstance(values, dict) else None
    if not isinstance(stems, dict):
        raise BadInput(f"{shown(path)}: no stems, expected one entry for each", kind="BAD_METADATA")
    return {str(name): row for name, row in stems.items() if isinstance(row, dict)}
