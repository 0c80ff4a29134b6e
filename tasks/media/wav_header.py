"""What the header of a WAV file says of its length, and what is there: recorders lose power before it is filled in."""

from pathlib import Path

# In a WAV's header: programs that write to a pipe cannot go back to fill its length in, and leave one of these.
UNKNOWN_SIZES = (range(0x7FFFF000, 0x80000001), range(0xFFFF0000, 0x100000000))
FORMS = (b"RIFF", b"RF64", b"BW64")  # of more than 4 GB: those have the length in a chunk of their own
WRITTEN_BYTES = 1 << 14  # fewer behind the sound are what a program left there, and no sound


def wav_lacks(path: Path) -> str | None:
    """Return what a WAV file lacks of the samples that its header counts, None when it has all or is no WAV."""
    found = _wav_sizes(path)
    if found is None or found[0] >= found[1] or _is_unknown(found[1]):
        return None
    return f"holds {found[0]} bytes of sound, its header says {found[1]}"


def wav_is_unfinished(path: Path) -> bool:
    """Say whether sound follows a WAV file's header that it does not count.

    It counts no samples, or none that are known; or fewer than follow, as where a recorder lost power after it had last
    brought its header up to date, or went over the 4 GB that a header can count. What follows is sound and no chunk.
    """
    found = _wav_sizes(path)
    if found is None or found[0] == 0:
        return False
    n_bytes, size = found
    if size == 0 or _is_unknown(size):
        return True
    return n_bytes - size >= WRITTEN_BYTES and not _is_chunk(path, n_bytes - size)


def _is_unknown(size: int) -> bool:
    return any(size in sizes for sizes in UNKNOWN_SIZES)


def _is_chunk(path: Path, n_bytes: int) -> bool:
    """Return whether the last bytes of a file begin with a chunk, or do after one: a name, and a length that fits."""
    with path.open("rb") as file:
        file.seek(-n_bytes, 2)
        head = file.read(9)
    for at in (0, 1):
        name, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        if name.isascii() and name.decode("ascii").isprintable() and length <= n_bytes:
            return True
    return False


def _wav_sizes(path: Path) -> tuple[int, int] | None:
    """Return the bytes that follow a WAV file's header, and those that it counts; None where it is no WAV."""
    with path.open("rb") as file:
        form = file.read(4)
        if form not in FORMS:
            return None
        file.seek(12)
        counted = None
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"ds64" and size >= 16:
                counted = int.from_bytes(file.read(16)[8:], "little")
                size -= 16
            if head[:4] == b"data":
                return path.stat().st_size - file.tell(), size if counted is None or form == b"RIFF" else counted
            file.seek(size + size % 2, 1)
    return None
