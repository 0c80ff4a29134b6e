"""Note amplitudes played by oscillators, and measured again."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize

from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.instruments.marimba import MARIMBA_18
from tasks.instruments.notes import Notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
from tasks.sound.additive import (
    MARIMBA_PARTIALS,
    Partials,
    additive_blocks,
    additive_length,
    fit_knots,
    full_scale_amplitude,
    interpolated_knots,
    render_additive,
)

NTSC = Fraction(30000, 1001)
PAL = Fraction(25)


def extracted(audio, n_rows, *, sample_rate, frame_rate, pitches):
    return note_amplitudes(
        audio,
        sample_rate=sample_rate,
        frame_rate=frame_rate,
        frequency_hz=note_frequencies_hz(pitches),
        n_frames=n_rows + 2,
    )


def strokes(rng, n_rows, n_notes, *, every=12, decay_rows=3.0):
    """Return amplitudes of notes that are struck now and then and die away."""
    values = np.zeros((n_rows, n_notes))
    for note in range(n_notes):
        for row in np.flatnonzero(rng.uniform(size=n_rows) < 1 / every):
            fall = rng.uniform(0.002, 0.02) * np.exp(-np.arange(n_rows - row) / decay_rows)
            values[row:, note] = np.maximum(values[row:, note], fall)
    return values


@pytest.mark.parametrize("frame_rate", [PAL, NTSC])
@pytest.mark.parametrize("sample_rate", [44_100, 48_000])
def test_equals_sines_written_out_with_numpy(frame_rate, sample_rate):
    values = np.random.default_rng(1).uniform(0, 0.002, (40, 3))
    pitches = (66, 82.5, 106)
    audio = render_additive(values, pitches, frame_rate=frame_rate, sample_rate=sample_rate, peak_limit=None)
    sample = np.arange(len(audio))
    half_frame = float(sample_rate / frame_rate / 2)
    row = np.arange(40)
    scale = (0.54 * int(3 * sample_rate / frame_rate) - 0.46) / sample_rate
    expected = sum(
        np.interp(
            sample,
            (np.arange(79) + 3) * half_frame,
            scipy.interpolate.PchipInterpolator(row, values[:, note])(np.arange(79) / 2),
        )
        / scale
        * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * sample / sample_rate)
        for note, pitch in enumerate(pitches)
    )
    assert len(audio) == round(42 * sample_rate / frame_rate)
    assert np.abs(audio - expected).max() < 1e-6


def test_a_full_scale_sine_reads_what_the_features_say():
    value = full_scale_amplitude(frame_rate=PAL, sample_rate=48_000)
    assert value == pytest.approx(0.0648, abs=1e-4)
    audio = render_additive(np.full((20, 1), value), (69,), frame_rate=PAL, sample_rate=48_000)
    assert np.abs(audio).max() == pytest.approx(1, abs=1e-3)
    again = extracted(audio, 20, sample_rate=48_000, frame_rate=PAL, pitches=(69,))
    np.testing.assert_allclose(again, value, rtol=1e-3)


@pytest.mark.parametrize("sample_rate", [44_100, 48_000])
def test_each_of_18_pure_tones_is_found_as_itself(sample_rate):
    values = np.eye(18).repeat(10, axis=0) * 0.01
    audio = render_additive(values, MARIMBA_18, frame_rate=PAL, sample_rate=sample_rate)
    again = extracted(audio, len(values), sample_rate=sample_rate, frame_rate=PAL, pitches=MARIMBA_18)
    assert again[5::10].argmax(axis=1).tolist() == list(range(18))


def original_amplitudes(audio, sample_rate, n_fft=44_100):
    """Amplitudes as published: bands a semitone wide, read as if a bin were 1 Hz whatever the sample rate.

    MATLAB counts bins from 1, so each band lies a bin lower than its name.
    """
    window = audio[: 3 * sample_rate // 25 + 1]
    spectrum = 2 * np.abs(np.fft.rfft(window * np.hamming(len(window)), n_fft)) / n_fft
    frequency_hz = note_frequencies_hz(MARIMBA_18)
    low = np.rint(frequency_hz - (frequency_hz - frequency_hz * 2 ** (-1 / 12)) / 2).astype(int) - 1
    high = np.rint(frequency_hz + (frequency_hz * 2 ** (1 / 12) - frequency_hz) / 2).astype(int) - 1
    return np.array([spectrum[a : b + 1].max() for a, b in zip(low, high, strict=True)])


@pytest.mark.parametrize(("sample_rate", "n_found"), [(44_100, 18), (48_000, 2)])
def test_the_published_bins_find_18_of_18_tones_at_44100_hz_and_2_at_48000(sample_rate, n_found):
    found = [
        original_amplitudes(
            render_additive(np.full((6, 1), 0.01), (pitch,), frame_rate=PAL, sample_rate=sample_rate), sample_rate
        ).argmax()
        for pitch in MARIMBA_18
    ]
    assert sum(note == index for index, note in enumerate(found)) == n_found


def test_amplitudes_come_back_and_fitted_ones_come_back_better():
    values = strokes(np.random.default_rng(2), 600, 18)
    # What the window makes of strokes: features look like this, and not like the strokes themselves.
    audio = render_additive(values, MARIMBA_18, frame_rate=PAL, sample_rate=44_100, peak_limit=None)
    measured = extracted(audio, 600, sample_rate=44_100, frame_rate=PAL, pitches=MARIMBA_18)
    worst = {}
    for fit_window in (False, True):
        again = render_additive(
            measured, MARIMBA_18, frame_rate=PAL, sample_rate=44_100, fit_window=fit_window, peak_limit=None
        )
        found = extracted(again, 600, sample_rate=44_100, frame_rate=PAL, pitches=MARIMBA_18)
        worst[fit_window] = min(np.corrcoef(measured[:, note], found[:, note])[0, 1] for note in range(18))
    assert worst[False] >= 0.95
    assert worst[True] >= 0.99


def test_fitted_knots_are_as_near_as_nonnegative_least_squares_of_scipy():
    values = strokes(np.random.default_rng(3), 24, 1, every=6)
    columns = [
        np.convolve(unit, weights[::-1], mode="valid")[::2]
        for weights in [_weights()]
        for unit in np.eye(2 * (24 + 2) + 1)
    ]
    _, best = scipy.optimize.nnls(np.stack(columns, axis=1), values[:, 0])
    knots = fit_knots(values, n_iterations=2000)[:, 0]
    assert (knots >= 0).all()
    assert np.linalg.norm(np.convolve(knots, _weights()[::-1], mode="valid")[::2] - values[:, 0]) <= best + 1e-5


def _weights():
    fine = 2000
    place = (np.arange(3 * fine) + 0.5) / fine * 2
    hats = np.clip(1 - np.abs(place - np.arange(7)[:, None]), 0, None) @ np.hamming(3 * fine)
    return hats / hats.sum()


def test_steady_amplitudes_are_fitted_by_themselves():
    values = np.full((30, 2), 0.01)
    np.testing.assert_allclose(fit_knots(values), 0.01, rtol=1e-6)
    np.testing.assert_array_equal(interpolated_knots(values), np.full((65, 2), 0.01))


def test_rows_stand_at_the_middle_of_their_windows_and_what_is_between_them_goes_no_further():
    knots = interpolated_knots(np.array([[1.0], [3.0], [7.0], [7.0], [0.0]]))[:, 0]
    np.testing.assert_array_equal(knots[:4], 1)  # held
    np.testing.assert_array_equal(knots[3:12:2], [1, 3, 7, 7, 0])
    np.testing.assert_array_equal(knots[11:], 0)
    between = knots[4:11:2]
    assert (between >= [1, 3, 7, 0]).all()
    assert (between <= [3, 7, 7, 7]).all()
    even = interpolated_knots(np.array([[1.0], [3.0]]), window_frames=2)[:, 0]
    np.testing.assert_allclose(even, [1, 1, 1, 2, 3, 3, 3])


def test_phase_does_not_drift_over_three_hours():
    n_rows = 3 * 3600 * 25
    *_, last = additive_blocks(np.full((n_rows, 1), 0.01), (101,), frame_rate=PAL, sample_rate=8000)
    end = additive_length(n_rows, frame_rate=PAL, sample_rate=8000)
    sample = np.arange(end - len(last), end)
    # The sample's number times an exact ratio, modulo one turn, in whole numbers.
    turns = Fraction(note_frequencies_hz([101])[0]) / 8000
    phase = np.array([float((int(one) * turns) % 1) for one in sample[-400:]])
    level = 0.01 / full_scale_amplitude(frame_rate=PAL, sample_rate=8000)
    np.testing.assert_allclose(last[-400:], level * np.sin(2 * np.pi * phase), atol=1e-6)


def test_the_phase_is_continuous_where_blocks_and_frames_meet():
    audio = render_additive(np.full((700, 1), 0.03), (90,), frame_rate=NTSC, sample_rate=44_100)
    step = 2 * np.pi * note_frequencies_hz([90])[0] / 44_100
    # A sine is its own second difference: a jump of phase anywhere would stand out.
    left = audio[2:].astype(np.float64) + audio[:-2] - 2 * np.cos(step) * audio[1:-1]
    assert np.abs(left).max() < 1e-6


def test_a_sound_that_is_too_loud_is_scaled_as_a_whole():
    values = np.full((10, 2), 0.06)
    free = render_additive(values, (69, 76), frame_rate=PAL, sample_rate=22_050, peak_limit=None)
    limited = render_additive(values, (69, 76), frame_rate=PAL, sample_rate=22_050, peak_limit=0.5)
    assert np.abs(free).max() > 1.5
    assert np.abs(limited).max() == pytest.approx(0.5)
    np.testing.assert_allclose(limited, free * (0.5 / np.abs(free).max()), atol=1e-6)


def test_partials_sound_where_they_should_and_die_sooner():
    values = np.zeros((60, 1))
    values[10:, 0] = 0.02 * np.exp(-np.arange(50) / 20)
    partials = Partials(ratios=(4.0,), amplitudes=(0.5,), decay_cycles=(20.0,), fundamental_cycles=400.0)
    audio = render_additive(values, (69,), frame_rate=PAL, sample_rate=44_100, partials=partials)
    found = extracted(audio, 60, sample_rate=44_100, frame_rate=PAL, pitches=(69, 93, 100))
    early, late = found[10] / found[10, 0], found[20] / found[20, 0]
    assert 0.2 < early[1] <= 0.5
    assert late[1] < 0.01
    assert early[2] < 0.01


def test_a_partial_that_meets_a_note_of_the_instrument_is_left_to_it():
    values = np.zeros((30, 2))
    values[5:, 0] = 0.02
    partials = Partials(ratios=(4.0,), amplitudes=(0.5,), decay_cycles=(20.0,), fundamental_cycles=40.0)
    alone = render_additive(values, (66, 90), frame_rate=PAL, sample_rate=44_100)
    with_partials = render_additive(values, (66, 90), frame_rate=PAL, sample_rate=44_100, partials=partials)
    # Four times the frequency of 66 is that of 90. A partial of 90 would sound, but 90 is not struck.
    np.testing.assert_allclose(alone, with_partials, atol=1e-7)


def test_a_partial_above_half_the_sample_rate_is_not_heard_as_another_tone():
    values = np.zeros((30, 1))
    values[5:, 0] = 0.02
    audio = render_additive(values, (90,), frame_rate=PAL, sample_rate=8000, partials=MARIMBA_PARTIALS)
    np.testing.assert_array_equal(audio, render_additive(values, (90,), frame_rate=PAL, sample_rate=8000))


def marimba_stroke(pitch):
    """Return a second of the synthesizer's marimba, struck at 0.1 s."""
    onset_s, offset_s = np.array([0.1]), np.array([0.9])
    note = Notes(
        onset_s=onset_s,
        offset_s=offset_s,
        sounding_offset_s=offset_s,
        pitch=np.array([pitch], np.uint8),
        velocity=np.array([100], np.uint8),
    )
    with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, gain=0.5) as synth:
        return synth.render(note, None, program=12, duration_s=1.0)


