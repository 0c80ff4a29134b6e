"""Verb ``extract``: what models are asked to predict. Sound in, note amplitudes and mu-law codes out.

Note amplitudes follow the marimba project's recipe, corrected (Hamming window over 3 frames, hop of one frame, true
frequencies): row k covers frames k to k + 2. Codes are DeepSynth's: resampled, companded, 256 classes.
"""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.mu_law import mu_law_encode
from tasks.features.resample import resample
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.params import Section
from tasks.store.arrays import write_arrays
from tasks.store.audio import read_flac
from tasks.takes import Take

RENDERED = Path("data/rendered")
KEYBOARD_PITCHES = tuple(range(LOWEST_PITCH, LOWEST_PITCH + N_KEYS))


class ExtractParams(Section):
    """The features."""

    frame_rate: Fraction  # of the pictures that amplitudes are aligned to, as "25" or "30000/1001"
    code_rate: int  # Hz, of the mu-law codes
    n_classes: int  # of the codes


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one take: amplitudes (frames - 2, 88) float32 and codes (samples,) uint8."""
    sample_rate = int(json.loads((RENDERED / take.name / "render.json").read_text())["sample_rate"])
    audio = read_flac(RENDERED / take.name / "audio.flac", sample_rate=sample_rate)
    n_frames = int(len(audio) * params.frame_rate / sample_rate)
    amplitudes = note_amplitudes(
        audio,
        sample_rate=sample_rate,
        frame_rate=params.frame_rate,
        frequency_hz=note_frequencies_hz(KEYBOARD_PITCHES),
        n_frames=n_frames,
    )
    # The resampler may overshoot a full-scale peak by a hair; companding takes at most 1.
    codes = mu_law_encode(np.clip(resample(audio, sample_rate, params.code_rate), -1, 1), params.n_classes)
    write_arrays(
        out / "arrays.zarr",
        {"amplitudes": amplitudes, "codes": codes},
        chunk_lengths={"amplitudes": round(params.frame_rate), "codes": params.code_rate},
        attributes={
            "code_rate": params.code_rate,
            "frame_rate": str(params.frame_rate),
            "n_classes": params.n_classes,
        },
    )
