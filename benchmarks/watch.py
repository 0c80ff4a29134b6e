"""``audiate watch`` on a night shift: runs fired by Prefect's scheduler, something new in the inbox before each.

    python -m benchmarks.watch [--runs 24] [--interval 8] [--rebuild all|last] [--keep FOLDER]

The project is small and real: git, DVC with a remote, and the stage `ingest` (the other stages would only repeat what
`benchmarks.pipeline` measures). Before each run a good take, a broken one, one that is still being copied (it grows, or
bears the name of a download), or nothing arrives, in an order that a seed gives. At the end, each of these is a line
that says ok or FAILED, and the exit code is 1 when one failed:

- every good take is in the catalog, exactly once, and none else
- every broken one was told once, with a kind and a reason, and none is in the catalog
- no run is stuck, and none failed
- each commit's dvc.lock is, byte for byte, what a rebuild from nothing gives in a clone that pulled only data/raw
- nothing in the inbox was changed, moved or deleted
"""

import argparse
import base64
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile
import yaml

from flows.server import running_server
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes

ROOT = Path(__file__).resolve().parents[1]
DVC_YAML = """
stages:
  ingest:
    cmd: python -m flows.ingest
    deps: [data/sample/midi, data/sample/pieces.yaml, data/raw, data/tools.json, constraints.txt]
    params: [ingest]
    outs:
      - data/ingested:
          persist: true
"""
SERVE = """
import sys
from pathlib import Path
from flows.watch import watch_forever
watch_forever(Path(sys.argv[1]), interval_s=float(sys.argv[2]), cron=None, settle_s=2.0, commit=True, push_data=True,
              train=True,
              notify=[sys.executable, "-c", "import sys; open('../told.jsonl', 'a').write(sys.stdin.read() + chr(10))"])
"""
ACCEPTED = {
    "media": {
        "max_pixels": 10**6,
        "max_duration_s": 600,
        "max_bytes": 10**8,
        "max_streams": 8,
        "max_file_bytes": 10**7,
    },
    "captures": {"lenient": True, "min_duration_s": 0.5, "short_fraction": 0.5, "silence_db": -60.0},
}
SETTLE_S = 2.0
RUN_TIMEOUT_S = 120.0
STUCK = ("RUNNING", "PENDING", "CANCELLING", "PAUSED")


def melody(seed: int) -> object:
    rng = np.random.default_rng(seed)
    onset_s = np.arange(12) * 0.25
    pitch, velocity = rng.integers(40, 90, 12).astype(np.uint8), rng.integers(30, 110, 12)
    return sorted_notes(onset_s, onset_s + 0.2, pitch, velocity)


