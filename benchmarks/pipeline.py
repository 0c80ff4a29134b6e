"""The pipeline as `dvc repro` runs it, in temporary projects: speed, memory, what one more take and no change cost.

    python -m benchmarks.pipeline [--midi DIR] [--part NAME ...] [--keep FOLDER]

A project is a copy of this checkout's files with git and DVC; nothing of the checkout is touched. Times are wall
times of the whole command, DVC's own work and the start of the Prefect server included. Parts:

- ``bundled``: the bundled pieces, ingest to chunk, from nothing; then `dvc repro` of the whole pipeline with nothing
  to do. What is trained and made from it stands there as empty files: DVC compares their hashes all the same.
- ``stage``: CPU seconds of a stage's whole process where the work is one line: what Prefect and the step cost.
- ``folder``: the files of ``--midi``, ingest to chunk, from nothing.
- ``one_more``: one take added to those, and the same stages run when nothing is to be done for any take.
- ``rebuild``: the same takes from nothing in another project: is dvc.lock the same, byte for byte?
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tasks.ingest import IngestParams
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.midi_writer import write_midi
from tasks.params import read_params, section_values

CHECKOUT = Path(__file__).resolve().parents[1]
STAGES = ("ingest", "render", "extract", "chunk")
TAKE = "data/raw/{name}/{name}.mid"
NEW_TAKE = "one-more"
MANY = 124

# A stage whose work is next to nothing: what is left is Prefect, the step and the imports of both.
TRIVIAL = {
    "tasks/trivial.py": """
from dataclasses import dataclass
from pathlib import Path
from tasks.params import Section

class TrivialParams(Section):
    gain: float

@dataclass(frozen=True)
class Nothing:
    name: str

def trivial_take(item: Nothing, out: Path, params: TrivialParams) -> None:
    (out / "nothing.txt").write_text(item.name)
""",
    "flows/trivial.py": """
import sys
from pathlib import Path
from prefect import flow
from flows.run import Summary, TakeWork, for_each_take, run_stage
from tasks.trivial import Nothing, TrivialParams, trivial_take

@flow(name="trivial", flow_run_name="trivial")
def trivial(n_takes: int, params: TrivialParams) -> Summary:
    takes, out_dir = [Nothing(f"take-{number}") for number in range(n_takes)], Path("data/trivial")
    work = TakeWork(run=trivial_take, inputs=lambda take: [])
    return for_each_take(lambda _: work, takes, stage="trivial", out_dir=out_dir, params=params)

def main(n_takes):
    return run_stage(trivial, "trivial", {"params": ("trivial", TrivialParams)}, [n_takes])

if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
""",
}


@dataclass(frozen=True)
class Ran:
    """What a command took; ``peak_bytes`` is the largest resident size of each kind of process."""

    wall_s: float
    cpu_s: float
    said: str
    peak_bytes: dict[str, int]


class Project:
    """A copy of the checkout's files in a folder of its own, under git and DVC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        bin_folder = str(Path(sys.executable).parent)
        ours = ("PREFECT_", "AUDIATE_", "PYTHON")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        self.environment |= {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}

    def make(self, *, bundled: bool) -> None:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.split("\0")
        for name in filter(None, names):
            if (CHECKOUT / name).is_file() and not name.startswith(("tests/", "dvc.lock", "data/metrics/")):
                copy = self.folder / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, copy)
        if not bundled:
            for midi in (self.folder / "data/sample/midi").iterdir():
                midi.unlink()
            (self.folder / "data/sample/pieces.yaml").write_text("{}\n")
        (self.folder / "data/raw").mkdir(parents=True, exist_ok=True)
        self.run("git", "init", "--quiet")
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "-m", "start")
        self.run("python", "-m", "tasks.tools")

    def add(self, midi: Path, name: str) -> None:
        target = self.folder / TAKE.format(name=name)
        target.parent.mkdir()
        shutil.copy2(midi, target)

    def run(self, *command: str) -> Ran:
        """Run a command to its end, itself and what it started watched."""
        with (
            tempfile.TemporaryFile("w+") as output,
            self._watch() as peak_bytes,
        ):
            start = time.perf_counter()
            running = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=output, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(running.pid, 0)
            wall_s = time.perf_counter() - start
            running.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            said = output.read()
        if running.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{said}")
        # The kernel's own account of the largest process, for those that came and went between two looks.
        peak_bytes["largest"] = max(usage.ru_maxrss * 1024, *peak_bytes.values(), 0)
        return Ran(wall_s, usage.ru_utime + usage.ru_stime, said, peak_bytes)

    @contextmanager
    def _watch(self) -> Iterator[dict[str, int]]:
        peak_bytes: dict[str, int] = {}
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.5):
                for name, size in self.processes():
                    peak_bytes[name] = max(peak_bytes.get(name, 0), size)

        watching = threading.Thread(target=look)
        watching.start()
        try:
            yield peak_bytes
        finally:
            done.set()
            watching.join()

    def processes(self) -> list[tuple[str, int]]:
        """Return name and peak resident bytes of every process that works in this folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # gone by now, or not ours to look at
                if (process / "cwd").resolve() != self.folder.resolve():
                    continue
                words = (process / "cmdline").read_bytes().decode().split("\0")
                peak = re.search(r"VmHWM:\s+(\d+) kB", (process / "status").read_text())
                modules = [word for word in words if re.match(r"flows\.|uvicorn", word)]
                name = modules[0] if modules else Path(words[0]).name if "dvc" not in " ".join(words) else "dvc"
                if peak is not None:
                    found.append((name, int(peak[1]) * 1024))
        return found

    def wait_for_server(self) -> None:
        """Wait until the Prefect server of the last run has left, so that the next run starts one."""
        while any(name in ("uvicorn", "flows.server") for name, _ in self.processes()):
            time.sleep(0.5)

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def computed(self) -> dict[str, list[str]]:
        return {stage: self.read(f".audiate/runs/{stage}.json")["takes"]["computed"] for stage in STAGES}

    def music_s(self) -> float:
        return float(sum(take["duration_s"] for take in self.read("data/ingested/catalog.json")))


def goal(reached: bool, words: str) -> str:
    return f"(goal {words}{'' if reached else ': MISSED'})"


def mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def take_files(folder: Path) -> dict[str, Path]:
    """Return the MIDI files of a folder by the name of the take that each becomes."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".mid", ".midi"))
    if not files:
        raise SystemExit(f"{folder} holds no MIDI file")
    return {"-".join(path.relative_to(folder).with_suffix("").parts): path for path in files}


