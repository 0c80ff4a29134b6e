"""Ensembles of two tones, and a family that is small enough to train on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from models.wave_unet import WaveUnet
from tasks.families import load_family
from tasks.families.wave_unet.params import SYSTEM, WaveUnetParams, config_of
from tasks.store.arrays import write_arrays
from tasks.store.ensembles import EnsembleSet
from tasks.store.segments import segment_rows, write_segments

RATE, DURATION_S, N_MOTION = 2000, 4.0, 3
TONES_HZ = {"vn": 700.0, "vc": 180.0}
PARAMS = WaveUnetParams.model_validate(
    {
        "fidelity": "corrected",
        "conditioned_on": ("labels", "motion"),
        "conditioning": "film",
        "place": "every",
        "max_players": 2,
        "n_layers": 5,
        "n_filters": 4,
        "down_kernel": 5,
        "up_kernel": 5,
        "upsampling": "linear",
        "with_context": False,
        "n_fft": 128,
        "spectrum_hop": 32,
        "n_spectral": 16,
        "n_iterations": 10,
        "n_encoded": 8,
        "condition_hop": 32,
        "segment_s": 0.5,
        "same_take": 0.5,
        "same_instrument": 0.2,
        "empty": 0.1,
        "gain_db": 3.0,
        "n_steps": 60,
        "steps_per_epoch": 30,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "clip_norm": 1.0,
        "precision": "32-true",
        "held_s": 1000.0,
        "n_validation_mixes": 4,
        "transcriber": {"n_filters": 4, "n_hidden": 8, "n_steps": 30, "batch_size": 4},
        "output_s": 1.0,
        "n_threads": 1,
        "seed": 0,
    }
)


@pytest.fixture(scope="session")
def params() -> WaveUnetParams:
    return PARAMS


@pytest.fixture(scope="session")
def params_of():
    """Return a function that changes the parameters."""
    return lambda **changes: WaveUnetParams.model_validate(PARAMS.model_dump() | changes)


@pytest.fixture(scope="session")
def tones_hz() -> dict[str, float]:
    """Return the tone of each instrument."""
    return TONES_HZ


def store(folder: Path, takes: dict[str, tuple[str, tuple[str, ...]]]) -> Path:
    """Store takes of tones that come and go: name to part and instruments. Motion is where a player sounds."""
    index, segments = {}, []
    n, n_frames = round(RATE * DURATION_S), round(25 * DURATION_S)
    for seed, (name, (part, instruments)) in enumerate(takes.items()):
        rng = np.random.default_rng(seed)
        arrays, mix = {}, np.zeros((1, n))
        for number, code in enumerate(instruments, 1):
            sounds = np.repeat(rng.random(8) < 0.7, n_frames // 8 + 1)[:n_frames]
            envelope = np.repeat(sounds, n // n_frames)[:n]
            stem = 0.2 * envelope * np.sin(2 * np.pi * TONES_HZ[code] * np.arange(n) / RATE + seed)
            arrays[f"stem_{number}"] = np.rint(stem[None] * 32767).astype(np.int16)
            arrays[f"motion_{number}"] = np.stack([sounds, 1 - sounds, np.zeros(n_frames)], axis=1).astype(np.float32)
            played = np.flatnonzero(sounds)
            arrays[f"notes_{number}"] = np.array([[t / 25, (t + 1) / 25, 60 + 7 * number, 90] for t in played])
            picture = np.zeros((48, 48), np.uint8)
            picture[:, 8:16] = 200 if code == "vn" else 0
            picture[8:16] = 200 if code == "vc" else picture[8:16]
            arrays[f"pictures_{number}"] = np.repeat(picture[None], n_frames, axis=0)
            mix += stem
        arrays["mix"] = np.rint(mix * 32767).astype(np.int16)
        write_arrays(
            folder / name / "arrays.zarr",
            arrays,
            chunk_lengths=dict.fromkeys(arrays, 1 << 14),
            attributes={
                "instruments": list(instruments),
                "frame_rate": "25",
                "duration_s": DURATION_S,
                "stem_rate": RATE,
                "n_channels": 1,
                "n_frames": n_frames,
                "n_motion": N_MOTION,
            },
        )
        index[name] = {"piece": name, "part": part, "digest": name, "duration_s": DURATION_S}
        segments += segment_rows(name, name, part, name, n, length=RATE, hop=RATE)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> EnsembleSet:
    """Return duets of violin and violoncello: a and b for training, c for validation, d for testing."""
    pair = ("vn", "vc")
    takes = {"a": ("train", pair), "b": ("train", pair), "c": ("validation", pair), "d": ("test", pair)}
    return EnsembleSet(store(tmp_path_factory.mktemp("ensembles"), takes))


@pytest.fixture(scope="session")
def fit(data):
    """Return a function that trains the family into a folder."""

    def fit_family(out: Path, params: WaveUnetParams) -> Path:
        load_family("wave_unet").fit(data, out, params=params, resume=out.parent / "resume", accelerator="cpu")
        return out

    return fit_family


@pytest.fixture(scope="session")
def trained(fit, params_of, tmp_path_factory) -> Path:
    """Return the folder of a family that uses the players' videos alone."""
    transcriber = {"n_filters": 4, "n_hidden": 8, "n_steps": 90, "batch_size": 4}
    params = params_of(conditioned_on=("classifier", "pitches_video", "motion"), transcriber=transcriber)
    return fit(tmp_path_factory.mktemp("trained") / "wave_unet", params)


@pytest.fixture(scope="session")
def network_of():
    """Return a function that makes an untrained network."""

    def make(params: WaveUnetParams = PARAMS, system: str = SYSTEM) -> WaveUnet:
        torch.manual_seed(0)
        return WaveUnet(config_of(params, system, n_channels=1, n_motion=N_MOTION)).eval()

    return make


@pytest.fixture(scope="session")
def sdr_db():
    """Return a function that measures how far an estimate is from a sound."""
    return lambda truth, found: 10 * np.log10(np.sum(truth**2) / np.sum((truth - found) ** 2))
