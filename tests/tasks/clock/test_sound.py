"""Made-up music is a function of time here, so that a device with any clock can sample it exactly."""

import re
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from tasks.clock.sound import ClockParams, estimate_clock

RATE = 16_000
PARAMS = ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=9.0, min_agreement=0.5)
NOTE_S = 0.5


def score(seed, duration_s, *, lateness_s=0.0):
    """Onsets and frequencies of random notes; a lateness makes another performance of the same piece."""
    rng = np.random.default_rng(seed)
    onset_s = np.cumsum(rng.gamma(2.0, 0.15, int(duration_s / 0.25)))
    hz = 440 * 2 ** (rng.integers(-24, 24, len(onset_s)) / 12)
    late = np.random.default_rng(seed + 1000).normal(0, 1, len(onset_s)) * lateness_s
    return onset_s + late, hz


def loop(duration_s, period_s=2.0):
    """Notes that come again exactly, for ever."""
    onset_s, hz = score(5, period_s)
    inside = onset_s < period_s - 0.1
    times = np.arange(-1, duration_s / period_s + 1) * period_s
    return (times[:, None] + onset_s[inside]).ravel(), np.tile(hz[inside], len(times))


def heard_at(notes, world_s):
    """Return the sound of notes at moments that rise."""
    sound = np.zeros(len(world_s))
    for onset_s, hz in zip(*notes, strict=True):
        first, last = np.searchsorted(world_s, [onset_s, onset_s + NOTE_S])
        since = world_s[first:last] - onset_s
        attack = np.minimum(since / 0.002, 1) * np.exp(-since / 0.12) * np.minimum((NOTE_S - since) / 0.05, 1)
        partials = sum(np.sin(2 * np.pi * k * hz * since + k) / k for k in range(1, 9) if k * hz < 7000)
        sound[first:last] += attack * partials
    return sound


def device(notes, world_s, *, snr_db=10.0, seed=0):
    sound = heard_at(notes, world_s)
    noise = np.random.default_rng(seed).standard_normal(len(sound)) * sound.std() * 10 ** (-snr_db / 20)
    return ((sound + noise) * 0.1).astype(np.float32)


def moments(duration_s, start_s=0.0, drift_ppm=0.0):
    return start_s + np.arange(round(duration_s * RATE)) / RATE * (1 + drift_ppm * 1e-6)


@lru_cache(maxsize=4)
def reference(seed=1, duration_s=40.0):
    return device(score(seed, duration_s + 30), moments(duration_s), snr_db=20.0, seed=100)


def other(start_s, drift_ppm, duration_s=25.0, *, seed=1, snr_db=10.0, noise_seed=7):
    notes = score(seed, 70)
    return device(notes, moments(duration_s, start_s, drift_ppm), snr_db=snr_db, seed=noise_seed)


def estimate(one, two):
    return estimate_clock(one, two, sample_rate=RATE, params=PARAMS)


def errors_ms(fit, start_s, drift_ppm, duration_s=25.0):
    device_s = np.linspace(0, duration_s, 50)
    return np.abs(fit.to_reference(device_s) - (start_s + device_s * (1 + drift_ppm * 1e-6))) * 1e3


@pytest.mark.parametrize(
    ("start_s", "drift_ppm", "snr_db"),
    [
        (5.0, 0.0, 30.0),
        (8.123, 83.0, 10.0),
        (-6.5, -145.0, 10.0),
        (20.3, 40.0, 0.0),
        (3.0, 1200.0, 10.0),
        (7.7, -1490.0, 0.0),
    ],
)
def test_a_device_is_placed_within_hundredths_of_a_millisecond_and_the_bound_holds(start_s, drift_ppm, snr_db):
    fit = estimate(reference(), other(start_s, drift_ppm, snr_db=snr_db))
    assert fit.verdict == "locked"
    inside = errors_ms(fit, start_s, drift_ppm)
    assert inside.max() < min(0.04, fit.error_ms)
    assert len(fit.spans) == 1
    assert (fit.spans[0].start_s, fit.spans[0].end_s) == (0.0, 25.0)
    assert abs(fit.drift_ppm - drift_ppm) < 3
    assert fit.residual_p50_ms <= fit.residual_p95_ms < 0.2
    assert fit.coverage > 0.8
    assert fit.windows.used.sum() >= 8


@pytest.mark.parametrize(("duration_s", "start_s"), [(8.0, 11.0), (25.0, -15.0), (25.0, 30.0)])
def test_short_clips_and_short_overlaps_lock(duration_s, start_s):
    fit = estimate(reference(), other(start_s, 60.0, duration_s))
    assert fit.verdict == "locked"
    device_s = np.linspace(max(0.0, -start_s), min(duration_s, 40.0 - start_s), 20)
    np.testing.assert_allclose(fit.to_reference(device_s), start_s + device_s * (1 + 60e-6), rtol=0, atol=5e-5)


