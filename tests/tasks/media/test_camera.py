"""What a camera records, written and read back: every picture at its own time."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest

from tasks.media.encode import encode_camera
from tasks.media.pictures import check_film, iter_pictures
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.media.sound import read_sound
from tasks.media.streams import stream_digest

POLICY = MediaPolicy(
    max_pixels=4_000_000, max_duration_s=60.0, max_bytes=50_000_000, max_streams=16, max_file_bytes=10**9
)
SIZE = {"width": 64, "height": 48, "policy": POLICY}


def numbered(n, height=48, width=64):
    """Pictures that are told apart by their brightness."""
    for k in range(n):
        yield np.full((height, width), 40 + 3 * (k % 60), np.uint8)


def read(path, **changes):
    parts = list(iter_pictures(path, **(SIZE | changes)))
    return np.concatenate([p for p, _ in parts]), np.concatenate([t for _, t in parts])


def times_of(rate, n=200, seed=None):
    if seed is None:
        return [k / rate for k in range(n)]
    rng = np.random.default_rng(seed)
    kept = [k for k in range(n) if rng.random() > 0.1 or k == 0]
    return [max(Fraction(k) / rate + Fraction(int(rng.integers(-300, 300)), 100_000), Fraction(0)) for k in kept]


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("suffix", "rate", "seed"),
    [
        (".mp4", Fraction(30000, 1001), None),
        (".mkv", Fraction(30), 1),
        (".mov", Fraction(30), 1),
        pytest.param(".mp4", Fraction(24), None, marks=slow),
        pytest.param(".mp4", Fraction(30), 2, marks=slow),
        pytest.param(".mkv", Fraction(30000, 1001), None, marks=slow),
        pytest.param(".mov", Fraction(50), None, marks=slow),
    ],
)
def test_every_picture_comes_back_at_its_own_time(tmp_path, suffix, rate, seed):
    base = Fraction(1, 30_000 if rate.denominator == 1001 else 90_000)
    time_s = times_of(rate, seed=seed)
    path = tmp_path / f"cam{suffix}"
    encode_camera(path, numbered(len(time_s)), time_s=time_s, time_base=base)
    pictures, found_s = read(path)
    tick_s = 1e-3 if suffix == ".mkv" else float(base)
    np.testing.assert_allclose(found_s, np.array(time_s, float), atol=tick_s / 2 + 1e-9)
    wanted = np.array([picture[0, 0] for picture in numbered(len(time_s))], int)
    assert abs(pictures.mean(axis=(1, 2)) - wanted).max() < 3
    check = check_film(path, POLICY)
    assert (check.n_pictures, check.is_variable) == (len(time_s), seed is not None)
    assert (check.first_s, check.last_s) == pytest.approx((float(time_s[0]), float(time_s[-1])), abs=tick_s)


@pytest.mark.parametrize("start_s", [0.0, 0.25])
@pytest.mark.parametrize(("codec", "suffix"), [("aac", ".mp4"), ("pcm", ".mov")])
def test_sound_begins_where_it_is_put(tmp_path, codec, suffix, start_s):
    audio = np.zeros(96_000, np.float32)
    audio[24_000:24_400] = 0.5 * np.random.default_rng(0).standard_normal(400).clip(-1.5, 1.5)
    path = tmp_path / f"cam{suffix}"
    time_s = times_of(Fraction(25), 50)
    encode_camera(
        path,
        numbered(50),
        time_s=time_s,
        time_base=Fraction(1, 90_000),
        audio=audio,
        sample_rate=48_000,
        audio_codec=codec,
        audio_start_s=start_s,
    )
    found = read_sound(path, sample_rate=48_000, policy=POLICY).samples
    cross = np.correlate(found[:80_000], audio[24_000:24_400], "valid")
    assert np.argmax(cross) / 48_000 == pytest.approx(0.5 + start_s, abs=5e-5)


def test_the_same_pictures_give_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        encode_camera(tmp_path / name, numbered(30), time_s=times_of(Fraction(30), 30), time_base=Fraction(1, 90_000))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_turned_and_cropped_picture_is_upright(tmp_path):
    left = np.zeros((48, 64), np.uint8)
    left[:, :32] = 200
    encode_camera(tmp_path / "a.mp4", [left] * 5, time_s=times_of(Fraction(25), 5), time_base=Fraction(1, 90_000))
    turned = ["-metadata:s:v", "rotate=90", "-c", "copy", str(tmp_path / "turned.mp4")]
    subprocess.run(["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.mp4"), *turned], check=True, timeout=60)
    facts = probe(tmp_path / "turned.mp4", policy=POLICY).video
    assert (facts.width, facts.height, facts.rotation % 180) == (48, 64, 90)
    pictures, _ = read(tmp_path / "turned.mp4", width=48, height=64)
    halves = pictures[0, :32].mean(), pictures[0, 32:].mean()
    assert max(halves) > 190
    assert min(halves) < 20
    pictures, _ = read(tmp_path / "a.mp4", crop=(0, 0, 32, 48), width=32, height=48)
    assert pictures.min() > 180


def test_a_truncated_film_is_found_or_told(tmp_path):
    encode_camera(tmp_path / "a.mp4", numbered(100), time_s=times_of(Fraction(25), 100), time_base=Fraction(1, 90_000))
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(MediaError) as error:
        check_film(tmp_path / "a.mp4", POLICY)
    assert error.value.kind == "TRUNCATED"
    kept = check_film(tmp_path / "a.mp4", POLICY, lenient=True)
    assert kept.truncated_at_s == kept.last_s < 3.9


def test_a_recording_in_another_container_is_known_by_its_streams(tmp_path):
    audio = np.random.default_rng(1).uniform(-0.1, 0.1, 48_000).astype(np.float32)
    for name, seed in (("a.mp4", 0), ("other.mp4", 7)):
        encode_camera(
            tmp_path / name,
            (picture + seed for picture in numbered(25)),
            time_s=times_of(Fraction(25), 25),
            time_base=Fraction(1, 90_000),
            audio=audio,
            sample_rate=48_000,
            audio_codec="aac",
        )
    for name in ("b.mkv", "b.mov"):
        command = ["ffmpeg", "-v", "error", "-i", str(tmp_path / "a.mp4"), "-c", "copy", str(tmp_path / name)]
        subprocess.run(command, check=True, timeout=60)
        assert stream_digest(tmp_path / name, policy=POLICY) == stream_digest(tmp_path / "a.mp4", policy=POLICY)
    assert stream_digest(tmp_path / "other.mp4", policy=POLICY) != stream_digest(tmp_path / "a.mp4", policy=POLICY)


def test_pictures_closer_than_the_average_rate_says_are_no_damage(tmp_path):
    time_s = [Fraction(number, 30) for number in range(40)] + [Fraction(number, 10) for number in range(14, 40)]
    encode_camera(tmp_path / "a.mp4", numbered(len(time_s)), time_s=time_s, time_base=Fraction(1, 90_000))
    _, found_s = read(tmp_path / "a.mp4")
    np.testing.assert_allclose(found_s, np.array(time_s, float), atol=1e-5)
