"""Made films of keyboards, with exact truth, through the reader that `audiate perform` uses: what it finds and reads.

    python -m benchmarks.keyboard_films --seeds 5000-5069            44 films with notes, 6 idle ones, 20 negatives
    python -m benchmarks.keyboard_films --seeds 1,2 --kinds overhead-gloves,overhead-tilt
    python -m benchmarks.keyboard_films --seeds 5000-5069 --draw-only --folder DIR
    python -m benchmarks.keyboard_films --seeds 1-3 --kinds overhead-plain --cameras exposure,cutaway

A seed names a film: its remainder chooses the kind, and everything in it is drawn by the seed. The reader is tuned on
seeds below 1000 alone. Each film is read in a process of its own, so that its memory is its own. Corners are compared
in white keys; onsets and pitches by mir_eval, at 50 and 100 ms, against the picture's own clock; keys under a pop-up or
before a fade-in are left out. CPU time of one core.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import cv2

from benchmarks._keyboard_films_cameras import CAMERAS, size_of, through
from benchmarks._keyboard_films_cases import PLAN, Row, draw, row_of, sums, table


def cpu_s() -> float:
    """Return the CPU time of this process and of the programs that it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def read(film: Path) -> dict[str, object]:
    """Read a film as `audiate perform` does, and say what it cost."""
    from tasks.errors import PipelineError
    from tasks.keyboards.read import read_keyboard_film
    from tasks.params import read_params, section_values
    from tasks.perform import PerformParams

    params = PerformParams.parse(section_values(read_params(), "perform"), "perform")
    start_s, started = cpu_s(), time.perf_counter()
    found: dict[str, object] = {}
    try:
        reading = read_keyboard_film(film, policy=params.media, params=params.keyboard)
    except PipelineError as error:
        found["error"] = str(error)
    else:
        notes = reading.notes
        found |= {
            "corners": [[float(x), float(y)] for x, y in reading.place.corners],
            "lowest": int(reading.keys.lowest),
            "mode": reading.mode,
            "notes": [
                [float(onset_s), float(offset_s), int(pitch)]
                for onset_s, offset_s, pitch in zip(notes.onset_s, notes.offset_s, notes.pitch, strict=True)
            ],
        }
    found |= {"cpu_s": cpu_s() - start_s, "wall_s": time.perf_counter() - started}
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return found | {"peak_mb": peak / 1024}


def read_apart(film: Path) -> dict[str, object]:
    """Read a film in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.keyboard_films", "--read", str(film)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        reason = ran.stderr.strip().splitlines()[-1:] or ["no word"]
        return {"error": f"crashed: {reason[0]}", "cpu_s": 0.0, "wall_s": 0.0, "peak_mb": 0.0}
    return json.loads(ran.stdout.splitlines()[-1])


def seeds_of(text: str) -> list[int]:
    """Return the seeds of ``5000-5060`` or ``1,2,5-7``."""
    seeds: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        seeds += range(int(first), int(last or first) + 1)
    return seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("5000-5069"))
    parser.add_argument("--kinds", type=lambda text: text.split(","), help="draw these instead, each with every seed")
    parser.add_argument(
        "--cameras", type=lambda text: text.split(","), help=f"send each film through these: {', '.join(CAMERAS)}"
    )
    parser.add_argument("--seconds", type=float, default=12.0, help="of each film")
    parser.add_argument("--folder", type=Path, help="keep the films there")
    parser.add_argument("--draw-only", action="store_true")
    parser.add_argument("--json", type=Path, help="write each film's row there")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        print(json.dumps(read(arguments.read)))
        return
    unknown = sorted(set(arguments.kinds or ()) - set(PLAN))
    if unknown:
        parser.error(f"no kind {unknown[0]}, there are {', '.join(sorted(set(PLAN)))}")
    if unknown := sorted(set(arguments.cameras or ()) - set(CAMERAS)):
        parser.error(f"no camera {unknown[0]}, there are {', '.join(CAMERAS)}")
    cv2.setNumThreads(1)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in arguments.seeds:
            for kind in arguments.kinds or [PLAN[seed % len(PLAN)]]:
                start_s = cpu_s()
                truth = draw(seed, folder, arguments.seconds, kind)
                drawing_s = cpu_s() - start_s
                if arguments.draw_only:
                    print(f"{kind:24}{seed:6}{drawing_s:7.1f} CPU-s", flush=True)
                    continue
                for camera in arguments.cameras or [None]:
                    seen = truth if camera is None else through(truth, camera, size_of(truth.path))
                    rows.append(row_of(seen, read_apart(seen.path), drawing_s=drawing_s))
                    print("\n".join(table(rows[-1:])[len(rows) > 1 :]), camera or "", flush=True)
                    if not arguments.folder:
                        seen.path.unlink()
                if not arguments.folder:
                    truth.path.unlink(missing_ok=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1), encoding="utf-8")
    if rows:
        print("\n" + "\n".join(sums(rows)))


if __name__ == "__main__":
    main()
