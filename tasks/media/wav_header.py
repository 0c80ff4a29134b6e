"""What the header of a WAV file says of its length, and what is there: recorders lose power before it is filled in."""

from pathlib import Path

# In a WAV's header: programs that write to a pipe cannot go back to fill its length in, and leave one of these.
UNKNOWN_SIZES = (range(0x7FFFF000, 0x80000000), range(0xFFFF0000, 0x100000000))


def wav_lacks(path: Path) -> str | None:
    """Return what a WAV file lacks of the samples that its header counts, None when it has all or is no WAV."""
    found = _wav_sizes(path)
    if found is None or found[0] >= found[1] or _is_unknown(found[1]):
        return None
    return f"holds {found[0]} bytes of sound, its header says {found[1]}"


def _is_unknown(size: int) -> bool:
    return any(size in sizes for sizes in UNKNOWN_SIZES)


def _wav_sizes(path: Path) -> tuple[int, int] | None:
    """Return the bytes that follow a WAV file's header, and those that it counts; None where it is no WAV."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":
            return None
        file.seek(12)
        while len(head := file.read(8)) == 8:
            size = int.from_bytes(head[4:], "little")
            if head[:4] == b"data":
                return path.stat().st_size - file.tell(), size
            file.seek(size + size % 2, 1)
    return None


def wav_is_unfinished(path: Path) -> bool:
    """Say whether a WAV file's header counts no samples, or none that are known, though some follow it."""
    found = _wav_sizes(path)
    return found is not None and found[0] > 0 and (found[1] == 0 or _is_unknown(found[1]))
