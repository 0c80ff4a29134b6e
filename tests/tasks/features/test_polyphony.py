"""Planted notes come back; what is no note does not."""

import numpy as np
import pytest

from tasks.features.note_context import CONTEXT_NAMES
from tasks.features.note_ends import ENDS_NAMES
from tasks.features.note_spectrum import partials_of, pitch_to_hz, spectrum, spectrum_grid
from tasks.features.polyphony import TranscribeParams, analyses, fitted_trees, transcribe

PIANO = np.arange(21, 109, dtype=np.uint8)
PARAMS = TranscribeParams(
    threshold=0.4, restrike_gap_s=0.05, n_iterations=40, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)


def struck(notes, *, duration_s=3.0, sample_rate=16_000):
    """Play (onset_s, length_s, pitch, amplitude): twelve decaying partials, fewer in the treble, and a damper."""
    audio = np.zeros(round(duration_s * sample_rate))
    for onset_s, length_s, pitch, amplitude in notes:
        time_s = np.arange(len(audio)) / sample_rate - onset_s
        envelope = np.where(time_s >= 0, np.minimum(time_s / 0.004, 1), 0)
        envelope = envelope * np.exp(-np.maximum(time_s, 0) / 0.8)
        envelope *= np.where(time_s > length_s, np.exp(-np.maximum(time_s - length_s, 0) / 0.03), 1)
        fundamental_hz = float(pitch_to_hz(np.array([pitch]))[0])
        slope = 0.6 if pitch < 76 else 0.35
        for n in range(1, 13):
            if n * fundamental_hz < sample_rate / 2.2:
                wave = np.sin(2 * np.pi * n * fundamental_hz * time_s + n)
                audio += amplitude * slope ** (n - 1) * np.exp(-np.maximum(time_s, 0) * n / 2) * envelope * wave
    return audio.astype(np.float32)


def transcribed(audio, *, sample_rate=16_000, pitches=PIANO):
    return transcribe(audio, sample_rate=sample_rate, pitches=pitches, params=PARAMS)


TUNE = [(0.3, 0.4, 60, 0.1), (0.8, 0.4, 67, 0.1), (1.3, 0.6, 43, 0.1), (1.3, 0.6, 64, 0.1), (2.0, 0.6, 72, 0.1)]


@pytest.mark.parametrize("sample_rate", [4000, 8000, 16_000, 22_050, 44_100, 48_000])
def test_a_planted_tune_comes_back_at_every_rate_within_20_ms(sample_rate):
    pitches = PIANO[pitch_to_hz(PIANO) < sample_rate / 2]
    found = transcribed(struck(TUNE, sample_rate=sample_rate), sample_rate=sample_rate, pitches=pitches)
    order = np.lexsort((found["pitch"], found["onset_s"].round(1)))
    assert found["pitch"][order].tolist() == [60, 67, 43, 64, 72]
    assert found["onset_s"][order] == pytest.approx([0.3, 0.8, 1.3, 1.3, 2.0], abs=0.02)


@pytest.mark.parametrize("pitch", [33, 45, 57, 69, 81, 88])
def test_one_note_is_one_note_without_octaves_or_twelfths(pitch):
    assert transcribed(struck([(0.5, 1.0, pitch, 0.2)]))["pitch"].tolist() == [pitch]


def test_an_octave_struck_together_is_two_notes_where_its_lower_key_was_struck_alone_before():
    notes = [(0.4, 0.5, 48, 0.2), (1.2, 0.5, 60, 0.2), (2.0, 0.8, 48, 0.2), (2.0, 0.8, 60, 0.2)]
    found = transcribed(struck(notes))
    assert sorted(found["pitch"][found["onset_s"] > 1.7]) == [48, 60]
    assert found["pitch"][found["onset_s"] < 1.7].tolist() == [48, 60]


def test_a_repeated_note_is_detected_each_time():
    found = transcribed(struck([(0.3 + 0.25 * k, 0.2, 65, 0.1) for k in range(6)]))
    assert found["pitch"].tolist() == [65] * 6
    assert found["onset_s"] == pytest.approx(0.3 + 0.25 * np.arange(6), abs=0.02)


def test_a_note_ends_when_its_damper_falls():
    [offset_s] = transcribed(struck([(0.5, 0.7, 62, 0.1)]))["offset_s"]
    assert offset_s == pytest.approx(1.2, abs=0.15)


def test_amplitude_is_the_strongest_partials():
    [amplitude] = transcribed(struck([(0.5, 1.0, 69, 0.25)]))["amplitude"]
    assert amplitude == pytest.approx(0.25, rel=0.3)


def test_velocity_goes_with_the_root_of_amplitude():
    soft, loud = transcribed(struck([(0.5, 0.5, 69, 0.05), (1.6, 0.5, 69, 0.2)]))["velocity"].astype(float)
    assert loud / soft == pytest.approx(2, rel=0.15)


def test_gain_changes_amplitudes_and_nothing_else():
    audio = struck(TUNE)
    found, quiet = transcribed(audio), transcribed(audio / 256)
    for name in ("onset_s", "offset_s", "pitch", "velocity"):
        np.testing.assert_array_equal(found[name], quiet[name])
    np.testing.assert_allclose(quiet["amplitude"] * 256, found["amplitude"], rtol=1e-5)


