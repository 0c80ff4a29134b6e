"""Videos of keyboards through the family whose sound is known without any training."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tasks.errors import DamagedData
from tasks.families.networks import save_network
from tasks.instruments.keyboard import draw_keyboard
from tasks.keyboards.read import KeyboardParams
from tasks.media.encode import encode_film
from tasks.media.pictures import read_film
from tasks.media.probe import MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.perform import PerformParams, perform_video

KEYBOARD = KeyboardParams(min_score=0.62, min_white_px=8.0, lead_s=0.03, velocity=80, gain=0.5)
PARAMS = PerformParams(
    keyboard=KEYBOARD,
    media=MediaPolicy(max_pixels=1_000_000, max_duration_s=60.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**9),
    min_change=24,
)
RATE = Fraction(30000, 1001)


def perform(video, out, trained):
    remarks = []
    done = perform_video(
        video,
        out,
        family="baselines",
        trained=trained,
        params=PARAMS,
        accelerator="cpu",
        progress=remarks.append,
    )
    return done, remarks


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two seconds in which one key goes down at picture 15 and comes up at picture 45."""
    path = tmp_path_factory.mktemp("video") / "silent.mp4"
    velocity = np.zeros((60, 88), np.uint8)
    velocity[15:45, 39] = 80
    encode_film(path, draw_keyboard(velocity, lit="velocity"), frame_rate=RATE)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A `mean` of white noise at 8 kHz."""
    folder = tmp_path_factory.mktemp("trained")
    amplitude = torch.full((129,), 0.1, dtype=torch.float64)
    save_network(folder / "mean", {"amplitude": amplitude}, {"sample_rate": 8_000, "n_classes": 256, "seed": 0})
    return folder


def test_the_video_gets_a_sound_as_long_as_itself_and_keeps_its_pictures(video, trained, tmp_path):
    before = video.read_bytes()
    done, remarks = perform(video, tmp_path / "out.mp4", trained)
    assert (done.system, done.n_decoded, done.sample_rate, done.notes) == ("mean", 60, 8_000, None)
    assert done.duration_s == pytest.approx(60 / float(RATE), abs=1e-3)
    assert len(remarks) == 3
    facts = probe(tmp_path / "out.mp4", policy=PARAMS.media)
    assert facts.audio_rate == 48_000
    assert facts.duration_s == pytest.approx(60 / float(RATE), abs=0.05)
    size = {"width": 780, "height": 57, "crop": (0, 0, 780, 57), "min_change": 0, "policy": PARAMS.media}
    np.testing.assert_array_equal(read_film(tmp_path / "out.mp4", **size).pictures, read_film(video, **size).pictures)
    assert video.read_bytes() == before


def test_the_same_video_has_the_same_bytes(video, trained, tmp_path):
    for name in ("one.mp4", "two.mp4"):
        perform(video, tmp_path / name, trained)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_pictures_that_show_nothing_new_are_left_out(video, trained, tmp_path):
    done, _ = perform(video, tmp_path / "out.mkv", trained)
    assert 3 <= done.n_pictures <= 15  # the encoder sharpens a still picture for some time


def test_bad_names_are_refused_before_any_work(video, tmp_path):
    for out, kind in (
        (video, "SAME_FILE"),
        (tmp_path / "out.wav", "UNKNOWN_FORMAT"),
        (tmp_path / "no" / "out.mp4", "NOT_A_FILE"),
    ):
        with pytest.raises(MediaError) as caught:
            perform(video, out, tmp_path / "nothing trained here")
        assert caught.value.kind == kind


def test_a_family_that_was_not_trained_says_so(video, tmp_path):
    with pytest.raises(DamagedData, match="train the family first"):
        perform(video, tmp_path / "out.mp4", tmp_path / "nothing here")
    assert list(tmp_path.iterdir()) == []
