import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from tasks.errors import BadInput, ToolError
from tasks.families.base import below_full_scale
from tasks.instruments.notes import Notes, sorted_notes
from tasks.instruments.synth import (
    BLOCK_LENGTH,
    SOUNDFONT_SHA256,
    SynthError,
    Synthesizer,
    TooLoud,
    find_soundfont,
    fluidsynth_version,
    thread_synthesizer,
)

RATE = 48000
GAIN = 1.0


@dataclass
class Pedal:
    time_s: np.ndarray
    control: np.ndarray
    value: np.ndarray


def pedal_of(*rows: tuple[float, int, int]) -> Pedal:
    time_s, control, value = np.array(rows, float).reshape(-1, 3).T
    return Pedal(time_s, control.astype(np.uint8), value.astype(np.uint8))


def notes_of(*rows: tuple[float, float, int, int]) -> Notes:
    onset_s, offset_s, pitch, velocity = np.array(rows, float).reshape(-1, 4).T
    return sorted_notes(onset_s, offset_s, pitch.astype(int), velocity.astype(int))


@pytest.fixture(scope="module")
def synthesizer():
    with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=RATE, gain=GAIN) as synthesizer:
        yield synthesizer


@pytest.fixture(scope="module")
def render(synthesizer):
    def render(notes: Notes, controls: Pedal | None = None, *, duration_s=2.0, program=0, **more) -> np.ndarray:
        return synthesizer.render(notes, controls, program=program, duration_s=duration_s, **more)

    return render


def loudness(audio: np.ndarray, start_s: float, end_s: float) -> float:
    return float(np.sqrt(np.mean(audio[round(start_s * RATE) : round(end_s * RATE)] ** 2)))


def pitch_hz(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio * np.hanning(len(audio)), n=4 * RATE))
    return float(spectrum.argmax() / 4)


# What comes out


@pytest.mark.parametrize("duration_s", [0.0, 0.5, 1.00001, 1.2345678, 2.0])
def test_the_sound_has_exactly_the_samples_asked_for(render, duration_s):
    audio = render(notes_of(), duration_s=duration_s)
    assert audio.shape == (round(duration_s * RATE),)
    assert audio.dtype == np.float32


def test_no_notes_are_digital_silence(render):
    assert not render(notes_of()).any()


def test_a4_sounds_at_440_hz(render):
    assert pitch_hz(render(notes_of((0.0, 2.0, 69, 100)))) == pytest.approx(440, abs=2)


def test_a_harder_stroke_is_louder_and_every_velocity_from_ten_is_heard_in_16_bits(render):
    peaks = [np.abs(render(notes_of((0, 1, 60, v)), duration_s=0.5)).max() for v in (10, 20, 40, 80, 127)]
    assert np.diff(peaks).min() > 0
    assert peaks[0] > 4 / 32768


def test_sound_is_not_normalized(render):
    """Two notes far apart are the sum of each alone."""
    low, high = (0.1, 1.0, 40, 80), (0.1, 1.0, 90, 80)
    both = render(notes_of(low, high))
    np.testing.assert_allclose(both, render(notes_of(low)) + render(notes_of(high)), atol=1e-6)


def test_another_program_is_another_instrument(render):
    piano, marimba = (render(notes_of((0.0, 1.0, 60, 100)), program=program) for program in (0, 12))
    assert loudness(marimba, 0.9, 1.0) < 0.2 * loudness(piano, 0.9, 1.0)  # a bar dies away sooner


# Where events stand


@pytest.mark.parametrize("onset_s", [0.0, 0.1, 0.123456, 0.5003, 0.7777, 1.0])
@pytest.mark.parametrize("pitch", [21, 60, 108])
def test_a_sound_starts_within_half_a_block_of_its_onset(render, onset_s, pitch):
    audio = render(notes_of((onset_s, onset_s + 0.3, pitch, 127)))
    start_s = np.flatnonzero(audio)[0] / RATE
    assert abs(start_s - onset_s) <= (BLOCK_LENGTH / 2 + 1) / RATE < 0.0014


