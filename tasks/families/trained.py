"""What a family's trained folder holds of a system: arrays, the facts beside them, and a training curve.

No network and no torch: the baselines need neither.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as arrays_from_bytes
from safetensors.numpy import save as arrays_to_bytes

from tasks.errors import DamagedData, ParamsError
from tasks.params import Section

C = TypeVar("C")

Arrays = dict[str, NDArray[Any]]
Needed = Mapping[str, Callable[[Any], Any]]
"""Facts that a reader needs, by name: the type or function that each is read with."""


def config_of(config_class: type[C], params: Section, **given: Any) -> C:
    """Return a network's config: the fields that a section holds under the same names, and those that are given.

    What is given for a field that the config does not have is left out.

    Raises:
        TypeError: a field without a default is in neither.
    """
    names = [field.name for field in fields(config_class)]  # type: ignore[arg-type]
    shared = {name: getattr(params, name) for name in names if name in type(params).model_fields}
    return config_class(**{name: value for name, value in (shared | given).items() if name in names})


def save_trained(stem: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write arrays to ``stem.safetensors`` and facts to ``stem.json``, same bytes every time.

    Args:
        stem: the path without its suffix, ``out / SYSTEM``.
        arrays: weights, by name.
        facts: what JSON can hold: sizes, fitted thresholds.
    """
    whole = {name: np.require(array, requirements="C") for name, array in sorted(arrays.items())}
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False) + "\n"
    stem.parent.mkdir(parents=True, exist_ok=True)
    # Neither flushed nor renamed here: the stage writes into a sibling folder that becomes the family's when whole.
    stem.with_name(f"{stem.name}.safetensors").write_bytes(arrays_to_bytes(whole))
    stem.with_name(f"{stem.name}.json").write_text(text)


def load_facts(stem: Path, needed: Needed) -> dict[str, Any]:
    """Read the facts of a trained system from ``stem.json``.

    Args:
        stem: as in `save_trained`.
        needed: the facts that must be there.

    Returns:
        All facts, lists as tuples; those that are needed as their reader returns them.

    Raises:
        DamagedData: the file is missing, is no JSON object, or lacks what is needed.
    """
    path = stem.with_name(f"{stem.name}.json")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: train the family first") from None
    except ValueError as error:
        raise DamagedData(f"{path} is not JSON: {error}") from None
    if not isinstance(facts, dict):
        raise DamagedData(f"{path} holds {type(facts).__name__}, expected an object")
    facts = {name: _with_tuples(value) for name, value in facts.items()}
    try:
        return facts | {name: read(facts[name]) for name, read in needed.items()}
    except UNREADABLE as error:
        raise no_longer_read(stem, error) from None


def load_trained(stem: Path, needed: Needed) -> tuple[Arrays, dict[str, Any]]:
    """Read what `save_trained` wrote: arrays, and facts as `load_facts` returns them. Nothing is unpickled.

    Raises:
        DamagedData: a file is missing, truncated, or not what its suffix says, or facts that are needed are missing.
    """
    path = stem.with_name(f"{stem.name}.safetensors")
    try:
        arrays = arrays_from_bytes(path.read_bytes())
    except FileNotFoundError:
        raise DamagedData(f"{path} is missing: train the family first") from None
    except (SafetensorError, ValueError) as error:
        raise DamagedData(f"{path} is not a whole safetensors file: {' '.join(str(error).split())}") from None
    return arrays, load_facts(stem, needed)


UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ParamsError)
"""What making a network or a value of unknown facts may raise."""


def no_longer_read(stem: Path, error: Exception) -> DamagedData:
    """Return the error that facts of another shape than today's are refused with."""
    return DamagedData(
        f"{stem}.json is not what training writes ({' '.join(repr(error).split())}): it is damaged, or of an older "
        "version; train the family again"
    )


def write_curve(path: Path, columns: Sequence[str], rows: Iterable[Sequence[float | int | None]]) -> None:
    """Write a training curve as CSV: a line per validation, empty where a value was not measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow("" if v is None else v if isinstance(v, int) else f"{v:.6g}" for v in row)


def _with_tuples(value: Any) -> Any:
    """Return a JSON value with its lists as tuples: configs are frozen."""
    if isinstance(value, list):
        return tuple(_with_tuples(one) for one in value)
    return {name: _with_tuples(one) for name, one in value.items()} if isinstance(value, dict) else value
