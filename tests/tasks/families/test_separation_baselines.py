import json
from fractions import Fraction

import numpy as np
import pytest

import tasks.families.separation_baselines
from tasks.errors import DamagedData, ParamsError
from tasks.families.separation import Mixture, mixture_of
from tasks.families.separation_baselines import SeparationBaselines, SeparationBaselinesParams, share_mix
from tasks.metrics.separation import si_sdr_db
from tasks.store.arrays import write_arrays
from tasks.store.ensembles import EnsembleSet
from tasks.store.segments import segment_rows, write_segments

RATE = 2000
PARAMS = SeparationBaselinesParams(window_s=0.1, n_spectra=4, n_frames=100, n_iterations=60, mask_power=2.0, seed=0)
PARTIALS = {"vn": (1, 2, 3, 4), "fl": (1,), "vc": (1, 3, 5)}


def play(code, pitches_hz, n=2 * RATE):
    """Notes one after another, each instrument with partials of its own."""
    time_s = np.arange(n) / RATE
    sound = np.zeros(n)
    for place, hz in enumerate(pitches_hz):
        span = slice(place * n // len(pitches_hz), (place + 1) * n // len(pitches_hz))
        for partial in PARTIALS[code]:
            sound[span] += np.sin(2 * np.pi * hz * partial * time_s[span]) / partial
    return 0.15 * sound


def store(folder, takes):
    """Store ensembles of 2 s: (name, part, ((code, pitches), ...))."""
    index, segments = {}, []
    for name, part, players in takes:
        stems = [np.rint(32768 * play(code, pitches)).astype(np.int16)[None] for code, pitches in players]
        arrays = {f"stem_{number}": stem for number, stem in enumerate(stems, 1)} | {"mix": sum(stems)}
        for number in range(1, len(stems) + 1):
            arrays[f"motion_{number}"] = np.full((50, 3), number, np.float32)
            arrays[f"pictures_{number}"] = np.full((50, 48, 48), number, np.uint8)
        attributes = {"instruments": [code for code, _ in players], "frame_rate": "25", "duration_s": 2.0}
        attributes |= {"stem_rate": RATE, "n_channels": 1, "n_frames": 50, "n_motion": 3}
        chunk_lengths = dict.fromkeys(arrays, 64)
        write_arrays(folder / name / "arrays.zarr", arrays, chunk_lengths=chunk_lengths, attributes=attributes)
        index[name] = {"piece": name, "part": part, "digest": name, "duration_s": 2.0}
        segments += segment_rows(name, name, part, name, 2 * RATE, length=RATE, hop=RATE)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return EnsembleSet(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return store(
        tmp_path_factory.mktemp("ensembles"),
        [
            ("learn", "train", (("vn", (200, 220, 250, 200)), ("fl", (500, 550, 600, 620)))),
            ("unlike", "test", (("vn", (220, 200, 250, 220)), ("fl", (550, 500, 620, 600)))),
            ("alike", "test", (("vn", (200, 200)), ("vn", (220, 250)))),
            ("foreign", "test", (("vc", (110, 120)), ("fl", (500, 600)))),
        ],
    )


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained")
    SeparationBaselines().fit(data, out, params=PARAMS, resume=out / "resume", accelerator="cpu")
    return out


def separate(trained, data, take):
    found = SeparationBaselines().separate(
        trained,
        {take: mixture_of(data, take)},
        systems=SeparationBaselines.systems,
        accelerator="cpu",
        truth={take: data.stems(take)},
    )
    return {one.system: one.stems for one in found}


def quality(data, take, stems):
    return [si_sdr_db(true, found) for true, found in zip(data.stems(take), stems, strict=True)]


def test_every_system_returns_a_sound_as_long_as_the_mix_for_each_player(trained, data):
    found = separate(trained, data, "unlike")
    assert tuple(found) == SeparationBaselines.systems
    assert {stems.shape for stems in found.values()} == {(2, 1, 2 * RATE)}
    assert {stems.dtype for stems in found.values()} == {np.dtype(np.float32)}


def test_mix_is_the_mix_and_silent_is_nothing(trained, data):
    found = separate(trained, data, "unlike")
    assert (found["mix"] == data.mix("unlike")).all()
    assert not found["silent"].any()


def test_masks_add_up_to_the_mix(trained, data):
    found = separate(trained, data, "unlike")
    for system in ("nmf_dictionary", "ideal_ratio_mask"):
        np.testing.assert_allclose(found[system].sum(axis=0), data.mix("unlike"), atol=1e-5)


def test_the_dictionaries_beat_the_mix_by_far_and_the_ideal_mask_beats_them(trained, data):
    found = separate(trained, data, "unlike")
    of_mix, learned, ideal = (
        np.mean(quality(data, "unlike", found[name])) for name in ("mix", "nmf_dictionary", "ideal_ratio_mask")
    )
    assert learned > of_mix + 10
    assert ideal > learned
    assert ideal > 15


def test_dictionaries_cannot_separate_two_players_of_one_instrument(trained, data):
    found = separate(trained, data, "alike")["nmf_dictionary"]
    np.testing.assert_allclose(found[0], found[1])
    np.testing.assert_allclose(found[0], data.mix("alike") / 2, atol=1e-5)


def test_an_instrument_without_training_stems_gets_the_spectra_of_all(trained, data):
    found = separate(trained, data, "foreign")["nmf_dictionary"]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=0), data.mix("foreign"), atol=1e-5)


