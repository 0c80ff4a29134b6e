"""What the benchmarks play and record with: music by a program, a room, a microphone, a piano of recorded keys."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._made_up_music import LEAD_S, SHORTEST_REPEAT_S, made_up_piece
from benchmarks._recorded import in_a_room, room_response, through_a_microphone
from benchmarks._sampled_piano import SampledPiano, damped, first_heard, held_by_pedal
from tasks.instruments.midi import SUSTAIN, Controls
from tasks.instruments.notes import sorted_notes

RATE = 16_000
seeds = st.integers(0, 10_000)


@given(seed=seeds, low=st.integers(21, 50), length_s=st.floats(2, 15))
def test_music_has_possible_notes_of_its_keys_and_comes_again_with_its_seed(seed, low, length_s):
    notes, controls = made_up_piece(np.random.default_rng(seed), low, low + 40, length_s=length_s)
    assert len(notes)
    assert ((notes.pitch >= low) & (notes.pitch <= low + 40)).all()
    assert ((notes.velocity >= 5) & (notes.velocity <= 127)).all()
    assert ((notes.onset_s >= LEAD_S) & (notes.onset_s < LEAD_S + length_s)).all()
    assert (notes.offset_s > notes.onset_s).all()
    for pitch in np.unique(notes.pitch):
        onset_s = notes.onset_s[notes.pitch == pitch]
        assert (np.diff(onset_s) >= SHORTEST_REPEAT_S - 1e-9).all()
    assert (np.diff(controls.time_s) >= 0).all()
    assert set(controls.control.tolist()) <= {SUSTAIN}
    again, _ = made_up_piece(np.random.default_rng(seed), low, low + 40, length_s=length_s)
    np.testing.assert_array_equal(again.onset_s, notes.onset_s)


@given(seed=seeds)
def test_a_room_begins_with_the_direct_sound_and_adds_what_it_says(seed):
    response = room_response(np.random.default_rng(seed), RATE).astype(np.float64)
    assert response[0] == pytest.approx(1.0, abs=1e-6)
    assert np.abs(response[1 : round(0.0019 * RATE)]).max() < 1e-6  # the first reflection is 2 ms later, or more
    direct_db = -10 * np.log10((response[1:] ** 2).sum())
    assert -6.1 <= direct_db <= 18.1


def test_a_rooms_direct_sound_is_not_late():
    click = np.zeros(RATE, np.float32)
    click[4000] = 1.0
    heard = in_a_room(np.random.default_rng(1), click, RATE)
    assert len(heard) == len(click)
    assert np.abs(heard[:3999]).max() < 1e-5
    assert heard[4000] == pytest.approx(1.0, abs=1e-4)
    driest = in_a_room(np.random.default_rng(1), click, RATE, driest=True)
    assert (driest[4001:] ** 2).sum() == pytest.approx(0.05**2 * (heard[4001:] ** 2).sum(), rel=1e-3)


@given(seed=st.integers(0, 40))
def test_a_microphone_keeps_length_time_and_level(seed):
    rng = np.random.default_rng(seed)
    burst = np.zeros(2 * RATE, np.float32)
    burst[RATE : RATE + 400] = np.random.default_rng(5).normal(0, 0.3, 400)
    heard = through_a_microphone(rng, burst, RATE)
    assert (len(heard), heard.dtype) == (len(burst), np.float32)
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.2)  # a lossy codec may change it
    cross = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(burst)))
    late = int(np.argmax(np.abs(cross)))
    assert min(late, len(cross) - late) <= 0.002 * RATE


def piece(*rows, sustain=()):
    onset_s, offset_s, pitch = (np.array(column) for column in zip(*rows, strict=True))
    notes = sorted_notes(onset_s, offset_s, pitch.astype(np.uint8), np.full(len(rows), 80, np.uint8))
    time_s, value = (np.array(column) for column in zip(*sustain, strict=True)) if sustain else (np.zeros(0),) * 2
    controls = Controls(
        time_s=time_s.astype(np.float64),
        control=np.full(len(time_s), SUSTAIN, np.uint8),
        value=value.astype(np.uint8),
    )
    return notes, controls


def test_a_damper_falls_with_its_key_with_the_pedal_or_with_the_next_stroke():
    notes, controls = piece((0.0, 0.5, 60), (1.0, 1.2, 62), (2.0, 2.2, 62), sustain=[(0.4, 127), (0.8, 0), (1.1, 127)])
    np.testing.assert_allclose(held_by_pedal(notes, None), [0.5, 1.2, 2.2])
    np.testing.assert_allclose(held_by_pedal(notes, controls), [0.8, np.inf, np.inf])
    np.testing.assert_allclose(damped(notes, controls), [0.8, 2.0, np.inf])


@pytest.fixture(scope="module")
def piano(tmp_path_factory):
    """Two layers of one recorded key, A4, whose stroke comes 20 ms after the file begins."""
    folder = tmp_path_factory.mktemp("keys")
    since = np.arange(6 * RATE) / RATE - 0.02
    sound = np.where(since >= 0, np.exp(-since.clip(0) / 1.5) * np.sin(2 * np.pi * 440 * since), 0)
    for layer, gain in ((1, 0.1), (16, 0.5)):
        (folder / f"v{layer}").mkdir()
        soundfile.write(folder / f"v{layer}" / f"A4v{layer}.ogg", gain * sound, RATE)
    return SampledPiano(folder, sample_rate=RATE)


def frequency_hz(sound):
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return np.argmax(spectrum) * RATE / len(sound)


def test_a_recorded_key_sounds_when_it_is_struck_at_its_pitch_until_its_damper_falls(piano):
    notes, _ = piece((1.0, 2.0, 69))
    sound = piano.render(notes, None, duration_s=4.0)
    assert len(sound) == 4 * RATE
    assert first_heard(sound[RATE - 160 :], RATE) == pytest.approx(160, abs=0.004 * RATE)
    assert frequency_hz(sound[RATE : 2 * RATE]) == pytest.approx(440, abs=2)
    held = np.abs(sound[round(1.9 * RATE) : 2 * RATE]).max()
    assert np.abs(sound[round(2.8 * RATE) :]).max() < 0.02 * held
    octave, _ = piece((1.0, 2.0, 81))
    assert frequency_hz(piano.render(octave, None, duration_s=4.0)[RATE : 2 * RATE]) == pytest.approx(880, abs=4)


def test_a_pedal_holds_a_recorded_key(piano):
    notes, controls = piece((1.0, 1.3, 69), sustain=[(1.1, 127), (3.0, 0)])
    held, short = (piano.render(notes, which, duration_s=4.0) for which in (controls, None))
    at = slice(round(2.5 * RATE), round(2.9 * RATE))
    assert np.abs(held[at]).max() > 20 * np.abs(short[at]).max()


def test_a_folder_without_recordings_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="unpack @audio-samples"):
        SampledPiano(tmp_path, sample_rate=RATE)