def test_onset_errors_have_no_bias(render):
    audio = render(notes_of((0.01, 0.51, 60, 100)), duration_s=0.5)
    start = np.flatnonzero(audio)[0]
    errors = []
    for moment in 0.01 + np.arange(20) * 0.0101234:
        later = render(notes_of((moment, moment + 0.5, 60, 100)), duration_s=0.7)
        first = np.flatnonzero(later)[0]
        length = min(len(audio) - start, len(later) - first, RATE // 4)
        np.testing.assert_array_equal(audio[start : start + length], later[first : first + length])
        errors.append(first / RATE - moment)
    assert abs(np.mean(errors)) < 0.0003
    assert np.max(np.abs(errors)) < 0.0007


def test_a_note_ends_at_its_offset(render):
    audio = render(notes_of((0.0, 0.5, 60, 100)))
    assert loudness(audio, 1.2, 1.4) < 0.01 * loudness(audio, 0.3, 0.5)


def test_a_note_shorter_than_a_block_still_sounds_and_ends(render):
    audio = render(notes_of((0.5, 0.50001, 60, 100)))
    assert loudness(audio, 0.5, 0.55) > 0
    assert loudness(audio, 1.5, 2.0) < 1e-3 * loudness(audio, 0.5, 0.55)


def test_a_repeated_key_is_not_cut_by_the_end_of_its_first_stroke(render):
    """The first stroke's end lies inside the second; a plain note-off there would silence the key."""
    overlapping = render(notes_of((0.0, 1.0, 60, 100), (0.5, 2.0, 60, 100)))
    alone = render(notes_of((0.5, 2.0, 60, 100)))
    assert loudness(overlapping, 1.2, 1.9) == pytest.approx(loudness(alone, 1.2, 1.9), rel=0.02)


@pytest.mark.parametrize("gap_s", [0.0, 1e-5, 1e-3])
def test_touching_strokes_of_one_key_both_sound(render, gap_s):
    audio = render(notes_of((0.0, 1.0 - gap_s, 60, 100), (1.0, 2.0, 60, 100)))
    assert loudness(audio, 1.0, 1.1) > 0.8 * loudness(audio, 0.0, 0.1)
    assert loudness(audio, 1.5, 1.9) > 0.5 * loudness(audio, 0.5, 0.9)


# Pedals


def test_the_sustain_pedal_holds_a_released_key_until_it_is_lifted(render):
    note = notes_of((0.1, 0.4, 60, 100))
    dry = render(note)
    held = render(note, pedal_of((0.2, 64, 127), (1.2, 64, 0)))
    np.testing.assert_array_equal(held[: round(0.39 * RATE)], dry[: round(0.39 * RATE)])
    assert loudness(held, 1.0, 1.2) > 100 * loudness(dry, 1.0, 1.2)
    assert loudness(held, 1.8, 2.0) < 0.01 * loudness(held, 1.0, 1.2)


def test_the_sostenuto_pedal_holds_only_keys_that_were_down(render):
    pedal = pedal_of((0.3, 66, 127))
    down, later = notes_of((0.1, 0.4, 60, 100)), notes_of((0.5, 0.8, 60, 100))
    assert loudness(render(down, pedal), 1.5, 2.0) > 100 * loudness(render(down), 1.5, 2.0)
    assert loudness(render(later, pedal), 1.5, 2.0) == pytest.approx(loudness(render(later), 1.5, 2.0))


def test_a_key_released_as_the_pedal_goes_down_is_not_held(render):
    audio = render(notes_of((0.0, 0.5, 60, 100)), pedal_of((0.5, 64, 127)))
    assert loudness(audio, 1.5, 2.0) < 0.01 * loudness(audio, 0.3, 0.5)


def test_a_pedal_that_bounces_at_one_moment_ends_as_its_last_move_says(render):
    note = notes_of((0.1, 0.4, 60, 100))
    held = render(note, pedal_of((0.2, 64, 127), (0.6, 64, 0), (0.6, 64, 127)))
    assert loudness(held, 1.5, 2.0) < 0.01 * loudness(held, 0.4, 0.5)  # lifted once, so the string was damped
    caught = render(note, pedal_of((0.3, 64, 0), (0.3, 64, 127)))
    assert loudness(caught, 1.5, 2.0) > 0.1 * loudness(caught, 0.3, 0.5)


def test_other_controllers_change_nothing(render):
    note = notes_of((0.1, 1.4, 60, 100))
    moved = render(note, pedal_of((0.0, 7, 1), (0.05, 10, 0), (0.06, 1, 127), (0.07, 121, 0)))
    np.testing.assert_array_equal(moved, render(note))


# The same bytes


def some_piece(seed: int, n_notes: int = 60) -> Notes:
    random = np.random.default_rng(seed)
    onset_s = np.sort(random.random(n_notes)) * 1.8
    length_s = 0.05 + random.random(n_notes) * 0.8
    return sorted_notes(
        onset_s, onset_s + length_s, random.integers(21, 109, n_notes), random.integers(20, 90, n_notes)
    )


def test_bytes_do_not_depend_on_what_was_rendered_before(render):
    pedal = pedal_of((0.1, 64, 127), (0.5, 67, 127), (0.7, 66, 127))  # all left down at the end
    first_a, first_b = render(some_piece(1), pedal), render(some_piece(2))
    then_b, then_a = render(some_piece(2)), render(some_piece(1), pedal)
    assert first_a.tobytes() == then_a.tobytes()
    assert first_b.tobytes() == then_b.tobytes()


def test_bytes_are_the_same_in_another_process(render):
    program = """
import sys, numpy as np
from tasks.instruments.notes import sorted_notes
from tasks.instruments.synth import SOUNDFONT_SHA256, Synthesizer, find_soundfont
random = np.random.default_rng(1)
on = np.sort(random.random(60)) * 1.8
off = on + 0.05 + random.random(60) * 0.8
notes = sorted_notes(on, off, random.integers(21, 109, 60), random.integers(20, 90, 60))
synthesizer = Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=48000, gain=1.0)
sys.stdout.buffer.write(synthesizer.render(notes, None, program=0, duration_s=2.0).tobytes())
"""
    random = np.random.default_rng(1)
    onset_s = np.sort(random.random(60)) * 1.8
    offset_s = onset_s + 0.05 + random.random(60) * 0.8
    notes = sorted_notes(onset_s, offset_s, random.integers(21, 109, 60), random.integers(20, 90, 60))
    # CI makes the Python binding talkative on standard output.
    environment = {**os.environ, "CI": "true"}
    elsewhere = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
    assert elsewhere.stdout == render(notes).tobytes()


def test_synthesizers_in_threads_give_the_same_bytes_as_one_after_the_other(synthesizer):
    pieces = [some_piece(seed) for seed in range(4)]

    def render_alone(notes: Notes) -> bytes:
        with Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=RATE, gain=GAIN) as own:
            return own.render(notes, None, program=0, duration_s=2.0).tobytes()

    def render_shared(notes: Notes) -> bytes:
        return synthesizer.render(notes, None, program=0, duration_s=2.0).tobytes()

    expected = [render_shared(notes) for notes in pieces]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(render_alone, pieces)) == expected
        assert list(pool.map(render_shared, pieces)) == expected


