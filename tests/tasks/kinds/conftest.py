"""Parameters of filmed takes, and what is measured in their files."""

import hashlib
import subprocess
from fractions import Fraction

import numpy as np
import pytest

from tasks.film import EnsemblesParams, FilmParams, RecordingParams
from tasks.rig.played_pianos import HandsParams
from tasks.rig.rigs import RigParams

RECORDING = RecordingParams(
    sample_rate=48_000,
    code_rates=(4_000, 8_000, 16_000),
    gain=1.0,
    excerpt_s=60.0,
    tail_s=0.4,
    rig=RigParams(
        sizes=((160, 90),),
        frame_rates=(Fraction(25), Fraction(30000, 1001)),
        n_cameras=2,
        n_microphones=1,
        views_held_out=("side_left",),
        max_early_s=0.8,
        max_late_s=0.4,
        max_drift_ppm=100.0,
        t60_s=(0.2, 0.3),
        max_wander_s=0.005,
        lost_s=(0.2, 0.4),
    ),
    hands=HandsParams(length_s=4.0, noise=(1.0, 1.0), crf=(22, 22)),
)
DEMO = FilmParams(
    n_takes=8,
    pieces={
        "marimba-18": ("marimba_song", "marimba_rain"),
        "piano": ("schumann_melodie",),
    },
    played_pianos=(),
    ensembles=EnsemblesParams(
        n_takes={"train": 3, "validation": 1, "test": 2},
        pieces=("ah_vous_dirai_clarinets", "low_voices_duo", "scarborough_cellos", "auld_lang_syne_duo"),
        excerpt_s=5.0,
        max_gain_db=4.0,
        stem_room=0.0,
    ),
    seed=1,
    recording=RECORDING,
)


@pytest.fixture(scope="session")
def recording():
    """Return how the tests' takes are recorded."""
    return RECORDING


@pytest.fixture(scope="session")
def demo():
    """Return the section ``film`` of a small project."""
    return DEMO


@pytest.fixture(scope="session")
def probed():
    """Return a function that reads a stream's entries with ffprobe."""

    def run(path, *, stream, entries):
        done = subprocess.run(
            ["ffprobe", "-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0", path],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return [line.strip(",") for line in done.stdout.split()]

    return run


@pytest.fixture(scope="session")
def picture_times(probed):
    """Return a function that reads the times of a film's pictures in s."""
    return lambda path: [float(moment) for moment in probed(path, stream="v", entries="frame=pts_time")]


@pytest.fixture(scope="session")
def luma():
    """Return a function that decodes a film's luma, (n, height, width)."""

    def run(path, width, height):
        done = subprocess.run(
            [
                *("ffmpeg", "-v", "error", "-i", path, "-vf", "extractplanes=y"),
                *("-f", "rawvideo", "-pix_fmt", "gray", "-"),
            ],
            capture_output=True,
            check=True,
            timeout=60,
        )
        return np.frombuffer(done.stdout, np.uint8).reshape(-1, height, width).astype(np.int16)

    return run


@pytest.fixture(scope="session")
def digests():
    """Return a function that hashes every file of a folder."""
    return lambda folder: {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
    }


@pytest.fixture(scope="session")
def lag_s():
    """Return a function that measures by how much a recorded sound is later than the expected one, in s.

    To a fraction of a sample, by the phase transform.
    """

    def run(recorded, expected, rate, *, most_s=0.02):
        n = 2 * max(len(recorded), len(expected))
        cross = np.fft.rfft(recorded, n) * np.conj(np.fft.rfft(expected, n))
        frequency = np.fft.rfftfreq(n, 1 / rate)
        cross = np.where((frequency > 200) & (frequency < 6000), cross / np.maximum(np.abs(cross), 1e-9) ** 0.7, 0)
        fine = 8
        correlation = np.fft.irfft(cross, n * fine)
        reach = round(most_s * rate * fine)
        window = np.r_[correlation[-reach:], correlation[: reach + 1]]
        peak = int(np.argmax(window))
        low, top, high = window[peak - 1 : peak + 2]
        return (peak + 0.5 * (low - high) / (low - 2 * top + high) - reach) / (rate * fine)

    return run