def test_swapped_recordings_give_the_inverse_map():
    sound = other(8.123, 700.0)
    there, back = estimate(reference(), sound), estimate(sound, reference())
    device_s = np.linspace(0, 25, 100)
    np.testing.assert_allclose(back.to_reference(there.to_reference(device_s)), device_s, rtol=0, atol=1e-8)
    assert back.delay_s == pytest.approx(-there.delay_s / (1 + there.drift_ppm * 1e-6), abs=1e-8)
    assert (back.margin, back.error_ms, len(back.windows)) == (there.margin, there.error_ms, len(there.windows))


def test_swapping_recordings_of_one_length_gives_the_inverse_too():
    sound = other(6.0, -80.0, 40.0)
    there, back = estimate(reference(), sound), estimate(sound, reference())
    device_s = np.linspace(0, 34, 50)
    np.testing.assert_allclose(back.to_reference(there.to_reference(device_s)), device_s, rtol=0, atol=1e-8)


def test_first_to_second_and_second_to_third_is_first_to_third():
    first, second, third = reference(), other(4.0, 90.0, 30.0), other(9.0, -60.0, 22.0, noise_seed=8)
    device_s = np.linspace(0, 22, 50)
    by_way = estimate(first, second).to_reference(estimate(second, third).to_reference(device_s))
    np.testing.assert_allclose(by_way, estimate(first, third).to_reference(device_s), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "changed",
    [
        lambda sound: sound * np.float32(1e-3),
        lambda sound: sound * np.float32(-1),
        lambda sound: np.round(sound / np.abs(sound).max() * 32_000).astype(np.int16),
    ],
    ids=["gain", "polarity", "int16"],
)
def test_gain_polarity_and_integers_change_nothing(changed):
    sound = other(8.123, 83.0)
    device_s = np.linspace(0, 25, 50)
    before, after = estimate(reference(), sound), estimate(reference(), changed(sound))
    np.testing.assert_allclose(after.to_reference(device_s), before.to_reference(device_s), rtol=0, atol=5e-5)


def test_silence_added_before_moves_the_delay_by_its_length():
    sound = other(8.123, 83.0)
    late = estimate(reference(), np.concatenate([np.zeros(3 * RATE, np.float32), sound]))
    assert late.to_reference(3.0) == pytest.approx(estimate(reference(), sound).to_reference(0.0), abs=5e-5)


def test_the_same_recordings_give_the_same_answer():
    sound = other(8.123, 83.0)
    one, two = estimate(reference(), sound), estimate(reference(), sound)
    assert one.spans == two.spans
    assert one.windows.residual_ms.tobytes() == two.windows.residual_ms.tobytes()


def test_a_recording_against_itself_has_no_delay():
    fit = estimate(reference(), reference())
    assert fit.verdict == "locked"
    assert abs(fit.delay_s) < 1e-9
    assert abs(fit.drift_ppm) < 1e-6


@pytest.mark.parametrize("lost_s", [0.1, 1.7])
@pytest.mark.parametrize("loser", ["other", "reference"])
def test_a_dropped_block_is_located_and_both_sides_are_right(loser, lost_s):
    at = 14 * RATE
    whole, cut = moments(36.0), moments(36.0, 3.0, 60.0)
    cut[at:] += lost_s
    notes = score(1, 80)
    whole, cut_sound = device(notes, whole, seed=1), device(notes, cut, seed=2)
    if loser == "other":
        fit = estimate(whole, cut_sound)
        seam_s = fit.spans[1].start_s
        assert abs(seam_s - 14.0) < 1.0
        device_s = np.concatenate([np.linspace(0, 12.9, 20), np.linspace(15.1, 30, 20)])
        truth_s = np.interp(device_s, np.arange(len(cut)) / RATE, cut)
    else:
        fit = estimate(cut_sound, whole)
        truth_s = np.concatenate([np.linspace(0, 12.9, 20), np.linspace(15.1, 30, 20)])
        device_s = np.interp(truth_s, np.arange(len(cut)) / RATE, cut)
    assert (fit.verdict, len(fit.spans)) == ("locked", 2)
    np.testing.assert_allclose(fit.to_reference(device_s), truth_s, rtol=0, atol=2e-4)


def played_within(notes, first_s, last_s):
    onset_s, hz = notes
    inside = (onset_s >= first_s) & (onset_s < last_s)
    return onset_s[inside], hz[inside]


