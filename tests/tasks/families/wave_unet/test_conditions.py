"""Conditions of players, from labels, videos and scores."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from models.video_transcriber import VideoTranscriber, VideoTranscriberConfig
from tasks.errors import BadInput
from tasks.families.separation import Mixture, mixture_of
from tasks.families.wave_unet.conditions import conditions_of, n_features, on_grid, presence
from tasks.families.wave_unet.params import SYSTEM, config_of
from tasks.families.wave_unet.transcriber import load_transcriber
from tasks.instruments.orchestra import SLOTS


@pytest.fixture
def transcriber(data):
    torch.manual_seed(0)
    sizes = VideoTranscriberConfig(n_instruments=13, n_pitches=128, n_motion=data.n_motion, n_filters=2, n_hidden=4)
    return VideoTranscriber(sizes).eval()


def test_a_condition_is_that_of_its_player(data):
    conditioned_on = ("labels", "motion", "score")
    conditions = conditions_of(mixture_of(data, "a"), conditioned_on, None)
    assert conditions.shape == (2, n_features(conditioned_on, data.n_motion), 100)
    assert conditions[0, SLOTS.index("vn")].all()
    assert conditions[1, SLOTS.index("vc")].all()
    assert conditions[:, :13].sum() == 2 * 100
    np.testing.assert_array_equal(conditions[:, 13:16].transpose(0, 2, 1), data.motion("a"))


def test_predicted_onsets_stand_after_the_predicted_pitches(data, transcriber, params_of):
    mixture = mixture_of(data, "a")
    pitches, onsets = (conditions_of(mixture, (word,), transcriber) for word in ("pitches_video", "onsets_video"))
    assert pitches.shape == (2, 130, 100)
    np.testing.assert_array_equal(onsets, pitches[:, 128:])
    for conditioned_on in (("labels", "motion", "pitches_video"), ("labels", "motion", "onsets_video")):
        params = params_of(conditioned_on=conditioned_on)
        config = config_of(params, SYSTEM, n_channels=1, n_motion=data.n_motion)
        assert config.n_conditions == n_features(conditioned_on, data.n_motion)
        assert config.onsets_at == config.n_conditions - 2


def test_moments_of_a_grid_are_those_of_the_pictures_that_are_shown_then(data):
    mixture, rate = mixture_of(data, "a"), data.sample_rate
    numbers = np.arange(100, dtype=np.float32)[None, None]
    grid = on_grid(numbers, mixture, 32, rate, start=rate)
    assert grid.shape == (1, 1, 63)
    np.testing.assert_array_equal(grid[0, 0], [int(Fraction(rate + 32 * k, rate) * 25) for k in range(63)])
    assert on_grid(numbers, mixture, 32, 100 * rate)[0, 0, -1] == 99  # the last picture stays


def test_a_player_whose_pictures_are_black_is_of_no_instrument(transcriber):
    pictures = np.zeros((2, 30, 48, 48), np.uint8)
    pictures[1, :, 10:20] = 200
    mixture = Mixture(
        audio=np.zeros((1, 100), np.float32),
        sample_rate=2000,
        instruments=("vn", "vc"),
        motion=None,
        pictures=pictures,
        rolls=None,
        frame_rate=Fraction(25),
    )
    conditions = conditions_of(mixture, ("classifier",), transcriber)
    assert not conditions[0].any()
    np.testing.assert_allclose(conditions[1].sum(axis=0), 1.0, rtol=1e-5)


def test_the_classifier_knows_instruments_in_takes_that_were_not_in_training(trained, data):
    conditions = conditions_of(mixture_of(data, "d"), ("classifier",), load_transcriber(trained))
    assert [SLOTS[row] for row in conditions[:, :, 0].argmax(axis=1)] == ["vn", "vc"]


@pytest.mark.parametrize(("condition", "source"), [("motion", "video"), ("pitches_video", "video"), ("score", "score")])
def test_a_mix_without_what_the_network_is_conditioned_on_is_refused(data, condition, source):
    bare = Mixture(
        audio=data.mix("a"),
        sample_rate=data.sample_rate,
        instruments=("vn", "vc"),
        motion=None,
        pictures=None,
        rolls=None,
        frame_rate=Fraction(25),
    )
    with pytest.raises(BadInput, match=f"song.wav has no {source} of its players") as caught:
        conditions_of(bare, (condition,), None, name="song.wav")
    assert caught.value.kind == "NO_CONDITION"


def test_presence_has_a_one_for_each_instrument_however_many_play_it():
    assert presence(("vn", "vn", "bn")).tolist() == [1.0] + [0.0] * 11 + [1.0]
