"""What networks compute with: ``networks: portable`` gives the same weights on any x86-64 CPU with AVX2.

With ``fast`` they are those of its own CPU. A trained folder says which, in ``computed_by.json``; what is computed with
its networks later follows that file. `tasks.cpu` has what holds for all other stages.
"""

import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from tasks.cpu import CPU_INFO, cpu_info_flags
from tasks.errors import DamagedData, ParamsError, PipelineError
from tasks.params import Section

Networks = Literal["portable", "fast"]

NETWORKS_PINNED: Mapping[str, str] = MappingProxyType(
    {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_CBWR": "COMPATIBLE",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": "+avx2,+fma",
    }
)
"""Settings of torch, of its libraries oneDNN and MKL, and of the compiler of DeepSynth's sampling."""

COMPUTED_BY = "computed_by.json"
LIBRARIES = ("numba", "numpy", "scipy", "torch")


class NumericsParams(Section):
    """Which instructions networks compute with.

    Attributes:
        networks: ``portable``: the same weights and predictions on any x86-64 CPU with AVX2. ``fast``: all that the
            CPU has, and precisions of 16 bits are allowed; another CPU gives other last bits.
    """

    networks: Networks


def pin_networks(networks: Networks, cpu_info: Path = CPU_INFO) -> None:
    """Set `NETWORKS_PINNED` for this process, where ``networks`` is ``portable``.

    Args:
        networks: which numerics.
        cpu_info: what the kernel says of the CPU.

    Raises:
        PipelineError: the CPU has no AVX2, or torch was imported with other settings.
    """
    if networks == "fast":
        return
    if "avx2" not in cpu_info_flags(cpu_info):
        raise PipelineError(
            "numerics.networks is portable, which needs an x86-64 CPU with AVX2, and this one has none: set it to fast"
        )
    if "torch" in sys.modules and any(os.environ.get(name) != value for name, value in NETWORKS_PINNED.items()):
        raise PipelineError("numerics.networks is portable, and torch was imported before its settings were made")
    os.environ.update(NETWORKS_PINNED)


def check_precision(params: Section, section: str, networks: Networks) -> None:
    """Refuse precisions of 16 bits with portable numerics: CPUs round them in different places.

    Raises:
        ParamsError: names the value.
    """
    for name in ("precision", "generation_precision"):
        value = str(getattr(params, name, ""))
        if networks == "portable" and "16" in value:
            raise ParamsError(
                f"{section}.{name} is {value} and numerics.networks is portable: expected 32 bits, or networks: fast"
            )


def computed_by(networks: Networks) -> dict[str, Any]:
    """Return what the bytes of a trained folder depend on, beside its data, parameters and code.

    With ``portable`` that are the settings and the libraries; with ``fast`` also the CPU and its features.
    """
    found: dict[str, Any] = {
        "networks": networks,
        "settings": {name: os.environ[name] for name in sorted(NETWORKS_PINNED) if name in os.environ},
        "libraries": {name: version(name) for name in LIBRARIES},
    }
    if networks == "fast":
        found["cpu"] = {
            "machine": platform.machine(),
            "features": sorted(cpu_info_flags()),
            "threads": os.cpu_count(),
        }
        if torch := sys.modules.get("torch"):
            found["torch"] = [line.strip(" -") for line in torch.__config__.show().splitlines()[1:9]]
    return found


def write_computed_by(folder: Path, networks: Networks) -> None:
    """Write what `computed_by` returns into a trained folder."""
    text = json.dumps(computed_by(networks), indent=1, sort_keys=True) + "\n"
    (folder / COMPUTED_BY).write_text(text, encoding="utf-8")


def networks_of(trained: Path) -> Networks:
    """Return the numerics that a trained folder was made with.

    Raises:
        DamagedData: the folder does not say.
    """
    path = trained / COMPUTED_BY
    try:
        networks: Networks = json.loads(path.read_text(encoding="utf-8"))["networks"]
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing, which older versions did not write: train the family again") from None
    except (ValueError, KeyError, TypeError):
        raise DamagedData(f"{path} does not name its numerics: train the family again") from None
    return networks
