"""Whole mixes whose sounds are known."""

import numpy as np
import pytest

from tasks.metrics.separation import si_sdr_db
from tasks.partials.separation import agreed, blended, masks_of, separate

RATE = 16_000
PARTS = {"vn": [79, 81, 83, 81, 78, 76, 74, 76], "vc": [48, 43, 45, 48, 50, 47, 43, 48]}


@pytest.fixture(scope="module")
def stems(play):
    """Return two players (2, n) whose harmonics fall otherwise than the table's."""
    return np.stack([play(PARTS["vn"], 1.3), play(PARTS["vc"], 1.1)])


def gains_db(stems, sounds):
    mix = stems.sum(axis=0)
    return [si_sdr_db(true, found[0]) - si_sdr_db(true, mix) for true, found in zip(stems, sounds, strict=True)]


def test_players_are_separated_though_their_spectra_are_not_the_tables(stems, spectra, params):
    done = separate(stems.sum(axis=0)[None], RATE, tuple(PARTS), spectra, params)
    assert min(gains_db(stems, done.sounds)) > 9
    assert done.unexplained < 0.1
    assert min(done.sureness) > 0.5


def test_equally_sure_sounds_sum_to_the_mix_and_channels_keep_their_levels(stems, spectra, params):
    mix = np.stack([stems.sum(axis=0), 0.25 * stems.sum(axis=0)])[:, : 2 * RATE]
    done = separate(mix, RATE, tuple(PARTS), spectra, params.model_copy(update={"doubt": 0.0}))
    np.testing.assert_allclose(done.sounds.sum(axis=0), mix, atol=1e-5)
    np.testing.assert_allclose(done.sounds[:, 1], 0.25 * done.sounds[:, 0], atol=1e-6)


def test_the_order_of_the_players_is_theirs(stems, spectra, params):
    mix = stems.sum(axis=0)[None, : 2 * RATE]
    one, other = (separate(mix, RATE, codes, spectra, params).sounds for codes in (("vn", "vc"), ("vc", "vn")))
    np.testing.assert_allclose(one, other[::-1], atol=1e-4)


def test_a_mix_in_spans_sums_to_the_mix_and_is_about_what_it_is_whole(play, spectra, params):
    stems = np.stack([play(PARTS["vn"] * 4, 1.3), play(PARTS["vc"] * 4, 1.1)])
    mix = stems.sum(axis=0)[None]
    done = separate(mix, RATE, tuple(PARTS), spectra, params.model_copy(update={"span_s": 10.0, "doubt": 0.0}))
    np.testing.assert_allclose(done.sounds.sum(axis=0), mix, atol=1e-5)
    assert min(gains_db(stems, done.sounds)) > 9


def test_players_of_one_instrument_share_what_it_plays(play, spectra, params):
    parts = [play([81, 83], 1.3), play([76, 74], 1.3), play([48, 43], 1.1)]
    done = separate(np.sum(parts, axis=0)[None], RATE, ("vn", "vn", "vc"), spectra, params)
    np.testing.assert_array_equal(done.sounds[0], done.sounds[1])
    of_both = np.stack([parts[0] + parts[1], parts[2]])
    assert min(gains_db(of_both, [done.sounds[0] + done.sounds[1], done.sounds[2]])) > 6


def test_one_instrument_alone_is_shared_equally(stems, spectra, params):
    mix = stems.sum(axis=0)[None]
    done = separate(mix, RATE, ("vn", "vn"), spectra, params)
    np.testing.assert_array_equal(done.sounds, np.stack([mix / 2, mix / 2]))
    assert done.sureness == (0.0, 0.0)
    assert separate(mix, RATE, ("vc",), spectra, params).sureness == (1.0,)


@pytest.mark.parametrize("rate", [8000, 22_050])
def test_other_rates_and_short_mixes_are_separated(play, spectra, params, rate):
    mix = (play([74], 1.3, rate=rate) + play([50], 1.1, rate=rate))[None]
    done = separate(mix, rate, ("vn", "vc"), spectra, params.model_copy(update={"doubt": 0.0}))
    np.testing.assert_allclose(done.sounds.sum(axis=0), mix, atol=1e-5)


def test_silence_and_noise_give_finite_sounds_and_noise_is_told(spectra, params):
    silence = separate(np.zeros((1, RATE), np.float32), RATE, ("vn", "vc"), spectra, params)
    assert not silence.sounds.any()
    noise = np.random.default_rng(1).standard_normal((1, 2 * RATE)).astype(np.float32)
    done = separate(noise, RATE, ("vn", "vc"), spectra, params)
    assert np.isfinite(done.sounds).all()
    assert done.unexplained > 0.2


@pytest.mark.parametrize(("shape", "rate"), [((1, 0), RATE), ((8,), RATE), ((1, 800), 4000)])
def test_what_is_no_mix_is_refused(spectra, params, shape, rate):
    with pytest.raises(ValueError, match="expected"):
        separate(np.zeros(shape, np.float32), rate, ("vn", "vc"), spectra, params)


def test_spectra_without_likeness_are_one_and_with_whole_likeness_their_own(spectra):
    tables = [spectra["vn"], spectra["vc"]]
    same = blended(tables, ("vn", "vc"), 0.0)
    np.testing.assert_allclose(same[0][60 - 55], same[1][60 - 36])
    for own, table in zip(blended(tables, ("vn", "vc"), 1.0), tables, strict=True):
        np.testing.assert_allclose(own, table, rtol=1e-5)


def test_members_that_agree_are_surest_and_those_that_do_not_are_drawn_to_equal_shares(params):
    power = np.ones((1, 2))
    one = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])
    masks, sure = agreed([[one, one], [one, one]], power, params)
    np.testing.assert_array_equal(masks, one)
    assert sure == (params.surest, params.surest)
    masks, sure = agreed([[one, one], [1 - one, 1 - one]], power, params)
    np.testing.assert_array_equal(masks, np.full_like(one, 0.5))
    assert sure == (params.least_sure, params.least_sure)


def test_masks_share_every_bin_also_where_nobody_is():
    estimates = np.array([[[3.0, 0.0]], [[1.0, 0.0]]])
    masks = masks_of(estimates, ("vn", "vc"), np.ones((1, 2)), 2.0)
    np.testing.assert_allclose(masks.sum(axis=0), 1.0)
    assert masks[0, 0, 0] == pytest.approx(0.9, abs=1e-2)
    assert masks[0, 0, 1] == pytest.approx(0.5)
