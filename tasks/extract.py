"""Verb ``extract``: what models are asked to predict. Sound in, note amplitudes and mu-law codes out.

A score's sound is the one rendered; a capture's is its master's, so that features and frames share a clock. Note
amplitudes are those of the instrument's own notes; a capture of no instrument has codes alone. They follow the marimba
project's recipe, corrected (Hamming window over 3 frames, hop of one frame, true frequencies): row k covers frames k
to k + 2. Codes are DeepSynth's: resampled, companded, 256 classes.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.captures.record import read_capture
from tasks.clock.record import read_clocks
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.features.mu_law import mu_law_encode
from tasks.features.resample import resample
from tasks.instruments.keyboard import LOWEST_PITCH, N_KEYS
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound
from tasks.params import Section
from tasks.store.arrays import write_arrays
from tasks.store.audio import read_flac
from tasks.takes import Take

RENDERED = Path("data/rendered")
KEYBOARD_PITCHES = tuple(range(LOWEST_PITCH, LOWEST_PITCH + N_KEYS))
CAPTURE_RATE = 48_000  # Hz, that a capture's sound is read at


class ExtractParams(Section):
    """The features."""

    frame_rate: Fraction  # of the pictures that amplitudes are aligned to, as "25" or "30000/1001"
    code_rate: int  # Hz, of the mu-law codes
    n_classes: int  # of the codes


def extract_take(take: Take, out: Path, params: ExtractParams) -> None:
    """Write ``arrays.zarr`` of one take: amplitudes (frames - 2, notes) float32 and codes (samples,) uint8.

    Raises:
        MediaError: a capture's sound cannot be read.
        DamagedData: what the stages before wrote is missing or damaged.
    """
    audio, sample_rate, pitches = _captured(take) if take.kind == "capture" else _rendered(take)
    arrays: dict[str, NDArray[Any]] = {
        # The resampler may overshoot a full-scale peak by a hair; companding takes at most 1.
        "codes": mu_law_encode(np.clip(resample(audio, sample_rate, params.code_rate), -1, 1), params.n_classes)
    }
    if pitches:
        arrays["amplitudes"] = note_amplitudes(
            audio,
            sample_rate=sample_rate,
            frame_rate=params.frame_rate,
            frequency_hz=note_frequencies_hz(pitches),
            n_frames=int(len(audio) * params.frame_rate / sample_rate),
        )
    write_arrays(
        out / "arrays.zarr",
        arrays,
        chunk_lengths={"amplitudes": round(params.frame_rate), "codes": params.code_rate},
        attributes={
            "code_rate": params.code_rate,
            "frame_rate": str(params.frame_rate),
            "n_classes": params.n_classes,
            "pitches": list(pitches),
        },
    )


def _rendered(take: Take) -> tuple[NDArray[np.float32], int, tuple[int, ...]]:
    sample_rate = int(json.loads((RENDERED / take.name / "render.json").read_text())["sample_rate"])
    return read_flac(RENDERED / take.name / "audio.flac", sample_rate=sample_rate), sample_rate, KEYBOARD_PITCHES


def _captured(take: Take) -> tuple[NDArray[np.float32], int, tuple[int, ...]]:
    capture = read_capture(take.name)
    master, _ = read_clocks(take.name)
    # Ingest has found out what of it decodes; a recording that ends too early ends so here too.
    sound = read_sound(capture.device(master).path, sample_rate=CAPTURE_RATE, policy=NO_LIMITS, lenient=True)
    return sound.samples, CAPTURE_RATE, capture.pitches
