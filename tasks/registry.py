"""The kinds of data, and which module does a verb's work on one of them.

A verb reaches a kind by this table alone: importing the verb, or one kind, neither imports the other kinds nor depends
on them. A module's name follows from both words: ``tasks.kinds.KIND.VERB``.
"""

import importlib.util
from types import ModuleType
from typing import Any

from tasks.errors import ParamsError

KINDS: tuple[str, ...] = ("scores", "captures", "ensembles")
"""In the order in which tables and pages show them."""


def kind_module_name(kind: str, verb: str) -> str:
    """Return the dotted name of the module that does ``verb``'s work on ``kind``."""
    return f"tasks.kinds.{kind}.{verb}"


def kinds_of(verb: str) -> tuple[str, ...]:
    """Return the kinds that ``verb`` does something with: those that have a module for it, in the table's order."""
    return tuple(kind for kind in KINDS if importlib.util.find_spec(kind_module_name(kind, verb)) is not None)


def kind_module(kind: str, verb: str) -> Any:
    """Import the module that does ``verb``'s work on ``kind``.

    Raises:
        ParamsError: there is no such kind.
        LookupError: the verb has nothing to do with it.
    """
    if kind not in KINDS:
        raise ParamsError(f"kind {kind!r} is unknown, expected one of {', '.join(KINDS)}")
    name = kind_module_name(kind, verb)
    try:
        module: ModuleType = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise LookupError(f"{verb} does nothing with {kind}: there is no {name}") from None
    return module
