"""Parameters that change a result: read from params.yaml, typed once, at the door."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import ParamsError

PARAMS_FILE = Path("params.yaml")


class Section(BaseModel):
    """A section of params.yaml. Frozen; unknown and missing keys are refused, so no field has a default.

    Each verb and family declares its own subclass beside the code that reads it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    renamed: ClassVar[Mapping[str, str]] = {}
    """Former names of keys, each with the name that it has now: an old params.yaml is refused in one line."""

    @classmethod
    def parse(cls, values: object, name: str) -> Self:
        """Type the section called ``name`` (``render``, ``train.FAMILY``).

        Raises:
            ParamsError: names the first key that is missing, unknown, of the wrong type or out of range; or every key
                that has another name now.
        """
        if isinstance(values, Mapping) and (former := [key for key in cls.renamed if key in values]):
            changes = ", ".join(f"{key} is now {cls.renamed[key]}" for key in former)
            raise ParamsError(
                f"params.yaml: {name}: {changes}: rename them, or write the file anew by `audiate preset NAME`"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join([name, *(str(part) for part in first["loc"])])
            found = "" if first["type"] == "missing" else f", found {first['input']!r}"
            raise ParamsError(f"params.yaml: {key}: {first['msg']}{found}") from None


def read_params(path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Read all of params.yaml.

    Raises:
        ParamsError: the file is missing, is not YAML, or is not a mapping of sections.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} not found: run this in the folder of the project") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(loaded, dict):
        raise ParamsError(f"{path} holds {type(loaded).__name__}, expected sections of parameters")
    return loaded


def section_values(params: Mapping[str, Any], name: str) -> object:
    """Return what stands under a dotted name.

    Raises:
        ParamsError: there is no such section.
    """
    values: Any = params
    for part in name.split("."):
        if not isinstance(values, Mapping) or part not in values:
            raise ParamsError(f"params.yaml: section {name} is missing")
        values = values[part]
    return values
