"""The edit list of an mp4: which part of a film is shown."""

import struct
from pathlib import Path

from tasks.media.process import MediaError, shown

_VERSION_0_ENTRY = struct.Struct(">4sIIIi")  # elst, version and flags, entries, duration, media time


def hide_beginning(path: Path, until_s: float) -> None:
    """Make players skip what a film shows before ``until_s``; the pictures stay in the file.

    Args:
        path: an mp4 with one stream of pictures and no sound, as ``encode_camera`` writes it.
        until_s: from the film's begin; a picture's own time.

    Raises:
        MediaError: the file holds no edit list of one entry.

    Source:
        ISO/IEC 14496-12, 8.6.6 (edit list box), 8.2.2 (movie header), 8.4.2 (media header).
    """
    data = bytearray(path.read_bytes())
    at = data.find(b"elst")
    movie, media = data.find(b"mvhd"), data.find(b"mdhd")
    if min(at, movie, media) < 0 or data.count(b"elst") != 1:
        raise MediaError(f"{shown(path)}: no single edit list, expected one stream of pictures", kind="NO_EDIT_LIST")
    box, flags, n_entries, duration, start = _VERSION_0_ENTRY.unpack_from(data, at)
    if flags or n_entries != 1:
        raise MediaError(f"{shown(path)}: an edit list of {n_entries} entries, expected 1", kind="NO_EDIT_LIST")
    # Both headers of version 0: version and flags, created, changed, ticks a second.
    movie_ticks, media_ticks = (int.from_bytes(data[place + 16 : place + 20]) for place in (movie, media))
    duration -= round(until_s * movie_ticks)
    start += round(until_s * media_ticks)
    _VERSION_0_ENTRY.pack_into(data, at, box, flags, n_entries, duration, start)
    path.write_bytes(data)