def test_the_upper_bound_is_left_out_without_the_truth(trained, data):
    mixtures = {"unlike": mixture_of(data, "unlike")}
    systems = SeparationBaselines.systems
    found = SeparationBaselines().separate(trained, mixtures, systems=systems, accelerator="cpu", truth=None)
    assert [one.system for one in found] == ["mix", "silent", "nmf_dictionary"]


def test_fitting_twice_gives_the_same_bytes_and_opens_no_test_take(trained, data, tmp_path, monkeypatch):
    def watch(self, take):
        opened.add(take)
        return stems(self, take)

    opened, stems = set(), EnsembleSet.stems
    monkeypatch.setattr(EnsembleSet, "stems", watch)
    (tmp_path / "again").mkdir()
    SeparationBaselines().fit(data, tmp_path / "again", params=PARAMS, resume=tmp_path / "r", accelerator="cpu")
    for path in sorted(trained.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name
    assert opened == {"learn"}


def test_a_silent_mix_stays_silent(trained):
    silence = Mixture(
        audio=np.zeros((1, RATE), np.float32),
        sample_rate=RATE,
        instruments=("vn", "fl"),
        motion=None,
        pictures=None,
        rolls=None,
        frame_rate=Fraction(25),
    )
    truth = {"still": np.zeros((2, 1, RATE), np.float32)}
    found = SeparationBaselines().separate(
        trained, {"still": silence}, systems=SeparationBaselines.systems, accelerator="cpu", truth=truth
    )
    assert {one.system: one.stems.any() for one in found} == dict.fromkeys(SeparationBaselines.systems, False)


def test_equal_shares_where_no_source_has_anything():
    mix = np.ones((1, 3, 2), np.complex64)
    shares = share_mix(mix, np.zeros((4, 1, 3, 2)), power=2.0)
    np.testing.assert_allclose(shares, 0.25)


def test_silent_training_stems_are_refused(tmp_path):
    silent = store(tmp_path, [("quiet", "train", (("vn", (0,)), ("fl", (0,)))), ("t", "test", (("vn", (200,)),))])
    with pytest.raises(ParamsError, match="silent"):
        SeparationBaselines().fit(silent, tmp_path, params=PARAMS, resume=tmp_path / "r", accelerator="cpu")


def test_a_mix_at_another_rate_is_refused(trained, data):
    mixture = mixture_of(data, "unlike")
    other = Mixture(**{**vars(mixture), "sample_rate": 8000})
    with pytest.raises(DamagedData, match="8000 Hz, expected 2000 Hz"):
        list(SeparationBaselines().separate(trained, {"x": other}, systems=("mix",), accelerator="cpu", truth=None))


def test_weights_without_a_dictionary_are_refused(trained, data, tmp_path):
    for path in trained.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "nmf_dictionary.safetensors").write_bytes((trained / "mix.safetensors").read_bytes())
    with pytest.raises(DamagedData, match="dictionaries"):
        separate(tmp_path, data, "unlike")


def test_a_long_mix_is_separated_without_seams(trained, data, monkeypatch):
    whole = separate(trained, data, "unlike")
    monkeypatch.setattr(tasks.families.separation_baselines, "SPAN_FRAMES", 4)  # of 256 samples: four spans
    parts = separate(trained, data, "unlike")
    for system in ("nmf_dictionary", "ideal_ratio_mask"):
        np.testing.assert_allclose(parts[system], whole[system], atol=2e-4)
        steps = np.abs(np.diff(parts[system] - whole[system], axis=2))
        assert steps.max() < 2e-4
