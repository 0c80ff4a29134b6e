"""The family: trained on tones, and whole mixes separated."""

import numpy as np
import pytest
import torch

from tasks.families import load_family
from tasks.families.separation import mixture_of
from tasks.families.wave_unet.params import BLIND, SYSTEM
from tasks.families.wave_unet.separator import Separator


def separate(trained, data, systems):
    return load_family("wave_unet").separate(
        trained, {"d": mixture_of(data, "d")}, systems=systems, accelerator="cpu", truth=None
    )


def test_two_tones_are_separated_after_a_minute_of_training(trained, data, sdr_db):
    mixture, truth = mixture_of(data, "d"), data.stems("d")
    sounds = {one.system: one.stems for one in separate(trained, data, (SYSTEM, BLIND))}
    assert set(sounds) == {SYSTEM, BLIND}
    for player in range(2):
        before, after = sdr_db(truth[player], mixture.audio), sdr_db(truth[player], sounds[SYSTEM][player])
        assert after > before + 5
    np.testing.assert_allclose(sounds[SYSTEM].sum(axis=0), mixture.audio, atol=1e-4)


def test_only_requested_systems_are_loaded(trained, data, tmp_path):
    for suffix in (".safetensors", ".json"):
        (tmp_path / f"{BLIND}{suffix}").write_bytes((trained / f"{BLIND}{suffix}").read_bytes())
    assert [one.system for one in separate(tmp_path, data, (BLIND,))] == [BLIND]


def test_the_same_data_gives_the_same_weights(fit, params_of, tmp_path):
    params = params_of(n_steps=4, steps_per_epoch=2, conditioned_on=("labels",))
    first, second = fit(tmp_path / "1" / "w", params), fit(tmp_path / "2" / "w", params)
    for system in (SYSTEM, BLIND):
        assert (first / f"{system}.safetensors").read_bytes() == (second / f"{system}.safetensors").read_bytes()


@pytest.mark.parametrize("fidelity", ["original", "port"])
def test_the_published_kinds_train_and_estimate_each_player(fit, params_of, data, tmp_path, fidelity):
    params = params_of(fidelity=fidelity, n_steps=2, steps_per_epoch=2, n_layers=3, with_context=fidelity == "original")
    out = fit(tmp_path / "wave_unet", params)
    stems = Separator.load(out, SYSTEM, torch.device("cpu"))(mixture_of(data, "d"))
    assert stems.shape == data.stems("d").shape
    alike = np.array_equal(stems[0], stems[1])
    assert alike == (fidelity == "port")  # its one output serves all
