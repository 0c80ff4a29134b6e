"""Training mixes: drawn from the training takes, the same for every system."""

import numpy as np
import pytest
import torch

from tasks.families.wave_unet.mixes import TrainingMixes, overwritten_slots
from tasks.families.wave_unet.params import BLIND, segment_samples
from tasks.instruments.orchestra import SLOTS
from tasks.store.ensembles import EnsembleSet, slots


@pytest.fixture(scope="module")
def mixes(data, params):
    return TrainingMixes(data, params, None)


def test_a_training_mix_is_the_sum_of_its_targets(data, params, mixes, network_of):
    config = network_of().config
    n_samples = segment_samples(params, config, data.sample_rate)
    mix, conditions, targets = mixes.batch(np.random.default_rng(0), config, n_samples)
    assert mix.shape == (4, 1, n_samples)
    assert conditions.shape == (4, 2, 16, n_samples // 32)
    torch.testing.assert_close(targets.sum(dim=1), mix)


def test_a_batch_is_the_same_at_every_call_and_another_for_the_next_step(mixes, network_of):
    config = network_of().config
    one, again, other = (mixes.batch(np.random.default_rng(seed), config, 512) for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0])
    assert not torch.equal(one[0], other[0])


def test_the_blind_network_learns_from_the_same_mixes(mixes, network_of):
    conditioned, blind = (
        mixes.batch(np.random.default_rng(3), network.config, 512)
        for network in (network_of(), network_of(system=BLIND))
    )
    assert torch.equal(conditioned[0], blind[0])
    assert torch.equal(conditioned[2], blind[2])
    assert not blind[1].numel()


def test_a_silent_players_condition_and_target_are_zero(data, params_of, network_of):
    mixes = TrainingMixes(data, params_of(empty=1.0), None)
    _, conditions, targets = mixes.batch(np.random.default_rng(0), network_of().config, 512)
    silent = ~conditions.any(dim=(2, 3))
    assert silent.sum(dim=1).tolist() == [1] * 4
    assert not targets[silent].any()


def test_test_takes_are_never_opened(data, params, network_of, monkeypatch):
    def watch(self, take):
        opened.add(take)
        return stems(self, take)

    opened, stems = set(), EnsembleSet.stems
    monkeypatch.setattr(EnsembleSet, "stems", watch)
    TrainingMixes(data, params, None).validation(network_of().config, 512)
    assert opened == {"a", "b", "c"}


def test_two_players_of_one_instrument_are_added_and_were_overwritten_once():
    stems = np.array([[[1.0, 2.0]], [[10.0, 20.0]], [[5.0, 5.0]]], np.float32)
    codes = ("vn", "vn", "vc")
    assert slots(stems, codes, SLOTS)[SLOTS.index("vn")].tolist() == [[11.0, 22.0]]
    assert overwritten_slots(stems, codes)[SLOTS.index("vn")].tolist() == [[10.0, 20.0]]
