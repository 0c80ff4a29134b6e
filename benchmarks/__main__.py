"""Every benchmark that needs no outside data; with a folder of MIDI files, also what is measured on them.

    python -m benchmarks [--midi DIR] [NAME ...]

``AUDIATE_BENCH_MIDI`` names the folder too. Each benchmark is a process of its own, one after another, so that none
changes another's threads or memory; ``python -m benchmarks.NAME --help`` tells what each of them can do.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
# Named, these run too; by themselves they are no part of `make bench`.
BY_NAME_ONLY = {
    "bitmaps": "trains for some minutes, on what `dvc repro` has made",
    "marimba": "trains for half an hour and more, on what `dvc repro` has made",
    "regressions": "trains for some minutes, on what the stage chunk has made",
    "separation": "trains for a quarter of an hour and more, on what the stages film to chunk have made",
    "sync": "hundreds of made-up pairs: half an hour",
    "devices": "2,000 random devices: an hour",
    "nights": "25 killed passes: 20 minutes and more",
    "watch": "a night of 24 scheduled runs: 7 to 10 minutes",
    "fit_notes": "makes the decision trees that the package carries",
    "partials": "makes the table of partials that the package carries",
    "damages": "reads all that `dvc repro` has made 80 times: 8 minutes",
    "keyboard_films": "70 films drawn and read: half an hour",
    "deepsynth": "trains for many minutes, on what `dvc repro` has made",
}
WITH_MIDI = ("midi", "synth", "pipeline")


def main() -> int:
    known = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", default=[name for name in known if name not in BY_NAME_ONLY])
    parser.add_argument("--midi", type=Path, default=os.environ.get("AUDIATE_BENCH_MIDI"), help="folder of MIDI files")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.name) - set(known))
    if unknown:
        parser.error(f"no benchmark {unknown[0]}, there are {', '.join(known)}")
    failed = []
    for name in arguments.name:
        extra = ["--midi", str(arguments.midi)] if arguments.midi and name in WITH_MIDI else []
        print(f"\n== {name}", flush=True)
        start = time.perf_counter()
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *extra], cwd=HERE.parent).returncode:
            failed.append(name)
        print(f"-- {name}: {time.perf_counter() - start:.0f} s", flush=True)
    if not arguments.midi:
        print("\nnot run: what needs a folder of real performances (--midi DIR, or AUDIATE_BENCH_MIDI)")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
