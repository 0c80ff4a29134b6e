"""Runs one peer over recordings that ``benchmarks.sync --keep`` left, with the peer's own Python.

    PEER/bin/python benchmarks/_sync_peer.py NAME DIR > found.json

Each line of the result: case, delay in seconds at which the other one starts in the reference (null when the peer gives
none), the peer's own confidence, CPU seconds.
"""

import contextlib
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path

Answer = tuple[float | None, float | None]


def audio_offset_finder(reference: Path, other: Path) -> Answer:
    """BBC's; looks at the whole files, not only at the first 30 s."""
    from audio_offset_finder.audio_offset_finder import find_offset_between_files

    found = find_offset_between_files(str(reference), str(other), trim=200)
    return float(found["time_offset"]), float(found["standard_score"])


def syncstart(reference: Path, other: Path) -> Answer:
    from syncstart import file_offset

    name, offset = file_offset(in1=str(reference), in2=str(other), take=200, show=False, normalize=True)
    # It names the file to cut and by how much.
    return (float(offset) if Path(name) == reference else -float(offset)), None


def audalign(reference: Path, other: Path) -> Answer:
    import audalign as peer

    recognizer = peer.CorrelationRecognizer()
    recognizer.config.multiprocessing = False
    found = peer.recognize(str(other), str(reference), recognizer=recognizer)
    if not found or not found.get("match_info"):
        return None, None
    match = next(iter(found["match_info"].values()))
    return float(match["offset_seconds"][0]), float(match["confidence"][0])


PEERS: dict[str, Callable[[Path, Path], Answer]] = {
    "audio-offset-finder": audio_offset_finder,
    "syncstart": syncstart,
    "audalign": audalign,
}


def cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    sys.argv = sys.argv[:1]  # syncstart reads the command line when it is called
    for case in sorted(path for path in folder.iterdir() if (path / "truth.json").is_file()):
        reference, other = (next(case.glob(f"{role}.*")) for role in ("reference", "other"))
        start = cpu_s()
        with contextlib.redirect_stdout(sys.stderr):
            try:
                delay_s, confidence = PEERS[name](reference, other)
                failed = None
            except Exception as error:  # a peer may raise anything, and that is its answer
                delay_s, confidence, failed = None, None, repr(error)[:200]
        row = {
            "case": case.name,
            "delay_s": delay_s,
            "confidence": confidence,
            "failed": failed,
            "cpu_s": cpu_s() - start,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