def test_the_first_synthesizers_of_a_program_are_made_one_at_a_time_and_leave_standard_output_alone():
    # The library's own start is no matter for two threads: one of them may render without velocity and volume.
    program = """
import sys, threading, time
from tasks.instruments import synth
import_binding, made, overlaps, stream = synth._import_fluidsynth, [], [], sys.stdout
at_once, inside = threading.Barrier(8), threading.Lock()

def watched():
    binding = import_binding()
    if not made:
        made.append(binding.Synth)
        class Watched(made[0]):
            def __init__(self, **arguments):
                overlaps.append(not inside.acquire(blocking=False))
                super().__init__(**arguments)
                time.sleep(0.01)
                if not overlaps[-1]:
                    inside.release()
        binding.Synth = Watched
    return binding

def make():
    at_once.wait()
    synth.Synthesizer(synth.find_soundfont(), sha256=synth.SOUNDFONT_SHA256, sample_rate=48000, gain=1.0)

synth._import_fluidsynth = watched
threads = [threading.Thread(target=make) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
stream.write(f"{len(overlaps)} made, {sum(overlaps)} at once, {sys.stdout is stream}")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert (done.stdout, done.stderr) == ("8 made, 0 at once, True", "")


def test_rendering_goes_on_after_close_and_sounds_the_same(synthesizer):
    own = Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=RATE, gain=GAIN)
    own.close()
    own.close()
    np.testing.assert_array_equal(
        own.render(some_piece(4), None, program=0, duration_s=1.9),
        synthesizer.render(some_piece(4), None, program=0, duration_s=1.9),
    )


# Refusals


def test_the_full_keyboard_struck_as_hard_as_can_be_is_refused_with_a_gain_that_fits(render):
    everything = notes_of(*((0.0, 1.0, pitch, 127) for pitch in range(21, 109)))
    with pytest.raises(TooLoud, match=r"samples of the sound are above full scale") as refusal:
        render(everything)
    assert refusal.value.kind == "TOO_LOUD"
    assert isinstance(refusal.value, BadInput)  # the take's own fault: the others go on
    loud = render(everything, may_be_loud=True)
    assert np.abs(loud).max() > 1.0
    scaled, gain_db = below_full_scale(loud)
    assert np.abs(scaled).max() == pytest.approx(0.999, abs=1e-6)
    assert gain_db == pytest.approx(20 * np.log10(0.999 / np.abs(loud).max()), abs=1e-3)
    fitting = float(str(refusal.value).split("a gain up to ")[1].split()[0])
    quieter = Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=RATE, gain=fitting)
    assert 0.95 < np.abs(quieter.render(everything, None, program=0, duration_s=2.0)).max() <= 1.0


def test_ten_fingers_as_hard_as_can_be_do_not_clip(render):
    chord = notes_of(*((0.0, 1.0, pitch, 127) for pitch in (21, 28, 33, 40, 45, 64, 69, 76, 81, 88)))
    assert 0.3 < np.abs(render(chord)).max() < 1.0


def test_a_note_that_begins_after_the_end_is_refused(render):
    with pytest.raises(ValueError, match=r"notes begin between 2\.0 and 2\.0 s, expected 0 to 2\.0 s"):
        render(notes_of((2.0, 3.0, 60, 100)))


def test_a_note_may_end_and_a_pedal_move_after_the_end(render):
    note, pedal = notes_of((0.5, 9.0, 60, 100)), pedal_of((0.1, 64, 127), (7.0, 64, 0))
    assert len(render(note, pedal)) == 2 * RATE


def test_a_program_that_the_soundfont_lacks_is_refused(render):
    with pytest.raises(SynthError, match=r"TimGM6mb\.sf2 has no program 200 in bank 0"):
        render(notes_of((0.5, 1.0, 60, 100)), program=200)


def test_4_khz_is_refused_and_not_rendered_at_another_rate():
    with pytest.raises(SynthError, match=r"refuses synth\.sample-rate 4000 and stays at 44100"):
        Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, sample_rate=4000, gain=GAIN)


def test_a_gain_out_of_range_is_refused():
    with pytest.raises(SynthError, match=r"refuses synth\.gain 11"):
        Synthesizer(find_soundfont(), sha256=SOUNDFONT_SHA256, gain=11.0)


def test_a_missing_soundfont_is_refused_with_what_to_install(tmp_path):
    with pytest.raises(SynthError, match=r"nowhere\.sf2 is missing.*pip install pretty_midi") as refusal:
        Synthesizer(tmp_path / "nowhere.sf2", sha256=SOUNDFONT_SHA256, gain=GAIN)
    assert isinstance(refusal.value, ToolError)
    assert "\n" not in str(refusal.value)


def test_a_truncated_or_edited_soundfont_is_refused(tmp_path):
    whole = find_soundfont().read_bytes()
    edited = bytearray(whole)
    edited[len(whole) // 2] ^= 1
    for content in (whole[: len(whole) // 2], bytes(edited), b""):
        damaged = tmp_path / "TimGM6mb.sf2"
        damaged.write_bytes(content)
        with pytest.raises(SynthError, match=f"has sha256 .*, expected {SOUNDFONT_SHA256}"):
            Synthesizer(damaged, sha256=SOUNDFONT_SHA256, gain=GAIN)


def test_a_folder_in_place_of_a_soundfont_is_refused(tmp_path):
    with pytest.raises(SynthError, match="cannot be read: Is a directory"):
        Synthesizer(tmp_path, sha256=SOUNDFONT_SHA256, gain=GAIN)


def test_a_file_that_is_no_soundfont_is_refused_even_when_its_hash_is_right(tmp_path):
    """The library must not fall back to a font of the system."""
    text = tmp_path / "TimGM6mb.sf2"
    text.write_bytes(b"RIFF but no font" * 100)
    sha256 = hashlib.sha256(text.read_bytes()).hexdigest()
    with pytest.raises(SynthError, match="FluidSynth cannot load"):
        Synthesizer(text, sha256=sha256, gain=GAIN)


@pytest.mark.parametrize(
    ("hide", "install"),
    [
        ("ctypes.util.find_library = lambda name: None", "apt-get install libfluidsynth3"),
        ("sys.modules['fluidsynth'] = None", "pip install pyfluidsynth"),
    ],
)
def test_a_missing_library_is_one_line_that_says_what_to_install(hide, install):
    program = f"""
import ctypes.util, sys
{hide}
from tasks.errors import ToolError
from tasks.instruments.synth import fluidsynth_version
try:
    fluidsynth_version()
except ToolError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.count("\n") == 1
    assert install in ran.stdout


def test_the_version_is_the_librarys(synthesizer):
    assert synthesizer.version() == fluidsynth_version()
    major, _, _ = fluidsynth_version().split(".")
    assert int(major) >= 2


def test_a_thread_keeps_its_synthesizer_while_rate_and_gain_are_the_same():
    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(thread_synthesizer, sample_rate=16_000, gain=0.1).result()
        assert pool.submit(thread_synthesizer, sample_rate=16_000, gain=0.1).result() is one
        assert thread_synthesizer(sample_rate=16_000, gain=0.1) is not one
        other = pool.submit(thread_synthesizer, sample_rate=16_000, gain=0.2).result()
    notes = notes_of((0.0, 0.5, 60, 100))
    quiet, loud = (made.render(notes, None, program=0, duration_s=0.5) for made in (one, other))
    np.testing.assert_allclose(loud, 2 * quiet, atol=1e-6)
