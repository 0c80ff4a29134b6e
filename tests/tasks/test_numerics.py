"""Instructions that stages leave out, so that their numbers are those of any x86-64 CPU with AVX2."""

import json
import os
import subprocess
import sys

import pytest

from tasks.numerics import PINNED, PINNED_WITH_AVX512, pin


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
