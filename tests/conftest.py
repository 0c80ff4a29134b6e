"""What holds for every test."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

from tasks.cpu import pin

# The suite runs as many workers as there are cores: where each also computes with all cores, threads wait for each
# other more than they compute (a test that needs 8 s alone took 250). Set before anything loads OpenMP.
os.environ.setdefault("OMP_NUM_THREADS", "1")
pin()  # as `flows` does, before a test imports numpy: what both compute is compared

# Started in the background of a shell that has no job control, this process would ignore SIGINT, and every program
# that a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On CI, pytest shows the whole difference of two values; of two long byte strings that takes longer than all tests
# together. Without these names it goes by the command line there, as it does everywhere else.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)

# How long an example takes says how busy the machine is; a test that hangs has its own limit.
settings.register_profile("audiate", deadline=None)
settings.load_profile("audiate")

CODE_RATE, FRAME_RATE, LENGTH_S, DURATION_S = 100, 25, 2, 6
WIDTH, HEIGHT, N_NOTES = 40, 40, 5


@pytest.fixture
def data_sets(tmp_path, monkeypatch):
    """A folder, which the test stands in, with one small data set of each kind; and what writes others."""
    monkeypatch.chdir(tmp_path)
    _write_set("captures", {"one": "train", "two": "train", "three": "validation"}, _capture)
    _write_set("scores", {"s": "train", "t": "test"}, _score)
    _write_set("ensembles", {"duet": "train", "trio": "train"}, _ensemble)
    return SimpleNamespace(folder=tmp_path, write=_write_set, capture=_capture, score=_score, ensemble=_ensemble)


def _write_set(kind, takes, write):
    """Write a data set of takes of six seconds in segments of two; ``write`` gives arrays and attributes of a take."""
    from tasks.store.arrays import write_arrays  # here, as most tests need neither
    from tasks.store.segments import segment_rows, write_segments

    folder, rows, about = Path("data/chunked") / kind, [], {}
    for number, (take, part) in enumerate(takes.items()):
        arrays, attributes = write(number)
        (folder / take).mkdir(parents=True)
        attributes |= {"code_rate": CODE_RATE, "frame_rate": str(FRAME_RATE)}
        lengths = dict.fromkeys(arrays, 16)
        write_arrays(folder / take / "arrays.zarr", arrays, chunk_lengths=lengths, attributes=attributes)
        about[take] = {"piece": take, "part": part, "digest": take, "duration_s": float(DURATION_S)}
        rate = attributes.get("stem_rate", CODE_RATE)
        rows += segment_rows(take, take, part, take, DURATION_S * rate, length=LENGTH_S * rate, hop=LENGTH_S * rate)
    (folder / "takes.json").write_text(json.dumps(about))
    write_segments(folder / "segments.parquet", rows)


def _capture(number, instrument="marimba-18"):
    """Every picture and every window of amplitudes has its own number, so that what belongs together can be told."""
    import numpy as np

    n_frames = DURATION_S * FRAME_RATE
    shown = np.arange(n_frames, dtype=np.uint8)
    arrays = {"amplitudes": np.repeat(np.arange(n_frames - 2, dtype=np.float32)[:, None], N_NOTES, axis=1)}
    for camera in ("cam_a", "cam_b"):
        arrays[f"time_s_{camera}"] = np.arange(n_frames) / FRAME_RATE
        arrays[f"pictures_{camera}"] = np.broadcast_to(shown[:, None, None], (n_frames, HEIGHT, WIDTH)).copy()
    attributes = {"cameras": ["cam_a", "cam_b"], "pitches": list(range(N_NOTES)), "instrument": instrument}
    return arrays, attributes


def _score(number):
    import numpy as np

    pictures = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 8), np.uint8)
    codes = np.arange(DURATION_S * CODE_RATE).astype(np.uint8)
    return {"pictures": pictures, "picture_time_s": np.array([0.0, 1.0, 4.5]), "codes": codes}, {}


def _ensemble(number):
    import numpy as np

    n_players, rate, n_frames = 2 + number, 200, DURATION_S * FRAME_RATE
    stems = [np.full((1, DURATION_S * rate), 100 * (player + 1), np.int16) for player in range(n_players)]
    arrays = {f"stem_{player + 1}": stem for player, stem in enumerate(stems)} | {"mix": sum(stems)}
    arrays |= {f"motion_{player + 1}": np.full((n_frames, 3), player, np.float32) for player in range(n_players)}
    attributes = {"instruments": ["vn", "vc", "fl", "ob"][:n_players], "stem_rate": rate, "n_channels": 1}
    return arrays, attributes | {"n_motion": 3, "n_frames": n_frames}
