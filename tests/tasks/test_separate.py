"""Mixes separated by hand, by a family whose results are known beforehand."""

import json
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import yaml

from flows.presets import preset_text
from tasks.clock.envelopes import EnvelopeParams
from tasks.clock.sound import ClockParams
from tasks.errors import DamagedData, ParamsError
from tasks.families.separation import Separation, SeparationFamily
from tasks.families.trained import save_trained
from tasks.features.players import PlayersNotFound
from tasks.features.resample import resample
from tasks.media.encode import encode_film
from tasks.media.probe import MediaPolicy
from tasks.media.process import MediaError
from tasks.metrics.separation import si_sdr_db
from tasks.params import Section
from tasks.separate import PARTIALS, Method, SeparateError, SeparateParams, method_for, players_named, separate_file
from tasks.store.arrays import write_arrays
from tasks.store.segments import segment_rows, write_segments
from tasks.synchronize import SynchronizeParams

RATE = 8000
PARTIALS_PARAMS = yaml.safe_load(preset_text("demo"))["separate"]["partials"]
PARAMS = SeparateParams(
    family="toy",
    partials=PARTIALS_PARAMS,
    media=MediaPolicy(max_pixels=10**6, max_duration_s=60.0, max_bytes=10**8, max_streams=8, max_file_bytes=10**8),
)
CLOCK = SynchronizeParams(
    sample_rate=16_000,
    clock=ClockParams(max_drift_ppm=1500, min_overlap_s=5.0, min_margin=1.25, min_peak=7.0, min_agreement=0.5),
    onsets=EnvelopeParams(max_drift_ppm=200, min_overlap_s=8.0, min_margin=1.3, min_peak=6.0, min_agreement=0.5),
    media=PARAMS.media,
)


class Toy(SeparationFamily[Section]):
    """Returns the mix for each player, as loud as their video is bright, or as a system without video has it."""

    params_class = Section
    systems = ("video", "silent", "blind", "bound")
    roles: ClassVar = {"silent": "idle", "bound": "bound"}
    uses_video = frozenset({"video"})
    unordered = frozenset({"blind"})

    def fit(self, data, out, *, params, resume, accelerator): ...

    def shortest_s(self, trained, system):
        return 0.5

    def separate(self, trained, mixtures, *, systems, accelerator, truth):
        for take, mixture in mixtures.items():
            mix = np.tile(mixture.audio, (len(mixture.instruments), 1, 1))
            if "video" in systems:
                assert mixture.motion.shape[:2] == mixture.pictures.shape[:2]
                gains = mixture.pictures.mean(axis=(1, 2, 3)) / 255
                yield self.made("video", take, mix * gains[:, None, None].astype(np.float32))
            for system, gain in (("silent", 0), ("blind", 2)):
                if system in systems:
                    yield self.made(system, take, mix * gain)

    def made(self, system, take, stems):
        return Separation(system=system, take=take, stems=stems, sample_rate=RATE)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.separate.load_family", lambda name: Toy())
    folder = tmp_path / "trained"
    folder.mkdir()
    for system in Toy.systems:
        save_trained(folder / system, {}, {"sample_rate": RATE, "n_channels": 1})
    return folder


@pytest.fixture
def sound(tmp_path):
    """Return a function that writes a tone of 440 Hz."""

    def write(name="mix.wav", *, seconds=2.0, rate=RATE, channels=1, amplitude=0.4):
        tone = amplitude * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
        soundfile.write(tmp_path / name, np.stack([tone] * channels, axis=1), rate, subtype="PCM_16")
        return tmp_path / name

    return write


@pytest.fixture
def film(tmp_path):
    """Return a function that writes a film of one luma."""

    def write(name, luma, *, seconds=2.0):
        pictures = np.full((round(25 * seconds), 64, 64), luma, np.uint8)
        encode_film(tmp_path / name, pictures, frame_rate=Fraction(25))
        return tmp_path / name

    return write


def separate(mix, trained, **options):
    steps = []
    known = {
        "method": Method(family="toy", why="as requested"),
        "data": trained.parent / "none",
        "params": PARAMS,
        "clock": CLOCK,
    }
    known["accelerator"] = "cpu"
    known["system"] = None if "videos" in options or "take" in options else "blind"
    done = separate_file(mix, trained.parent / "out", trained=trained, progress=steps.append, **known | options)
    assert steps
    return done


