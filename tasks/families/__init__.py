"""Families: one adapter a kind of model, from its training data to its sound.

The table names classes as strings: importing one family neither imports the others nor depends on them.
"""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tasks.errors import ParamsError

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
