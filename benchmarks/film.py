"""Pictures of the virtual rig a second, and what a filmed take costs; CPU time of one core.

    python -m benchmarks.film                 pictures a second at 320 x 180, all but the encoding (goal 200)
    python -m benchmarks.film --takes         the takes of params.yaml too: CPU time each, programs included

The first table counts everything that a camera's pictures need: the scene at rest, the plan of the mallets, the parts
that move, the drawing, the noise; for a film of 30 s at 25 pictures a second.
"""

import argparse
import resource
import tempfile
from fractions import Fraction
from pathlib import Path
from time import process_time

import cv2
import numpy as np

from tasks.film import FilmParams
from tasks.kinds.captures.film import FOLDERS, excerpt, film_take, takes_to_film
from tasks.params import read_params, section_values
from tasks.rig.rigs import VIEWS, Instrument, RigParams, rig_of
from tasks.rig.views import filmed

PIECES: dict[Instrument, str] = {"marimba-18": "marimba_race", "piano": "etude_every_level"}
N_PICTURES, RATE = 750, 25
GOAL = 200
RIG = RigParams(
    sizes=((320, 180),),
    frame_rates=(Fraction(RATE),),
    n_cameras=4,
    n_microphones=0,
    views_held_out=("side_left",),
    max_early_s=1.0,
    max_late_s=1.0,
    max_drift_ppm=100.0,
    t60_s=(0.2, 0.4),
    max_wander_s=0.005,
    lost_s=(0.2, 0.4),
)


def cpu_s() -> float:
    """Return the CPU time of this process and of the programs that it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def pictures_a_second() -> None:
    print(f"pictures a second of one core at 320 x 180, all but encoding (goal {GOAL}):")
    for instrument, piece in PIECES.items():
        notes, _ = excerpt(FOLDERS[instrument] / "midi" / f"{piece}.mid", 60.0)
        rig = rig_of(1, instrument=instrument, is_test=True, trait="plain", duration_s=30.0, params=RIG)
        time_s = np.arange(N_PICTURES) / RATE
        for number, camera in enumerate(rig.cameras):
            start = process_time()
            film = filmed(rig, camera, number, notes, time_s)
            ready = process_time()
            for _ in film.pictures():
                pass
            done = process_time()
            print(
                f"  {instrument:10} {camera.name:12} {N_PICTURES / (done - start):7,.0f}"
                f"   ({1000 * (ready - start):4.0f} ms before the first, then {N_PICTURES / (done - ready):6,.0f})"
            )
    print(f"  views: {', '.join(f'{len(views)} of the {name}' for name, views in VIEWS.items())}")


def takes() -> None:
    params = FilmParams.parse(section_values(read_params(), "film"), "film")
    print("CPU seconds a take:")
    total = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for take in takes_to_film(params):
            out = Path(folder) / take.name
            out.mkdir()
            start = cpu_s()
            film_take(take, out, params.recording)
            total += cpu_s() - start
            size = sum(path.stat().st_size for path in out.iterdir())
            print(f"  {take.name:30} {cpu_s() - start:5.1f} s  {size / 1e6:5.1f} MB  {take.trait}")
    print(f"  all of them {total:.0f} s: at least {total / 2:.0f} s on 2 cores (goal 60)")


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of the virtual rig.")
    parser.add_argument("--takes", action="store_true", help="film the takes of params.yaml too")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pictures_a_second()
    if arguments.takes:
        takes()


if __name__ == "__main__":
    main()
