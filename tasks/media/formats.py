"""Which recordings are read: the one list of containers, with their names' endings, first bytes and demuxers.

What is listed here is read by every verb; what is not is refused by every verb.
"""

from dataclasses import dataclass
from typing import Literal

ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
EBML = b"\x1a\x45\xdf\xa3"
W64_GUID = b"riff\x2e\x91\xcf\x11"
HEAD_LENGTH = 200  # bytes that tell a container: a transport stream is told by its second packet
TS_SYNC = 0x47  # begins each packet of a transport stream, of 188 bytes, or of 192 with a time stamp first


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container that is read.

    Attributes:
        name: for people.
        demuxers: ffmpeg's names.
        suffixes: of its files, in lower case.
        holds: ``sound``, or ``film`` where it holds pictures too.
    """

    name: str
    demuxers: tuple[str, ...]
    suffixes: tuple[str, ...]
    holds: Literal["sound", "film"]


CONTAINERS = (
    Container(name="wav", demuxers=("wav",), suffixes=(".wav", ".wave", ".bwf", ".rf64"), holds="sound"),
    Container(name="w64", demuxers=("w64",), suffixes=(".w64",), holds="sound"),
    Container(name="aiff", demuxers=("aiff",), suffixes=(".aif", ".aiff", ".aifc"), holds="sound"),
    Container(name="flac", demuxers=("flac",), suffixes=(".flac",), holds="sound"),
    Container(name="mp3", demuxers=("mp3",), suffixes=(".mp3",), holds="sound"),
    Container(name="ogg", demuxers=("ogg",), suffixes=(".ogg", ".oga", ".opus"), holds="sound"),
    Container(name="aac", demuxers=("aac",), suffixes=(".aac",), holds="sound"),
    Container(name="m4a", demuxers=("mov", "mp4", "m4a", "3gp", "3g2", "mj2"), suffixes=(".m4a",), holds="sound"),
    Container(name="mp4", demuxers=(), suffixes=(".mp4", ".m4v", ".mov", ".3gp"), holds="film"),
    Container(name="matroska", demuxers=("matroska", "webm"), suffixes=(".mkv", ".webm"), holds="film"),
    Container(name="matroska sound", demuxers=(), suffixes=(".mka",), holds="sound"),
    Container(name="avi", demuxers=("avi",), suffixes=(".avi",), holds="film"),
    Container(
        name="mpeg", demuxers=("mpeg", "mpegts"), suffixes=(".mpg", ".mpeg", ".mts", ".m2ts", ".ts"), holds="film"
    ),
)
SOUND_SUFFIXES = tuple(suffix for one in CONTAINERS if one.holds == "sound" for suffix in one.suffixes)
FILM_SUFFIXES = tuple(suffix for one in CONTAINERS if one.holds == "film" for suffix in one.suffixes)
RECORDING_SUFFIXES = tuple(suffix for one in CONTAINERS for suffix in one.suffixes)
DEMUXERS = tuple(demuxer for one in CONTAINERS for demuxer in one.demuxers)
NAMES = "wav, w64, aiff, flac, mp3, ogg, aac, mp4, mov, matroska, webm, avi or mpeg"


def begins_as_media(head: bytes) -> bool:
    """Say whether the first `HEAD_LENGTH` bytes of a file are those of a container that is read.

    A playlist or a picture begins otherwise: ffmpeg, which guesses, is never asked about one.
    """
    if head[4:8] in ATOMS or head[:4] == EBML:
        return True
    if head[:4] in (b"RIFF", b"RF64", b"BW64"):
        return head[8:12] in (b"AVI ", b"WAVE")
    if head[:4] == b"FORM":
        return head[8:12] in (b"AIFF", b"AIFC")
    if head[:8] == W64_GUID or head[:4] in (b"fLaC", b"OggS", b"\x00\x00\x01\xba") or head[:3] == b"ID3":
        return True
    if len(head) >= 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:  # a block of MPEG sound
        return True
    return any(len(head) > at + size and head[at] == head[at + size] == TS_SYNC for at, size in ((0, 188), (4, 192)))
