"""Presets of params.yaml: ``demo`` whole, ``study`` and ``paper`` as what differs from it.

``study-8khz`` and ``study-16khz`` are ``study`` with DeepSynth's codes at these rates.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.errors import ParamsError
from tasks.step import write_whole

FOLDER = Path(__file__).parent
PRESETS = ("demo", "study", "study-8khz", "study-16khz", "paper")


def preset_text(name: str) -> str:
    """Return a preset as the text of a params.yaml, with the comments of ``demo.yaml``.

    Raises:
        ParamsError: there is no such preset, or it names a parameter that demo does not have.
    """
    if name not in PRESETS:
        raise ParamsError(f"preset {name!r} is unknown, expected one of {', '.join(PRESETS)}")
    yaml = YAML()
    yaml.width = 110
    yaml.preserve_quotes = True
    params = yaml.load(FOLDER / "demo.yaml")
    for layer in _layers(name):
        _overlay(params, yaml.load(FOLDER / f"{layer}.yaml"), layer)
    text = StringIO()
    yaml.dump(params, text)
    return text.getvalue().replace("# Preset demo", f"# Preset {name}", 1)


def _layers(name: str) -> tuple[str, ...]:
    """Return the presets whose changes to demo make this one, in order."""
    base, dash, _ = name.partition("-")
    return () if name == "demo" else (base, name) if dash else (name,)


def check_sections(params: Mapping[str, Any]) -> None:
    """Refuse a params.yaml with a section that no preset has: nothing would ever read it.

    Raises:
        ParamsError: names the section, and the one that it is most like.
    """
    known = [*YAML(typ="safe").load(FOLDER / "demo.yaml")]
    for name in params:
        if name not in known:
            like = get_close_matches(str(name), known, n=1)
            expected = f"is it {like[0]}?" if like else f"expected one of {', '.join(known)}"
            raise ParamsError(f"params.yaml: section {name} is unknown, {expected}")


def is_edited(path: Path) -> bool:
    """Say whether a params.yaml is there that is no preset as it came; its comments do not matter."""
    if not path.is_file():
        return False
    yaml = YAML(typ="safe")
    try:
        found = yaml.load(path)
    except (OSError, ValueError, YAMLError):
        return True
    return all(found != yaml.load(preset_text(name)) for name in PRESETS)


def write_preset(name: str, path: Path) -> None:
    """Write a preset as params.yaml."""
    write_whole(path, preset_text(name))


def _overlay(params: Any, changes: Mapping[str, Any], where: str) -> None:
    for key, value in changes.items():
        is_new = key not in params
        # Which families are in the matrix, and what is searched, is a preset's own affair.
        if is_new and not where.endswith(".families") and ".search.ranges" not in where:
            raise ParamsError(f"preset {where}: {key} is unknown: demo.yaml does not have it")
        if isinstance(value, Mapping) and not is_new:
            _overlay(params[key], value, f"{where}.{key}")
        else:
            params[key] = value