def test_each_player_gets_a_file_as_long_as_the_mix(trained, sound):
    done = separate(sound(), trained, players=("vn", "violoncello"), suffix="wav")
    assert [(stem.player, stem.instrument, stem.path.name) for stem in done.stems] == [
        (1, "vn", "stem_1_vn.wav"),
        (2, "vc", "stem_2_vc.wav"),
    ]
    assert (done.system, done.duration_s, done.sample_rate, done.gain_db) == ("blind", 2.0, RATE, 0.0)
    written, rate = soundfile.read(done.stems[1].path)
    assert (len(written), rate) == (2 * RATE, RATE)
    assert np.abs(written).max() == pytest.approx(0.8, abs=1e-3)
    assert any("in no order" in words for words in done.remarks)


def test_videos_of_each_player_are_used_in_the_players_order(trained, sound, film):
    done = separate(sound(), trained, players=("vn", "vn"), videos=[film("a.mp4", 200), film("b.mp4", 50)])
    assert done.system == "video"
    peaks = [np.abs(soundfile.read(stem.path)[0]).max() for stem in done.stems]
    assert peaks[0] / peaks[1] == pytest.approx(4, rel=0.1)
    assert done.remarks == ()


def test_what_does_not_assign_its_sounds_to_players_is_no_default(trained, sound):
    with pytest.raises(SeparateError, match="toy needs videos of the players: add --video or --take"):
        separate(sound(), trained, players=("vn",), system=None)


@pytest.mark.parametrize(
    ("given", "family", "why"),
    [
        ({"has_video": False}, PARTIALS, "the instruments alone are known"),
        ({"has_video": True}, "toy", "there are videos"),
        ({"has_video": False, "family": "other"}, "other", "as requested"),
        ({"has_video": False, "system": "blind"}, "toy", "as requested"),
        ({"has_video": True, "family": PARTIALS}, PARTIALS, "as requested"),
    ],
)
def test_the_method_is_the_best_that_what_is_given_allows(trained, given, family, why):
    method = method_for(**{"family": None, "system": None, "default": "toy", "trained": trained} | given)
    assert method.family == family
    assert why in method.why


def test_an_untrained_family_leaves_a_mix_with_videos_to_partials_and_says_so(tmp_path):
    method = method_for(family=None, system=None, default="toy", trained=tmp_path / "none", has_video=True)
    assert method == Method(family=PARTIALS, why="toy is not trained here, so that no video is used")


BY_PARTIALS = {"method": Method(family=PARTIALS, why="the instruments alone are known"), "system": None}