class Shift:
    """One project, its inbox, and what was put into it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.project, self.inbox = folder, folder / "project", folder / "inbox"
        self.rng = np.random.default_rng(seed)
        self.good: set[str] = set()
        self.bad: set[str] = set()
        self.finish: list[threading.Thread | Path] = []
        self.copied: dict[str, bytes] = {}
        bin_folder = str(Path(sys.executable).parent)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AUDIATE_", "PREFECT_"))},
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DVC_NO_ANALYTICS": "1",
            "OMP_NUM_THREADS": "1",
            **{f"GIT_{who}_{what}": "shift@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }

    def run(self, *command: str, cwd: Path | None = None, **more: str) -> str:
        done = subprocess.run(
            command,
            cwd=cwd or self.project,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def make(self) -> None:
        sample = self.project / "data" / "sample"
        (sample / "midi").mkdir(parents=True)
        write_midi(sample / "midi" / "bundled.mid", melody(10**6), title="bundled")
        about = {"composer": "nobody", "title": "bundled", "source": "made here", "part": "train"}
        (sample / "pieces.yaml").write_text(yaml.safe_dump({"bundled": about}))
        (self.project / "data" / "raw").mkdir()
        (self.project / "data" / "raw" / ".gitkeep").touch()
        for name in ("params.yaml", "constraints.txt", ".gitignore", ".dvcignore"):
            shutil.copy(ROOT / name, self.project)
        params = yaml.safe_load((self.project / "params.yaml").read_text())
        params["compare"] = {"n_resamples": 200, "seed": 1, "n_moved": 3}
        params["ingest"] |= ACCEPTED
        (self.project / "params.yaml").write_text(yaml.safe_dump(params))
        (self.project / "dvc.yaml").write_text(DVC_YAML)
        self.inbox.mkdir()
        shutil.copy(ROOT / "data" / "tools.json", self.project / "data")
        self.run(sys.executable, "-m", "flows.code")
        self.run("git", "init", "-q")
        self.run("dvc", "init", "-q")
        self.run("dvc", "remote", "add", "-q", "-d", "shelf", str(self.folder / "remote"))
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", "start")

    def arrive(self, kind: str, number: int) -> None:
        """Let something arrive; what was still being copied before is finished first."""
        for unfinished in self.finish:
            if isinstance(unfinished, Path):
                unfinished.rename(unfinished.with_suffix(""))
            else:
                unfinished.join()
        self.finish = []
        name = f"take_{number:03d}"
        folder = self.inbox / name
        if kind == "nothing":
            return
        folder.mkdir()
        if kind == "broken":
            self.bad.add(name)
            content = self.recording(number, name)
            faults = (("a.mid", b"MThd\0\0"), ("mic_a.wav", b""), ("mic_a.mp4", content[:900]), ("notes.txt", b"x"))
            fault, content = faults[int(self.rng.integers(len(faults)))]
            (folder / fault).write_bytes(content)
        elif kind == "take" and self.rng.random() < 0.5:
            self.good.add(name)
            write_midi(folder / "a.mid", melody(number))
        else:
            self.good.add(name)
            content = self.recording(number, name)
            if kind == "take":
                (folder / "mic_a.wav").write_bytes(content)
            elif self.rng.random() < 0.5:
                (folder / "mic_a.wav.part").write_bytes(content[: len(content) // 2])
                whole = folder / "mic_a.wav.part"
                self.finish.append(threading.Thread(target=self.complete, args=(whole, content)))
            else:
                self.finish.append(threading.Thread(target=self.grow, args=(folder / "mic_a.wav", content)))
            for thread in self.finish:
                thread.start()

    def recording(self, number: int, name: str) -> bytes:
        path = self.folder / f"{name}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).normal(size=32_000), 16_000, subtype="PCM_16")
        content = path.read_bytes()
        path.unlink()
        return content

    def complete(self, path: Path, content: bytes) -> None:
        time.sleep(6 * SETTLE_S)
        path.write_bytes(content)
        path.rename(path.with_suffix(""))

    def grow(self, path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            for start in range(0, len(content), len(content) // 20):
                file.write(content[start : start + len(content) // 20])
                file.flush()
                time.sleep(SETTLE_S / 4)

    def runs(self) -> list[dict[str, object]]:
        """Return the flow runs that Prefect knows of, subruns and stages left out."""
        server = running_server(self.folder / "prefect")
        if server is None:
            raise OSError("no server runs")
        bearer = base64.b64encode(str(server.secret).encode()).decode()
        asked = urllib.request.Request(  # noqa: S310 - loopback
            f"{server.url}/flow_runs/filter",
            data=json.dumps(
                {
                    "flows": {"name": {"any_": ["watch"]}},
                    "flow_runs": {"state": {"type": {"not_any_": ["SCHEDULED"]}}},
                    "limit": 200,
                }
            ).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Basic {bearer}"},
        )
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            return list(json.loads(answer.read()))

    def ended(self) -> list[dict[str, object]]:
        try:
            return [run for run in self.runs() if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
        except (OSError, ValueError, KeyError):
            return []

    def snapshot(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.inbox)): path.read_bytes() for path in self.inbox.rglob("*") if path.is_file()
        }

    def catalog(self) -> list[str]:
        return [row["take"] for row in json.loads((self.project / "data/ingested/catalog.json").read_text())]

    def rebuild(self, commit: str, number: int) -> bool:
        """Clone a commit, pull its raw takes, compute everything, and compare the lock files."""
        clone = self.folder / f"clone_{number}"
        self.run("git", "clone", "-q", str(self.project), str(clone), cwd=self.folder)
        self.run("git", "checkout", "-q", commit, cwd=clone)
        if (clone / "data" / "raw.dvc").exists():
            self.run("dvc", "pull", "-q", "data/raw.dvc", cwd=clone)
        shutil.copy(ROOT / "data" / "tools.json", clone / "data")
        committed = (clone / "dvc.lock").read_bytes()
        self.run("dvc", "repro", "-q", "--force", cwd=clone)
        same = (clone / "dvc.lock").read_bytes() == committed
        shutil.rmtree(clone)
        return same


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--interval", type=float, default=8.0, help="seconds between two runs")
    parser.add_argument("--rebuild", choices=("all", "last"), default="all", help="which commits are made again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it there")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="audiate-watch-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return night(Shift(folder, arguments.seed), arguments)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def night(shift: Shift, arguments: argparse.Namespace) -> int:
    shift.make()
    kinds = [("take", "broken", "half", "nothing")[index % 4] for index in range(arguments.runs - 1)]
    shift.rng.shuffle(kinds)
    log = (shift.folder / "log").open("wb")
    started = time.perf_counter()
    served = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(shift.inbox), str(arguments.interval)],
        cwd=shift.project,
        env=shift.environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        for number, kind in enumerate(["take", *kinds]):
            shift.arrive(kind, number)
            n_before = len(shift.ended())
            wait(lambda n=n_before: len(shift.ended()) > n, served, log.name)
            print(f"run {number + 1:2d} of {arguments.runs} ended; before it came {kind}", flush=True)
        shift.arrive("nothing", 0)
        n_before = len(shift.ended())
        # Whatever was copied until now has to settle, and a run may have been under way when it did.
        wait(lambda: len(shift.ended()) > n_before + 1 and shift.good <= set(shift.catalog()), served, log.name)
        inbox = shift.snapshot()
        wall_s = time.perf_counter() - started
        commits = shift.run("git", "log", "--reverse", "--format=%H", "HEAD").split()[1:]
        chosen = commits if arguments.rebuild == "all" else commits[-1:]
        same = [shift.rebuild(commit, number) for number, commit in enumerate(chosen)]
        runs = shift.runs()
    finally:
        os.killpg(served.pid, signal.SIGINT)
        try:
            served.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(served.pid, signal.SIGKILL)
        log.close()
    records = [json.loads(line) for line in (shift.folder / "told.jsonl").read_text().splitlines()]
    told = [row for record in records for row in record["quarantined"]]
    # A row of `add` says what was refused; one of ingest names the take alone.
    names = [Path(row.get("source") or row["take"]) for row in told]
    refused = [path.relative_to(shift.inbox).parts[0] if path.is_absolute() else path.name for path in names]
    came = [take for record in records for take in record["added"]]
    states = [str(run["state_type"]) for run in runs]
    versions = [record["new_version"] for record in records if record["commit"]]
    now = time.time()
    stuck = [run for run in runs if run["state_type"] in STUCK and _age_s(run, now) > RUN_TIMEOUT_S]
    checks = {
        f"{len(shift.good)} good takes are in, exactly once": sorted(came) == sorted(shift.good)
        and sorted(shift.catalog()) == sorted({*shift.good, "bundled"}),
        f"{len(shift.bad)} broken ones told once, with kind and reason": sorted(refused) == sorted(shift.bad)
        and all(row["kind"] and row["reason"] for row in told),
        f"{states.count('COMPLETED')} runs completed, none failed or stuck": not stuck
        and not {"FAILED", "CRASHED"} & set(states),
        f"{len(commits)} commits, a data version each": len(commits) == len(set(versions)) == len(versions),
        f"{sum(same)} of {len(same)} commits rebuilt from nothing, byte for byte": all(same) and bool(same),
        "the inbox is as it was left": inbox == shift.snapshot(),
        "the last version is pushed": not json.loads((shift.project / ".audiate/watch/unpushed.json").read_text()),
    }
    for words, holds in checks.items():
        print(f"{'ok    ' if holds else 'FAILED'} {words}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    kinds_told = ", ".join(sorted({row["kind"] for row in told}))
    cpu_s = used.ru_utime + used.ru_stime
    print(f"kinds told: {kinds_told}; {wall_s:.0f} s for the runs; {cpu_s:.0f} s of CPU in what ended here")
    if not all(checks.values()):
        print((shift.folder / "log").read_text(errors="replace")[-6000:])
        print(json.dumps(told, indent=1), sorted(came), sorted(shift.good), states)
    return 0 if all(checks.values()) else 1


def _age_s(run: dict[str, object], now: float) -> float:
    begun = run.get("start_time") or run.get("expected_start_time")
    return now - datetime.fromisoformat(str(begun).replace("Z", "+00:00")).timestamp()


def wait(condition: Callable[[], bool], served: subprocess.Popen[bytes], log: str) -> None:
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while time.monotonic() < deadline:
        if served.poll() is not None:
            raise RuntimeError(f"the watch ended by itself:\n{Path(log).read_text(errors='replace')[-6000:]}")
        if condition():
            return
        time.sleep(0.5)
    raise RuntimeError(f"waited {RUN_TIMEOUT_S:.0f} s in vain:\n{Path(log).read_text(errors='replace')[-6000:]}")


if __name__ == "__main__":
    sys.exit(main())
