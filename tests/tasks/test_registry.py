"""From a kind and a verb to a module."""

import pytest

from tasks.errors import ParamsError
from tasks.registry import KINDS, kind_module, kinds_of


def test_the_kinds_of_a_verb_are_those_with_a_module_for_it():
    assert kinds_of("chunk") == KINDS
    assert kinds_of("render") == ("scores",)
    assert kinds_of("synchronize") == ("captures", "ensembles")
    assert kinds_of("dance") == ()


def test_a_module_that_is_not_there_is_told_from_one_that_is_broken():
    assert kind_module("scores", "render").__name__ == "tasks.kinds.scores.render"
    with pytest.raises(LookupError, match=r"synchronize does nothing with scores: there is no tasks\.kinds\.scores"):
        kind_module("scores", "synchronize")
    with pytest.raises(ParamsError, match=r"kind .songs. is unknown, expected one of scores, captures, ensembles"):
        kind_module("songs", "chunk")
