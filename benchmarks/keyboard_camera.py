"""What learning adds to the classical reader of pianos' films, on pieces and on a camera position never trained on.

    python -m benchmarks.keyboard_camera --folder DIR                   19 films to learn from, 16 to test
    python -m benchmarks.keyboard_camera --folder DIR --labels sound    the same, labels from their own sound

Each film is a rig's of its own, drawn by its seed as `film` draws played pianos: hands, skin or gloves, 640 px, with
the noise and the compression of cheap cameras. Training cameras stand over the middle half of the keyboard; those that
are aside stand over its ends. Films are kept in DIR, by seed, and the family is fitted by its own `fit` with the params
of preset `study`, and played by its own `perform`. F1 of onsets at 50 ms; intervals over pieces.
"""

import argparse
import json
import resource
import shutil
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import yaml

from flows.presets import preset_text
from tasks.families.base import CaptureTruth, NoteAmplitudes, film_of_view
from tasks.families.keyboard_camera import KeyboardCamera
from tasks.families.keyboard_camera.params import KeyboardCameraParams
from tasks.families.note_regression.notes import onset_f1
from tasks.film import SCORE_POLICY, FilmParams
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.keyboards.params import FindParams
from tasks.keyboards.read import Asked, KeyboardError, evidence_of, find_in_film
from tasks.keyboards.stored import arrays_of
from tasks.media.encode import encode_camera
from tasks.media.probe import NO_LIMITS, probe
from tasks.metrics.intervals import paired_interval
from tasks.rig.frames import picture_times, time_base
from tasks.rig.overhead_films import framed
from tasks.rig.played_pianos import HandsParams, PlayedRig, beginning, played_pictures, played_rig_of
from tasks.rig.rigs import instrument_corners
from tasks.store.arrays import write_arrays
from tasks.store.segments import segment_rows, write_segments
from tasks.store.views import ViewSet, keyboard_array

HANDS = HandsParams(length_s=12.0, noise=(3.0, 12.0), crf=(28, 36))
FIND = FindParams(min_score=0.62, min_white_px=8.0)
SOUND_RATE, CODE_RATE, FRAME_RATE = 22_050, 1_000, 25
CAMERA, ASIDE = "cam_above", "cam_aside"
SEED = 91_000  # of the first film; nothing was tuned on these
N_TRAIN, N_VALIDATION, N_TEST, N_ASIDE = 16, 3, 10, 6


def moved_aside(rig: PlayedRig, rng: np.random.Generator) -> PlayedRig:
    """Return a rig whose camera stands over one end of the keyboard."""
    camera = rig.cameras[0]
    corners = instrument_corners("piano")
    x = float(rng.choice([-1, 1]) * rng.uniform(0.75, 1.1) * np.ptp(corners[:, 0]) / 2)
    view = replace(camera.camera(), position_cm=(x, *camera.position_cm[1:]), target_cm=(0.0, 0.0, 0.0), focal=1.0)
    view = framed(view, corners, filled=0.92, roll_deg=0.0, aside=0.1)
    changes = {name: getattr(view, name) for name in ("position_cm", "target_cm", "focal", "roll_deg")}
    return rig.model_copy(update={"cameras": (camera.model_copy(update=changes),)})


def write_take(folder: Path, piece: str, seed: int, *, is_aside: bool) -> bool:
    """Film a take and store it as chunk does; say whether its keyboard was found."""
    recording = FilmParams.parse(yaml.safe_load(preset_text("demo"))["film"], "film").recording
    notes = beginning(read_midi(Path(f"data/sample/midi/{piece}.mid"), SCORE_POLICY).notes, HANDS.length_s)
    rig = played_rig_of(seed, duration_s=HANDS.length_s, params=recording.rig, hands=HANDS)
    if is_aside:
        rig = moved_aside(rig, np.random.default_rng([seed, 2]))
    camera = rig.cameras[0]
    ticks = picture_times(Fraction(HANDS.length_s), frame_rate=camera.frame_rate, rng=None)
    path = folder.parent / f"{folder.name}.mp4"
    pictures = played_pictures(rig, notes, np.array([float(tick) for tick in ticks]))
    base = time_base(camera.frame_rate, is_variable=False)
    encode_camera(path, pictures, time_s=ticks, time_base=base, crf=camera.crf, in_colour=True)
    facts = probe(path, policy=NO_LIMITS)
    name = ASIDE if is_aside else CAMERA
    time_s = np.array([float(tick) for tick in ticks])
    arrays = {
        f"pictures_{name}": np.zeros((len(ticks), 2, 2), np.uint8),
        f"time_s_{name}": time_s,
        "notes": np.stack([notes.onset_s, notes.offset_s, notes.pitch, notes.velocity], axis=1),
        "amplitudes": np.zeros((1, 88), np.float32),
    }
    try:
        found = find_in_film(path, facts, policy=NO_LIMITS, params=FIND, asked=Asked())
    except KeyboardError:
        is_found = False
    else:
        is_found = True
        evidence = evidence_of(path, facts, found, policy=NO_LIMITS, progress=lambda _: None)
        arrays |= {keyboard_array(name, key): one for key, one in arrays_of(evidence, found.place.keys).items()}
    path.unlink()
    with Synthesizer(
        find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=SOUND_RATE, gain=recording.gain
    ) as synthesizer:
        audio = synthesizer.render(notes, None, program=0, duration_s=HANDS.length_s + recording.tail_s)
    arrays["sound"] = np.rint(audio * 32767).astype(np.int16)
    attributes = {
        "cameras": [name],
        "instrument": "piano",
        "camera_margins": [0.0, 0.0],
        "pitches": list(range(21, 109)),
        "sound_rate": SOUND_RATE,
        "code_rate": CODE_RATE,
        "frame_rate": str(FRAME_RATE),
    }
    half = folder.parent / f".{folder.name}"
    write_arrays(half / "arrays.zarr", arrays, chunk_lengths=dict.fromkeys(arrays, 1024), attributes=attributes)
    half.rename(folder)
    return is_found