def tell_from_nothing(project: Project, ran: Ran, *, n_expected: int) -> None:
    catalog = project.read("data/ingested/catalog.json")
    music_s = project.music_s()
    n_pedal = sum(take["counts"]["pedal_channels"] > 0 for take in catalog)
    n_sustained = sum(take["counts"]["sustained"] for take in catalog)
    n_notes = sum(take["n_notes"] for take in catalog)
    print(f"{len(catalog)} of {n_expected} takes accepted, {music_s / 3600:.2f} h; {n_pedal} with pedal, which holds "
          f"{n_sustained:,} of {n_notes:,} notes {goal(len(catalog) == n_expected, 'all')}")  # fmt: skip
    speed = music_s / ran.wall_s
    # On minutes of music the start of the server and of four processes is most of the time.
    reached = " " + goal(speed >= 150, "150x") if music_s > 3600 else ""
    print(
        f"ingest to chunk from nothing: {ran.wall_s:.1f} s, {speed:.0f}x real time{reached}; {ran.cpu_s:.0f} s of CPU"
    )
    for stage in STAGES:
        record = project.read(f".audiate/runs/{stage}.json")
        print(f"  {stage:8} {record['wall_s']:6.1f} s  {record['cpu_s']:6.1f} s of CPU")
    largest = ran.peak_bytes["largest"]
    print(f"largest process: {mib(largest)} {goal(largest < 1.5e9, 'under 1.5 GB')}")
    for name, size in sorted(ran.peak_bytes.items()):
        if name.startswith(("flows.", "uvicorn", "dvc")):
            print(f"  {name:16} {mib(size):>10}")


def measure_bundled(folder: Path) -> None:
    project = Project(folder / "bundled")
    project.make(bundled=True)
    n_pieces = len(list((project.folder / "data/sample/midi").iterdir()))
    print("\nthe bundled pieces")
    ran = project.run("dvc", "repro", "chunk")
    tell_from_nothing(project, ran, n_expected=n_pieces)

    stages = yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]
    families = yaml.safe_load((project.folder / "params.yaml").read_text())["families"]
    for stage, described in stages.items():
        if stage in ("code", *STAGES):
            continue
        for family in families if "foreach" in described else [""]:
            content = described.get("do", described)
            for out in (*content.get("outs", ()), *content.get("metrics", ())):
                stand_in(project.folder / (out if isinstance(out, str) else next(iter(out))).replace("${key}", family))
    project.run("dvc", "commit", "--force")
    walls, cpu_s = [], []
    for _ in range(5):
        ran = project.run("dvc", "repro")
        if "Data and pipelines are up to date" not in ran.said:
            raise SystemExit(f"dvc repro found something to do:\n{ran.said}")
        walls.append(ran.wall_s)
        cpu_s.append(ran.cpu_s)
    median_s = statistics.median(walls)
    print(f"dvc repro of the whole pipeline with nothing to do: {median_s:.2f} s, median of {len(walls)} "
          f"({statistics.median(cpu_s):.2f} s of CPU) {goal(median_s <= 1.9, 'at most 1.9 s')}")  # fmt: skip


def stand_in(path: Path) -> None:
    if path.suffix == ".json":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
        return
    path.mkdir(parents=True, exist_ok=True)
    (path / "stands-in.txt").write_text("for what the stage would have made\n")


