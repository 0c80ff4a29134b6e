"""Locks with planted differences: each cause is found for the families that it reaches, and for no other."""

from pathlib import Path

import pytest

from tasks.versions.causes import Changed
from tasks.versions.family_causes import family_causes
from tasks.versions.history import Version

MACHINE = Changed(name="net", old={"cpu": "a"}, new={"cpu": "b"})


def version(**changes):
    """Make a version whose lock has a family of captures and one of scores; changes are by (stage, what) names."""

    def value(name):
        return changes.get(name, "same")

    def stage(name, *, deps, outs, **params):
        return {
            "deps": [{"path": path, "md5": md5} for path, md5 in deps.items()],
            "params": {
                "params.yaml": params,
                "data/code.json": {name: value(f"{name} code"), "libraries": value("libraries")},
            },
            "outs": [{"path": path, "md5": value(path)} for path in outs],
        }

    tools = {"data/tools.json": value("tools")}
    stages = {
        "film": stage("film", deps=tools, outs=["data/filmed"], film={"seed": value("film seed"), "n": value("film")}),
        "ingest": stage(
            "ingest",
            deps={"data/raw": value("data/raw"), "data/filmed": value("data/filmed")},
            outs=["data/ingested"],
            ingest={"captures": {"lenient": value("lenient")}},
        ),
        "render": stage(
            "render",
            deps={"data/ingested": value("data/ingested")},
            outs=["data/rendered"],
            render={"lit": value("lit")},
        ),
        "chunk": stage(
            "chunk",
            deps={path: value(path) for path in ("data/ingested", "data/rendered")},
            outs=["data/chunked/captures", "data/chunked/scores", "data/truth.json"],
            chunk={"width": value("width")},
        ),
    }
    for family, kind in (("net", "captures"), ("roll", "scores")):
        data = {f"data/chunked/{kind}": value(f"data/chunked/{kind}")}
        trained = {f"data/trained/{family}": value(f"data/trained/{family}")}
        stages |= {
            f"train@{family}": stage(
                f"train.{family}",
                deps=data,
                outs=trained,
                **{f"train.{family}": {"rate": value(f"{family} rate"), "seed": value(f"{family} seed")}},
            ),
            f"evaluate@{family}": stage(
                f"evaluate.{family}",
                deps={**data, **trained},
                outs=[f"data/evaluated/{family}"],
                notes={"threshold": value("threshold")},
            ),
        }
    return Version(name="v", commit="c", lock={"stages": stages}, root=Path())


TRAINED = {"data/trained/net": "other"}
CAPTURES = {"data/chunked/captures": "other", "data/ingested": "other", **TRAINED}


@pytest.mark.parametrize(
    ("changes", "takes", "machine", "names"),
    [
        ({}, {}, None, ()),
        ({"net rate": 2, **TRAINED}, {}, None, ("params",)),
        ({"net seed": 2, **TRAINED}, {}, None, ("seed",)),
        ({"net seed": 2, **TRAINED}, {}, MACHINE, ("machine", "seed")),
        (TRAINED, {}, MACHINE, ("machine",)),
        ({"threshold": 2}, {}, None, ("params",)),
        ({"train.net code": 2, **TRAINED}, {}, None, ("code",)),
        ({"chunk code": 2, "data/chunked/captures": 2, **TRAINED}, {}, None, ("code",)),
        ({"libraries": 2}, {}, MACHINE, ("libraries",)),
        ({"data/raw": 2, **CAPTURES}, {"a": False}, None, ("data",)),
        ({"data/raw": 2, "net rate": 2, **CAPTURES}, {"a": False}, None, ("data", "params")),
        ({"film": 2, "data/filmed": 2, **CAPTURES}, {"filmed_a": True}, None, ("params",)),
        ({"film seed": 2, "data/filmed": 2, **CAPTURES}, {"filmed_a": True}, None, ("params",)),
        ({"tools": 2, "data/filmed": 2, **CAPTURES}, {"filmed_a": True}, None, ("tools",)),
        ({"lenient": 2, **CAPTURES}, {}, None, ("params",)),
        # What changed elsewhere, and left what this family reads as it was.
        ({"roll rate": 2, "data/trained/roll": 2, "train.roll code": 2}, {}, None, ()),
        ({"width": 2, "chunk code": 2}, {}, None, ()),
        ({"lit": 2, "data/rendered": 2, "data/chunked/scores": 2}, {}, None, ()),
        ({"lit": 2, "data/rendered": 2, "data/raw": 2, **CAPTURES}, {"a": False}, None, ("data",)),
        ({"data/raw": 2, "data/ingested": 2, "data/rendered": 2, "data/chunked/scores": 2}, {}, None, ()),
    ],
)
def test_each_cause_is_named_and_no_other(changes, takes, machine, names):
    found = family_causes("net", "captures", version(), version(**changes), takes=takes, machine=machine)
    assert found.names == names
    assert found.takes == tuple(name for name, is_made in takes.items() if not is_made)


def test_a_parameter_of_captures_is_no_cause_for_scores():
    changes = {"lenient": 2, "data/raw": 2, "data/ingested": 2, "data/rendered": 2, "data/chunked/scores": 2}
    found = family_causes("roll", "scores", version(), version(**changes), takes={"a": False}, machine=None)
    assert (found.names, found.takes, found.params) == (("data",), ("a",), ())


def test_what_is_found_has_both_values():
    found = family_causes(
        "net", "captures", version(), version(**{"net rate": 2, "net seed": 3, **TRAINED}), takes={}, machine=MACHINE
    )
    assert found.params == (Changed(name="train.net.rate", old="same", new=2),)
    assert found.seed == (Changed(name="train.net.seed", old="same", new=3),)
    assert found.machine == MACHINE
