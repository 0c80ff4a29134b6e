"""Recordings whose place on a common clock is known, written into one file and read back."""

import subprocess
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.media.encode import encode_camera, encode_sound
from tasks.media.pictures import iter_pictures
from tasks.media.probe import NO_LIMITS, MediaPolicy, probe
from tasks.media.process import MediaError
from tasks.media.sound import read_sound
from tasks.media.tracks import Track, on_common_clock, write_tracks

POLICY = MediaPolicy(max_pixels=10**6, max_duration_s=600.0, max_bytes=10**8, max_streams=16, max_file_bytes=10**9)
RATE = 16_000
DROPPED = ((0.0, 1.5, 0.25, 2e-4), (1.5, 9.0, 0.75 + 3e-4, 2e-4))  # half a second is missing


def hum(time_s):
    """A sound that is known at every moment, silent before 0 and after 4 s."""
    inside = (time_s > 0) & (time_s < 4)
    tone = np.sin(2 * np.pi * 300 * time_s + 40 * np.sin(2 * np.pi * 0.4 * time_s)) + 0.3 * np.sin(9_000 * time_s)
    return np.where(inside, 0.4 * np.sin(np.pi * time_s / 4) * tone, 0.0).astype(np.float32)


def recorded(track, duration_s, rate=RATE):
    """Return what a device with this clock records of the hum."""
    return hum(track.to_common(np.arange(round(duration_s * rate)) / rate))


def on_clock(audio, track, first_s=0.0, cuts=(5_000, 21_000), rate=RATE):
    blocks = iter(block[:, None] for block in np.split(audio, [cut for cut in cuts if cut < len(audio)]))
    return np.concatenate([b[:, 0] for b in on_common_clock(blocks, track, sample_rate=rate, first_s=first_s)])


@pytest.mark.parametrize("stretches", [(), ((0.0, 5.0, 0.5, 0.0),), ((0.0, 5.0, 0.25, 1.2e-3),), DROPPED])
def test_on_the_common_clock_all_devices_hear_the_same(stretches):
    track = Track(path=None, stretches=stretches)
    found = on_clock(recorded(track, 3.0), track)
    time_s = np.arange(len(found)) / RATE
    own_s = track.to_own(time_s)
    heard = (own_s > 0.01) & (own_s < 2.99)  # NaN is not
    edge = np.convolve(~heard, np.ones(161), "same") > 0  # a resampler rings where a block is missing
    # Ten milliseconds round a step the tone is not smooth; everywhere else it is exact.
    np.testing.assert_allclose(found[heard & ~edge], hum(time_s)[heard & ~edge], atol=2e-3)
    assert not found[np.isnan(own_s)].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 47_000), st.integers(1, 47_000), st.floats(-1e-3, 1e-3), st.floats(-0.7, 0.7))
def test_how_sound_is_cut_into_blocks_changes_nothing(first, second, drift, delay_s):
    track = Track(path=None, stretches=((0.0, 3.0, delay_s, drift),))
    audio = recorded(track, 3.0)
    begins_s = min(0.0, delay_s)
    whole = on_clock(audio, track, begins_s, cuts=())
    cut = on_clock(audio, track, begins_s, cuts=sorted({first, second}))
    assert len(cut) == len(whole)
    np.testing.assert_allclose(cut, whole, atol=1e-5)


@given(st.floats(-5, 5), st.floats(-1.5e-3, 1.5e-3), st.floats(0, 100))
def test_there_and_back_is_the_same_moment(delay_s, drift, moment_s):
    track = Track(path=None, stretches=((0.0, 50.0, delay_s, drift), (50.0, 101.0, delay_s + 50 * drift, drift)))
    back_s = track.to_own(track.to_common(np.array([moment_s])))
    assert np.isnan(back_s[0]) or back_s[0] == pytest.approx(moment_s, abs=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A microphone, and a camera that starts 0.4 s before it, drifts and drops half a second."""
    folder = tmp_path_factory.mktemp("tracks")
    encode_sound(folder / "mic_a.wav", recorded(Track(path=None, stretches=()), 4.0), sample_rate=RATE, codec="flac")
    (folder / "mic_a.wav").rename(folder / "mic_a.flac")
    camera = Track(path=folder / "cam_b.mov", stretches=((0.0, 1.5, -0.4, 2e-4), (1.5, 9.0, 0.1 + 3e-4, 2e-4)))
    encode_camera(
        camera.path,
        (np.full((48, 64), 40 + 2 * k, np.uint8) for k in range(75)),
        time_s=[Fraction(k, 25) for k in range(75)],
        time_base=Fraction(1, 90_000),
        audio=recorded(camera, 3.0, 48_000),
        sample_rate=48_000,
        audio_codec="pcm",
    )
    return folder, camera


def test_every_stream_comes_back_at_its_place(folder, tmp_path):
    folder, camera = folder
    out = tmp_path / "all.mkv"
    first_s = write_tracks(out, [Track(path=folder / "mic_a.flac", stretches=()), camera])
    assert first_s == pytest.approx(-0.4)
    facts = probe(out, policy=NO_LIMITS)
    assert (facts.n_streams, [sound.sample_rate for sound in facts.sounds]) == (3, [RATE, 48_000])
    parts = list(iter_pictures(out, width=64, height=48, policy=POLICY))
    shown_s = np.concatenate([times for _, times in parts])
    np.testing.assert_allclose(shown_s, camera.to_common(np.arange(75) / 25) + 0.4, atol=2.1e-3)
    for sound in facts.sounds:
        found = read_sound(out, sample_rate=sound.sample_rate, policy=POLICY, stream=sound.index).samples
        expected = hum(np.arange(len(found)) / sound.sample_rate - 0.4)
        silent = sound.index == 2  # where the camera heard nothing
        alike = np.abs(found - expected) < 3e-3
        assert alike.mean() > (0.75 if silent else 0.999)
        assert alike[round(2.2 * sound.sample_rate) : round(2.9 * sound.sample_rate)].all()
    named = ["ffprobe", "-v", "error", "-show_entries", "stream_tags=title", "-of", "csv=p=0", str(out)]
    titles = subprocess.run(named, check=True, capture_output=True, timeout=60, text=True).stdout.split()
    assert titles == ["cam_b.mov", "mic_a.flac", "cam_b.mov"]
    assert [path.name for path in tmp_path.iterdir()] == ["all.mkv"]


@pytest.mark.slow
def test_the_same_recordings_give_the_same_bytes(folder, tmp_path):
    folder, camera = folder
    for name in ("a.mkv", "b.mkv"):
        write_tracks(tmp_path / name, [Track(path=folder / "mic_a.flac", stretches=()), camera])
    assert (tmp_path / "a.mkv").read_bytes() == (tmp_path / "b.mkv").read_bytes()


def test_a_file_is_never_written_over_itself_or_into_another_format(folder, tmp_path):
    folder, camera = folder
    with pytest.raises(MediaError) as error:
        write_tracks(tmp_path / "a.mp4", [camera])
    assert error.value.kind == "UNKNOWN_FORMAT"
    (tmp_path / "a.mkv").write_bytes(camera.path.read_bytes())
    with pytest.raises(MediaError) as error:
        write_tracks(tmp_path / "a.mkv", [Track(path=tmp_path / "a.mkv", stretches=())])
    assert error.value.kind == "SAME_FILE"