def write_set(folder: Path) -> None:
    """Film what is not there yet, and write the index."""
    parts = {name: about["part"] for name, about in yaml.safe_load(Path("data/sample/pieces.yaml").read_text()).items()}
    folder.mkdir(parents=True, exist_ok=True)
    plan = [("train", N_TRAIN, False), ("validation", N_VALIDATION, False), ("test", N_TEST, False)]
    about, rows, seed = {}, [], SEED
    for part, count, is_aside in [*plan, ("test", N_ASIDE, True)]:
        pieces = sorted(piece for piece, own in parts.items() if own == part)
        for number in range(count):
            piece, seed = pieces[number % len(pieces)], seed + 1
            take = f"{piece}_{seed}"
            if not (folder / take).exists() and not write_take(folder / take, piece, seed, is_aside=is_aside):
                print(f"{take}: no keyboard was found", flush=True)
            about[take] = {"piece": piece, "part": part, "digest": take, "duration_s": HANDS.length_s}
            length = round(HANDS.length_s * CODE_RATE)
            rows += segment_rows(take, piece, part, take, length, length=length // 2, hop=length // 2)
    (folder / "takes.json").write_text(json.dumps(about))
    write_segments(folder / "segments.parquet", rows)


def played(views: ViewSet, take: str) -> Notes:
    """Return the true notes of a take."""
    columns = views.notes(take) or {}
    pitch, velocity = (columns[name].astype(np.uint8) for name in ("pitch", "velocity"))
    return sorted_notes(columns["onset_s"], columns["offset_s"], pitch, velocity)


def main() -> None:
    """Film, learn, play, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--labels", choices=("recorded", "sound"), default="recorded")
    parser.add_argument("--steps", type=int, help="instead of the preset's")
    arguments = parser.parse_args()
    started = time.process_time(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    write_set(arguments.folder / "captures")
    filming_s = time.process_time() - started[0] + resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - started[1]
    views = ViewSet(arguments.folder / "captures")
    demo, study = (yaml.safe_load(preset_text(name))["train"]["keyboard_camera"] for name in ("demo", "study"))
    section = demo | study | {"labels": arguments.labels}
    if arguments.steps:
        section |= {"n_steps": arguments.steps}
    params = KeyboardCameraParams.parse(section, "train.keyboard_camera")
    out, resume = arguments.folder / f"trained-{arguments.labels}", arguments.folder / "resume"
    for path in (out, resume):
        shutil.rmtree(path, ignore_errors=True)
    out.mkdir()
    begun = time.process_time()
    family = KeyboardCamera()
    family.fit(views, out, params=params, resume=resume, accelerator="cpu")
    fitting_s = time.process_time() - begun
    films = {view.name: film_of_view(views, view) for view in views.views("test")}
    blank = NoteAmplitudes(
        values=np.zeros((1, 88), np.float32), pitches=tuple(range(21, 109)), frame_rate=Fraction(FRAME_RATE)
    )
    notes = {name: played(views, name.partition("/")[0]) for name in films}
    truth = {name: CaptureTruth(amplitudes=blank, notes=notes[name]) for name in films}
    f1 = {
        (f"{one.take}/{one.camera}", one.system): onset_f1(
            [notes[f"{one.take}/{one.camera}"]], [one.notes] if one.notes is not None else []
        )
        for one in family.perform(out, films, accelerator="cpu", truth=truth)
    }
    print(f"labels {arguments.labels}; {params.n_steps} steps; CPU-s: films {filming_s:.0f}, learning {fitting_s:.0f}")
    print(f"{'':44}" + "".join(f"{system:>17}" for system in family.systems))
    for name in sorted(films):
        print(f"{name:44}" + "".join(f"{f1[name, system]:17.3f}" for system in family.systems))
    for title, camera in (("pieces never trained on", CAMERA), ("and a camera position never trained on", ASIDE)):
        chosen = [name for name in sorted(films) if name.endswith(camera)]
        means = "".join(f"{np.mean([f1[name, system] for name in chosen]):17.3f}" for system in family.systems)
        print(f"{f'{title}, {len(chosen)} films':44}{means}")
        learned, reader = ([f1[name, system] for name in chosen] for system in family.systems[:2])
        pieces = [name.partition("/")[0].rpartition("_")[0] for name in chosen]
        mean, low, high = paired_interval(learned, reader, pieces, n_resamples=2000, rng=np.random.default_rng(0))
        print(f"  learned over reader {mean:+.3f}, 95 % over {len(set(pieces))} pieces {low:+.3f} to {high:+.3f}")


if __name__ == "__main__":
    main()
