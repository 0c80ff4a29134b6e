"""Instructions that stages leave out, so that their numbers are those of any x86-64 CPU with AVX2."""

import json
import os
import subprocess
import sys

import pytest

from tasks.cpu import PINNED, PINNED_WITH_AVX512, pin
from tasks.errors import DamagedData, ParamsError, PipelineError
from tasks.families.deepsynth.params import DeepSynthParams
from tasks.families.piano_roll import PianoRollParams
from tasks.numerics import (
    COMPUTED_BY,
    NETWORKS_PINNED,
    check_precision,
    networks_of,
    pin_networks,
    write_computed_by,
)


@pytest.fixture
def environment(monkeypatch):
    """Hand out an environment without the variables, and put the old one back."""
    for name in PINNED | PINNED_WITH_AVX512:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return os.environ


def test_every_stage_leaves_wide_instructions_out_before_numpy_is_there():
    code = (
        "import flows, sys, json; early = 'numpy' in sys.modules; import numpy;"
        "from threadpoolctl import threadpool_info;"
        "cpu = numpy.show_config(mode='dicts')['SIMD Extensions'];"
        "blas = [one['architecture'] for one in threadpool_info() if one['internal_api'] == 'openblas'];"
        "print(json.dumps([early, cpu.get('found', []), blas]))"
    )
    bare = {name: value for name, value in os.environ.items() if name not in PINNED | PINNED_WITH_AVX512}
    ran = subprocess.run([sys.executable, "-c", code], env=bare, check=True, capture_output=True, text=True)
    early, found, blas = json.loads(ran.stdout)
    assert not early
    assert not set(found) & set(PINNED["NPY_DISABLE_CPU_FEATURES"].split())
    assert set(blas) == {PINNED["OPENBLAS_CORETYPE"]}


def test_opencv_is_limited_only_where_there_is_something_to_leave_out(environment, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("flags : fpu sse2 avx2\n")
    pin(info)
    assert environment.keys() >= PINNED.keys()
    assert not environment.keys() & PINNED_WITH_AVX512.keys()
    info.write_text("flags : fpu sse2 avx2 avx512f\n")
    pin(info)
    assert environment.keys() >= PINNED_WITH_AVX512.keys()


def test_a_value_that_is_set_already_stays(environment, tmp_path):
    environment["OPENBLAS_CORETYPE"] = "SkylakeX"
    pin(tmp_path / "missing")
    assert environment["OPENBLAS_CORETYPE"] == "SkylakeX"


@pytest.fixture
def pinned(monkeypatch):
    """Set what a process of portable numerics has set before torch is imported."""
    for name, value in NETWORKS_PINNED.items():
        monkeypatch.setenv(name, value)


PRODUCT = """
import hashlib, sys
from tasks.numerics import pin_networks
pin_networks(sys.argv[1])
import torch
torch.manual_seed(0)
torch.set_num_threads(1)
x = torch.randn(8, 3, 40, 50)
y = torch.nn.functional.conv2d(x, torch.randn(6, 3, 5, 5)).flatten(1) @ torch.randn(6 * 36 * 46, 70)
print(torch.backends.cpu.get_cpu_capability(), hashlib.sha256(y.exp().sum(1).numpy().tobytes()).hexdigest())
"""


def product(networks, **variables):
    """Return the instructions that torch names, and the digest of a computation, in a process with variables set."""
    bare = {name: value for name, value in os.environ.items() if name not in NETWORKS_PINNED}
    command = [sys.executable, "-c", PRODUCT, networks]
    return subprocess.run(command, env=bare | variables, check=True, capture_output=True, text=True).stdout.split()


def test_portable_networks_compute_the_same_whatever_instructions_were_allowed_before():
    found = [product("portable", **some) for some in ({}, {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "SSE2"})]
    assert found[0] == found[1]
    assert found[0][0] == "AVX2"
    assert product("fast", ATEN_CPU_CAPABILITY="default")[0] != "AVX2"  # fast takes what there is


@pytest.mark.usefixtures("pinned")
def test_portable_needs_avx2_and_settings_that_come_before_torch(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name : x\nflags\t: fpu sse2 avx\n")
    with pytest.raises(PipelineError, match="needs an x86-64 CPU with AVX2, and this one has none: set it to fast"):
        pin_networks("portable", info)
    pin_networks("fast", info)
    info.write_text("flags : fpu avx2\n")
    pin_networks("portable", info)
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    with pytest.raises(PipelineError, match="torch was imported before its settings were made"):
        pin_networks("portable", info)


@pytest.mark.usefixtures("pinned")
def test_a_trained_folder_names_its_numerics_and_with_fast_the_machine(tmp_path):
    for networks in ("portable", "fast"):
        (tmp_path / networks).mkdir()
        write_computed_by(tmp_path / networks, networks)
        assert networks_of(tmp_path / networks) == networks
    portable, fast = (json.loads((tmp_path / name / COMPUTED_BY).read_text()) for name in ("portable", "fast"))
    assert portable.keys() == {"networks", "settings", "libraries"}
    assert portable["settings"] == dict(NETWORKS_PINNED)
    assert "avx2" in fast["cpu"]["features"]
    assert any("Math Kernel Library" in line for line in fast["torch"])


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_trained_folder_of_an_older_version_asks_for_a_training(content, tmp_path):
    if content is not None:
        (tmp_path / COMPUTED_BY).write_text(content)
    with pytest.raises(DamagedData, match=r"computed_by\.json .*: train the family again"):
        networks_of(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("precision", "bf16-mixed"), ("generation_precision", "bfloat16")])
def test_portable_numerics_refuse_precisions_of_16_bits(name, value):
    params = DeepSynthParams.model_construct(precision="32-true", generation_precision="float32")
    check_precision(params, "train.deepsynth", "portable")
    changed = params.model_copy(update={name: value})
    check_precision(changed, "train.deepsynth", "fast")
    with pytest.raises(ParamsError, match=rf"train\.deepsynth\.{name} is {value} and numerics\.networks is portable"):
        check_precision(changed, "train.deepsynth", "portable")
    check_precision(PianoRollParams.model_construct(n_rows=3), "train.piano_roll", "portable")
