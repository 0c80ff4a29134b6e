"""What the files of an ensemble are, by their names alone: our own layout and those that others use.

========================  ==========================================================================================
ours                      ``stem_N_CODE.wav`` a player (or ``stem_CODE.mp3``, ``stem_drums.flac``), ``mix.wav``
stems in one file         ``NAME.stem.mp4``: five audio streams, the mix, then drums, bass, the others and the voice
URMP                      ``AuMix_*.wav``, ``AuSep_N_CODE_NAME.wav``, ``Vid_*.mp4``, ``Sco_*.mid``, ``Notes_N_*.txt``
a solo                    ``solo_CODE.mp4`` (or ``solo_CODE_NAME.mp4``): pictures and sound of one player
========================  ==========================================================================================

Source:
    Li, Liu, Dinesh, Duan and Sharma, Creating a Multitrack Classical Music Performance Dataset for Multimodal Music
    Analysis, IEEE Transactions on Multimedia 21, 2019 (URMP). Native Instruments, Stem File Format, as MUSDB18 fills
    it: Rafii et al., MUSDB18, 2017.
"""

import re
from dataclasses import dataclass
from typing import Literal

from tasks.media.formats import SOUND_SUFFIXES

EnsembleRole = Literal["stem", "stems", "mix", "view", "solo", "notes", "beside"]

MIX = "mix"
VIEW = "cam_all"  # a camera of all players
STEM_STREAMS = ("drums", "bass", "other", "vocals")  # behind the mix, in order

_EXTENSION = r"\.[A-Za-z0-9]{1,8}"
_SOUND = rf"\.(?:{'|'.join(suffix[1:] for suffix in SOUND_SUFFIXES)})"
_PATTERNS: tuple[tuple[EnsembleRole, str], ...] = (
    ("stems", r"[A-Za-z0-9][A-Za-z0-9 ._'&,()-]{0,150}\.stem\.(?:mp4|m4a)"),
    ("stem", rf"stem_(?:(?P<number>\d{{1,2}})(?:_|(?=\.)))?(?P<instrument>[A-Za-z][A-Za-z0-9_-]{{0,50}})?{_SOUND}"),
    ("stem", rf"AuSep_(?P<number>\d{{1,2}})_(?P<instrument>[A-Za-z]{{1,20}})_[A-Za-z0-9_-]{{1,60}}{_SOUND}"),
    ("mix", rf"mix{_SOUND}"),
    ("mix", rf"AuMix_[A-Za-z0-9_-]{{1,60}}{_SOUND}"),
    ("view", rf"Vid_[A-Za-z0-9_-]{{1,60}}{_EXTENSION}"),
    ("solo", rf"solo_(?P<instrument>[A-Za-z]{{1,20}})(?:_[A-Za-z0-9_-]{{1,60}})?{_EXTENSION}"),
    ("notes", r"Notes_(?P<number>\d{1,2})_(?P<instrument>[A-Za-z]{1,20})_[A-Za-z0-9_-]{1,60}\.txt"),
    ("beside", r"(?:F0s_[A-Za-z0-9_-]{1,60}\.txt|Sco_[A-Za-z0-9_-]{1,60}\.pdf)"),
)
_COMPILED = tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in _PATTERNS)


@dataclass(frozen=True, kw_only=True)
class EnsembleFile:
    """What a file of an ensemble is.

    Attributes:
        role: ``view`` is a camera of all, ``stems`` the mix and its stems in one, ``beside`` is not used.
        device: what the take calls it: ``stem_1_vn``, ``mix``, ``cam_all``.
        number: the player's, if the name has one.
        instrument: the word in the name, if there is one.
    """

    role: EnsembleRole
    device: str
    number: int | None = None
    instrument: str | None = None


def ensemble_file(name: str) -> EnsembleFile | None:
    """Return what a file of an ensemble is by its name; None for one that is none."""
    for role, pattern in _COMPILED:
        found = pattern.fullmatch(name)
        if found is None:
            continue
        groups = found.groupdict()
        number = int(groups["number"]) if groups.get("number") else None
        instrument = groups.get("instrument")
        if role == "stem" and number is None and instrument is None:
            continue
        return EnsembleFile(
            role=role, device=_device(role, name, number, instrument), number=number, instrument=instrument
        )
    return None


def _device(role: EnsembleRole, name: str, number: int | None, instrument: str | None) -> str:
    words = [] if instrument is None else [instrument.lower()]
    numbered = [] if number is None else [str(number)]
    if role in ("stem", "notes"):
        return "_".join([role, *numbered, *words])
    if role == "solo":
        device = name.rpartition(".")[0]
        return device if device.startswith("solo") else device.lower()
    return {"mix": MIX, "view": VIEW, "stems": "stems"}.get(role, name)
