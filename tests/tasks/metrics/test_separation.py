import museval
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from tasks.metrics.separation import (
    LIMIT_DB,
    active_si_sdr_db,
    best_permutation,
    bss_eval_db,
    leakage,
    sdr_db,
    si_sdr_db,
)

RATE = 1000


def tones(*hz, seconds=4):
    time_s = np.arange(seconds * RATE) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * one * time_s) for one in hz])[:, None, :]  # (K, 1, n)


@pytest.fixture
def noisy():
    rng = np.random.default_rng(3)
    references = 0.2 * rng.standard_normal((3, 2, 5 * RATE))
    return references, references + 0.05 * rng.standard_normal(references.shape) + 0.1 * references[[1, 2, 0]]


def test_si_sdr_is_torchmetrics(noisy):
    for reference, estimate in zip(*noisy, strict=True):
        theirs = scale_invariant_signal_distortion_ratio(
            torch.from_numpy(estimate.ravel()), torch.from_numpy(reference.ravel())
        )
        assert si_sdr_db(reference, estimate) == pytest.approx(float(theirs), abs=1e-9)


def test_si_sdr_of_an_orthogonal_error_is_the_ratio_of_the_energies():
    a, b = tones(50, 120)
    assert si_sdr_db(a, a + 0.1 * b) == pytest.approx(20.0, abs=1e-6)


@pytest.mark.parametrize("gain", [1.0, -0.01, 300.0])
def test_si_sdr_of_the_reference_at_any_gain_is_perfect(gain):
    (a,) = tones(50)
    assert si_sdr_db(a, gain * a) == LIMIT_DB


def test_si_sdr_of_another_source_is_as_bad_as_can_be():
    a, b = tones(50, 120)
    assert si_sdr_db(a, b) == -LIMIT_DB


def test_si_sdr_of_silence_is_no_figure():
    (a,) = tones(50)
    assert np.isnan(si_sdr_db(a, np.zeros_like(a)))


def test_a_silent_reference_is_refused():
    (a,) = tones(50)
    with pytest.raises(ValueError, match="silent"):
        si_sdr_db(np.zeros_like(a), a)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_refused(bad):
    (a,) = tones(50)
    broken = a.copy()
    broken[0, 7] = bad
    with pytest.raises(ValueError, match="finite"):
        si_sdr_db(a, broken)


def test_rests_do_not_count_for_si_sdr():
    a, b = tones(50, 120)
    a[:, 2 * RATE :] = 0
    estimate = a + 0.1 * b
    estimate[:, 2 * RATE :] = 0.29  # much of anything while the source rests
    assert active_si_sdr_db(a, estimate, sample_rate=RATE) == pytest.approx(20.0, abs=1e-6)


def test_a_window_forty_decibels_below_the_loudest_is_active_and_one_more_is_not():
    a, b = tones(50, 120, seconds=2)
    estimate = a.copy()
    estimate[:, RATE:] = 0.5 * b[:, RATE:]
    for level_db, counts in ((-39.9, True), (-40.1, False)):
        reference = a.copy()
        reference[:, RATE:] *= 10 ** (level_db / 20)
        assert (active_si_sdr_db(reference, estimate, sample_rate=RATE) < LIMIT_DB) is counts


def test_a_source_that_never_sounds_has_no_si_sdr():
    (a,) = tones(50)
    assert np.isnan(active_si_sdr_db(np.zeros_like(a), a, sample_rate=RATE))