def with_losses(losses, duration_s=30.0, notes=None):
    """A recorder's sound and the true time of each of its samples; a negative loss is a block that came twice."""
    world_s = moments(duration_s, 3.0, 20.0)
    for at_s, lost_s in losses:
        world_s[round(at_s * RATE) :] += lost_s
    pieces = np.split(world_s, [round(at_s * RATE) for at_s, _ in losses])
    sound = np.concatenate([heard_at(notes or score(1, 70), piece) for piece in pieces])
    noise = np.random.default_rng(7).standard_normal(len(sound)) * sound.std() * 0.1
    return ((sound + noise) * 0.1).astype(np.float32), world_s


@pytest.mark.parametrize(
    ("lost_s", "at_s"),
    [(0.005, 4.0), (0.005, 17.3), (0.01, 17.3), (0.015, 26.5), (0.02, 17.3), (-0.005, 26.5), (-0.01, 4.0)],
)
def test_one_lost_or_repeated_buffer_gives_two_spans_and_both_are_right(lost_s, at_s):
    sound, world_s = with_losses([(at_s, lost_s)])
    fit = estimate(reference(), sound)
    assert (fit.verdict, len(fit.spans)) == ("locked", 2)
    assert fit.spans[1].start_s == pytest.approx(at_s, abs=0.5)
    device_s = np.arange(len(world_s)) / RATE
    away = np.abs(device_s - at_s) > 0.5
    np.testing.assert_allclose(fit.to_reference(device_s[away]), world_s[away], rtol=0, atol=5e-5)
    assert f"the delay steps by {1e3 * lost_s:+.1f} ms at" in fit.reason


@pytest.mark.parametrize(
    ("lost_s", "at_s"), [(0.02, 29.2), (0.005, 28.6), (-0.01, 27.9), (0.015, 0.8), (-0.005, 1.4), (0.01, 2.1)]
)
def test_a_buffer_lost_near_an_end_is_covered_by_the_error_bar_and_told(lost_s, at_s):
    """Too little lies behind it for a span of its own."""
    sound, world_s = with_losses([(at_s, lost_s)])
    fit = estimate(reference(), sound)
    assert fit.verdict == "locked"
    device_s = np.arange(len(world_s)) / RATE
    away = np.abs(device_s - at_s) > 0.5
    worst_ms = 1e3 * np.abs(fit.to_reference(device_s[away]) - world_s[away]).max()
    assert worst_ms <= fit.error_ms <= 1e3 * abs(lost_s) + 1.0
    if len(fit.spans) == 1:
        assert re.search(rf"windows? disagrees?, by (?:up to )?{1e3 * abs(lost_s):.0f}\.", fit.reason)
    assert (np.diff(fit.windows.time_s) >= 0).all()
    turned = estimate(sound, reference())
    assert turned.error_ms == fit.error_ms


@pytest.mark.parametrize(("lost_s", "at_s"), [(-0.005, 9.0), (0.02, 23.2)])
def test_a_buffer_lost_near_the_first_or_last_note_is_covered_though_the_recording_is_longer(lost_s, at_s):
    notes = played_within(score(1, 70), 11.0, 27.0)  # 8 to 24 s of the device's time
    sound, world_s = with_losses([(at_s, lost_s)], notes=notes)
    fit = estimate(device(notes, moments(40.0), snr_db=20.0, seed=100), sound)
    assert fit.verdict == "locked"
    device_s = np.arange(len(world_s)) / RATE
    away = np.abs(device_s - at_s) > 0.5
    worst_ms = 1e3 * np.abs(fit.to_reference(device_s[away]) - world_s[away]).max()
    assert worst_ms <= fit.error_ms <= 1e3 * abs(lost_s) + 1.0
    assert "disagree" in fit.reason


def test_silence_around_the_music_contradicts_nothing_and_is_told():
    notes = played_within(score(1, 70), 11.0, 27.0)
    master = device(notes, moments(40.0), snr_db=20.0, seed=100)
    fit = estimate(master, with_losses([], notes=notes)[0])
    assert fit.error_ms < 0.1
    first_s, last_s = fit.heard_s
    onset_s = notes[0] - 3.0
    assert onset_s[0] <= first_s <= onset_s[0] + 1.0
    assert onset_s[-1] - 1.0 <= last_s <= onset_s[-1] + NOTE_S
    assert f"nothing is heard before {first_s:.1f} s and after {last_s:.1f} s" in fit.reason
    turned = fit.inverse()
    np.testing.assert_allclose(turned.heard_s, fit.to_reference(fit.heard_s), rtol=0, atol=1e-9)


@pytest.mark.parametrize("at_s", [4.0, 27.0])
def test_a_buffer_lost_in_silence_changes_nothing_that_is_said_to_hold(at_s):
    """Nobody can know of it: the map is right from the first sound that both have to the last."""
    notes = played_within(score(1, 70), 11.0, 27.0)
    sound, world_s = with_losses([(at_s, 0.02)], notes=notes)
    fit = estimate(device(notes, moments(40.0), snr_db=20.0, seed=100), sound)
    device_s = np.arange(len(world_s)) / RATE
    heard = (device_s >= fit.heard_s[0]) & (device_s <= fit.heard_s[1])
    away_s = np.abs(fit.to_reference(device_s) - world_s)
    assert away_s[heard].max() < 5e-5
    assert away_s.max() == pytest.approx(0.02, abs=5e-4)
    assert "nothing is heard before" in fit.reason


