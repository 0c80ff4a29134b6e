"""The table of metrics beside what is measured: every figure that is written anywhere has its metric."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.instruments.notes import sorted_notes
from tasks.metrics import amplitudes, causality, controls, data, hiss, likelihood, notes, separation, sound
from tasks.metrics.table import METRICS, metric, reference
from tasks.registry import KINDS

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(0)
NOTES = sorted_notes(
    np.array([0.5, 1.0, 1.5]), np.array([0.9, 1.4, 1.9]), np.array([60, 64, 60], np.uint8), np.full(3, 80, np.uint8)
)


def keys_of(module, *groups):
    return {one.key for one in module.METRICS if not groups or one.group in groups}


def figures(values, path=""):
    """Yield the dotted name of each number in an object, and its last key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from figures(value, f"{path}{key}.")
        elif not isinstance(value, str):
            yield f"{path}{key}", key


def test_each_key_stands_once_and_each_metric_says_what_it_is():
    keys = [one.key for one in METRICS]
    assert len(keys) == len(set(keys)) > 60
    for one in METRICS:
        assert metric(one.key) is one
        assert one.label, one.key
        assert one.meaning, one.key
        assert one.source, one.key
        assert one.kinds, one.key
        assert set(one.kinds) <= set(KINDS), one.key
        assert one.direction in ("lower", "higher", "nearest 0", "none"), one.key
    with pytest.raises(LookupError, match="'si_sdr_improvement_2_players_db' is no metric"):
        metric("si_sdr_improvement_2_players_db")


@pytest.mark.parametrize("path", sorted((ROOT / "data/metrics").glob("*.json")), ids=lambda path: path.stem)
def test_every_figure_in_git_has_its_metric(path):
    read = json.loads(path.read_text())
    if path.stem == "promoted":  # by family; nothing is promoted in what ships
        found = [row for systems in read.values() for row in figures(systems)]
    else:
        found = list(figures(read))
        assert found
    for name, key in found:
        assert metric(key), name


def test_the_reference_in_docs_is_the_table():
    assert (ROOT / "docs/metrics.md").read_text() == reference()  # the file says how it is written anew


def test_a_smaller_cost_is_better():
    assert metric("mr_stft").cost(1.0) < metric("mr_stft").cost(2.0)
    assert metric("onset_f1").cost(0.9) < metric("onset_f1").cost(0.1)
    assert metric("onset_lag_ms").cost(-1.0) < metric("onset_lag_ms").cost(2.0)
    assert metric("n_estimate").cost(1.0) == metric("n_estimate").cost(2.0)


def test_functions_return_the_figures_that_stand_beside_them():
    assert notes.note_scores(NOTES, NOTES).keys() == keys_of(notes)
    values = RNG.uniform(size=(100, 3))
    found = amplitudes.amplitude_scores(values, values, frame_rate=Fraction(25), threshold=0.5)
    assert found.keys() | amplitudes.onset_sweep(NOTES, NOTES).keys() == keys_of(amplitudes)
    noise = RNG.normal(scale=0.1, size=4000).astype(np.float32)
    assert sound.sound_scores(noise, noise, sample_rate=8000).keys() == keys_of(sound)
    rests = np.concatenate([noise, np.zeros(8000, np.float32)])
    assert hiss.hiss_scores(rests, rests, sample_rate=8000).keys() == keys_of(hiss)
    limits = {"onset_tolerance_s": 0.05, "max_frequency_hz": 2000.0}
    beside = (
        controls.ceiling_scores(NOTES, NOTES, **limits),
        controls.control_scores(NOTES, NOTES, values, values, **limits),
    )
    assert beside[0].keys() | beside[1].keys() == keys_of(controls)
    stems = RNG.normal(size=(2, 1, 400)).astype(np.float32)
    probes = [
        causality.causality(stems, instruments, sounds=stems, swapped=stems, blanked=stems)
        for instruments in (("vn", "vn"), ("vn", "vc"))
    ]
    assert probes[0].keys() | probes[1].keys() == keys_of(causality)
    assert likelihood.nats_of_segments(np.ones(2)).keys() == keys_of(likelihood, "")
    with_pictures = likelihood.nats_of_segments(np.ones(2), np.ones(2)).keys()
    assert with_pictures - keys_of(likelihood, "") == {
        key for key in keys_of(likelihood, "What the pictures are worth") if not key.endswith(("_low", "_high"))
    }
    assert separation.bss_eval_db(
        stems.astype(np.float64), stems.astype(np.float64), sample_rate=100
    ).keys() <= keys_of(separation)
    assert keys_of(data) >= {"n_takes", "hours", "test_segments"}


def test_no_stage_up_to_evaluate_imports_the_table():
    """Words for a metric, or a new one, must make no take, training or figure stale."""
    modules = [f"flows.{stage}" for stage in ("film", "ingest", "render", "synchronize", "extract", "chunk")]
    modules += ["flows.train", "flows.synthesize", "flows.evaluate"]
    modules += [
        ".".join(path.with_suffix("").parts)
        for kind in KINDS
        for path in sorted((ROOT / "tasks/kinds" / kind).relative_to(ROOT).glob("*.py"))
        if path.stem not in ("__init__", "report")
    ]
    modules += [
        f"tasks.families.{path.stem}" for path in (ROOT / "tasks/families").glob("*.py") if path.stem != "__init__"
    ]
    script = f"import sys\nfor name in {modules!r}: __import__(name)\nprint('tasks.metrics.table' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