def test_a_later_start_moves_the_notes_and_nothing_else():
    audio = struck(TUNE)
    late = np.concatenate([np.zeros(123 * 160, np.float32), audio])
    found, moved = transcribed(audio), transcribed(late)
    np.testing.assert_array_equal(found["pitch"], moved["pitch"])
    np.testing.assert_allclose(moved["onset_s"] - 1.23, found["onset_s"], atol=0.002)


def test_a_note_across_the_border_of_two_blocks_is_detected_once():
    audio = struck([(10.0, 0.5, 60, 0.1), (60.0, 0.5, 64, 0.1), (61.0, 0.5, 67, 0.1)], duration_s=63)
    found = transcribed(audio)
    assert found["pitch"].tolist() == [60, 64, 67]
    assert found["onset_s"] == pytest.approx([10, 60, 61], abs=0.02)


@pytest.mark.parametrize("n_samples", [0, 1, 100, 16_000])
def test_silence_has_no_notes(n_samples):
    assert len(transcribed(np.zeros(n_samples, np.float32))["pitch"]) == 0


@pytest.mark.parametrize("length_s", [0.25, 0.6, 1.5])
def test_short_and_long_notes_end_when_their_dampers_fall(length_s):
    found = transcribed(struck([(0.5, length_s, pitch, 0.1) for pitch in (50, 59, 66)], duration_s=3.5))
    assert sorted(found["pitch"]) == [50, 59, 66]
    assert found["offset_s"] == pytest.approx(0.5 + length_s, abs=max(0.05, 0.2 * length_s))


def test_hiss_has_next_to_no_notes():
    hiss = np.random.default_rng(1).normal(size=10 * 16_000).astype(np.float32) * np.float32(0.05)
    assert len(transcribed(hiss)["pitch"]) <= 10


def test_columns_come_in_order_with_ends_after_beginnings():
    found = transcribed(struck(TUNE[::-1]))
    order = np.lexsort((found["pitch"], found["onset_s"]))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    assert (found["offset_s"] > found["onset_s"]).all()


def test_what_trees_weigh_is_what_they_were_fitted_to():
    audio = struck(TUNE)
    [(analysis, _, _)] = analyses(audio, 16_000, PIANO, "string", 5)
    names = analysis.candidates.names
    assert fitted_trees("string", "alone").names == names
    assert fitted_trees("string", "together").names == fitted_trees("string", "lateness").names == names + CONTEXT_NAMES
    assert fitted_trees("string", "held").names == ENDS_NAMES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audio": np.zeros((10, 2), np.float32)}, r"shape \(10, 2\)"),
        ({"audio": np.full(10, np.nan, np.float32)}, "not numbers"),
        ({"sample_rate": 2000}, "2000 Hz"),
        ({"sample_rate": 4000}, "pitch 108 is 4186 Hz"),
        ({"pitches": PIANO[::-1]}, "ascending"),
        ({"pitches": PIANO[:0]}, "ascending"),
    ],
)
def test_what_cannot_be_transcribed_is_refused(change, message):
    given = {"audio": np.zeros(1000, np.float32), "sample_rate": 16_000, "pitches": PIANO} | change
    with pytest.raises(ValueError, match=message):
        transcribe(**given, params=PARAMS)


@pytest.mark.parametrize("pitch", [40, 60, 69, 90])
def test_the_spectrum_shows_a_sine_at_its_amplitude_and_nowhere_far_from_it(pitch):
    grid = spectrum_grid(16_000)
    time_s = np.arange(16_000) / 16_000
    frequency_hz = pitch_to_hz(np.array([pitch]))[0]
    sine = (0.5 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)
    column = spectrum(sine, grid, start=50, count=1)[:, 0]
    at = int(np.abs(grid.frequency_hz - frequency_hz).argmin())
    assert column[at] == pytest.approx(0.5, rel=0.01)
    far = np.abs(grid.frequency_hz - frequency_hz) * grid.window_s > 4
    assert column[far].max() < 0.01


def test_a_template_is_what_the_spectrum_measures_of_that_partial():
    grid = spectrum_grid(16_000)
    partials = partials_of(np.array([57]), grid, "bar")
    sine = np.sin(2 * np.pi * 220.0 * np.arange(16_000) / 16_000).astype(np.float32)
    measured = spectrum(sine, grid, start=50, count=1)[:, 0]
    np.testing.assert_allclose(partials.response[0, 0], measured, atol=0.04)


@pytest.mark.parametrize("what", ["alone", "together", "lateness", "held"])
@pytest.mark.parametrize("resonator", ["string", "bar"])
def test_fitted_trees_give_what_they_gave_after_being_saved(resonator, what, tmp_path):
    trees = fitted_trees(resonator, what)
    evidence = np.random.default_rng(0).normal(size=(50, len(trees.names))).astype(np.float32)
    trees.save(tmp_path / "trees.npz")
    again = type(trees).load(tmp_path / "trees.npz")
    np.testing.assert_array_equal(again.probability(evidence), trees.probability(evidence))
    trees.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "trees.npz").read_bytes()
