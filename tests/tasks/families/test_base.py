"""Families as the stages see them, and what they keep on disk."""

import importlib
import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch

from tasks.errors import DamagedData, ParamsError
from tasks.families import FAMILIES, load_family
from tasks.families.base import (
    Family,
    Film,
    NoteAmplitudes,
    deterministic_torch,
    fill_network,
    load_network,
    n_samples_of,
    save_network,
    write_curve,
)
from tasks.params import Section


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_each_family_of_the_table_can_be_loaded(name):
    family = load_family(name)
    assert isinstance(family, Family)
    assert issubclass(family.params_class, Section)
    assert family.roles.keys() <= set(family.systems)
    assert importlib.import_module(FAMILIES[name].partition(":")[0]).__name__.endswith(name)


def test_systems_of_all_families_have_different_names():
    systems = [system for name in FAMILIES for system in load_family(name).systems]
    assert len(systems) == len(set(systems))


def test_an_unknown_family_is_refused_with_the_known_ones():
    with pytest.raises(ParamsError, match=r"'lstm' is unknown, expected one of .*piano_roll"):
        load_family("lstm")


def test_the_table_itself_imports_no_family():
    script = "import sys, tasks.families; print(*(m for m in sys.modules if m in ('torch', 'tasks.families.base')))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=60)
    assert ran.stdout.strip() == b""


def test_a_family_brings_lightning_only_where_it_is_trained():
    modules = [entry.partition(":")[0] for entry in FAMILIES.values()]
    script = f"import sys, {', '.join(modules)}; print(*(m for m in ('lightning', 'dvclive') if m in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, timeout=120)
    assert ran.stdout.strip() == b""


def test_a_system_says_at_how_many_frames_a_second_it_makes_sound(tmp_path):
    for name, facts in (("top", {"frame_rate": "25"}), ("asked", {"asked": {"frame_rate": "30000/1001"}}), ("no", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps(facts))
    told = [load_family("baselines").frame_rate(tmp_path, name) for name in ("top", "asked", "no", "missing")]
    assert told == [25, Fraction(30000, 1001), None, None]


@pytest.mark.parametrize(
    "changes",
    [
        {"time_s": np.array([0.1, 0.2])},
        {"time_s": np.array([0.0, 0.0])},
        {"time_s": np.array([0.0])},
        {"duration_s": 0.0},
        {"duration_s": float("nan")},
    ],
)
def test_a_film_whose_times_make_no_sense_is_refused(changes):
    film = {"pictures": np.zeros((2, 57, 780), np.uint8), "time_s": np.array([0.0, 0.5]), "duration_s": 1.0}
    assert n_samples_of(Film(**film), 4_000) == 4_000
    with pytest.raises(ValueError, match="film"):
        Film(**(film | changes))


@pytest.fixture
def network():
    return torch.nn.Linear(3, 2)


def test_a_network_comes_back_from_disk_and_has_the_same_bytes_every_time(network, tmp_path):
    for name in ("one", "two"):
        save_network(tmp_path / name, network.state_dict(), {"b": [1, 2], "a": 0.5})
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    state, config = load_network(tmp_path / "one")
    assert config == {"a": 0.5, "b": [1, 2]}
    other = torch.nn.Linear(3, 2)
    fill_network(other, state, source=tmp_path / "one.safetensors")
    x = torch.randn(5, 3)
    assert torch.equal(other(x), network(x))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *("one.json", "one.safetensors", "two.json", "two.safetensors")
    ]


def test_damaged_weights_are_refused_in_words(network, tmp_path):
    save_network(tmp_path / "net", network.state_dict(), {})
    weights, config = tmp_path / "net.safetensors", tmp_path / "net.json"
    whole = weights.read_bytes()
    for content in (b"", whole[:-1], whole[:20], b"\x80\x04pickle"):
        weights.write_bytes(content)
        with pytest.raises(DamagedData, match="not a whole safetensors file"):
            load_network(tmp_path / "net")
    weights.unlink()
    with pytest.raises(DamagedData, match="train the family first"):
        load_network(tmp_path / "net")
    weights.write_bytes(whole)
    for content, found in (("{", "is not JSON"), ("[]", "holds list")):
        config.write_text(content)
        with pytest.raises(DamagedData, match=found):
            load_network(tmp_path / "net")


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


def test_a_curve_leaves_empty_what_was_not_measured(tmp_path):
    write_curve(tmp_path / "curves" / "x.csv", ("step", "train_loss", "validation_loss"), [(1, 0.25, None)])
    assert (tmp_path / "curves" / "x.csv").read_text() == "step,train_loss,validation_loss\n1,0.25,\n"


def test_a_camera_may_begin_before_its_master_or_after_it():
    pictures = np.zeros((2, 4, 6), np.uint8)
    for first_s in (-0.5, 1.25):
        film = Film(pictures=pictures, time_s=np.array([first_s, 2.0]), duration_s=3.0, camera="cam_top")
        assert film.time_s[0] == first_s
        with pytest.raises(ValueError, match=r"start at 0\.0 and grow"):
            Film(pictures=pictures, time_s=np.array([first_s, 2.0]), duration_s=3.0)


def test_amplitudes_have_a_column_for_each_note():
    NoteAmplitudes(values=np.zeros((5, 2), np.float32), pitches=(60, 62), frame_rate=Fraction(25))
    with pytest.raises(ValueError, match=r"amplitudes are \(5, 2\), expected \(windows, 3\)"):
        NoteAmplitudes(values=np.zeros((5, 2), np.float32), pitches=(60, 62, 64), frame_rate=Fraction(25))
