"""``audiate compare`` on a thousand takes and ten families: seconds of a whole process, imports included.

    python -m benchmarks.compare [--takes N] [--families N] [--keep FOLDER]

The project is made here: two commits, their dvc.lock and their results in a DVC cache, as `dvc repro` leaves them; a
fifth of the takes is tested. Of each family three systems have twenty figures a take.
"""

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from tasks.metrics.table import METRICS
from tasks.store.tables import write_table

GOAL_S = 3.0
OTHER_FIGURES = tuple(f"figure_{number}" for number in range(12))
COMPARE = """
import json, sys
from tasks.compare import CompareParams, compare_versions
from tasks.versions.history import read_version
from tasks.versions.show import advice, tables_of
from rich.console import Console
from rich.table import Table
params = CompareParams(n_resamples=2000, seed=1, n_moved=5)
found = compare_versions(read_version("HEAD~1"), read_version("HEAD"), params)
for table in tables_of(found):
    shown = Table(*table.header, title=table.title)
    for row in table.rows:
        shown.add_row(*row)
    Console(file=sys.stderr).print(shown)
print(json.dumps([len(found.differences), len(found.added), advice(found)]))
"""


def store(cache: Path, content: bytes, suffix: str = "") -> str:
    """Put bytes where DVC's cache would, and return their name."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / md5[:2] / f"{md5[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{md5}{suffix}"


def store_folder(cache: Path, files: dict[str, bytes]) -> str:
    listed = [{"md5": store(cache, content), "relpath": name} for name, content in sorted(files.items())]
    return store(cache, json.dumps(listed).encode(), ".dir")


def make_version(project: Path, number: int, *, n_takes: int, n_families: int) -> None:
    """Write one version's results into the cache and its dvc.lock and params.yaml into the project."""
    cache, rng = project / ".dvc" / "cache" / "files" / "md5", np.random.default_rng(number)
    takes = [f"take_{index:05d}" for index in range(number, n_takes + number)]
    catalog = [
        {
            "take": take,
            "kind": "score",
            "piece": f"piece_{int(take[5:]) // 2}",
            "part": None,
            "digest": hashlib.sha256(take.encode()).hexdigest(),
            "duration_s": 60.0,
            "title": take,
            "media": [{"role": "score", "path": f"data/raw/{take}/a.mid", "sha256": "0" * 64, "size": 5000}],
        }
        for take in takes
    ]
    ingested = {"catalog.json": json.dumps(catalog, indent=1).encode(), "quarantine.json": b"[]\n"}
    ingested |= {f"{take}/{name}": b"" for take in takes for name in ("_receipt.json", "notes.parquet", "take.json")}
    outs = {"ingest": {"data/ingested": store_folder(cache, ingested)}}
    tested = [take for take in takes if int(take[5:]) // 2 % 5 == 0]
    for index in range(n_families):
        rows = [(f"system_{system}", take) for system in range(3) for take in tested]
        columns = {
            "system": [system for system, _ in rows],
            "take": [take for _, take in rows],
            "piece": [f"piece_{int(take[5:]) // 2}" for _, take in rows],
            **{metric.key: rng.normal(size=len(rows)) for metric in METRICS},
            **{name: rng.normal(size=len(rows)) for name in OTHER_FIGURES},
            "segment_ids": [[f"{row:064x}" for row in range(20)] for _ in rows],
        }
        write_table(project / "takes.parquet", columns)
        content = (project / "takes.parquet").read_bytes()
        outs[f"evaluate@family_{index}"] = {
            f"data/evaluated/family_{index}": store_folder(cache, {"takes.parquet": content})
        }
    (project / "takes.parquet").unlink()
    deps = [{"path": f"tasks/module_{index}.py", "hash": "md5", "md5": f"{index + number:032x}"} for index in range(60)]
    stages = {
        stage: {"cmd": "true", "deps": deps, "outs": [{"path": path, "md5": md5} for path, md5 in made.items()]}
        for stage, made in outs.items()
    }
    (project / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    (project / "params.yaml").write_text(yaml.safe_dump({"train": {"n_steps": 100 * number}}))
    (project / "constraints.txt").write_text("numpy==2.4.6\n")
    for command in (("add", "--all"), ("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "one")):
        subprocess.run(["git", *command], cwd=project, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--takes", type=int, default=1000)
    parser.add_argument("--families", type=int, default=10)
    parser.add_argument("--keep", type=Path, help="make the project in this folder, and leave it there")
    arguments = parser.parse_args()
    project = arguments.keep or Path(tempfile.mkdtemp(prefix="audiate-compare-"))
    try:
        (project / ".dvc").mkdir(parents=True)
        (project / ".gitignore").write_text("/.dvc/cache\n")
        subprocess.run(["git", "init", "-q"], cwd=project, check=True)
        for number in (1, 2):
            make_version(project, number, n_takes=arguments.takes, n_families=arguments.families)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for turn in ("first", "second"):
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", COMPARE], cwd=project, env=environment, capture_output=True, text=True
            )
            wall_s = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if done.returncode:
                print(done.stderr)
                return 1
            n_figures, n_added, words = json.loads(done.stdout)
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{turn} run: {arguments.takes} takes, {arguments.families} families, {n_figures} figures, {n_added} "
                f"added: {wall_s:.2f} s wall, {cpu_s:.2f} s CPU (goal {GOAL_S} s wall"
                f"{', MISSED' if wall_s > GOAL_S else ''}); {words}"
            )
    finally:
        if arguments.keep is None:
            shutil.rmtree(project, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
