"""Films in colour: planes come back, large pictures are all there, an edit list hides what is before it."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest

from tasks.media.edit_list import hide_beginning
from tasks.media.encode import encode_camera
from tasks.media.pictures import check_film
from tasks.media.probe import NO_LIMITS, MediaPolicy, probe, stream_packets
from tasks.media.process import MediaError

POLICY = MediaPolicy(
    max_pixels=4_000_000, max_duration_s=60, max_bytes=100_000_000, max_streams=4, max_file_bytes=10_000_000
)
BASE = Fraction(1, 90_000)


def planes_of(n, height=64, width=96, *, grain=0.0):
    """Pictures whose planes are told apart: luma grows with the picture, U is 90, V is 170."""
    rng = np.random.default_rng(0)
    for number in range(n):
        planes = np.full((height * 3 // 2, width), 90, np.uint8)
        planes[:height] = np.clip(40 + 3 * number + grain * rng.standard_normal((height, width)), 0, 255)
        planes[height + height // 4 :] = 170
        yield planes


def times_of(n, rate=30):
    return [Fraction(number, rate) for number in range(n)]


def decoded(path, height, width):
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height * 3 // 2, width).astype(float)


def test_all_three_planes_come_back(tmp_path):
    path = tmp_path / "a.mp4"
    encode_camera(path, planes_of(20), time_s=times_of(20), time_base=BASE, in_colour=True)
    found = decoded(path, 64, 96)
    assert len(found) == 20
    np.testing.assert_allclose(found[:, :64].mean(axis=(1, 2)), 40 + 3 * np.arange(20), atol=2)
    np.testing.assert_allclose(found[:, 64:80].mean(), 90, atol=2)
    np.testing.assert_allclose(found[:, 80:].mean(), 170, atol=2)


def test_a_bit_rate_is_kept_to_whatever_the_pictures_hold(tmp_path):
    sizes = []
    for bit_rate in (200_000, 1_000_000):
        path = tmp_path / f"{bit_rate}.mp4"
        pictures = planes_of(90, 120, 160, grain=40.0)
        encode_camera(path, pictures, time_s=times_of(90), time_base=BASE, in_colour=True, bit_rate=bit_rate)
        sizes.append(path.stat().st_size * 8 / 3)  # bits a second
    assert sizes[0] == pytest.approx(200_000, rel=0.4)
    assert sizes[1] == pytest.approx(1_000_000, rel=0.4)


def test_the_last_of_large_pictures_is_in_the_film(tmp_path):
    path = tmp_path / "large.mp4"
    encode_camera(path, planes_of(6, 1080, 1920), time_s=times_of(6), time_base=BASE, in_colour=True)
    assert check_film(path, POLICY).n_pictures == 6


def test_an_edit_list_hides_the_beginning_and_time_begins_after_it(tmp_path):
    path = tmp_path / "a.mp4"
    encode_camera(path, planes_of(60), time_s=times_of(60), time_base=BASE, in_colour=True)
    hide_beginning(path, 0.5)
    facts = probe(path, policy=NO_LIMITS)
    packets = stream_packets(path, str(facts.video.index), facts.start_s, policy=NO_LIMITS)
    assert packets.n_shown == 45
    check = check_film(path, POLICY)
    assert (check.n_pictures, check.first_s) == (45, pytest.approx(0.0, abs=1e-4))
    np.testing.assert_allclose(decoded(path, 64, 96)[0, :64].mean(), 40 + 3 * 15, atol=2)


def test_a_file_without_an_edit_list_is_refused(tmp_path):
    path = tmp_path / "a.mkv"
    encode_camera(path, planes_of(5), time_s=times_of(5), time_base=BASE, in_colour=True)
    with pytest.raises(MediaError, match="no single edit list"):
        hide_beginning(path, 0.1)