def measure_stage(folder: Path) -> None:
    project = Project(folder / "stage")
    project.make(bundled=False)
    for name, code in TRIVIAL.items():
        (project.folder / name).write_text(code)
    with (project.folder / "params.yaml").open("a") as params:
        params.write("\ntrivial: {gain: 1.0}\n")
    project.run("python", "-m", "flows.code")
    project.run("python", "-m", "flows.trivial", "1")  # starts the server
    print("\na stage's own CPU, its server running: the whole process, the work one line")
    for n_takes, at_most_s in ((1, 1.5), (MANY, 3.0)):
        seconds = []
        for _ in range(3):
            shutil.rmtree(project.folder / "data/trivial")
            seconds.append(project.run("python", "-m", "flows.trivial", str(n_takes)).cpu_s)
        median_s = statistics.median(seconds)
        print(f"  {n_takes:3} computed: {median_s:.2f} s {goal(median_s <= at_most_s, f'at most {at_most_s} s')}")
    again_s = project.run("python", "-m", "flows.trivial", str(MANY)).cpu_s
    print(f"  {MANY:3} reused:   {again_s:.2f} s")


def measure_folder(folder: Path, midi: Path) -> Project:
    project = Project(folder / "folder")
    project.make(bundled=False)
    files = take_files(midi)
    for name, path in files.items():
        project.add(path, name)
    print(f"\n{len(files)} files of a folder")
    ran = project.run("dvc", "repro", "chunk")
    tell_from_nothing(project, ran, n_expected=len(files))
    return project


def new_take(midi: Path, path: Path) -> float:
    """Write a take that no file of the folder is: the one of median length, struck softer; return its seconds."""
    policy = IngestParams.parse(section_values(read_params(CHECKOUT / "params.yaml"), "ingest"), "ingest").midi
    scores = sorted((read_midi(file, policy) for file in take_files(midi).values()), key=lambda score: score.duration_s)
    score = scores[len(scores) // 2]
    velocity = np.maximum(score.notes.velocity, 4) - np.uint8(3)
    write_midi(path, replace(score.notes, velocity=velocity), pedal=score.controls, title=NEW_TAKE)
    return score.duration_s


def measure_one_more(folder: Path, midi: Path) -> None:
    project = Project(folder / "folder")
    path = folder / f"{NEW_TAKE}.mid"
    duration_s = new_take(midi, path)
    project.add(path, NEW_TAKE)
    project.wait_for_server()
    added = project.run("dvc", "repro", "chunk")
    computed = project.computed()
    project.wait_for_server()
    nothing = project.run("dvc", "repro", "--force", "chunk")
    if any(project.computed().values()):
        raise SystemExit(f"a forced run computed takes: {project.computed()}")
    is_one = all(takes == [NEW_TAKE] for takes in computed.values())
    more_s = added.wall_s - nothing.wall_s
    counts = ", ".join(f"{stage} {len(takes)}" for stage, takes in computed.items())
    print(f"\none take of {duration_s:.0f} s added: {added.wall_s:.1f} s {goal(added.wall_s <= 20, 'at most 20 s')}")
    print(f"  takes computed: {counts} {goal(is_one, 'one in each')}")
    print(f"  the same stages, nothing to do for any take: {nothing.wall_s:.1f} s; one take costs {more_s:.1f} s more "
          f"{goal(more_s <= 10, 'at most 10 s')}")  # fmt: skip
    print("  CPU of a stage with nothing to do: " + ", ".join(
        f"{stage} {project.run('python', '-m', f'flows.{stage}').cpu_s:.2f} s" for stage in STAGES))  # fmt: skip


def measure_rebuild(folder: Path, midi: Path) -> None:
    first, clean = Project(folder / "folder"), Project(folder / "rebuild")
    clean.make(bundled=False)
    for name, path in take_files(midi).items():
        clean.add(path, name)
    clean.add(folder / f"{NEW_TAKE}.mid", NEW_TAKE)
    clean.run("dvc", "repro", "chunk")
    is_same = (first.folder / "dvc.lock").read_bytes() == (clean.folder / "dvc.lock").read_bytes()
    print(f"\ndvc.lock of a clean rebuild: {'identical' if is_same else 'DIFFERENT'} {goal(is_same, 'identical')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--midi", type=Path, help="folder of MIDI files, for the parts that need more music")
    parser.add_argument("--part", nargs="+", help="by default all that have their data")
    parser.add_argument("--keep", type=Path, help="make the projects here and leave them")
    arguments = parser.parse_args()
    parts = arguments.part or ["bundled", "stage", *(["folder", "one_more", "rebuild"] if arguments.midi else [])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        for part in parts:
            if part == "bundled":
                measure_bundled(folder)
            elif part == "stage":
                measure_stage(folder)
            elif part == "folder":
                measure_folder(folder, arguments.midi)
            elif part == "one_more":
                measure_one_more(folder, arguments.midi)
            elif part == "rebuild":
                measure_rebuild(folder, arguments.midi)
            else:
                parser.error(f"no part {part}")


if __name__ == "__main__":
    main()
