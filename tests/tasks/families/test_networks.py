"""Networks on disk, and numbers that repeat themselves."""

import pytest
import torch
from safetensors.torch import save as tensors_to_bytes

from tasks.errors import DamagedData
from tasks.families.networks import deterministic_torch, fill_network, load_network, save_network


@pytest.fixture
def network():
    return torch.nn.Linear(3, 2)


def test_a_network_comes_back_from_disk_and_has_the_same_bytes_every_time(network, tmp_path):
    for name in ("one", "two"):
        save_network(tmp_path / name, network.state_dict(), {"b": [1, 2], "a": 0.5})
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    other, facts = load_network(tmp_path / "one", lambda facts: torch.nn.Linear(3, facts["b"][1]), {})
    assert facts == {"a": 0.5, "b": (1, 2)}
    x = torch.randn(5, 3)
    assert torch.equal(other(x), network(x))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("one.json", "one.safetensors", "two.json", "two.safetensors")
    ]


def test_the_bytes_are_those_of_safetensors_own_writer_for_torch(tmp_path):
    state = {"b": torch.arange(6).reshape(2, 3).T, "a": torch.tensor(0.5), "c": torch.zeros(0, dtype=torch.int16)}
    save_network(tmp_path / "net", state, {})
    whole = {name: tensor.contiguous() for name, tensor in state.items()}
    assert (tmp_path / "net.safetensors").read_bytes() == tensors_to_bytes(whole)


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"network": {}}, r"KeyError\('in_features'\)"),
        ({"network": {"in_features": 3, "out_features": 2, "sees": "bars"}}, "unexpected keyword argument 'sees'"),
        ({"network": {"in_features": -3, "out_features": 2}}, "negative dimension"),
        ({"network": 3}, "not subscriptable|object"),
        ({}, r"KeyError\('network'\)"),
    ],
)
def test_facts_of_another_network_ask_for_a_training(facts, found, network, tmp_path):
    def make(facts):
        return torch.nn.Linear(
            facts["network"]["in_features"], **{k: v for k, v in facts["network"].items() if k != "in_features"}
        )

    save_network(tmp_path / "net", network.state_dict(), facts)
    with pytest.raises(DamagedData, match=rf"net\.json is not what training writes .*({found}).*train .* again"):
        load_network(tmp_path / "net", make, {})


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ({"weight": torch.zeros(2, 3)}, "bias is missing"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "more": torch.zeros(1)}, "more is unknown"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, r"weight has shape \(3, 2\), expected \(2, 3\)"),
        ({"weight": torch.full((2, 3), torch.nan), "bias": torch.zeros(2)}, "weight is not finite"),
    ],
)
def test_weights_of_another_network_are_refused_in_words(state, found, network, tmp_path):
    before = network.weight.clone()
    with pytest.raises(DamagedData, match=found):
        fill_network(network, state, source=tmp_path / "x")
    assert torch.equal(network.weight, before)


def test_the_deterministic_block_repeats_itself_and_leaves_no_trace():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    drawn = []
    for _ in range(2):
        with deterministic_torch(seed=3, n_threads=1):
            assert torch.get_num_threads() == 1
            drawn.append(torch.nn.Linear(4, 4).weight.detach())
    assert torch.equal(*drawn)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
