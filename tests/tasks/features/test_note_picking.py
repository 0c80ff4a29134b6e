"""Strokes whose moments are known, found again in the amplitudes that a window of three frames shows of them."""

from fractions import Fraction

import numpy as np
import pytest

from tasks.features.amplitudes import note_amplitudes
from tasks.features.note_picking import CAREFUL, Picker, fit_picker, pick_notes

RATE = Fraction(25)
SAMPLE_RATE = 22_050
FREQUENCY_HZ = np.array([440.0, 880.0 * 2 ** (3 / 12)])


def struck(strokes, duration_s=4.0, decay_s=0.3):
    """Amplitudes (F, 2), 1 for a stroke of amplitude 1, of decaying tones: (onset s, note, amplitude)."""
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    audio = np.zeros_like(time_s)
    for onset_s, note, amplitude in strokes:
        after = time_s >= onset_s
        ringing = amplitude * np.exp(-(time_s - onset_s) / decay_s) * np.sin(2 * np.pi * FREQUENCY_HZ[note] * time_s)
        audio += np.where(after, ringing, 0)
    found = note_amplitudes(
        audio.astype(np.float32) / 4,
        sample_rate=SAMPLE_RATE,
        frame_rate=RATE,
        frequency_hz=FREQUENCY_HZ,
        n_frames=int(duration_s * RATE),
    )
    return found / (0.0648 / 4)  # what a steady sine of this amplitude shows


@pytest.mark.parametrize("part_of_a_frame", [0.0, 0.25, 0.5, 0.75])
def test_a_stroke_is_found_to_a_fraction_of_a_frame(part_of_a_frame):
    onset_s = 1.0 + part_of_a_frame / 25
    picked = pick_notes(struck([(onset_s, 0, 1.0)]), frame_rate=RATE, picker=CAREFUL)
    assert picked.note.tolist() == [0]
    assert picked.onset_s[0] == pytest.approx(onset_s, abs=0.02)
    assert 0.3 < picked.amplitude[0] < 1.0


def test_a_note_that_is_struck_again_while_it_rings_is_two_notes():
    strokes = [(1.0 + 0.2 * number, 0, 1.0) for number in range(5)]
    picked = pick_notes(struck(strokes), frame_rate=RATE, picker=Picker(level=0.1, rise=0.25))
    np.testing.assert_allclose(picked.onset_s, [onset_s for onset_s, *_ in strokes], atol=0.03)
    assert (picked.offset_s[:-1] <= picked.onset_s[1:]).all()


def test_what_is_far_below_the_stroke_beside_it_is_its_partial():
    values = struck([(1.0, 0, 1.0), (1.0, 1, 0.25), (2.5, 1, 0.25)])
    alone = pick_notes(values, frame_rate=RATE, picker=Picker(level=0.05, rise=0.5, mask=0.5))
    assert alone.note.tolist() == [0, 1]  # the second one has nothing beside it
    both = pick_notes(values, frame_rate=RATE, picker=Picker(level=0.05, rise=0.5))
    assert sorted(both.note.tolist()) == [0, 1, 1]


def test_silence_and_a_steady_tone_have_no_strokes():
    for values in (np.zeros((50, 2)), np.zeros((0, 2))):
        assert len(pick_notes(values, frame_rate=RATE, picker=CAREFUL)) == 0
    steady = np.full((50, 2), 0.5)
    assert (pick_notes(steady, frame_rate=RATE, picker=CAREFUL).onset_s < 0.1).all()  # it begins once


@pytest.mark.parametrize("value", [-1e-3, np.nan])
def test_what_is_no_amplitude_is_refused(value):
    values = np.zeros((10, 2))
    values[3, 1] = value
    with pytest.raises(ValueError, match="an amplitude is negative or no number"):
        pick_notes(values, frame_rate=RATE, picker=CAREFUL)


def test_the_fitted_picker_is_in_the_middle_of_those_that_do_well():
    def score(picker):
        good = picker.level in (0.06, 0.1, 0.15) and picker.rise in (0.35, 0.5, 0.7) and picker.mask <= 0.3
        return float(good) - 10 * max(abs(picker.lag_s - 0.01) - 0.011, 0)

    fitted = fit_picker(score)
    assert (fitted.level, fitted.rise) == (0.1, 0.5)
    assert fitted.mask in (0.0, 0.15)
    assert fitted.lag_s == pytest.approx(0.01)
