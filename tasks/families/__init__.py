"""Families: one adapter a kind of model, from its training data to its sound.

The table names classes as strings: importing one family neither imports the others nor depends on them.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.errors import ParamsError
from tasks.registry import KINDS

if TYPE_CHECKING:
    from tasks.families.base import Family

FAMILIES: Mapping[str, str] = MappingProxyType(
    {
        "baselines": "tasks.families.baselines:Baselines",
        "bitmap_mlp": "tasks.families.bitmap_mlp:BitmapMlpFamily",
        "bitmap_stft": "tasks.families.bitmap_stft:BitmapStftFamily",
        "capture_baselines": "tasks.families.capture_baselines:CaptureBaselines",
        "cnn_lstm": "tasks.families.cnn_lstm:CnnLstmFamily",
        "conv_lstm": "tasks.families.conv_lstm:ConvLstmFamily",
        "deepsynth": "tasks.families.deepsynth:DeepSynthFamily",
        "fc_lstm": "tasks.families.fc_lstm:FcLstmFamily",
        "keyboard_camera": "tasks.families.keyboard_camera:KeyboardCamera",
        "piano_roll": "tasks.families.piano_roll:PianoRollFamily",
        "separation_baselines": "tasks.families.separation_baselines:SeparationBaselines",
        "wave_unet": "tasks.families.wave_unet:WaveUnetFamily",
    }
)


def load_family(name: str) -> "Family[Any, Any]":
    """Import and make the family called ``name``.

    Raises:
        ParamsError: there is no such family.
    """
    if name not in FAMILIES:
        raise ParamsError(f"family {name!r} is unknown, expected one of {', '.join(FAMILIES)}")
    module, _, class_name = FAMILIES[name].partition(":")
    family: Family[Any, Any] = getattr(importlib.import_module(module), class_name)()
    return family


def families_of(params: Mapping[str, Any]) -> dict[str, str]:
    """Return the section ``families`` of params.yaml: the families of the pipeline, each with its kind of data.

    Raises:
        ParamsError: the section is missing, or of an older version, or names a family or a kind that there is not.
    """
    families = params.get("families")
    if not isinstance(families, Mapping):
        raise ParamsError("params.yaml: section families is missing, expected lines such as `cnn_lstm: captures`")
    for name, kind in families.items():
        if isinstance(kind, Mapping):
            raise ParamsError(
                f"params.yaml: families.{name} lists files, as an older version had it: write the kind of its data "
                f"alone, as in `cnn_lstm: captures`, or make the file anew by `audiate preset demo`"
            )
        if name not in FAMILIES:
            raise ParamsError(f"params.yaml: families.{name} is unknown, expected one of {', '.join(FAMILIES)}")
        if kind not in KINDS:
            raise ParamsError(f"params.yaml: families.{name} is {kind!r}, expected one of {', '.join(KINDS)}")
    return dict(families)


def check_kind(name: str, families: Mapping[str, str]) -> None:
    """Refuse a family that params.yaml gives another kind of data than it learns from.

    Raises:
        ParamsError: it is so, or the family is not in the pipeline.
    """
    if name not in families:
        raise ParamsError(f"params.yaml: families has no {name}, expected one of {', '.join(families)}")
    expected = load_family(name).data
    if families[name] != expected:
        raise ParamsError(f"params.yaml: families.{name} is {families[name]}, but it learns from {expected}")
