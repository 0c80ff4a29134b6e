"""The sound of stems: read side by side, measured, and held against their mix."""

import subprocess

import numpy as np
import pytest
import soundfile

from tasks.intake.stems import Measuring, StemBlocks, StemSound, blocks_at, measure_mix, side_by_side, sound_at
from tasks.media.probe import NO_LIMITS
from tasks.media.process import MediaError
from tasks.media.sound import read_sound

RATE = 16_000


def noise(seed, n=3 * RATE, channels=1):
    return 0.1 * np.random.default_rng(seed).standard_normal((n, channels)).clip(-4, 4)


def wav(path, samples, *, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return StemSound(path=path)


def whole(sound):
    return np.concatenate(list(StemBlocks(sound, NO_LIMITS)))


def fit(stems, mix):
    return measure_mix([Measuring(stem, NO_LIMITS) for stem in stems], Measuring(mix, NO_LIMITS))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_stem_is_read_as_it_was_written(tmp_path, subtype, channels):
    samples = noise(1, 70_000, channels)
    sound = wav(tmp_path / "stem_1_vn.wav", samples, subtype=subtype)
    assert (StemBlocks(sound, NO_LIMITS).sample_rate, StemBlocks(sound, NO_LIMITS).channels) == (RATE, channels)
    np.testing.assert_allclose(whole(sound), samples, atol=1.5 / 32768)


def test_a_plain_wav_is_what_ffmpeg_decodes_of_it(tmp_path):
    sound = wav(tmp_path / "stem_1_vn.wav", noise(2))
    decoded = read_sound(sound.path, sample_rate=RATE, policy=NO_LIMITS).samples
    np.testing.assert_array_equal(whole(sound)[:, 0], decoded)


def test_a_truncated_wav_is_read_as_far_as_it_goes(tmp_path):
    sound = wav(tmp_path / "stem_1_vn.wav", noise(3))
    sound.path.write_bytes(sound.path.read_bytes()[: 44 + 2 * RATE])
    one = Measuring(sound, NO_LIMITS)
    assert sum(map(len, one)) == RATE
    assert one.measured().truncated_at_s == pytest.approx(1.0, abs=0.05)


def test_a_stem_is_resampled_and_mixed_down(tmp_path):
    time_s = np.arange(4 * 48_000) / 48_000
    left = 0.4 * np.sin(2 * np.pi * 500 * time_s)
    sound = wav(tmp_path / "stem_1_vn.wav", np.stack([left, 0 * left], axis=1), rate=48_000)
    made = sound_at(sound, NO_LIMITS, sample_rate=8_000, channels=1, n_samples=40_000)
    assert made.shape == (1, 40_000)
    expected = 0.2 * np.sin(2 * np.pi * 500 * np.arange(32_000) / 8_000)
    np.testing.assert_allclose(made[0, 200:31_800], expected[200:31_800], atol=2e-4)
    assert np.abs(made[0, 32_050:]).max() == 0  # it ends there


def test_fewer_channels_than_asked_for_is_one_clear_line(tmp_path):
    sound = wav(tmp_path / "stem_1_vn.wav", noise(4))
    with pytest.raises(
        MediaError, match=r"stem_1_vn.wav: has 1 channels, expected 2, or chunk.stem_channels: 1"
    ) as told:
        list(blocks_at(sound, NO_LIMITS, sample_rate=RATE, channels=2))
    assert told.value.kind == "FEWER_CHANNELS"


def test_a_mix_that_is_the_sum_differs_by_rounding_alone(tmp_path):
    stems = [noise(seed) for seed in (1, 2, 3)]
    sounds = [wav(tmp_path / f"stem_{n}_vn.wav", stem) for n, stem in enumerate(stems)]
    found = fit(sounds, wav(tmp_path / "mix.wav", sum(stems)))
    assert found.gain == pytest.approx(1.0, abs=1e-4)
    assert found.residual_db < -70


def test_the_gain_of_a_mix_is_found(tmp_path):
    stems = [noise(seed) for seed in (1, 2)]
    sounds = [wav(tmp_path / f"stem_{n}_vn.wav", stem) for n, stem in enumerate(stems)]
    found = fit(sounds, wav(tmp_path / "mix.wav", 0.5 * sum(stems)))
    assert found.gain == pytest.approx(0.5, abs=1e-4)
    assert found.residual_db < -65


def test_a_residual_is_the_power_of_what_is_not_the_stems(tmp_path):
    stems, other = [noise(1), noise(2)], noise(9)
    sounds = [wav(tmp_path / f"stem_{n}_vn.wav", stem) for n, stem in enumerate(stems)]
    found = fit(sounds, wav(tmp_path / "mix.wav", sum(stems) + 0.1 * other))
    # A tenth of one of three: 0.01 / (2 + 0.01) of the mix's power.
    assert found.residual_db == pytest.approx(10 * np.log10(0.01 / 2.01), abs=0.2)


@pytest.mark.parametrize("mix", ["silence", "another", "inverted"])
def test_a_mix_that_has_nothing_of_the_stems_is_no_mix(tmp_path, mix):
    stem = noise(1)
    samples = {"silence": 0 * stem, "another": noise(5), "inverted": -stem}[mix]
    found = fit([wav(tmp_path / "stem_1_vn.wav", stem)], wav(tmp_path / "mix.wav", samples))
    assert found.residual_db == pytest.approx(0.0, abs=0.01)


def test_stems_at_another_rate_are_compared_too(tmp_path):
    time_s, fine_s = np.arange(3 * RATE) / RATE, np.arange(3 * 48_000) / 48_000
    stem = wav(tmp_path / "stem_1_vn.wav", 0.3 * np.sin(2 * np.pi * 440 * fine_s), rate=48_000)
    mono = 0.3 * np.sin(2 * np.pi * 440 * time_s)
    found = fit([stem], wav(tmp_path / "mix.wav", np.stack([mono, mono], axis=1)))
    assert found.residual_db < -30
    assert found.gain == pytest.approx(1.0, abs=0.01)


def test_blocks_side_by_side_are_of_one_length_and_silent_behind_an_end():
    def stream(*lengths):
        return iter([np.full((n, 1), n, np.float32) for n in lengths])

    parts = list(side_by_side([stream(3, 4, 5), stream(2), iter([])], length=5))
    assert [[len(part) for part in row] for row in parts] == [[5, 5, 5], [5, 5, 5], [2, 2, 2]]
    assert np.concatenate([row[0] for row in parts])[:, 0].tolist() == [3] * 3 + [4] * 4 + [5] * 5
    assert np.concatenate([row[1] for row in parts])[:, 0].tolist() == [2, 2] + [0] * 10


def test_each_stream_of_a_file_of_stems_is_its_own(tmp_path):
    path = tmp_path / "song.stem.mp4"
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y"]
    for frequency_hz in (300, 600, 900):
        command += ["-f", "lavfi", "-i", f"sine=frequency={frequency_hz}:sample_rate=16000:duration=1"]
    command += ["-map", "0:a", "-map", "1:a", "-map", "2:a", "-c:a", "aac", "-b:a", "128k", str(path)]
    subprocess.run(command, check=True, timeout=60)
    for stream, frequency_hz in enumerate((300, 600, 900)):
        samples = whole(StemSound(path=path, stream=stream))[2000:14_000, 0]
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert np.argmax(spectrum) * RATE / len(samples) == pytest.approx(frequency_hz, abs=3)
    with pytest.raises(MediaError, match="holds 3 audio streams, expected at least 4"):
        StemBlocks(StemSound(path=path, stream=3), NO_LIMITS)
