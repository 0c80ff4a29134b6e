"""Nights that are killed: each pass is complete, or is completed by the next, with the bytes of an undisturbed one.

    python -m benchmarks.nights [--kills N] [--seed S] [--victims NAME ...] [--keep DIR]

Each round a recording arrives and one pass of ``audiate watch`` takes it in. At a random moment of that pass the
server, the stage, DVC (the stage's parent) or the pass itself is killed with SIGKILL; or, where
``audiate watch --serve`` runs the passes, Prefect's runner or the supervisor of both, which is then started again as
systemd would. The next pass, undisturbed, must end well, name the take in what it tells, and leave the catalog and the
lock file that another project has into which the same recordings came without any kill.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.watch import Shift, melody
from flows.watch import SERVE
from tasks.instruments.midi_writer import write_midi

VICTIMS = ("server", "stage", "dvc", "watch", "runner", "supervisor")
SERVED = ("runner", "supervisor")
INTERVAL_S = 10  # of the schedule
ENDS_S = 60.0  # after a kill
PASS_TIMEOUT_S = 600.0


class Night(Shift):
    """A project whose passes are started one by one."""

    def deliver(self, number: int) -> str:
        """Let a score or a recording arrive."""
        name = f"take_{number:03d}"
        (self.inbox / name).mkdir()
        if number % 2:
            (self.inbox / name / "mic_a.wav").write_bytes(self.recording(number, name))
        else:
            write_midi(self.inbox / name / "a.mid", melody(number))
        return name

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start one pass, or what ``options`` make of it."""
        program = Path(sys.executable).with_name("audiate")
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [program, "watch", self.inbox, "--settle", "0", "--no-push", "--train", *options],
                cwd=self.project,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def process(self, victim: str, watch: int) -> int | None:
        """Return the process id of what is to be killed, if it runs."""
        words = {"server": "flows.server", "stage": "flows.ingest", "dvc": "dvc", "runner": SERVE}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                is_ours = (folder / "cwd").readlink() == self.project.resolve()
            except OSError:
                continue
            if is_ours and (
                int(folder.name) == watch if victim in ("watch", "supervisor") else words[victim] in command
            ):
                return int(folder.name)
        return None

    def all_told(self) -> set[str]:
        """Return the takes that any record names as taken in."""
        records = (self.project / ".audiate" / "watch").glob("20*.json")
        return {take for path in records for take in json.loads(path.read_text())["added"]}

    def left(self) -> dict[str, bytes]:
        """Return what a data version consists of."""
        ingested = self.project / "data" / "ingested"
        return {
            "dvc.lock": (self.project / "dvc.lock").read_bytes(),
            **{str(path.relative_to(ingested)): path.read_bytes() for path in ingested.rglob("*") if path.is_file()},
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--victims", nargs="*", choices=VICTIMS, default=VICTIMS)
    parser.add_argument("--keep", type=Path, help="work in this folder, and leave it there")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="audiate-nights-"))
    killed, calm = (Night(folder / name, arguments.seed) for name in ("killed", "calm"))
    try:
        for night in (killed, calm):
            night.folder.mkdir(parents=True)
            night.make()
        return nights(killed, calm, arguments.kills, arguments.victims)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def nights(killed: Night, calm: Night, n_kills: int, victims: Sequence[str]) -> int:
    rng = np.random.default_rng(n_kills)
    n_failed = 0
    for number in range(n_kills):
        victim = victims[number % len(victims)]
        name = killed.deliver(number)
        shutil.copytree(killed.inbox / name, calm.inbox / name)
        run = served if victim in SERVED else once
        hit_s, code, ended_s = run(killed, victim, name, float(rng.uniform(0, 3)))
        again = killed.start().wait(PASS_TIMEOUT_S)
        undisturbed = calm.start().wait(PASS_TIMEOUT_S)
        faults = [
            words
            for words, holds in {
                f"the pass ended {ended_s:.0f} s after the kill": hit_s is None or ended_s <= ENDS_S,
                f"the next pass ended with {again}": again == 0,
                f"the undisturbed pass ended with {undisturbed}": undisturbed == 0,
                "other bytes": killed.left() == calm.left(),
                f"nobody told {name}": name in killed.all_told(),
            }.items()
            if not holds
        ]
        n_failed += bool(faults)
        moment = "it had ended already" if hit_s is None else f"{hit_s:.1f} s after it began"
        pass_ = "" if code is None else f"; that pass {code}"
        print(f"kill {number + 1:2d}: {victim:10s} {moment}{pass_}: {'; '.join(faults) or 'ok'}", flush=True)
    print(f"{n_kills - n_failed} of {n_kills} kills: complete, the same bytes")
    return 1 if n_failed else 0


def once(night: Night, victim: str, _name: str, after_s: float) -> tuple[float | None, int | None, float]:
    """Run one pass and kill in it; return when, how the pass ended, and how long after."""
    watch = night.start()
    hit_s = kill(night, victim, watch, after_s)
    began = time.monotonic()
    return hit_s, watch.wait(PASS_TIMEOUT_S), time.monotonic() - began


def served(night: Night, victim: str, name: str, after_s: float) -> tuple[float | None, int | None, float]:
    """Kill what serves passes by a schedule while a stage runs; return when, None, and how long it held its pass.

    The take must then be told by a pass of the schedule, without anybody's help but a restart of a dead supervisor.
    """
    supervisor = night.start("--serve", "--interval", str(INTERVAL_S))
    while supervisor.poll() is None and night.process("stage", supervisor.pid) is None:
        time.sleep(0.05)
    hit_s = kill(night, victim, supervisor, after_s)
    began, ended_s = time.monotonic(), 0.0
    if victim == "supervisor":
        supervisor.wait(PASS_TIMEOUT_S)
        while night.process("runner", supervisor.pid) is not None or night.process("stage", supervisor.pid) is not None:
            ended_s = time.monotonic() - began
            time.sleep(0.05)
        supervisor = night.start("--serve", "--interval", str(INTERVAL_S))
    while name not in night.all_told() and time.monotonic() - began < PASS_TIMEOUT_S:
        time.sleep(0.5)
    supervisor.terminate()
    supervisor.wait(PASS_TIMEOUT_S)
    return hit_s, None, ended_s


def kill(night: Night, victim: str, watch: subprocess.Popen[bytes], after_s: float) -> float | None:
    """Kill a process of a pass some time after it began; return how long that was, or None if it ended before."""
    while watch.poll() is None:
        began = time.monotonic()
        if night.process(victim, watch.pid) is not None:
            time.sleep(after_s)
            found = night.process(victim, watch.pid)
            if found is None:
                return None
            os.kill(found, signal.SIGKILL)
            return time.monotonic() - began
        time.sleep(0.05)
    return None


if __name__ == "__main__":
    sys.exit(main())
