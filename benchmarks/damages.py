"""``audiate doctor --deep`` against random damage: how many of it are named, and what is said of a healthy checkout.

    python -m benchmarks.damages PROJECT [--damages N] [--healthy N] [--seed N]

PROJECT is a checkout in which `dvc repro` has finished; what is damaged is a copy of it. One at a time, files of all
outputs and of DVC's cache are flipped in one bit, cut short, deleted, or joined by another file; in half of them the
mtime is kept, as a failing disk keeps it. A damage is named when a finding has the path of the file, or of the folder
of it that is missing, and nothing else is said but what follows from the same file. It is then undone.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import yaml

from tasks.doctor import Finding, examine

OUTPUTS, OBJECTS, RUNS = "outputs", ".dvc/cache/files/md5", ".dvc/cache/runs"
SHARES = {OUTPUTS: 0.6, OBJECTS: 0.3, RUNS: 0.1}  # of the damages
HARMS = ("flipped", "cut short", "deleted", "joined")


def files_of(place: str) -> list[Path]:
    """Return the files of the outputs that dvc.lock lists, or of a part of the cache."""
    tops = [Path(place)]
    if place == OUTPUTS:
        lock = yaml.safe_load(Path("dvc.lock").read_text())
        tops = [Path(out["path"]) for stage in lock["stages"].values() for out in stage.get("outs", [])]
    found = {path for top in tops for path in ([top] if top.is_file() else top.rglob("*")) if path.is_file()}
    return sorted(path for path in found if path.name != ".gitignore")


def harm(path: Path, how: str, rng: random.Random, *, keep_times: bool) -> tuple[Path, Callable[[], None]]:
    """Damage a file, and return which path that is to be named by and what undoes it."""
    stat = path.stat()
    content = path.read_bytes()
    if how == "joined":
        other = path.with_name(f"{rng.randbytes(15).hex()}" if OBJECTS in str(path) else f"more_{path.name}")
        other.write_bytes(content + b"more")
        return other, other.unlink

    def undo() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(stat.st_mode)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    if how == "deleted":
        path.unlink()
        return path, undo
    path.chmod(0o644)
    if how == "flipped":
        changed = bytearray(content)
        at = rng.randrange(len(content))
        changed[at] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
    else:
        os.truncate(path, rng.randrange(len(content)))
    path.chmod(stat.st_mode)
    if keep_times:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return path, undo


def is_named(path: Path, findings: list[Finding]) -> bool:
    """Say whether findings name a path, or a folder that it was in, and all of them are of it."""
    wrong = [finding for finding in findings if not finding.is_well]
    names = {str(path), *(str(parent) for parent in path.parents if not parent.exists())}
    return bool(wrong) and all(any(name in finding.found for name in names) and finding.advice for finding in wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, help="a checkout in which dvc repro has finished")
    parser.add_argument("--damages", type=int, default=60)
    parser.add_argument("--healthy", type=int, default=20, help="times that the undamaged copy is looked at")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    named: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    seconds: list[float] = []

    def look() -> list[Finding]:
        started = time.perf_counter()
        found = examine(deep=True)
        seconds.append(time.perf_counter() - started)
        return found

    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(arguments.project, Path(folder) / "copy", symlinks=True, ignore=lambda *_: [".venv"])
        with chdir(copy):
            false_alarms = 0
            for _ in range(arguments.healthy):
                said = [finding.found for finding in look() if not finding.is_well]
                false_alarms += bool(said)
                print(*said, sep="\n", end="\n" if said else "", file=sys.stderr)
            there = {place: files_of(place) for place in SHARES}
            for number in range(arguments.damages):
                [place] = rng.choices(list(SHARES), weights=list(SHARES.values()))
                how = HARMS[number % len(HARMS)]
                if place == RUNS and how in ("deleted", "joined"):
                    how = "cut short"  # a former run that is not remembered is no damage
                sizeable = [path for path in there[place] if path.stat().st_size]
                path, undo = harm(rng.choice(sizeable), how, rng, keep_times=number % 2 == 0)
                found = look()
                kind = f"{place}, {how}"
                tried[kind] += 1
                if is_named(path, found):
                    named[kind] += 1
                else:
                    print(f"not named: {how} {path}", file=sys.stderr)
                    print(*(finding for finding in found if not finding.is_well), sep="\n", file=sys.stderr)
                undo()
    rows = {kind: f"{named[kind]} of {n}" for kind, n in sorted(tried.items())}
    print(json.dumps({"named": f"{named.total()} of {tried.total()}", **rows}, indent=1))
    median_s = sorted(seconds)[len(seconds) // 2]
    print(f"{false_alarms} of {arguments.healthy} healthy checkouts were called wrong; median {median_s:.1f} s a look")
    return 0 if named == tried and not false_alarms else 1


if __name__ == "__main__":
    sys.exit(main())