def test_leakage_is_what_is_left_of_the_mix():
    a, b = tones(50, 120)
    a[:, 2 * RATE :] = 0
    estimate = a.copy()
    estimate[:, 2 * RATE :] += 0.1 * b[:, 2 * RATE :]
    estimate[:, 3 * RATE : 3 * RATE + RATE // 4] *= 10  # the mix itself, for a window
    found = leakage(a, estimate, a + b, sample_rate=RATE)
    assert found.worst_db == pytest.approx(0.0, abs=1e-6)
    assert found.mean_db == pytest.approx(10 * np.log10((7 * 0.01 + 1) / 8), abs=1e-6)


def test_leakage_counts_no_window_in_which_all_are_silent():
    a, b = tones(50, 120)
    a[:, 2 * RATE :], b[:, 3 * RATE :] = 0, 0
    assert len(leakage(a, a, a + b, sample_rate=RATE).power) == 4  # of a quarter of a second


def test_leakage_of_a_source_that_never_rests_is_no_figure():
    a, b = tones(50, 120)
    found = leakage(a, b, a + b, sample_rate=RATE)
    assert np.isnan(found.mean_db)
    assert np.isnan(found.worst_db)


def test_leakage_of_silence_is_the_limit():
    a, b = tones(50, 120)
    a[:, 2 * RATE :] = 0
    assert leakage(a, np.zeros_like(a), a + b, sample_rate=RATE).worst_db == -LIMIT_DB


def test_bss_eval_is_the_packages(noisy):
    references, estimates = noisy
    theirs = museval.evaluate(references.transpose(0, 2, 1), estimates.transpose(0, 2, 1), win=RATE, hop=RATE)
    ours = bss_eval_db(references, estimates, sample_rate=RATE)
    for name, values in zip(("sdr_db", "isr_db", "sir_db", "sar_db"), theirs, strict=True):
        np.testing.assert_array_equal(ours[name], np.median(values, axis=1))


def test_sdr_alone_is_the_packages(noisy):
    references, estimates = noisy
    references[0, :, RATE : 2 * RATE] = 0  # a window that the package leaves out for all
    ours = sdr_db(references, estimates, sample_rate=RATE)
    np.testing.assert_allclose(ours, bss_eval_db(references, estimates, sample_rate=RATE)["sdr_db"], atol=1e-9)


def test_a_perfect_estimate_is_the_limit_for_bss_eval(noisy):
    references, _ = noisy
    found = bss_eval_db(references, references, sample_rate=RATE)
    assert found["sdr_db"] == pytest.approx([LIMIT_DB] * 3)
    assert all(values.min() > 60 for values in found.values())


def test_bss_eval_leaves_out_what_is_silent_and_scores_the_others(noisy):
    references, estimates = noisy
    references[1] = 0
    found = bss_eval_db(references, estimates, sample_rate=RATE)["sdr_db"]
    assert np.isnan(found[1])
    others = bss_eval_db(references[[0, 2]], estimates[[0, 2]], sample_rate=RATE)["sdr_db"]
    np.testing.assert_array_equal(found[[0, 2]], others)


def test_bss_eval_of_silence_has_no_figure_and_its_sdr_alone_is_zero(noisy):
    references, _ = noisy
    silence = np.zeros_like(references)
    assert np.isnan(bss_eval_db(references, silence, sample_rate=RATE)["sdr_db"]).all()
    assert sdr_db(references, silence, sample_rate=RATE) == pytest.approx([0.0] * 3)


def test_sources_that_never_sound_together_have_no_sdr(noisy):
    references, estimates = noisy
    references[0, :, : 3 * RATE], references[1, :, 2 * RATE :] = 0, 0
    assert np.isnan(sdr_db(references, estimates, sample_rate=RATE)).all()
    assert np.isnan(bss_eval_db(references, estimates, sample_rate=RATE)["sir_db"]).all()


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (1, 2, 3, 0)])
def test_the_best_permutation_undoes_a_shuffle(order):
    references = tones(50, 120, 170, 210)
    estimates = np.empty_like(references)
    estimates[list(order)] = references + 0.1 * references[[1, 2, 3, 0]]
    assert best_permutation(references, estimates) == order


def test_the_best_permutation_of_what_is_all_alike_is_the_given_order():
    references = tones(50, 120, 170)
    assert best_permutation(references, np.zeros_like(references)) == (0, 1, 2)
    assert best_permutation(references, np.repeat(references[:1], 3, axis=0)) == (0, 1, 2)


def test_the_best_permutation_bears_a_source_that_is_silent():
    references = tones(50, 120, 170)
    references[1] = 0
    estimates = references[[2, 1, 0]] + 0.01 * tones(90, 91, 92)
    assert best_permutation(references, estimates) == (2, 1, 0)


def test_sources_that_the_package_cannot_tell_apart_have_no_figure(noisy, monkeypatch):
    def fail(*_, **__):
        raise AttributeError("module 'numpy.linalg' has no attribute 'linalg'")

    monkeypatch.setattr(museval, "evaluate", fail)
    assert np.isnan(bss_eval_db(*noisy, sample_rate=RATE)["sir_db"]).all()