def test_ends_of_a_whole_recording_contradict_nothing():
    for at_s, lost_s in ((17.3, 0.0), (17.3, 0.02)):
        fit = estimate(reference(), with_losses([(at_s, lost_s)])[0])
        assert fit.error_ms < 0.1


def test_a_lost_buffer_of_the_reference_is_told_too():
    sound, _ = with_losses([(17.3, 0.01)], 30.0)
    fit = estimate(sound, reference())
    assert (fit.verdict, len(fit.spans)) == ("locked", 2)
    assert "the delay steps by -10.0 ms at 20." in fit.reason


def test_several_small_losses_are_told_as_such_and_all_parts_are_right():
    losses = [(6.1, 0.005), (13.7, 0.01), (19.0, -0.005), (31.0, 0.02)]
    sound, world_s = with_losses(losses, 36.0)
    fit = estimate(reference(), sound)
    assert (fit.verdict, len(fit.spans)) == ("locked", 5)
    device_s = np.arange(len(world_s)) / RATE
    away = np.min([np.abs(device_s - at_s) for at_s, _ in losses], axis=0) > 0.5
    np.testing.assert_allclose(fit.to_reference(device_s[away]), world_s[away], rtol=0, atol=5e-5)
    assert "the delay steps 4 times, by 5.0 to 20.0 ms" in fit.reason


def test_a_clock_that_wanders_is_followed():
    world_s = moments(70.0, 2.0, 30.0)
    world_s += 0.005 * np.sin(2 * np.pi * (world_s - 2.0) / 65.0)
    notes = score(1, 130)
    fit = estimate(device(notes, moments(75.0), seed=3), device(notes, world_s, seed=4))
    assert fit.verdict == "locked"
    device_s = np.linspace(0, 70, 200)
    truth_s = np.interp(device_s, np.arange(len(world_s)) / RATE, world_s)
    assert np.abs(fit.to_reference(device_s) - truth_s).max() < 0.0005
    seams = [later.delay_s - before.delay_at(before.end_s) for before, later in pairwise(fit.spans)]
    assert np.abs(seams).max() < 1e-9  # a curve, no steps


def test_an_exact_loop_is_ambiguous_and_the_truth_is_among_the_rivals():
    notes = loop(60)
    fit = estimate(device(notes, moments(40.0), seed=1), device(notes, moments(16.0, 9.3), seed=2))
    assert fit.verdict == "ambiguous"
    assert fit.spans == ()
    assert min(abs(rival.delay_s - 9.3) for rival in fit.rivals) < 0.001
    assert fit.margin < PARAMS.min_margin
    with pytest.raises(ValueError, match="ambiguous"):
        fit.to_reference(0.0)


@pytest.mark.parametrize("snr_db", [30.0, 0.0])
@pytest.mark.parametrize(
    "unlike",
    [
        score(2, 70),
        score(1, 70, lateness_s=0.012),
        (score(1, 140)[0] - 60, score(1, 140)[1]),
    ],
    ids=["another piece", "another performance", "a later hour"],
)
def test_what_is_not_the_same_event_is_unrelated(unlike, snr_db):
    fit = estimate(reference(), device(unlike, moments(25.0), snr_db=snr_db))
    assert fit.verdict == "unrelated"
    assert fit.reason


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.zeros(10 * RATE, np.float32), "silent"),
        (np.full(10 * RATE, 1e-30, np.float32), "silent"),
        (np.zeros(RATE, np.float32), "shorter than 2 s"),
        (np.zeros(0, np.float32), "shorter than 2 s"),
        (np.full(10 * RATE, 0.5, np.float32), "no place"),
        (np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32), "no place stands out"),
    ],
)
def test_what_is_no_evidence_is_unrelated_with_a_reason(sound, reason):
    for fit in (estimate(reference(), sound), estimate(sound, reference())):
        assert fit.verdict == "unrelated"
        assert reason in fit.reason


def test_what_is_no_recording_is_refused():
    with pytest.raises(ValueError, match=r"other has shape \(2, 8\), expected \(n,\)"):
        estimate(reference(), np.zeros((2, 8), np.float32))
    with pytest.raises(ValueError, match="reference has samples that are not numbers"):
        estimate(np.full(100_000, np.nan, np.float32), reference())
    with pytest.raises(ValueError, match="expected at least 16000"):
        estimate_clock(reference(), reference(), sample_rate=8000, params=PARAMS)
