"""The Wave-U-Net's family: what it is told, how its training mixes are made, and mixes taken apart without seams."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from models.player_reader import PlayerReader, PlayerReaderConfig
from models.wave_unet import WaveUnet
from tasks.errors import BadInput, DamagedData, ParamsError
from tasks.families import load_family
from tasks.families.separation import Mixture, mixture_of
from tasks.families.wave_unet import (
    BLIND,
    SYSTEM,
    Bank,
    Separator,
    WaveUnetParams,
    best_order,
    config_of,
    learn_note_spectra,
    level_of,
    loudest,
    n_told,
    on_grid,
    overwritten_slots,
    presence,
    segment_samples,
    separate_whole,
    separation_loss,
    told_of,
)
from tasks.instruments.orchestra import ORCHESTRA, SLOTS
from tasks.store.arrays import write_arrays
from tasks.store.ensembles import EnsembleSet, slots
from tasks.store.segments import segment_rows, write_segments

RATE, DURATION_S, N_MOTION = 2000, 4.0, 3

PARAMS = WaveUnetParams(
    fidelity="corrected",
    told_by=("labels", "motion"),
    conditioning="film",
    place="every",
    max_players=2,
    n_layers=5,
    n_filters=4,
    down_kernel=5,
    up_kernel=5,
    upsampling="linear",
    with_context=False,
    n_fft=128,
    spectrum_hop=32,
    n_spectral=16,
    n_iterations=10,
    n_read=8,
    condition_hop=32,
    segment_s=0.5,
    same_take=0.5,
    same_instrument=0.2,
    empty=0.1,
    gain_db=3.0,
    n_steps=60,
    steps_per_epoch=30,
    batch_size=4,
    learning_rate=5e-3,
    clip_norm=1.0,
    precision="32-true",
    held_s=1000.0,
    n_validation_mixes=4,
    reader_filters=4,
    reader_hidden=8,
    reader_steps=30,
    reader_batch_size=4,
    output_s=1.0,
    n_threads=1,
    seed=0,
)
TONES_HZ = {"vn": 700.0, "vc": 180.0}


def store(folder: Path, takes: dict[str, tuple[str, tuple[str, ...]]]) -> Path:
    """Store takes of tones that come and go: name to part and instruments. Motion is where a player sounds."""
    index, segments = {}, []
    n, n_frames = round(RATE * DURATION_S), round(25 * DURATION_S)
    for seed, (name, (part, instruments)) in enumerate(takes.items()):
        rng = np.random.default_rng(seed)
        arrays, mix = {}, np.zeros((1, n))
        for number, code in enumerate(instruments, 1):
            sounds = np.repeat(rng.random(8) < 0.7, n_frames // 8 + 1)[:n_frames]
            envelope = np.repeat(sounds, n // n_frames)[:n]
            stem = 0.2 * envelope * np.sin(2 * np.pi * TONES_HZ[code] * np.arange(n) / RATE + seed)
            arrays[f"stem_{number}"] = np.rint(stem[None] * 32767).astype(np.int16)
            arrays[f"motion_{number}"] = np.stack([sounds, 1 - sounds, np.zeros(n_frames)], axis=1).astype(np.float32)
            played = np.flatnonzero(sounds)
            arrays[f"notes_{number}"] = np.array([[t / 25, (t + 1) / 25, 60 + 7 * number, 90] for t in played])
            face = np.zeros((48, 48), np.uint8)
            face[:, 8:16] = 200 if code == "vn" else 0
            face[8:16] = 200 if code == "vc" else face[8:16]
            arrays[f"pictures_{number}"] = np.repeat(face[None], n_frames, axis=0)
            mix += stem
        arrays["mix"] = np.rint(mix * 32767).astype(np.int16)
        write_arrays(
            folder / name / "arrays.zarr",
            arrays,
            chunk_lengths=dict.fromkeys(arrays, 1 << 14),
            attributes={
                "instruments": list(instruments),
                "frame_rate": "25",
                "duration_s": DURATION_S,
                "stem_rate": RATE,
                "n_channels": 1,
                "n_frames": n_frames,
                "n_motion": N_MOTION,
            },
        )
        index[name] = {"piece": name, "part": part, "digest": name, "duration_s": DURATION_S}
        segments += segment_rows(name, name, part, name, n, length=RATE, hop=RATE)
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segments)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pair = ("vn", "vc")
    takes = {"a": ("train", pair), "b": ("train", pair), "c": ("validation", pair), "d": ("test", pair)}
    return store(tmp_path_factory.mktemp("ensembles"), takes)


@pytest.fixture(scope="module")
def data(folder):
    return EnsembleSet(folder)


def params_of(**changes) -> WaveUnetParams:
    return WaveUnetParams.model_validate(PARAMS.model_dump() | changes)


def fit(folder: Path, out: Path, params: WaveUnetParams) -> Path:
    load_family("wave_unet").fit(
        EnsembleSet(folder), out, params=params, resume=out.parent / "resume", accelerator="cpu"
    )
    return out


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("trained") / "wave_unet"
    return fit(folder, out, params_of(told_by=("classifier", "notes_seen", "motion"), reader_steps=90))


def network_of(params: WaveUnetParams = PARAMS, system: str = SYSTEM) -> WaveUnet:
    torch.manual_seed(0)
    return WaveUnet(config_of(params, system, n_channels=1, n_motion=N_MOTION)).eval()


def sdr_db(truth, found):
    return 10 * np.log10(np.sum(truth**2) / np.sum((truth - found) ** 2))


# Trained, and heard


def test_two_tones_are_taken_apart_after_a_minute_of_training(trained, data):
    mixture, truth = mixture_of(data, "d"), data.stems("d")
    separated = load_family("wave_unet").separate(trained, {"d": mixture}, accelerator="cpu", truth=None)
    sounds = {one.system: one.stems for one in separated}
    assert set(sounds) == {SYSTEM, BLIND}
    for player in range(2):
        before, after = sdr_db(truth[player], mixture.audio), sdr_db(truth[player], sounds[SYSTEM][player])
        assert after > before + 5
    np.testing.assert_allclose(sounds[SYSTEM].sum(axis=0), mixture.audio, atol=1e-4)


def test_players_who_change_places_change_sounds(trained, data):
    mixture = mixture_of(data, "d")
    swapped = replace(
        mixture,
        instruments=mixture.instruments[::-1],
        motion=mixture.motion[::-1].copy(),
        pictures=mixture.pictures[::-1].copy(),
    )
    separator = Separator.load(trained, SYSTEM, torch.device("cpu"))
    np.testing.assert_allclose(separator(mixture)[::-1], separator(swapped), atol=1e-5)


def test_the_same_data_gives_the_same_weights(folder, tmp_path):
    params = params_of(n_steps=4, steps_per_epoch=2, told_by=("labels",))
    first, second = fit(folder, tmp_path / "1" / "w", params), fit(folder, tmp_path / "2" / "w", params)
    for system in (SYSTEM, BLIND):
        assert (first / f"{system}.safetensors").read_bytes() == (second / f"{system}.safetensors").read_bytes()


@pytest.mark.parametrize("fidelity", ["original", "port"])
def test_the_published_kinds_train_and_answer_for_each_player(folder, data, tmp_path, fidelity):
    params = params_of(fidelity=fidelity, n_steps=2, steps_per_epoch=2, n_layers=3, with_context=fidelity == "original")
    out = fit(folder, tmp_path / "wave_unet", params)
    stems = Separator.load(out, SYSTEM, torch.device("cpu"))(mixture_of(data, "d"))
    assert stems.shape == data.stems("d").shape
    alike = np.array_equal(stems[0], stems[1])
    assert alike == (fidelity == "port")  # its one output serves all


# Long mixes


@pytest.mark.parametrize(
    "changes",
    [{}, {"n_iterations": 0}, {"with_context": True, "n_fft": 0}, {"n_fft": 0, "upsampling": "learned"}],
)
@pytest.mark.parametrize("n_samples", [1, 31, 5000, 8192, 9000])
def test_pieces_of_a_mix_fit_together_without_seams(changes, n_samples):
    network = network_of(params_of(**changes))
    with torch.no_grad():
        for say in network.answer:
            torch.nn.init.normal_(say.weight)
        if network.spectral is not None and network.spectral.notes is not None:
            network.spectral.notes.spectra.uniform_()
            torch.nn.init.normal_(network.spectral.notes.correct.weight)
    rng = np.random.default_rng(0)
    mix = torch.from_numpy(rng.standard_normal((1, n_samples)).astype(np.float32))
    told = torch.from_numpy(rng.random((1, 2, 16, -(-n_samples // 32))).astype(np.float32))
    told[..., 1:] = torch.where(torch.arange(16)[:, None] < 13, told[..., :1], told[..., 1:])  # instruments last
    whole = separate_whole(network, mix, told, n_output=1 << 15)
    pieces = separate_whole(network, mix, told, n_output=512)
    assert whole.shape == pieces.shape == (2, 1, n_samples)
    assert (whole - pieces).abs().max() < 1e-4 * max(float(whole.abs().max()), 1.0)  # -80 dB


def test_a_blind_network_is_cut_into_pieces_as_well():
    network = network_of(system=BLIND)
    mix = torch.randn(1, 4000)
    whole, pieces = (separate_whole(network, mix, None, n_output=n) for n in (1 << 14, 700))
    torch.testing.assert_close(whole, pieces, atol=1e-4, rtol=1e-3)


# What a network is told


def test_what_is_told_of_a_player_follows_him(data):
    told = told_of(mixture_of(data, "a"), ("labels", "motion", "score"), None)
    assert told.shape == (2, n_told(("labels", "motion", "score"), N_MOTION), 100)
    assert told[0, SLOTS.index("vn")].all()
    assert told[1, SLOTS.index("vc")].all()
    assert told[:, :13].sum() == 2 * 100
    np.testing.assert_array_equal(told[:, 13:16].transpose(0, 2, 1), data.motion("a"))


def test_onsets_that_are_seen_stand_after_the_notes_that_are_seen(data):
    torch.manual_seed(0)
    sizes = PlayerReaderConfig(n_instruments=13, n_pitches=128, n_motion=N_MOTION, n_filters=2, n_hidden=4)
    reader, mixture = PlayerReader(sizes).eval(), mixture_of(data, "a")
    notes, onsets = (told_of(mixture, (word,), reader) for word in ("notes_seen", "onsets_seen"))
    assert notes.shape == (2, 130, 100)
    np.testing.assert_array_equal(onsets, notes[:, 128:])
    for told_by in (("labels", "motion", "notes_seen"), ("labels", "motion", "onsets_seen")):
        config = config_of(params_of(told_by=told_by), SYSTEM, n_channels=1, n_motion=N_MOTION)
        assert config.n_conditions == n_told(told_by, N_MOTION)
        assert config.onsets_at == config.n_conditions - 2


def test_moments_of_a_grid_are_those_of_the_pictures_that_are_shown_then(data):
    mixture = mixture_of(data, "a")
    told = np.arange(100, dtype=np.float32)[None, None]
    grid = on_grid(told, mixture, 32, RATE, start=RATE)
    assert grid.shape == (1, 1, 63)
    np.testing.assert_array_equal(grid[0, 0], [int(Fraction(RATE + 32 * k, RATE) * 25) for k in range(63)])
    assert on_grid(told, mixture, 32, 100 * RATE)[0, 0, -1] == 99  # the last picture stays


def test_a_player_whose_pictures_are_black_is_of_no_instrument():
    sizes = PlayerReaderConfig(n_instruments=13, n_pitches=128, n_motion=N_MOTION, n_filters=2, n_hidden=4)
    reader = PlayerReader(sizes).eval()
    pictures = np.zeros((2, 30, 48, 48), np.uint8)
    pictures[1, :, 10:20] = 200
    mixture = Mixture(
        audio=np.zeros((1, 100), np.float32),
        sample_rate=RATE,
        instruments=("vn", "vc"),
        motion=None,
        pictures=pictures,
        rolls=None,
        frame_rate=Fraction(25),
    )
    told = told_of(mixture, ("classifier",), reader)
    assert not told[0].any()
    np.testing.assert_allclose(told[1].sum(axis=0), 1.0, rtol=1e-5)


def test_the_reader_knows_instruments_in_takes_that_it_has_not_seen(trained, data):
    separator = Separator.load(trained, SYSTEM, torch.device("cpu"))
    told = told_of(mixture_of(data, "d"), ("classifier",), separator._reader)
    assert [SLOTS[row] for row in told[:, :, 0].argmax(axis=1)] == ["vn", "vc"]


# The dictionary


def test_a_notes_spectrum_is_what_its_stem_sounds_like_and_moves_to_notes_that_nobody_plays(data):
    config = config_of(PARAMS, SYSTEM, n_channels=1, n_motion=N_MOTION)
    spectra = learn_note_spectra(data, config)
    bin_hz = RATE / config.n_fft
    for code, pitch in (("vn", 67), ("vc", 74)):
        own = spectra[SLOTS.index(code)]
        assert own[pitch - config.lowest_pitch].argmax() == round(TONES_HZ[code] / bin_hz)
        fifth = own[pitch - 7 - config.lowest_pitch].argmax()
        assert fifth == pytest.approx(TONES_HZ[code] / bin_hz / 1.5, abs=1)
        beyond = [row + config.lowest_pitch < ORCHESTRA[code].lowest for row in range(config.n_pitches)]
        assert not own[beyond].any()


def test_instruments_that_nobody_plays_have_the_spectra_of_those_that_are_played(data):
    config = config_of(PARAMS, SYSTEM, n_channels=1, n_motion=N_MOTION)
    spectra = learn_note_spectra(data, config)
    row = 76 - config.lowest_pitch
    both = spectra[SLOTS.index("vn"), row] + spectra[SLOTS.index("vc"), row]
    torch.testing.assert_close(spectra[SLOTS.index("fl"), row], both / both.norm())


def test_masks_begin_with_the_dictionarys_and_without_one_they_are_all_alike(data):
    mixture = mixture_of(data, "d")
    told = torch.from_numpy(on_grid(told_of(mixture, PARAMS.told_by, None), mixture, 32, mixture.audio.shape[1]))[None]
    gained = {}
    for n_iterations in (0, 10):
        network = network_of(params_of(n_iterations=n_iterations))
        if n_iterations:
            network.spectral.notes.spectra.copy_(learn_note_spectra(data, network.config))
        sounds = separate_whole(network, torch.from_numpy(mixture.audio), told, n_output=RATE)
        gained[n_iterations] = sdr_db(data.stems("d")[0], sounds[0].numpy())
    assert gained[10] > 20
    assert gained[0] < 10


# Training mixes


def test_a_training_mix_is_the_sum_of_the_sounds_asked_for(data):
    bank = Bank(data, PARAMS, None)
    config = config_of(PARAMS, SYSTEM, n_channels=1, n_motion=N_MOTION)
    n_samples = segment_samples(PARAMS, config, RATE)
    mix, told, sounds = bank.batch(np.random.default_rng(0), config, n_samples)
    assert mix.shape == (4, 1, n_samples)
    assert told.shape == (4, 2, 16, n_samples // 32)
    torch.testing.assert_close(sounds.sum(dim=1), mix)


def test_a_batch_is_the_same_whenever_it_is_asked_for_and_another_for_the_next_step(data):
    bank = Bank(data, PARAMS, None)
    config = config_of(PARAMS, SYSTEM, n_channels=1, n_motion=N_MOTION)
    one, again, other = (bank.batch(np.random.default_rng(seed), config, 512) for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], other[0])


def test_blind_and_told_learn_from_the_same_mixes(data):
    bank = Bank(data, PARAMS, None)
    told, blind = (
        bank.batch(np.random.default_rng(3), config_of(PARAMS, system, n_channels=1, n_motion=N_MOTION), 512)
        for system in (SYSTEM, BLIND)
    )
    assert torch.equal(told[0], blind[0])
    assert torch.equal(told[2], blind[2])
    assert not blind[1].numel()


def test_test_takes_are_never_opened(data, monkeypatch):
    def watch(self, take):
        opened.add(take)
        return stems(self, take)

    opened, stems = set(), EnsembleSet.stems
    monkeypatch.setattr(EnsembleSet, "stems", watch)
    Bank(data, PARAMS, None).validation(config_of(PARAMS, SYSTEM, n_channels=1, n_motion=N_MOTION), 512)
    assert opened == {"a", "b", "c"}


def test_two_players_of_one_instrument_are_added_and_were_overwritten_once():
    stems = np.array([[[1.0, 2.0]], [[10.0, 20.0]], [[5.0, 5.0]]], np.float32)
    codes = ("vn", "vn", "vc")
    assert slots(stems, codes, SLOTS)[SLOTS.index("vn")].tolist() == [[11.0, 22.0]]
    assert overwritten_slots(stems, codes)[SLOTS.index("vn")].tolist() == [[10.0, 20.0]]


def test_presence_has_a_one_for_each_instrument_however_many_play_it():
    assert presence(("vn", "vn", "bn")).tolist() == [1.0] + [0.0] * 11 + [1.0]


# Losses


def test_the_best_order_is_found_item_by_item():
    sounds = torch.randn(3, 4, 1, 100)
    orders = [[0, 1, 2, 3], [3, 1, 0, 2], [1, 0, 3, 2]]
    found = torch.stack([one[order] for one, order in zip(sounds, orders, strict=True)])
    torch.testing.assert_close(best_order(found + 0.1 * torch.randn_like(found), sounds), found)


def test_a_perfect_answer_has_the_least_loss_and_ten_times_the_energy_of_error_costs_ten_db():
    sounds = torch.randn(2, 2, 1, 1000)
    assert separation_loss(sounds, sounds).item() == pytest.approx(-30.0)
    error = torch.ones_like(sounds)
    worse = separation_loss(sounds + 10**0.5 * error, sounds) - separation_loss(sounds + error, sounds)
    assert worse.item() == pytest.approx(10.0, abs=0.01)


def test_the_loudest_outputs_stay_in_their_order():
    sounds = np.array([0.1, 3.0, 0.2, 2.0], np.float32).reshape(4, 1, 1)
    assert loudest(sounds, 2).ravel().tolist() == [3.0, 2.0]
    assert loudest(sounds, 5).ravel().tolist() == pytest.approx([0.1, 3.0, 0.2, 2.0, 0.0])


def test_a_mix_is_heard_at_one_level():
    audio = np.random.default_rng(0).standard_normal((1, 1000)).astype(np.float32)
    assert level_of(0.25 * audio) == pytest.approx(0.25 * level_of(audio))
    assert level_of(np.zeros((1, 10), np.float32)) > 0


# Refusals


def mix_of(n: int = 4000, *, rate: int = RATE, channels: int = 1, motion: bool = True) -> Mixture:
    return Mixture(
        audio=np.zeros((channels, n), np.float32),
        sample_rate=rate,
        instruments=("vn", "vc"),
        motion=np.zeros((2, 50, N_MOTION), np.float32) if motion else None,
        pictures=None,
        rolls=None,
        frame_rate=Fraction(25),
    )


@pytest.mark.parametrize(
    ("mixture", "kind", "words"),
    [
        (mix_of(rate=8000), "OTHER_RATE", "is at 8000 Hz, expected 2000 Hz"),
        (mix_of(channels=2), "OTHER_CHANNELS", "has 2 channels, expected 1"),
        (mix_of(31), "TOO_SHORT", "lasts 0.015 s, expected at least a window of 0.016 s"),
        (mix_of(motion=False), "UNSEEN", "comes without what its players are asked for by: motion"),
    ],
)
def test_a_mix_that_cannot_be_taken_apart_is_refused_in_one_line(mixture, kind, words):
    facts = {"sample_rate": RATE, "told_by": ["labels", "motion"], "slots": [], "output_s": 1.0, "n_threads": 1}
    separator = Separator(network_of(), facts, None, torch.device("cpu"))
    with pytest.raises(BadInput, match=words) as caught:
        separator(mixture, name="song.wav")
    assert caught.value.kind == kind


def test_a_file_that_is_no_network_is_damaged_data(trained, tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"{SYSTEM}{suffix}").write_bytes((trained / f"{SYSTEM}{suffix}").read_bytes())
    config = json.loads((tmp_path / f"{SYSTEM}.json").read_text())
    (tmp_path / f"{SYSTEM}.json").write_text(json.dumps(config | {"network": {"n_sources": "many"}}))
    with pytest.raises(DamagedData, match="is not what training writes"):
        Separator.load(tmp_path, SYSTEM, torch.device("cpu"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"condition_hop": 48}, "expected a power of 2"),
        ({"down_kernel": 4}, "expected odd ones"),
        ({"spectrum_hop": 64}, "of at most 2.n_layers, 32"),
        ({"with_context": True}, "expected with_context false"),
        ({"conditioning": "none"}, "wave_unet_blind is the one without"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(folder, tmp_path, changes, words):
    with pytest.raises(ParamsError, match=words):
        fit(folder, tmp_path / "wave_unet", params_of(**changes))
