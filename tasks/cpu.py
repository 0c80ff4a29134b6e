"""The same numbers on any x86-64 CPU with AVX2: which instructions numpy, OpenBLAS and OpenCV may use.

numpy takes other routines for sines and exponentials where it finds AVX-512, OpenBLAS other kernels and OpenCV other
loops. The last bits differ, a sample is rounded the other way, and a recording has other bytes. So wider instructions
than AVX2 are left out on every machine. The libraries read these settings when they are imported: `pin` comes first.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

CPU_INFO = Path("/proc/cpuinfo")

PINNED: Mapping[str, str] = MappingProxyType(
    {
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "OPENBLAS_CORETYPE": "Haswell",
    }
)
"""Environment variables, and what they are set to; a value that is already set stays."""

PINNED_WITH_AVX512: Mapping[str, str] = MappingProxyType({"OPENCV_CPU_DISABLE": "AVX512-SKX"})
"""Those that complain where the CPU has nothing to leave out."""


def pin(cpu_info: Path = CPU_INFO) -> None:
    """Set the variables for this process and those that it starts.

    Args:
        cpu_info: what the kernel says of the CPU; where there is no such file, nothing is assumed of it.
    """
    has_avx512 = "avx512f" in cpu_info_flags(cpu_info)
    for name, value in ({**PINNED, **PINNED_WITH_AVX512} if has_avx512 else PINNED).items():
        os.environ.setdefault(name, value)


def cpu_info_flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """Return the features of the CPU; none where there is no such file."""
    if not cpu_info.is_file():
        return frozenset()
    lines = cpu_info.read_text(encoding="utf-8", errors="replace").splitlines()
    return frozenset(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())