@pytest.fixture
def duet(tmp_path):
    """Write a mix of a high and a low player; return its path and their sounds (2, n)."""
    rate = 16_000
    time_s = np.arange(6 * rate) / rate
    sounds = []
    for pitches, falloff in (((79, 81, 83, 81), 1.2), ((48, 43, 45, 48), 0.9)):
        f0 = np.repeat(440 * 2 ** ((np.array(pitches) - 69) / 12), len(time_s) // 4)
        phase = 2 * np.pi * np.cumsum(f0) / rate
        partials = [h**-falloff * np.sin(h * phase) * (h * f0 < rate / 2) for h in range(1, 20)]
        sounds.append(0.1 * np.sum(partials, axis=0))
    stems = np.array(sounds, np.float32)
    soundfile.write(tmp_path / "duet.wav", stems.sum(axis=0), rate, subtype="FLOAT")
    return tmp_path / "duet.wav", stems


def test_two_instruments_are_separated_by_what_comes_with_the_program_alone(trained, duet):
    path, stems = duet
    done = separate(path, trained, players=("vn", "vc"), suffix="wav", **BY_PARTIALS)
    assert (done.system, done.sample_rate, done.channels) == (PARTIALS, 16_000, 1)
    found = [soundfile.read(stem.path)[0] for stem in done.stems]
    for true, sound_of in zip(stems, found, strict=True):
        gain_db = si_sdr_db(true, sound_of) - si_sdr_db(true, stems.sum(axis=0))
        assert gain_db > 8
    assert all(0.5 < stem.sureness <= 1 for stem in done.stems)
    np.testing.assert_allclose(np.sum(found, axis=0), stems.sum(axis=0), atol=2e-3)


def test_channels_and_rate_of_a_mix_are_kept_by_partials(trained, duet):
    path, stems = duet
    mix = resample(stems.sum(axis=0), 16_000, 44_100)[: 2 * 44_100]
    soundfile.write(path, np.stack([mix, 0.5 * mix], axis=1), 44_100)
    done = separate(path, trained, players=("vc", "vn"), suffix="wav", **BY_PARTIALS)
    assert (done.sample_rate, done.channels, done.duration_s) == (44_100, 2, 2.0)
    left, right = soundfile.read(done.stems[0].path)[0].T
    np.testing.assert_allclose(right, 0.5 * left, atol=1e-3)


def test_two_players_of_one_instrument_get_equal_shares_and_it_is_said(trained, duet):
    path, stems = duet
    done = separate(path, trained, players=("vn", "vn"), suffix="wav", **BY_PARTIALS)
    found = [soundfile.read(stem.path)[0] for stem in done.stems]
    np.testing.assert_allclose(found[0], stems.sum(axis=0) / 2, atol=1e-3)
    np.testing.assert_array_equal(found[0], found[1])
    assert [stem.sureness for stem in done.stems] == [0.0, 0.0]
    assert any("2 players of violin cannot be told apart" in words for words in done.remarks)


def test_a_player_who_is_named_and_does_not_play_is_told(trained, duet, tmp_path):
    _, stems = duet
    soundfile.write(tmp_path / "solo.wav", stems[1], 16_000)
    done = separate(tmp_path / "solo.wav", trained, players=("vn", "vc"), **BY_PARTIALS)
    assert any("player 1 (vn) is hardly heard" in words for words in done.remarks)


def test_noise_is_told_to_be_no_players(trained, tmp_path):
    noise = 0.2 * np.random.default_rng(2).standard_normal(32_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    done = separate(tmp_path / "noise.wav", trained, players=("vn", "vc"), **BY_PARTIALS)
    assert any("of the mix's energy: others may play, or noise" in words for words in done.remarks)


def test_one_player_is_the_mix(trained, duet):
    path, stems = duet
    done = separate(path, trained, players=("vc",), suffix="wav", **BY_PARTIALS)
    np.testing.assert_allclose(soundfile.read(done.stems[0].path)[0], stems.sum(axis=0), atol=1e-3)
    assert "one player was named: the sound is the mix" in done.remarks


@pytest.mark.parametrize(
    ("about", "kind", "words"),
    [
        ({"amplitude": 0.0}, "SILENT", "silent throughout"),
        ({"seconds": 0.3}, "TOO_SHORT", r"lasts 0\.300 s, expected at least 0\.5 s"),
        ({"rate": 4000}, "LOW_RATE", "has 4000 samples a second, expected at least 8000"),
    ],
)
def test_a_mix_that_partials_cannot_use_is_refused_in_one_line(trained, sound, about, kind, words):
    with pytest.raises(SeparateError, match=words) as caught:
        separate(sound(**about), trained, players=("vn", "vc"), **BY_PARTIALS)
    assert caught.value.kind == kind


def test_a_system_of_partials_is_refused(trained, sound):
    with pytest.raises(ParamsError, match="partials has no system 'blind'"):
        separate(sound(), trained, players=("vn", "vc"), **BY_PARTIALS | {"system": "blind"})


def test_a_damaged_table_is_one_line(trained, sound, tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.pretrained.FOLDER", tmp_path)
    (tmp_path / "partials.safetensors").write_bytes(b"other")
    with pytest.raises(
        DamagedData, match=r"partials\.safetensors has sha256 .* damaged, or of another version"
    ) as caught:
        separate(sound(), trained, players=("vn", "vc"), **BY_PARTIALS)
    assert "\n" not in str(caught.value)


def test_a_system_can_be_requested(trained, sound, film):
    done = separate(sound(), trained, players=("vn",), videos=[film("a.mp4", 200)], system="silent")
    assert done.stems[0].level_dbfs == -120.0


def test_a_mix_at_a_higher_rate_and_of_two_channels_is_changed_with_a_remark(trained, sound):
    done = separate(sound(rate=44100, channels=2), trained, players=("vn",))
    assert (done.sample_rate, done.channels) == (RATE, 1)
    assert abs(done.duration_s - 2.0) < 1e-3
    assert any("44100 to 8000 Hz" in words for words in done.remarks)
    assert any("2 channels are averaged" in words for words in done.remarks)


def test_a_mix_whose_channels_cancel_is_that_of_one_of_them_with_a_remark(trained, sound):
    path = sound(channels=2)
    audio, rate = soundfile.read(path)
    audio[:, 1] = -audio[:, 0]
    soundfile.write(path, audio, rate)
    done = separate(path, trained, players=("vn", "vc"))
    assert "of the mix channels 1 and 2 cancel each other: channel 1 is used" in done.remarks
    plain = separate(sound(), trained, players=("vn", "vc"))
    assert done.stems[0].level_dbfs == plain.stems[0].level_dbfs


def test_a_mix_whose_recorder_lost_power_is_read_as_far_as_it_goes_with_a_remark(trained, sound):
    path = sound()
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    done = separate(path, trained, players=("vn",))
    assert done.duration_s == 2.0
    assert any("its header was never finished" in words for words in done.remarks)


def test_sounds_beyond_full_scale_are_lowered_together_with_a_remark(trained, sound):
    done = separate(sound(amplitude=0.8), trained, players=("vn", "vc"))
    assert done.gain_db == pytest.approx(20 * np.log10(0.999 / 1.6), abs=0.01)
    assert any("lowered by" in words for words in done.remarks)


def test_a_video_that_ends_early_is_remarked_upon(trained, sound, film):
    done = separate(sound(), trained, players=("vn",), videos=[film("a.mp4", 200, seconds=1.0)])
    assert any("a.mp4 ends 1.0 s before the mix" in words for words in done.remarks)


def test_a_video_with_the_mixs_sound_is_synchronized_by_it(trained, tmp_path):
    rng, seconds, late_s = np.random.default_rng(5), 16, 2
    loudness = np.repeat(rng.uniform(0, 0.5, 4 * seconds) ** 2, 16_000 // 4)
    mix = (loudness * rng.standard_normal(16_000 * seconds)).clip(-1, 1).astype(np.float32)
    soundfile.write(tmp_path / "mix.wav", mix, 16_000)
    pictures = np.full((25 * (seconds - late_s), 64, 64), 40, np.uint8)
    pictures[25 * (8 - late_s) :] = 200  # from 8 s of the mix on
    for name, written in (("a.mp4", mix[16_000 * late_s :]), ("b.mp4", rng.uniform(-0.3, 0.3, 16_000 * 14))):
        encode_film(
            tmp_path / name, pictures, frame_rate=Fraction(25), audio=written.astype(np.float32), sample_rate=16_000
        )
    done = separate(tmp_path / "mix.wav", trained, players=("vn",), videos=[tmp_path / "a.mp4"])
    gain_db = done.stems[0].level_dbfs - 20 * np.log10(np.sqrt(np.mean(resample(mix, 16_000, RATE) ** 2)))
    assert gain_db == pytest.approx(20 * np.log10((40 + 200) / 2 / 255), abs=0.15)
    assert any("a.mp4 begins 2.0 s after the mix" in words for words in done.remarks)
    done = separate(tmp_path / "mix.wav", trained, players=("vn",), videos=[tmp_path / "b.mp4"])
    assert any("b.mp4 is assumed to begin with the mix" in words for words in done.remarks)


def test_the_take_file_beside_the_mix_lists_the_players(trained, sound, tmp_path):
    players = [{"instrument": "fl", "stem": "stem_1_fl"}, {"instrument": "bn", "stem": "stem_2_bn"}]
    (tmp_path / "take.yaml").write_text(json.dumps({"players": players}))
    assert [stem.instrument for stem in separate(sound(), trained).stems] == ["fl", "bn"]


@pytest.fixture
def stored(tmp_path):
    """Store a take of the data set of 2 s, whose first player is shown bright."""
    folder = tmp_path / "ensembles"
    arrays = {"mix": np.ones((1, 2 * RATE), np.int16)}
    for number, luma in ((1, 240), (2, 60)):
        arrays[f"stem_{number}"] = np.ones((1, 2 * RATE), np.int16)
        arrays[f"motion_{number}"] = np.zeros((50, 3), np.float32)
        arrays[f"pictures_{number}"] = np.full((50, 48, 48), luma, np.uint8)
    attributes = {"instruments": ["vn", "vn"], "frame_rate": "25", "duration_s": 2.0}
    attributes |= {"stem_rate": RATE, "n_channels": 1, "n_frames": 50, "n_motion": 3}
    write_arrays(folder / "t/arrays.zarr", arrays, chunk_lengths=dict.fromkeys(arrays, 64), attributes=attributes)
    (folder / "takes.json").write_text(
        json.dumps({"t": {"piece": "t", "part": "test", "digest": "t", "duration_s": 2.0}})
    )
    write_segments(folder / "segments.parquet", segment_rows("t", "t", "test", "t", 2 * RATE, length=RATE, hop=RATE))
    return folder


def test_a_take_of_the_data_set_has_its_players_and_videos(trained, sound, stored):
    done = separate(sound(), trained, take="t", data=stored)
    assert (done.system, [stem.instrument for stem in done.stems]) == ("video", ["vn", "vn"])
    assert done.stems[0].level_dbfs - done.stems[1].level_dbfs == pytest.approx(20 * np.log10(4), abs=0.1)


def test_a_mix_that_is_not_the_takes_is_refused(trained, sound, stored):
    with pytest.raises(SeparateError, match=r"lasts 3\.000 s, take t 2\.000 s"):
        separate(sound(seconds=3.0), trained, take="t", data=stored)


@pytest.mark.parametrize(
    ("about", "options", "error", "words"),
    [
        ({}, {"players": ("vn", "kazoo")}, SeparateError, "'kazoo' is unknown, expected one of bn"),
        ({}, {"players": ()}, SeparateError, "players is empty"),
        ({}, {}, SeparateError, "its players are not known"),
        ({"seconds": 0.25}, {"players": ("vn",)}, SeparateError, r"lasts 0\.250 s, expected at least 0\.500 s"),
        ({"rate": 4000}, {"players": ("vn",)}, SeparateError, "has 4000 samples a second, expected at least 8000"),
        ({"amplitude": 0.0}, {"players": ("vn",)}, SeparateError, "silent throughout"),
        ({}, {"players": ("vn",), "system": "video"}, SeparateError, "video needs videos of the players"),
        ({}, {"players": ("vn",), "system": "bound"}, ParamsError, "no system 'bound' to use here"),
        ({}, {"players": ("vn",), "take": "t"}, SeparateError, "take t has players and videos of its own"),
        ({}, {"players": ("vn",), "suffix": "mp3"}, ParamsError, "'mp3' is unknown, expected one of flac, wav"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(trained, sound, tmp_path, about, options, error, words):
    with pytest.raises(error, match=words) as caught:
        separate(sound(**about), trained, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_mono_mix_is_refused_by_a_system_of_two_channels(trained, sound):
    save_trained(trained / "blind", {}, {"sample_rate": RATE, "n_channels": 2})
    with pytest.raises(SeparateError, match="has 1 channel, expected at least 2"):
        separate(sound(), trained, players=("vn",))


def test_two_videos_of_three_players_are_refused(trained, sound, film):
    with pytest.raises(SeparateError, match="2 videos of 3 players"):
        separate(sound(), trained, players=("vn", "vn", "vc"), videos=[film("a.mp4", 9), film("b.mp4", 9)])


def test_fewer_players_in_the_video_than_named_are_refused(trained, sound, film):
    with pytest.raises(PlayersNotFound, match="0 players detected, 2 requested"):
        separate(sound(), trained, players=("vn", "vn"), videos=[film("empty.mp4", 90)])


def test_a_video_without_pictures_and_a_mix_without_sound_are_refused(trained, sound, film):
    with pytest.raises(MediaError, match="no video stream"):
        separate(sound(), trained, players=("vn",), videos=[sound("other.wav")])
    with pytest.raises(MediaError, match="no audio stream"):
        separate(film("silent.mp4", 9), trained, players=("vn",))


def test_an_untrained_family_is_refused(trained, sound):
    for path in trained.iterdir():
        path.unlink()
    with pytest.raises(DamagedData, match="train the family first"):
        separate(sound(), trained, players=("vn",))


def test_names_and_codes_are_the_same_players():
    assert players_named("violin, cl,Horn") == ("vn", "cl", "hn")
    with pytest.raises(SeparateError, match="''"):
        players_named("vn,,vc")


def test_a_family_that_does_not_separate_is_refused(sound, tmp_path):
    with pytest.raises(ParamsError, match="piano_roll gives a video its sound"):
        separate_file(
            sound(),
            tmp_path / "out",
            method=Method(family="piano_roll", why="as requested"),
            trained=tmp_path,
            data=tmp_path,
            params=PARAMS,
            clock=CLOCK,
            accelerator="cpu",
            progress=print,
        )
