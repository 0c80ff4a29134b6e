"""Which recordings are one, encoded twice: answers known from how they were made."""

import subprocess

import numpy as np
import pytest

from tasks.intake.prints import SAMPLE_RATE, PrintIndex, sound_prints
from tasks.media.encode import encode_sound
from tasks.media.probe import NO_LIMITS

RATE = 44_100


def playing(seed, duration_s=20.0, jitter_s=0.0):
    """Struck bars: the seed says which and when, the jitter moves each by its own time."""
    rng, moved = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    audio = np.zeros(round(duration_s * RATE), np.float32)
    for at_s in np.arange(0.1, duration_s - 1, 0.13) + rng.uniform(0, 0.1, len(np.arange(0.1, duration_s - 1, 0.13))):
        hz = 220 * 2 ** (rng.integers(40) / 12)
        start = round((at_s + moved.uniform(-jitter_s, jitter_s)) * RATE) if jitter_s else round(at_s * RATE)
        time_s = np.arange(RATE // 2) / RATE
        audio[start : start + len(time_s)] += 0.1 * np.sin(2 * np.pi * hz * time_s) * np.exp(-6 * time_s)
    return audio


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("prints") / "a.wav"
    encode_sound(path, playing(1), sample_rate=RATE, codec="pcm_s16le")
    return path


@pytest.fixture(scope="module")
def index(recording, tmp_path_factory):
    index = PrintIndex()
    for seed in range(2, 9):
        other = tmp_path_factory.mktemp("others") / f"{seed}.flac"
        encode_sound(other, playing(seed), sample_rate=RATE, codec="flac")
        index.add(f"take-{seed}", sound_prints(other, policy=NO_LIMITS))
        if seed == 4:
            index.add("original", sound_prints(recording, policy=NO_LIMITS))
    return index


@pytest.mark.parametrize(
    ("name", "how", "start_s"),
    [
        ("a.mp3", ["-b:a", "48k", "-ar", "22050"], 0.0),
        ("a.ogg", ["-c:a", "libopus", "-b:a", "32k"], 0.0),
        ("a.m4a", ["-b:a", "64k", "-af", "volume=0.2"], 0.0),
        ("cut.wav", ["-ss", "5.0037", "-t", "8"], 5.0037),
    ],
)
def test_a_copy_is_known_however_it_is_encoded_and_from_where_on(index, recording, tmp_path, name, how, start_s):
    path = tmp_path / name
    subprocess.run(["ffmpeg", "-v", "error", "-i", recording, *how, path], check=True, timeout=60)
    prints = sound_prints(path, policy=NO_LIMITS)
    [(take, found_s)] = index.copies_of(prints, but="new")
    assert take == "original"
    assert found_s == pytest.approx(start_s, abs=0.06)
    assert index.copies_of(prints, but="original") == []


@pytest.mark.parametrize("jitter_s", [0.08])
def test_another_performance_of_the_same_notes_is_no_copy(index, tmp_path, jitter_s):
    path = tmp_path / "b.wav"
    encode_sound(path, playing(1, jitter_s=jitter_s), sample_rate=RATE, codec="pcm_s16le")
    assert index.copies_of(sound_prints(path, policy=NO_LIMITS), but="new") == []


def test_other_playing_silence_and_what_is_no_sound_are_no_copies(index, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"no sound")
    encode_sound(tmp_path / "b.wav", playing(20), sample_rate=RATE, codec="pcm_s16le")
    encode_sound(tmp_path / "s.wav", np.zeros(10 * RATE, np.float32), sample_rate=RATE, codec="pcm_s16le")
    for name in ("x.wav", "b.wav", "s.wav"):
        assert index.copies_of(sound_prints(tmp_path / name, policy=NO_LIMITS), but="new") == []
    assert len(sound_prints(tmp_path / "s.wav", policy=NO_LIMITS)) == 0
    assert PrintIndex().copies_of(sound_prints(tmp_path / "b.wav", policy=NO_LIMITS), but="") == []


def test_a_long_recording_has_the_prints_of_its_parts(tmp_path):
    audio = np.concatenate([playing(seed) for seed in (1, 2, 3)])  # longer than what is decoded at a time
    assert len(audio) / RATE * SAMPLE_RATE > 1 << 18
    encode_sound(tmp_path / "long.wav", audio, sample_rate=RATE, codec="pcm_s16le")
    encode_sound(tmp_path / "part.wav", playing(3), sample_rate=RATE, codec="pcm_s16le")
    index = PrintIndex()
    index.add("long", sound_prints(tmp_path / "long.wav", policy=NO_LIMITS))
    [(_, start_s)] = index.copies_of(sound_prints(tmp_path / "part.wav", policy=NO_LIMITS), but="")
    assert start_s == pytest.approx(40.0, abs=0.06)
