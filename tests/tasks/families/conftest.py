"""Small takes of random music, stored as the chunk stage stores them."""

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.families.base import Film
from tasks.features.mu_law import mu_law_encode
from tasks.features.resample import resample
from tasks.instruments.grid import on_grid
from tasks.instruments.keyboard import draw_keyboard, key_states
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.store.arrays import write_arrays
from tasks.store.segments import ScoreSet, segment_rows, write_segments

CODE_RATE = 4_000
GAP_S = 0.05
STEP_S = Fraction(1, 250)


@dataclass(frozen=True)
class Music:
    """A score set and the notes behind it."""

    scores: ScoreSet
    notes: dict[str, Notes]

    def film(self, take: str) -> Film:
        arrays = self.scores.open(take)
        return Film(
            pictures=arrays["pictures"][:],
            time_s=arrays["picture_time_s"][:],
            duration_s=arrays.attributes["duration_s"],
        )

    def fit(self, family, out: Path, resume: Path, params) -> dict[str, bytes]:
        """Fit a family and return what it wrote, by path."""
        out.mkdir()
        family.fit(self.scores, out, params=params, resume=resume, accelerator="cpu")
        return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def random_notes(rng, n_notes, duration_s):
    """Notes over all keys and velocities, also chords and keys that are struck again."""
    onset_s = np.sort(rng.uniform(0.1, duration_s - 1.5, n_notes)).round(3)
    pitch = rng.integers(21, 109, n_notes)
    pitch[1::5] = pitch[:-1:5][: len(pitch[1::5])]
    length_s = rng.lognormal(-1.2, 0.5, n_notes).clip(0.12, 1.2).round(3)
    last = {}
    for row in range(n_notes):  # a key is down for its own length, or until it is struck again
        if pitch[row] in last:
            other = last[pitch[row]]
            onset_s[row] = max(onset_s[row], onset_s[other] + 0.2)
            length_s[other] = min(length_s[other], onset_s[row] - onset_s[other])
        last[pitch[row]] = row
    return sorted_notes(onset_s, onset_s + length_s, pitch, rng.integers(10, 128, n_notes))


def make_music(folder: Path, takes: dict[str, tuple[str, int, float]]) -> Music:
    """Store takes, by name: part, number of notes, and length in seconds."""
    rng = np.random.default_rng(5)
    notes, index, segments = {}, {}, []
    with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, gain=1.0) as synthesizer:
        for name, (part, n_notes, duration_s) in takes.items():
            notes[name] = on_grid(random_notes(rng, n_notes, duration_s), STEP_S)
            time_s, velocity = key_states(notes[name], restrike_gap_s=GAP_S, step_s=STEP_S)
            audio = synthesizer.render(notes[name], None, program=0, duration_s=duration_s)
            codes = mu_law_encode(resample(audio, 48_000, CODE_RATE).clip(-1, 1))
            write_arrays(
                folder / name / "arrays.zarr",
                {
                    "pictures": draw_keyboard(velocity, lit="velocity"),
                    "picture_time_s": time_s,
                    "velocities": velocity,
                    "codes": codes,
                },
                chunk_lengths={"pictures": 16, "picture_time_s": 4096, "velocities": 1024, "codes": CODE_RATE},
                attributes={"code_rate": CODE_RATE, "n_classes": 256, "duration_s": duration_s},
            )
            digest = hashlib.sha256(codes.tobytes()).hexdigest()
            index[name] = {"piece": name, "part": part, "digest": digest, "duration_s": duration_s}
            segments += segment_rows(name, name, part, digest, len(codes), length=4_000, hop=2_000)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return Music(ScoreSet(folder), notes)


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    """Four takes of six seconds."""
    return make_music(
        tmp_path_factory.mktemp("music"),
        {"a": ("train", 30, 6.0), "b": ("train", 30, 6.0), "c": ("validation", 20, 6.0), "d": ("test", 20, 6.0)},
    )


@pytest.fixture(scope="session")
def much_music(tmp_path_factory):
    """Enough to learn from: some minutes, another take for validation and two for the test."""
    return make_music(
        tmp_path_factory.mktemp("much_music"),
        {
            "a": ("train", 900, 150.0),
            "b": ("validation", 150, 30.0),
            "c": ("test", 200, 40.0),
            "c2": ("test", 100, 20.0),
        },
    )


@pytest.fixture(scope="session")
def uneven_music(tmp_path_factory):
    """Two test takes, of six and of three seconds."""
    return make_music(tmp_path_factory.mktemp("uneven_music"), {"long": ("test", 20, 6.0), "short": ("test", 8, 3.0)})


BITMAPS = {
    "fidelity": "corrected",
    "cameras": ".*",
    "side_px": 8,
    "n_past": 1,
    "past_step": 1,
    "n_components": 0,
    "frame_rate": "25",
    "sample_rate": 8_000,
    "hidden": [32],
    "silent_clip_s": 4.0,
    "jitter_contrast": 0.0,
    "noise_luma": 1.0,
    "n_frames": 4000,
    "n_validation_frames": 1000,
    "n_steps": 200,
    "steps_per_epoch": 50,
    "batch_size": 32,
    "learning_rate": 0.003,
    "n_threads": 1,
    "seed": 0,
    "spectral_weight": 1.0,
    "render": "windowed",
    "max_shift": 0.25,
    "playback_rate": 1.0,
    "win_length": 1024,
    "power": 0.5,
    "phase": "neighbour",
    "n_iterations": 8,
    "bank_s": 20.0,
}


@pytest.fixture(scope="session")
def bitmap_params():
    """What makes the values of a family from bitmaps to sound: small ones, some of them changed."""

    def make(params_class, **changes):
        return params_class(**{name: (BITMAPS | changes)[name] for name in params_class.model_fields})

    return make
