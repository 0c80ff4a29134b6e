"""A trained network applied to whole mixes: pieces without seams, and mixes that it refuses."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tasks.errors import BadInput, DamagedData
from tasks.families.separation import Mixture, mixture_of
from tasks.families.wave_unet.params import BLIND, SYSTEM
from tasks.families.wave_unet.separator import Separator, loudest, separate_whole


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


@pytest.mark.parametrize(
    "changes",
    [{}, {"n_iterations": 0}, {"with_context": True, "n_fft": 0}, {"n_fft": 0, "upsampling": "learned"}],
)
@pytest.mark.parametrize("n_samples", [1, 31, 5000, 8192, 9000])
def test_pieces_of_a_mix_fit_together_without_seams(params_of, network_of, changes, n_samples):
    network = network_of(params_of(**changes))
    with torch.no_grad():
        for output in network.outputs:
            torch.nn.init.normal_(output.weight)
        if network.spectral is not None and network.spectral.dictionary is not None:
            network.spectral.dictionary.spectra.uniform_()
            torch.nn.init.normal_(network.spectral.dictionary.correct.weight)
    rng = np.random.default_rng(0)
    mix = torch.from_numpy(rng.standard_normal((1, n_samples)).astype(np.float32))
    condition = torch.from_numpy(rng.random((1, 2, 16, -(-n_samples // 32))).astype(np.float32))
    is_instrument = torch.arange(16)[:, None] < 13
    condition[..., 1:] = torch.where(is_instrument, condition[..., :1], condition[..., 1:])  # instruments last
    whole = separate_whole(network, mix, condition, n_output=1 << 15)
    pieces = separate_whole(network, mix, condition, n_output=512)
    assert whole.shape == pieces.shape == (2, 1, n_samples)
    assert (whole - pieces).abs().max() < 1e-4 * max(float(whole.abs().max()), 1.0)  # -80 dB


def test_a_blind_network_is_cut_into_pieces_as_well(network_of):
    network = network_of(system=BLIND)
    mix = torch.randn(1, 4000)
    whole, pieces = (separate_whole(network, mix, None, n_output=n) for n in (1 << 14, 700))
    torch.testing.assert_close(whole, pieces, atol=1e-4, rtol=1e-3)


def test_the_loudest_outputs_stay_in_their_order():
    sounds = np.array([0.1, 3.0, 0.2, 2.0], np.float32).reshape(4, 1, 1)
    assert loudest(sounds, 2).ravel().tolist() == [3.0, 2.0]
    assert loudest(sounds, 5).ravel().tolist() == pytest.approx([0.1, 3.0, 0.2, 2.0, 0.0])


def mix_of(n: int = 4000, *, rate: int = 2000, channels: int = 1, motion: bool = True) -> Mixture:
    return Mixture(
        audio=np.zeros((channels, n), np.float32),
        sample_rate=rate,
        instruments=("vn", "vc"),
        motion=np.zeros((2, 50, 3), np.float32) if motion else None,
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
        (mix_of(motion=False), "NO_CONDITION", "has no video of its players, .* conditioned on motion"),
    ],
)
def test_a_mix_that_cannot_be_separated_is_refused_in_one_line(network_of, mixture, kind, words):
    facts = {"sample_rate": 2000, "conditioned_on": ["labels", "motion"], "slots": [], "output_s": 1.0, "n_threads": 1}
    separator = Separator(network_of(), facts, None, torch.device("cpu"))
    with pytest.raises(BadInput, match=words) as caught:
        separator(mixture, name="song.wav")
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts | {"network": {"n_sources": "many"}},
        lambda facts: {**{name: value for name, value in facts.items() if name != "conditioned_on"}, "told_by": []},
    ],
    ids=["no network", "an older version"],
)
def test_a_file_that_is_no_network_of_today_is_damaged_data(trained, tmp_path, change):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"{SYSTEM}{suffix}").write_bytes((trained / f"{SYSTEM}{suffix}").read_bytes())
    facts = json.loads((tmp_path / f"{SYSTEM}.json").read_text())
    (tmp_path / f"{SYSTEM}.json").write_text(json.dumps(change(facts)))
    with pytest.raises(DamagedData, match="train the family again") as caught:
        Separator.load(tmp_path, SYSTEM, torch.device("cpu"))
    assert "\n" not in str(caught.value)
