"""How samples become sound: frames that were cut give the sound back, and ``original`` has the published joints."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tasks.errors import ParamsError
from tasks.families.bitmap_mlp import BitmapMlpFamily, BitmapMlpParams, PcmDecoder
from tasks.families.bitmaps.examples import FramePairs
from tasks.metrics.frames import frame_rate_comb_db

RATE = 22_050


@pytest.fixture(scope="module")
def params(bitmap_params):
    changes = {"frame_rate": "30", "sample_rate": RATE, "hidden": [1000], "n_past": 0, "side_px": 64}
    return bitmap_params(BitmapMlpParams, **changes)


@pytest.fixture(scope="module")
def original(params):
    return BitmapMlpFamily().resolved(params.model_copy(update={"fidelity": "original"}))


@pytest.fixture(scope="module")
def decoder_of(params):
    return lambda **changes: PcmDecoder(params.model_copy(update=changes))


def pairs_of(sound, decoder, n_frames=10):
    return FramePairs(
        bitmaps=np.zeros((1, 8, 8), np.uint8),
        shown=np.zeros((n_frames, 1), np.int64),
        sound=np.pad(sound, decoder.cut.length),
        first=decoder.cut.first_samples(n_frames) + decoder.cut.length,
        length=decoder.cut.length,
    )


def outputs_of(sound, decoder):
    """What a network that knew every sample would say."""
    n_frames = int(len(sound) * decoder.cut.frame_rate / RATE)
    return pairs_of(sound, decoder, n_frames).frames(slice(None)) * float(decoder.scale)


def noise(seconds, rng=0):
    return np.random.default_rng(rng).uniform(-0.5, 0.5, seconds * RATE).astype(np.float32)


def loudest_hz(sound):
    return np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * RATE / len(sound)


@pytest.mark.parametrize("rate", ["30", "25", "30000/1001", "24000/1001", "50"])
@pytest.mark.parametrize("render", ["windowed", "raw"])
def test_frames_of_a_sound_give_it_back_at_any_rate(rate, render, decoder_of):
    decoder = decoder_of(frame_rate=rate, max_shift=0.0)
    sound = noise(3)
    decoder.fit(pairs_of(sound, decoder), seed=0)
    found = decoder.joined(outputs_of(sound, decoder), render)
    assert abs(len(found) - len(sound)) <= RATE / Fraction(rate) + 1
    middle = slice(RATE // 4, len(found) - RATE // 4)
    np.testing.assert_allclose(found[middle], sound[: len(found)][middle], atol=1e-5)


def test_original_frames_are_735_unsigned_samples_end_to_end(original):
    decoder = PcmDecoder(original)
    assert (decoder.cut.length, decoder.n_outputs, decoder.cut.frame_rate, decoder.cut.lead) == (735, 735, 30, 0)
    outputs = np.full((4, 735), 0.5, np.float32)
    assert not decoder.sound(outputs).any()
    outputs[2] = 1.0
    np.testing.assert_array_equal(decoder.sound(outputs), np.repeat([0, 0, 1, 0], 735))


def test_a_network_that_is_joined_raw_has_the_published_size_too(decoder_of, params):
    decoder = decoder_of(render="raw")
    assert (decoder.n_outputs, decoder.cut.lead, decoder.margin) == (735, 0, 0)
    network = BitmapMlpFamily().make_network(params, n_inputs=64 * 64, n_outputs=decoder.n_outputs)
    assert sum(weight.numel() for weight in network.parameters()) == 4_832_735
    sound = noise(1)
    np.testing.assert_allclose(decoder.sound(outputs_of(sound, decoder)), sound, atol=1e-5)


def test_spreading_makes_partials_louder_and_leaves_their_phases(decoder_of):
    decoder = decoder_of(max_shift=0.0)
    time_s = np.arange(decoder.cut.length) / RATE
    frames = np.stack([0.01 * np.sin(2 * np.pi * 900 * time_s), 1e-6 * np.cos(2 * np.pi * 900 * time_s)])
    frames = frames.astype(np.float32)
    np.testing.assert_array_equal(decoder.spread_frames(frames), frames)
    decoder.ratio.fill_(1.25)
    decoder.loudest.fill_(1e9)
    spread = decoder.spread_frames(frames)
    # 40 dB above the quietest level become 50.
    np.testing.assert_allclose(spread[0], frames[0] * 10 ** (10 / 20), atol=0.003)
    assert not spread[1].any()


def test_original_takes_the_published_way_of_learning(original):
    wanted = {"learning_rate": 0.05, "batch_size": 32, "n_past": 0, "n_components": 0, "silent_clip_s": 0.0}
    assert {name: getattr(original, name) for name in wanted} == wanted
    assert (original.spectral_weight, original.render, original.frame_rate) == (0.0, "raw", "30")


@pytest.mark.parametrize(
    ("hidden", "published"), [([1000], 4_832_735), ([1000, 1000, 1000], 6_834_735), ([2000, 1500, 1000], 13_432_235)]
)
def test_original_networks_have_the_published_sizes(hidden, published, original):
    params = original.model_copy(update={"hidden": hidden})
    decoder = PcmDecoder(params)
    network = BitmapMlpFamily().make_network(params, n_inputs=64 * 64, n_outputs=decoder.n_outputs)
    assert sum(weight.numel() for weight in network.parameters()) == published


@pytest.mark.parametrize("seconds", [2, 5])
def test_the_pitch_of_grains_does_not_depend_on_how_long_the_clip_is(seconds, decoder_of):
    decoder = decoder_of(render="granular")
    tone = (0.3 * np.sin(2 * np.pi * 600 * np.arange(seconds * RATE) / RATE)).astype(np.float32)
    decoder.fit(pairs_of(tone, decoder), seed=0)
    outputs = outputs_of(tone, decoder)
    sound = decoder.sound(outputs)
    # Grains overlap at any phase: their spectrum is a bump around the tone.
    spectrum = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / RATE)
    assert (spectrum * hz).sum() / spectrum.sum() == pytest.approx(600, rel=0.1)
    np.testing.assert_array_equal(decoder.sound(outputs), sound)


@pytest.mark.parametrize("seconds", [2, 4])
def test_original_grains_play_at_half_of_the_clips_seconds(seconds, original):
    decoder = PcmDecoder(original.model_copy(update={"render": "granular"}))
    tone = (0.3 * np.sin(2 * np.pi * 600 * np.arange(seconds * RATE) / RATE)).astype(np.float32)
    sound = decoder.sound(pairs_of(tone / 2 + 0.5, decoder, seconds * 30).frames(slice(None)))
    assert loudest_hz(sound) == pytest.approx(600 * seconds / 2, rel=0.1)


def test_original_keeps_grains_and_knows_no_windows(params):
    for render, kept in (("granular", "granular"), ("raw", "raw"), ("windowed", "raw")):
        changed = params.model_copy(update={"fidelity": "original", "render": render})
        assert BitmapMlpFamily().resolved(changed).render == kept


def test_grains_play_as_fast_as_the_parameter_says(decoder_of):
    tone = (0.3 * np.sin(2 * np.pi * 600 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    decoder = decoder_of(render="granular", playback_rate=2.0)
    decoder.fit(pairs_of(tone, decoder), seed=0)
    sound = decoder.sound(outputs_of(tone, decoder))
    assert loudest_hz(sound) == pytest.approx(1200, rel=0.1)


def test_a_picture_that_stays_buzzes_raw_and_not_windowed(decoder_of):
    """The same frame again and again, of partials that are no multiples of the frame rate."""
    decoder = decoder_of()
    time_s = np.arange(decoder.cut.length) / RATE
    frame = sum(np.sin(2 * np.pi * hz * time_s + hz) for hz in (313.0, 467.0, 733.0, 1171.0)).astype(np.float32)
    outputs = np.tile(frame * 0.1, (240, 1)) * float(decoder.scale)
    comb = {
        render: frame_rate_comb_db(decoder.joined(outputs, render), RATE, Fraction(30))
        for render in ("raw", "windowed")
    }
    assert comb["windowed"] < comb["raw"] - 20


@pytest.mark.parametrize("rate", ["30", "30000/1001"])
def test_a_frame_is_shifted_by_no_more_than_max_shift_and_every_time_alike(rate, decoder_of):
    decoder = decoder_of(frame_rate=rate)
    frames = np.tile(np.arange(decoder.cut.length, dtype=np.float32), (500, 1))
    shifted = decoder.shifted(frames)
    assert shifted.shape[1] == decoder.cut.length - 2 * decoder.margin
    np.testing.assert_array_equal(np.unique(np.diff(shifted, axis=1)), [1.0])
    assert 0 <= shifted.min() < 5 <= 2 * decoder.margin - 5 < shifted[:, 0].max() <= 2 * decoder.margin
    assert decoder.margin == 184
    np.testing.assert_array_equal(decoder.shifted(frames), shifted)


def test_without_a_shift_a_picture_that_stays_repeats_every_frame(decoder_of):
    decoder = decoder_of(max_shift=0.0)
    outputs = np.tile(noise(1)[: decoder.cut.length], (60, 1))
    sound = decoder.joined(outputs, "windowed")[735:-735]
    np.testing.assert_allclose(sound[735:], sound[:-735], atol=1e-6)


def test_the_loss_of_the_reference_is_nothing_and_that_of_silence_is_one(decoder_of):
    decoder = decoder_of(spectral_weight=0.0)
    sound = noise(1)
    pairs = pairs_of(sound[: 11 * 735], decoder, 9)
    decoder.fit(pairs, seed=0)
    frames = torch.from_numpy(pairs.frames(slice(1, 9)))
    assert float(decoder.loss(frames * decoder.scale, frames)) == 0.0
    silence = torch.zeros_like(frames)
    inside = float(frames.square().mean()) / float(np.square(pairs.sound).mean())
    assert float(decoder.loss(silence, frames)) == pytest.approx(inside, rel=1e-5)


def test_the_magnitudes_error_does_not_depend_on_phases(decoder_of):
    decoder = decoder_of()
    time_s = np.arange(decoder.cut.length) / RATE
    sine, cosine = (torch.from_numpy(f(2 * np.pi * 900 * time_s).astype(np.float32))[None] for f in (np.sin, np.cos))
    assert float(decoder.validation_loss(sine, cosine)) < 1e-3 * float(
        decoder.validation_loss(torch.zeros_like(sine), cosine)
    )
    assert float((sine - cosine).square().mean()) > 0.9


def test_values_that_make_no_sense_are_named(params):
    for change, message in (
        ({"spectral_weight": -1.0}, "spectral_weight is -1.0, expected at least 0"),
        ({"max_shift": 1.5}, "max_shift is 1.5, expected 0 to 1 frame"),
        ({"playback_rate": 0.0}, "playback_rate is 0.0, expected above 0"),
    ):
        with pytest.raises(ParamsError, match=message):
            BitmapMlpFamily().resolved(params.model_copy(update=change))
