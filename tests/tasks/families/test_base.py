"""Families as the stages see them, and what they keep on disk."""

import importlib
import inspect
import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest

from tasks.errors import DamagedData, ParamsError
from tasks.families import FAMILIES, load_family
from tasks.families.base import (
    CodeFamily,
    Family,
    Film,
    NoteAmplitudes,
    VideoFamily,
    n_samples_of,
)
from tasks.params import Section
from tasks.registry import kind_module


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


def test_a_system_has_the_frame_rate_of_its_facts_or_none(tmp_path):
    for name, facts in (("one", {"frame_rate": "30000/1001"}), ("no", {})):
        (tmp_path / f"{name}.json").write_text(json.dumps(facts))
    family = load_family("baselines")
    assert [family.frame_rate(tmp_path, name) for name in ("one", "no")] == [Fraction(30000, 1001), None]
    with pytest.raises(DamagedData, match="train the family first"):
        family.frame_rate(tmp_path, "missing")


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_family_of_each_kind_does_what_that_kind_needs_and_no_more(name):
    family = load_family(name)
    is_video = isinstance(family, VideoFamily)
    assert is_video == (family.data in ("scores", "captures"))
    assert hasattr(family, "perform") == is_video
    assert hasattr(family, "separate") == (family.data == "ensembles")
    assert hasattr(family, "nats") == isinstance(family, CodeFamily)
    if isinstance(family, CodeFamily):
        assert family.data == "scores"
        assert set(family.conditioned) <= set(family.systems)
    data_set = inspect.signature(type(family).fit, eval_str=True).parameters["data"].annotation
    opened = inspect.signature(kind_module(family.data, "train").open_data, eval_str=True).return_annotation
    assert data_set is opened


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
