"""What the families from bitmaps to sound share: pictures beside the sound of their own time, and published defects."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from tasks.errors import DamagedData, ParamsError
from tasks.families.base import Film
from tasks.families.bitmap_mlp import BitmapMlpFamily, BitmapMlpParams, PcmDecoder
from tasks.families.bitmap_stft import BitmapStftFamily, BitmapStftParams
from tasks.families.bitmaps.adapter import batches, degrade, sound_of
from tasks.families.bitmaps.calibration import fit_gain_db, fit_ratio, level_db, loudest
from tasks.families.bitmaps.decoder import QUIETEST_DBFS, FrameRegressor
from tasks.families.bitmaps.encoder import LARGEST_INPUT, FrameEncoder
from tasks.families.bitmaps.examples import (
    Cut,
    FramePairs,
    gather,
    shown_in_time,
    small_bitmaps,
    stored_sound,
    with_silent_clips,
)
from tasks.metrics.frames import level_dbfs
from tasks.store.arrays import write_arrays
from tasks.store.segments import segment_rows, write_segments
from tasks.store.views import ViewSet

RATE = 8_000
TONES_HZ = (440.0, 660.0)  # of the left and of the right half


@pytest.fixture(scope="module")
def params(bitmap_params):
    return bitmap_params(BitmapMlpParams)


@pytest.fixture(scope="module")
def original(params):
    return BitmapMlpFamily().resolved(params.model_copy(update={"fidelity": "original"}))


def lamps(states):
    """Pictures (P, 12, 20) of two lamps: 0 both are dark, 1 the left one is lit, 2 the right one."""
    pictures = np.full((len(states), 12, 20), 40, np.uint8)
    pictures[np.asarray(states) == 1, :, :10] = 200
    pictures[np.asarray(states) == 2, :, 10:] = 200
    return pictures


def tones(states, picture_s):
    """The sound of those lamps: a tone each, whose phase goes on."""
    time_s = np.arange(round(len(states) * picture_s * RATE)) / RATE
    state = np.asarray(states)[np.minimum((time_s / picture_s).astype(int), len(states) - 1)]
    waves = [0.2 * np.sin(2 * np.pi * hz * time_s) for hz in TONES_HZ]
    return np.select([state == 1, state == 2], waves, 0.0).astype(np.float32)


def slow_states(rng, n):
    return np.repeat(rng.integers(0, 3, -(-n // 10)), 10)[:n]


def write_capture(folder, name, pictures, time_s, sound, *, cameras=("cam_top",)):
    arrays = {"codes": np.zeros(len(sound), np.uint8), "sound": np.rint(sound * 32767).astype(np.int16)}
    for camera in cameras:
        arrays |= {f"pictures_{camera}": pictures, f"time_s_{camera}": np.asarray(time_s, np.float64)}
    duration_s = len(sound) / RATE
    write_arrays(
        folder / name / "arrays.zarr",
        arrays,
        chunk_lengths=dict.fromkeys(arrays, 64),
        attributes={
            "cameras": list(cameras),
            "code_rate": RATE,
            "duration_s": duration_s,
            "instrument": "none",
            "master": "mic",
            "sound_rate": RATE,
        },
    )
    return {"digest": hashlib.sha256(name.encode()).hexdigest(), "duration_s": duration_s}


def write_index(folder, takes):
    (folder / "takes.json").write_text(json.dumps(takes))
    rows = [
        segment_rows(n, t["piece"], t["part"], t["digest"], int(t["duration_s"] * RATE), length=8000, hop=8000)
        for n, t in takes.items()
    ]
    write_segments(folder / "segments.parquet", [row for some in rows for row in some])


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Lamps and tones: forty seconds to learn from, ten each for validation and test."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(1)
    takes = {}
    for name, part, n in (("a", "train", 1000), ("b", "validation", 250), ("c", "test", 250)):
        states = slow_states(rng, n)
        facts = write_capture(folder, name, lamps(states), np.arange(n) / 25, tones(states, 1 / 25))
        takes[name] = {"piece": name, "part": part, **facts}
    write_index(folder, takes)
    return folder


@pytest.fixture(scope="module")
def trained(films, tmp_path_factory, params):
    out = tmp_path_factory.mktemp("trained") / "lamps"
    out.mkdir()
    BitmapMlpFamily().fit(ViewSet(films), out, params=params, resume=out.parent / "resume", accelerator="cpu")
    return out


def film(pictures, picture_s=1 / 25):
    time_s = np.arange(len(pictures)) * picture_s
    return Film(pictures=pictures, time_s=time_s, duration_s=len(pictures) * picture_s, camera="cam_top")


def performed_sound(trained, one):
    (performance,) = BitmapMlpFamily().perform(trained, {"c/cam_top": one}, accelerator="cpu", truth=None)
    assert (performance.system, performance.take, performance.camera) == ("bitmap_mlp", "c", "cam_top")
    return performance.audio


def loudest_hz(sound):
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return np.argmax(spectrum) * RATE / len(sound)


# --- learned ---


def test_each_lamp_has_its_own_tone_on_a_film_never_seen(trained):
    for state, hz in ((1, TONES_HZ[0]), (2, TONES_HZ[1])):
        made = performed_sound(trained, film(lamps([0] * 5 + [state] * 25)))
        assert loudest_hz(made[6 * RATE // 25 :]) == pytest.approx(hz, abs=30)  # a line of the comb is near


def test_a_film_never_seen_is_as_loud_as_it_was(trained, films):
    views = ViewSet(films)
    (view,) = views.views("test")
    one = Film(
        pictures=views.pictures(view)[:], time_s=views.time_s(view), duration_s=views.duration_s("c"), camera="cam_top"
    )
    assert level_db(performed_sound(trained, one)) == pytest.approx(level_db(views.sound("c")[0]), abs=3)


@pytest.mark.parametrize("luma", [0, 16, 128, 235, 255])
def test_an_even_picture_is_silent_whatever_its_luma(trained, luma):
    assert not performed_sound(trained, film(np.full((50, 12, 20), luma, np.uint8))).any()


@pytest.mark.parametrize("luma", [16, 235])
def test_black_and_white_video_stays_silent_where_its_noise_is_seen(trained, luma):
    noise = np.random.default_rng(0).integers(-1, 2, (50, 12, 20))
    assert level_dbfs(performed_sound(trained, film((luma + noise).astype(np.uint8)))) < -60


def test_the_same_fit_gives_the_same_bytes(films, trained, tmp_path, params):
    BitmapMlpFamily().fit(ViewSet(films), tmp_path, params=params, resume=tmp_path / "resume", accelerator="cpu")
    for name in ("bitmap_mlp.safetensors", "bitmap_mlp.json", "curves/bitmap_mlp.csv"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_the_sound_is_as_long_as_the_film(trained):
    for n in (1, 2, 7, 31):
        assert len(performed_sound(trained, film(lamps([1] * n), 1001 / 30000))) == round(n * 1001 / 30000 * RATE)


def test_a_film_is_called_by_its_name_and_not_by_its_camera(trained):
    (performance,) = BitmapMlpFamily().perform(
        trained, {".black/gong": film(lamps([0, 0]))}, accelerator="cpu", truth=None
    )
    assert (performance.take, performance.camera) == (".black", "gong")


def test_cameras_that_the_parameter_leaves_out_get_no_sound(films, tmp_path, params):
    only_top = params.model_copy(update={"cameras": "(?!cam_above).*"})
    BitmapMlpFamily().fit(ViewSet(films), tmp_path, params=only_top, resume=tmp_path / "resume", accelerator="cpu")
    shown = film(lamps([1, 0]))
    two = {"c/cam_above_1": replace(shown, camera="cam_above_1"), "c/cam_top": shown}
    performed = BitmapMlpFamily().perform(tmp_path, two, accelerator="cpu", truth=None)
    assert [performance.camera for performance in performed] == ["cam_top"]


def test_what_was_trained_says_which_pictures_it_learned_from(trained):
    facts = json.loads((trained / "bitmap_mlp.json").read_text())
    assert facts["pictures"] == {"width": 20, "height": 12}


def test_magnitudes_learn_each_lamps_tone_too(films, tmp_path, params):
    """The other family, through the same doors: a tone each, as loud as it was, and an even picture silent."""
    own = {"win_length": 1024, "power": 0.5, "phase": "neighbour", "n_iterations": 8, "bank_s": 20.0}
    shared = {name: getattr(params, name) for name in BitmapStftParams.model_fields if name not in own}
    params = BitmapStftParams(**shared, **own)
    family = BitmapStftFamily()
    family.fit(ViewSet(films), tmp_path, params=params, resume=tmp_path / "resume", accelerator="cpu")
    for state, hz in ((0, None), (1, TONES_HZ[0]), (2, TONES_HZ[1])):
        even = np.full((50, 12, 20), 235, np.uint8)
        one = film(even if hz is None else lamps([state] * 50))
        (performance,) = family.perform(tmp_path, {"c/cam_top": one}, accelerator="cpu", truth=None)
        assert len(performance.audio) == 2 * RATE
        if hz is None:
            assert not performance.audio.any()
        else:
            assert loudest_hz(performance.audio) == pytest.approx(hz, abs=10)
            assert level_db(performance.audio) == pytest.approx(level_db(0.2 * np.sin(np.arange(RATE))), abs=3)


def test_original_is_loud_where_nothing_is_to_be_seen_and_corrected_is_not(films, trained, tmp_path, params):
    params = params.model_copy(update={"fidelity": "original", "n_steps": 100})
    family = BitmapMlpFamily()
    family.fit(ViewSet(films), tmp_path, params=params, resume=tmp_path / "resume", accelerator="cpu")
    white = film(np.full((50, 12, 20), 235, np.uint8))
    assert level_db(performed_sound(tmp_path, white)) > -40
    assert not performed_sound(trained, white).any()


# --- time ---


class FirstPixel(nn.Module):
    """Says how bright the left side is, in every sample."""

    def __init__(self, n_outputs):
        super().__init__()
        self.n_outputs = n_outputs

    def forward(self, inputs):
        return inputs[:, :1].expand(-1, self.n_outputs).contiguous()


def make_regressor(params):
    decoder = PcmDecoder(params)
    encoder = FrameEncoder(
        size=params.side_px, n_past=params.n_past, n_components=0, corrects=params.fidelity == "corrected"
    )
    return FrameRegressor(encoder, FirstPixel(decoder.n_outputs), decoder)


def lit_from_s(audio, rest):
    return int(np.argmax(np.abs(audio - rest) > 0.1)) / RATE


def flash(n_pictures, at):
    return lamps([0] * at + [1] * (n_pictures - at))


@pytest.mark.parametrize("rate", [Fraction(24), Fraction(25), Fraction(30000, 1001), Fraction(50)])
def test_a_picture_sounds_at_its_own_time_whatever_the_video_rate(rate, params):
    n_pictures, at = 60 * 25, 50 * 25
    shown = film(flash(n_pictures, at), float(1 / rate))
    params = params.model_copy(update={"frame_rate": "30"})
    lit_s = lit_from_s(sound_of(make_regressor(params), shown, params), 0.0)
    assert lit_s == pytest.approx(at / float(rate), abs=1 / 30 + 1e-3)


def test_original_pairs_pictures_by_number_and_so_slips_ten_seconds_a_minute_at_25_a_second(original):
    shown = film(flash(61 * 25, 60 * 25))
    params = original.model_copy(update={"sample_rate": RATE})
    audio = sound_of(make_regressor(params), shown, params)
    assert lit_from_s(audio, 2 * 40 / 255 - 1) == pytest.approx(50.0, abs=1e-2)


def test_a_picture_is_paired_with_the_sound_while_it_is_shown(tmp_path, params):
    """Clicks in the middle of each frame that shows a lamp; the camera began late and at a rate of its own."""
    time_s = 0.5 + np.arange(100) / 24
    states = np.zeros(100, int)
    states[[10, 40, 77]] = 1
    sound = np.zeros(6 * RATE, np.float32)
    for at in np.flatnonzero(states):
        sound[round((time_s[at] + 0.5 / 24) * RATE)] = 1.0
    facts = write_capture(tmp_path, "a", lamps(states), time_s, sound)
    write_index(tmp_path, {"a": {"piece": "a", "part": "train", **facts}})
    params = params.model_copy(update={"frame_rate": "72", "n_past": 0})
    cut = PcmDecoder(params).cut
    pairs, spans = gather(ViewSet(tmp_path), "train", cut, params, n_frames=10_000)
    lit = pairs.stacks(slice(None))[:, 0, 0, 0] > 100
    own = cut.length // 2 - RATE // 72 // 2  # its own hop is in a cut's middle
    hears = np.abs(pairs.frames(slice(None))[:, own : own + RATE // 72]).max(axis=1) > 0.5
    assert lit.sum() == 9  # three frames a picture
    assert (hears & lit).sum() == hears.sum() == 3
    assert spans == [slice(0, len(pairs))]
    first_s = (pairs.first[0] - pairs.length + pairs.length / 2) / RATE
    assert 0.5 <= first_s <= 0.5 + 1 / 72


def test_the_past_of_a_frame_is_what_was_shown_then(params):
    params = params.model_copy(update={"frame_rate": "10", "n_past": 2, "past_step": 3})
    shown = shown_in_time(np.arange(10) / 10, 10, PcmDecoder(params).cut, params)
    np.testing.assert_array_equal(shown[:, 0], np.arange(10))
    np.testing.assert_array_equal(shown[:, 1], np.maximum(np.arange(10) - 3, 0))
    np.testing.assert_array_equal(shown[:, 2], np.maximum(np.arange(10) - 6, 0))


def test_two_videos_of_the_same_name_get_a_sound_each(trained):
    made = [performed_sound(trained, film(lamps([state] * 25))) for state in (1, 2, 1)]
    assert not np.array_equal(made[0], made[1])
    np.testing.assert_array_equal(made[0], made[2])


# --- sound as it is learned ---


def test_original_sound_is_unsigned_and_its_last_row_is_filled_up_with_full_negative(original):
    cut = PcmDecoder(original).cut
    assert (cut.length, cut.unsigned, cut.lead) == (267, True, 0)
    pcm = np.array([-32768, 0, 16384], np.float32)
    learned = stored_sound(pcm / 32768, RATE, cut)
    np.testing.assert_array_equal(learned[267:-267], (pcm + 32768) / 65536)
    assert (learned[-267:] == 0.0).all()


def test_corrected_sound_is_silent_where_there_is_none(params):
    cut = PcmDecoder(params).cut
    learned = stored_sound(np.ones(10, np.float32), RATE, cut)
    assert not learned[: cut.length].any()
    assert not learned[-cut.length :].any()


def test_sound_of_another_rate_is_resampled(params):
    cut = PcmDecoder(params).cut
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / (2 * RATE)).astype(np.float32)
    learned = stored_sound(tone, 2 * RATE, cut)[cut.length : -cut.length]
    assert len(learned) == RATE
    assert loudest_hz(learned) == pytest.approx(440, abs=1)


def test_half_a_minute_each_of_black_and_white_is_silent():
    sound = np.ones(100, np.float32)
    pairs = FramePairs(
        bitmaps=np.full((3, 4, 4), 77, np.uint8),
        shown=np.zeros((5, 2), np.int64),
        sound=sound,
        first=np.arange(5),
        length=10,
    )
    more = with_silent_clips(pairs, clip_s=30.0, frame_rate=Fraction(30))
    assert len(more) == 5 + 2 * 30 * 30
    np.testing.assert_array_equal(more.stacks(slice(0, 5)), pairs.stacks(slice(0, 5)))
    np.testing.assert_array_equal(more.frames(slice(0, 5)), pairs.frames(slice(0, 5)))
    assert not more.frames(slice(5, None)).any()
    pictures = more.stacks(slice(5, None))
    assert {int(luma) for luma in pictures[:900].ravel()} == {0, 16}
    assert {int(luma) for luma in pictures[900:].ravel()} == {235, 255}


def test_original_batches_come_in_order_and_corrected_ones_at_random_but_the_same_ones(films, params, original):
    original = original.model_copy(update={"steps_per_epoch": 3, "batch_size": 5, "sample_rate": RATE})
    views = ViewSet(films)
    pairs, _ = gather(views, "train", PcmDecoder(original).cut, original, n_frames=4000)
    encoder = FrameEncoder(size=8, n_past=0, n_components=0, corrects=False)
    make = batches(pairs, encoder, original)
    in_order = torch.cat([make(epoch, step)[1] for epoch in range(2) for step in range(3)])
    np.testing.assert_array_equal(in_order.numpy(), pairs.frames(slice(0, 30)))
    encoder = FrameEncoder(size=8, n_past=0, n_components=0, corrects=True)
    make = batches(pairs, encoder, params.model_copy(update={"n_past": 0}))
    assert not torch.equal(make(0, 0)[1], make(0, 1)[1])
    for one, again in zip(make(3, 2), make(3, 2), strict=True):
        assert torch.equal(one, again)


# --- the encoder ---


def test_pictures_are_averaged_by_area():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 192), dtype=np.uint8)
    expected = pictures.reshape(3, 32, 2, 32, 6).mean(axis=(2, 4))
    np.testing.assert_allclose(small_bitmaps(pictures, 32), expected, atol=0.51)


def test_original_eye_sees_luma_from_0_to_1():
    encoder = FrameEncoder(size=2, n_past=0, n_components=0, corrects=False)
    stacks = torch.tensor([[[[0, 51], [102, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(encoder(stacks), torch.tensor([[0.0, 0.2, 0.4, 1.0]]))


def linear(inputs):
    """Return inputs before the squashing."""
    return LARGEST_INPUT * torch.atanh(inputs / LARGEST_INPUT)


def test_changes_are_told_without_their_sign_and_nothing_is_told_without_bound():
    torch.manual_seed(0)
    encoder = FrameEncoder(size=8, n_past=1, n_components=4, corrects=True)
    encoder.fit(random_pairs(np.random.default_rng(0), 5), seed=0)
    pictures = torch.randint(0, 256, (20, 2, 8, 8), dtype=torch.uint8)
    there, back = encoder(pictures), encoder(pictures.flip(1))
    torch.testing.assert_close(there[:, 4:], back[:, 4:])
    assert not torch.allclose(there[:, :4], back[:, :4])
    encoder.scales.mul_(1000)
    assert encoder(pictures).abs().max() <= LARGEST_INPUT


def random_pairs(rng, n_directions):
    """Pictures that vary along so many directions."""
    directions = np.linalg.qr(rng.standard_normal((64, n_directions)))[0]
    pictures = 128 + 300 * (rng.uniform(-0.3, 0.3, (200, n_directions)) @ directions.T)
    bitmaps = np.clip(np.rint(pictures), 0, 255).astype(np.uint8).reshape(-1, 8, 8)
    shown = np.stack([np.arange(200), np.maximum(np.arange(200) - 1, 0)], axis=1)
    return FramePairs(bitmaps=bitmaps, shown=shown, sound=np.zeros(300, np.float32), first=np.arange(200), length=10)


def test_eigen_pictures_tell_pictures_that_vary_along_few_directions():
    pairs = random_pairs(np.random.default_rng(0), 5)
    torch.manual_seed(0)
    encoder = FrameEncoder(size=8, n_past=1, n_components=6, corrects=True)
    assert encoder.n_inputs == 12
    encoder.fit(pairs, seed=0)
    torch.testing.assert_close(encoder.basis @ encoder.basis.T, torch.eye(6), atol=1e-4, rtol=0)
    stacks = torch.from_numpy(pairs.stacks(slice(None)))
    inputs = linear(encoder(stacks))[:, :6] / encoder.scales[0]
    pixels = stacks[:, 0].flatten(1).float() / 255
    pixels = pixels - pixels.mean(dim=1, keepdim=True)
    assert (inputs @ encoder.basis + encoder.mean - pixels).abs().max() < 2.5 / 255
    inputs = linear(encoder(stacks))[:, :6]
    torch.testing.assert_close(inputs.square().mean(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_as_many_eigen_pictures_as_pixels_tell_no_less_than_pixels():
    pairs = random_pairs(np.random.default_rng(1), 40)
    torch.manual_seed(0)
    encoder = FrameEncoder(size=8, n_past=0, n_components=64, corrects=True)
    encoder.fit(pairs, seed=0)
    pixels = FrameEncoder(size=8, n_past=0, n_components=0, corrects=True)
    pixels.fit(pairs, seed=0)
    stacks = torch.from_numpy(pairs.stacks(slice(None))[:, :1])
    torch.testing.assert_close(
        *(torch.cdist(inputs, inputs) for inputs in (linear(one(stacks)) / one.scales[0] for one in (encoder, pixels))),
        atol=2e-2,
        rtol=1e-3,
    )


def test_more_eigen_pictures_than_pictures_are_refused():
    encoder = FrameEncoder(size=8, n_past=0, n_components=300, corrects=True)
    with pytest.raises(ParamsError, match="n_components is 300, expected at most 64"):
        encoder.fit(random_pairs(np.random.default_rng(0), 5), seed=0)


def test_noise_of_pictures_is_as_strong_as_the_parameter(params):
    encoder = FrameEncoder(size=8, n_past=1, n_components=0, corrects=True)
    encoder.scales.copy_(torch.tensor([2.0, 3.0]))
    params = params.model_copy(update={"noise_luma": 5.1})
    noise = degrade(torch.zeros(500, 128), encoder, np.random.default_rng(0), params)
    assert float(noise[:, :64].std()) == pytest.approx(2.0 * 0.02, rel=0.02)
    assert float(noise[:, 64:].std()) == pytest.approx(3.0 * 0.02 * 2**0.5, rel=0.02)


# --- loudness ---


def test_the_gain_is_what_makes_validation_as_loud_as_it_was(params):
    params = params.model_copy(update={"n_past": 0})
    regressor = make_regressor(params)
    bitmaps = small_bitmaps(lamps([1]), 8)
    outputs = float(regressor.predict(bitmaps, np.zeros((1, 1), np.int64))[0, 0])
    hop = RATE // 25
    pairs = FramePairs(
        bitmaps=bitmaps,
        shown=np.zeros((40, 1), np.int64),
        sound=np.full(42 * hop, 4 * outputs, np.float32),
        first=np.arange(40) * hop,
        length=2 * hop,
    )
    assert fit_gain_db(regressor, pairs, [slice(0, 40)]) == pytest.approx(20 * np.log10(4), abs=1e-3)
    silent = replace(pairs, sound=np.zeros_like(pairs.sound))
    assert fit_gain_db(regressor, silent, [slice(0, 40)]) == 0.0


def test_levels_are_spread_away_from_the_quietest_and_never_above_the_loudest_of_training(params):
    decoder = PcmDecoder(params)
    decoder.loudest.fill_(10 ** (70 / 20) * decoder.quietest)
    above_db = np.array([-10.0, -0.1, 20.0, 30.0, 60.0])  # the quietest one
    spectra = np.float32(decoder.quietest * 10 ** (above_db / 20))[None].repeat(decoder.cut.length // 2 + 1, 0).T
    np.testing.assert_array_equal(decoder.spread(spectra), spectra)
    decoder.ratio.fill_(1.5)
    spread = decoder.spread(spectra)[:, 0]
    assert not spread[:2].any()
    np.testing.assert_allclose(20 * np.log10(spread[2:] / decoder.quietest), [30.0, 45.0, 70.0], atol=1e-3)


def test_a_partial_at_the_quietest_level_reads_the_quietest_magnitude(params, bitmap_params):
    amplitude = 10 ** (QUIETEST_DBFS / 20)
    for decoder in (PcmDecoder(params), BitmapStftFamily().make_decoder(bitmap_params(BitmapStftParams))):
        length = decoder.cut.length
        partial = amplitude * np.sin(2 * np.pi * 40 * np.arange(length) / length)
        assert decoder.reference_magnitudes(np.float32(partial)[None])[0, 40] == pytest.approx(
            decoder.quietest, rel=1e-3
        )


def noisy(params):
    """Return a regressor whose outputs are frames of noise, and pairs with these as reference."""
    regressor = make_regressor(params.model_copy(update={"n_past": 0}))
    length = regressor.decoder.cut.length
    outputs = np.random.default_rng(0).normal(0, 0.01, (40, length)).astype(np.float32)
    regressor.predict = lambda bitmaps, shown: outputs[: len(shown)]
    regressor.decoder.loudest.fill_(1e9)
    pairs = FramePairs(
        bitmaps=np.zeros((1, 8, 8), np.uint8),
        shown=np.zeros((40, 1), np.int64),
        sound=outputs.ravel(),
        first=np.arange(40) * length,
        length=length,
    )
    return regressor, pairs


@pytest.mark.parametrize("ratio", [1.2, 1.5, 2.0])
def test_the_ratio_is_what_makes_spectra_as_loud_as_they_were(params, ratio):
    regressor, pairs = noisy(params)
    outputs = regressor.decoder.reference_magnitudes(pairs.frames(slice(None)))
    gain_db = level_db(regressor.decoder.spread(outputs, ratio)) - level_db(outputs)
    louder = replace(pairs, sound=pairs.sound * np.float32(10 ** (gain_db / 20)))
    assert fit_ratio(regressor, louder, [slice(0, 40)]) == pytest.approx(ratio, rel=0.01)


def test_what_is_too_loud_already_is_not_spread(params):
    regressor, pairs = noisy(params)
    assert fit_ratio(regressor, replace(pairs, sound=pairs.sound / 2), [slice(0, 40)]) == 1.0
    assert fit_ratio(regressor, replace(pairs, sound=0 * pairs.sound), [slice(0, 40)]) == 1.0


def test_the_loudest_of_training_is_found_in_every_bin(params):
    regressor, pairs = noisy(params)
    expected = np.abs(np.fft.rfft(pairs.frames(slice(None)))).max(axis=0)
    np.testing.assert_allclose(loudest(regressor.decoder, pairs), expected, rtol=1e-3)


# --- bad input ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_steps": 70}, "n_steps is 70, expected a multiple of steps_per_epoch, 50"),
        ({"side_px": 0}, "side_px is 0, expected at least 1"),
        ({"noise_luma": -1.0}, "noise_luma is -1.0, expected at least 0"),
        ({"hidden": [10, 0]}, "hidden is .10, 0., expected at least 1 unit"),
        ({"frame_rate": "often"}, "frame_rate is 'often', expected as 30 or 30000/1001"),
        ({"frame_rate": "9000"}, "frame_rate is 9000, expected above 0 and at most sample_rate, 8000"),
        ({"spectral_weight": -1.0}, "spectral_weight is -1.0, expected at least 0"),
        ({"playback_rate": 0.0}, "playback_rate is 0.0, expected above 0"),
        ({"cameras": "("}, "regular expression"),
    ],
)
def test_values_that_make_no_sense_are_named(films, tmp_path, change, message, params):
    with pytest.raises(ParamsError, match=message):
        BitmapMlpFamily().fit(
            ViewSet(films),
            tmp_path,
            params=params.model_copy(update=change),
            resume=tmp_path / "resume",
            accelerator="cpu",
        )


def test_cameras_that_no_take_has_are_named(films, tmp_path, params):
    params = params.model_copy(update={"cameras": "cam_side"})
    with pytest.raises(DamagedData, match="no take for train has a camera whose name matches 'cam_side'"):
        BitmapMlpFamily().fit(ViewSet(films), tmp_path, params=params, resume=tmp_path / "resume", accelerator="cpu")


def test_a_camera_without_sound_in_its_time_is_told(tmp_path, params):
    facts = write_capture(tmp_path, "a", lamps([0, 1]), [9.0, 9.5], np.zeros(RATE, np.float32))
    write_index(tmp_path, {"a": {"piece": "a", "part": "train", **facts}})
    with pytest.raises(DamagedData, match="no camera for train has pictures while there is sound"):
        gather(ViewSet(tmp_path), "train", PcmDecoder(params).cut, params, n_frames=100)


def test_what_is_damaged_is_named(trained, tmp_path):
    with pytest.raises(DamagedData, match="train the family first"):
        performed_sound(tmp_path, film(lamps([1])))
    for name in ("bitmap_mlp.safetensors", "bitmap_mlp.json"):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    (tmp_path / "bitmap_mlp.json").write_text('{"gain_db": 0.0}')
    with pytest.raises(DamagedData, match="is not what training writes"):
        performed_sound(tmp_path, film(lamps([1])))


def test_no_more_frames_are_kept_than_the_parameter_says(films, params):
    params = params.model_copy(update={"n_frames": 100})
    pairs, spans = gather(ViewSet(films), "train", PcmDecoder(params).cut, params, n_frames=params.n_frames)
    assert len(pairs) == 100
    assert [span.stop - span.start for span in spans] == [100]
    assert len(pairs.bitmaps) <= 102
    np.testing.assert_array_equal(np.diff(pairs.first), RATE // 25)


def test_cuts_begin_where_their_frames_do():
    cut = Cut(sample_rate=22_050, frame_rate=Fraction(30), length=735, lead=Fraction(0), unsigned=True)
    np.testing.assert_array_equal(cut.first_samples(4), [0, 735, 1470, 2205])
