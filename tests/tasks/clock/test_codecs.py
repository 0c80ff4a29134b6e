"""What happens to a recording on its way through a file does not move its clock."""

import numpy as np
import pytest

from tasks.clock.sound import ClockParams, estimate_clock
from tasks.features.resample import resample
from tasks.media.encode import encode_sound
from tasks.media.probe import NO_LIMITS
from tasks.media.sound import read_sound

RATE = 16_000
PARAMS = ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=9.0, min_agreement=0.5)
pytestmark = pytest.mark.timeout(120)


def world(seconds=24):
    """Bursts of noise of several colours: something for every frequency to agree on."""
    rng = np.random.default_rng(3)
    time_s = np.arange(seconds * 48_000) / 48_000
    sound = np.zeros(len(time_s))
    for onset_s in np.cumsum(rng.gamma(2.0, 0.15, int(seconds / 0.35))):
        first = int(onset_s * 48_000)
        since = time_s[first : first + 12_000] - onset_s
        hz = rng.uniform(200, 4000)
        sound[first : first + len(since)] += np.exp(-since / 0.08) * np.sin(2 * np.pi * hz * since + rng.uniform(0, 6))
    return (0.1 * sound + 0.003 * rng.standard_normal(len(sound))).astype(np.float32)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    sound = world()
    reference = resample(sound, 48_000, RATE)
    other = sound[5 * 48_000 : 20 * 48_000]
    fit = estimate_clock(reference, resample(other, 48_000, RATE), sample_rate=RATE, params=PARAMS)
    assert fit.verdict == "locked"
    return reference, other, fit.to_reference([0.0, 15.0])


@pytest.mark.parametrize(
    ("name", "codec", "sample_rate", "within_s"),
    [
        ("a.wav", "pcm_s16le", 44_100, 5e-5),
        ("a.wav", "pcm_s24le", 48_000, 5e-5),
        ("a.flac", "flac", 32_000, 5e-5),
        ("a.m4a", "aac", 44_100, 5e-5),
        ("a.mp4", "aac", 48_000, 5e-5),
        ("a.ogg", "opus", 48_000, 1e-3),
        ("a.mp3", "mp3", 44_100, 1e-3),
    ],
)
def test_neither_codec_nor_rate_moves_a_recording(tmp_path, expected, name, codec, sample_rate, within_s):
    reference, other, truth_s = expected
    path = tmp_path / name
    encode_sound(path, resample(other, 48_000, sample_rate).clip(-1, 1), sample_rate=sample_rate, codec=codec)
    recorded = read_sound(path, sample_rate=RATE, policy=NO_LIMITS).samples
    fit = estimate_clock(reference, recorded, sample_rate=RATE, params=PARAMS)
    assert fit.verdict == "locked"
    np.testing.assert_allclose(fit.to_reference([0.0, 15.0]), truth_s, rtol=0, atol=within_s)


def test_neither_do_channels(tmp_path, expected):
    reference, other, truth_s = expected
    path = tmp_path / "a.wav"
    stereo = np.column_stack([other, 0.3 * other])
    encode_sound(path, stereo, sample_rate=48_000, codec="pcm_s16le")
    recorded = read_sound(path, sample_rate=RATE, policy=NO_LIMITS).samples
    fit = estimate_clock(reference, recorded, sample_rate=RATE, params=PARAMS)
    np.testing.assert_allclose(fit.to_reference([0.0, 15.0]), truth_s, rtol=0, atol=5e-5)
