"""The README's moving picture: a made film of a piano with the keys that were found, and the notes that were read.

Run it as ``python -m benchmarks.moving_picture docs/heard.webp``. The rig draws the film, the keyboard is found and its
notes are read as ``audiate perform`` does; keys that sound are outlined, and what was read moves down below them.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.notes import Notes
from tasks.keyboards.layout import is_black
from tasks.keyboards.place import Place
from tasks.keyboards.read import KeyboardReading, read_keyboard_film
from tasks.media.pictures import iter_colours
from tasks.media.probe import probe
from tasks.perform import PerformParams
from tasks.rig.keyboard_films import film_of

KIND, SEED, PIECE = "overhead-plain", 901, "clementi_sonatina_c_major"
DURATION_S, FIRST_S, PICTURES_A_SECOND = 9.0, 1.0, 10
WIDTH, ROLL_HEIGHT, SHOWN_S = 640, 130, 2.0  # pixels; seconds of the roll that are shown at once
KEY, NOTE, NOW, PAPER = (60, 200, 60), (40, 150, 40), (30, 140, 240), (250, 250, 250)  # blue, green, red
QUALITY = 55  # of WebP


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a .webp")
    out: Path = parser.parse_args().out
    params = PerformParams.parse(yaml.safe_load(Path("params.yaml").read_text())["perform"], "perform")
    midi = MidiPolicy.parse(yaml.safe_load(Path("params.yaml").read_text())["ingest"]["midi"], "ingest.midi")
    score = read_midi(Path("data/sample/midi") / f"{PIECE}.mid", midi).notes
    with tempfile.TemporaryDirectory() as folder:
        truth = film_of(KIND, SEED, Path(folder), score=score, duration_s=DURATION_S)
        reading = read_keyboard_film(truth.path, policy=params.media, params=params.keyboard)
        print(reading)
        pictures = drawn(truth.path, reading, params)
    frames = [Image.fromarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)) for picture in pictures]
    frames[0].save(
        out,
        save_all=True,
        append_images=frames[1:],
        duration=1000 // PICTURES_A_SECOND,
        loop=0,
        quality=QUALITY,
        method=6,
    )
    print(f"wrote {out}: {len(frames)} pictures, {out.stat().st_size / 1e3:.0f} kB")


def drawn(path: Path, reading: KeyboardReading, params: PerformParams) -> list[NDArray[np.uint8]]:
    """Return pictures (height, width, 3) of the film with what was read of it."""
    facts = probe(path, policy=params.media)
    assert facts.video is not None
    height = round(facts.video.height * WIDTH / facts.video.width / 2) * 2
    place = reading.place.scaled(WIDTH / facts.video.width)
    moments_s = np.arange(FIRST_S, reading.duration_s, 1 / PICTURES_A_SECOND)
    made: list[NDArray[np.uint8]] = []
    for planes, time_s in iter_colours(path, width=WIDTH, height=height, policy=params.media):
        for picture, shown_s in zip(planes, time_s.tolist(), strict=True):
            if len(made) < len(moments_s) and shown_s >= moments_s[len(made)] - 1e-6:
                colour = np.ascontiguousarray(picture[[0, 2, 1]].transpose(1, 2, 0))
                made.append(beside_roll(cv2.cvtColor(colour, cv2.COLOR_YCrCb2BGR), place, reading.notes, shown_s))
    return made


def _shown_rows(place: Place, height: int) -> slice:
    """Return the rows of the picture that show the keyboard and the hands before it."""
    top, bottom = place.corners[:, 1].min(), place.corners[:, 1].max()
    tall = bottom - top
    return slice(max(0, round(top - 0.6 * tall)), min(height, round(bottom + 1.6 * tall)))


def beside_roll(film: NDArray[np.uint8], place: Place, notes: Notes, now_s: float) -> NDArray[np.uint8]:
    """Return a picture of the film, keys that sound outlined, over what was read in the last seconds."""
    roll = np.full((ROLL_HEIGHT, film.shape[1], 3), PAPER, np.uint8)
    for (first, last), pitch in zip(place.spans(), place.keys.pitches, strict=True):
        share = place.black_share if is_black(pitch) else 1.0
        outline = np.rint(place.pixels([first, last, last, first], [0.0, 0.0, share, share])).astype(np.int32)
        of_key = notes.pitch == pitch
        left, right = sorted(place.pixels([first, last], 1.0)[:, 0])
        for onset_s, offset_s in zip(notes.onset_s[of_key], notes.offset_s[of_key], strict=True):
            sounds = onset_s <= now_s < offset_s
            if sounds:
                cv2.polylines(film, [outline], True, NOW, 2, cv2.LINE_AA)
            if onset_s > now_s:
                continue
            top, bottom = ((now_s - min(moment_s, now_s)) / SHOWN_S * ROLL_HEIGHT for moment_s in (offset_s, onset_s))
            corners = (
                (round(left) + 1, round(top)),
                (max(round(right) - 1, round(left) + 2), round(max(bottom, top + 2))),
            )
            cv2.rectangle(roll, *corners, NOW if sounds else NOTE, -1)
    cv2.polylines(film, [np.rint(place.corners).astype(np.int32)], True, KEY, 1, cv2.LINE_AA)
    return np.concatenate([film[_shown_rows(place, len(film))], roll])


if __name__ == "__main__":
    main()