def test_the_partials_are_those_of_the_synthesizers_marimba():
    struck = marimba_stroke(70)[4800 : 4800 + 4096] * np.hanning(4096)
    spectrum = np.abs(np.fft.rfft(struck, 2**18))
    ratio = np.arange(len(spectrum)) * 48_000 / 2**18 / note_frequencies_hz([70])[0]
    for partial in MARIMBA_PARTIALS.ratios:
        near = np.abs(ratio - partial) < 0.5
        assert ratio[near][spectrum[near].argmax()] == pytest.approx(partial, rel=0.01)


def test_played_again_from_its_fundamental_alone_a_stroke_has_partials_as_strong():
    audio = marimba_stroke(73)
    values = extracted(audio, 23, sample_rate=48_000, frame_rate=PAL, pitches=(73,))
    again = render_additive(
        values, (73,), frame_rate=PAL, sample_rate=48_000, fit_window=True, partials=MARIMBA_PARTIALS
    )
    ratio = np.fft.rfftfreq(48_000, 1 / 48_000) / note_frequencies_hz([73])[0]
    for partial in (1.0, *MARIMBA_PARTIALS.ratios):
        near = np.abs(ratio - partial) < 0.3
        energy = [np.square(np.abs(np.fft.rfft(sound[:48_000]))[near]).sum() for sound in (audio, again)]
        assert 10 * np.log10(energy[1] / energy[0]) == pytest.approx(0, abs=3)


def test_notes_above_half_the_sample_rate_are_refused_by_name():
    with pytest.raises(ValueError, match=r"8000 Hz holds notes below 4000 Hz, found pitch 108 \(4186 Hz\)$"):
        render_additive(np.zeros((3, 2)), (66, 108), frame_rate=PAL, sample_rate=8000)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[0.0, 0.1], [0.0, np.nan]]), "pitch 68 in row 1 of 2 is nan"),
        (np.array([[0.0, 0.1], [-0.5, 0.0]]), "pitch 66 in row 1 of 2 is -0.5"),
        (np.zeros((2, 3)), r"shape \(2, 3\), expected \(rows, 2\)"),
        (np.zeros(2), r"shape \(2,\)"),
    ],
)
def test_amplitudes_that_cannot_be_played_are_refused_with_their_place(values, reason):
    with pytest.raises(ValueError, match=reason):
        render_additive(values, (66, 68), frame_rate=PAL, sample_rate=8000)


@pytest.mark.parametrize("frame_rate", [Fraction(0), Fraction(-25), Fraction(9000)])
def test_a_frame_rate_that_makes_no_sense_is_refused(frame_rate):
    with pytest.raises(ValueError, match="expected frames of at least a sample"):
        render_additive(np.zeros((3, 1)), (66,), frame_rate=frame_rate, sample_rate=8000)


@pytest.mark.parametrize("n_rows", [0, 1, 2])
def test_a_take_of_hardly_any_rows_is_as_long_as_its_windows(n_rows):
    audio = render_additive(np.full((n_rows, 1), 0.01), (66,), frame_rate=NTSC, sample_rate=44_100, fit_window=True)
    assert len(audio) == (round((n_rows + 2) * 44_100 / NTSC) if n_rows else 0)
    assert np.isfinite(audio).all()


@pytest.mark.parametrize(
    "values",
    [
        {"ratios": (4.0, 9.0), "amplitudes": (0.5,), "decay_cycles": (9.0,), "fundamental_cycles": 30.0},
        {"ratios": (0.5,), "amplitudes": (0.5,), "decay_cycles": (9.0,), "fundamental_cycles": 30.0},
        {"ratios": (4.0,), "amplitudes": (0.5,), "decay_cycles": (0.0,), "fundamental_cycles": 30.0},
    ],
)
def test_partials_that_make_no_sense_are_refused(values):
    with pytest.raises(ValueError, match="expected"):
        Partials(**values)
