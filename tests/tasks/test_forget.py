"""A take leaves a project of DVC that really stored it: the folder, what was made of it, every version's files."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.forget import ForgetError, forget, take_of_path
from tasks.versions.history import WORKSPACE
from tasks.versions.objects import ObjectsError

pytestmark = pytest.mark.slow

CACHE, REMOTE = Path(".dvc/cache/files/md5"), Path("../remote/files/md5")


def run(*command, fails=False):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def holding(folder, content):
    """Return the objects that hold a take's bytes, by themselves or in what was made of them."""
    return sorted(path for path in folder.glob("??/*") if content.encode() in path.read_bytes())


def remember(name, sha256):
    """Let every local memory know a take."""
    watch, verified = Path(".audiate/watch"), Path(".audiate/verified")
    (verified / "streams").mkdir(parents=True)
    watch.mkdir()
    (verified / "raw.json").write_text(json.dumps({f"data/raw/{name}/cam_x.mp4": [1], "data/raw/b/cam_x.mp4": [2]}))
    (verified / "streams.json").write_text(json.dumps({sha256: "s", "other": "o"}))
    (verified / "streams" / f"{sha256}.npy").write_bytes(b"prints")
    (watch / "handled.json").write_text(json.dumps({"digest": {"entry": name, "policy": "p", "at": "now"}}))
    (watch / "seen.json").write_text(json.dumps({name: {"signature": "s", "since_s": 1}, "b": {}}))
    (Path(".audiate/resume") / "net-0123").mkdir(parents=True)
    (Path(".audiate/resume") / "other-0123").mkdir()


def tree(folder):
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_a_dry_run_names_all_that_goes_and_touches_nothing(shelved):
    before = tree("data"), tree(CACHE), tree(REMOTE)
    found = forget(["c"])
    assert found.paths == ("data/raw/c", "data/ingested/c", "data/chunked/scores/c")
    assert [(model.family, model.how) for model in found.models] == [("net", "trained on it")]
    assert [held.name for held in found.holdings] == [WORKSPACE, *reversed(shelved[1:])]
    assert all(held.n_files == 4 for held in found.holdings[1:])
    assert all(held.n_objects == {"cache": 4, "shelf": 4} for held in found.holdings[1:])
    assert any("git keeps the names and digests of c in 3 versions" in line for line in found.advice)
    assert (tree("data"), tree(CACHE), tree(REMOTE)) == before


def test_what_stands_here_goes_with_its_memories_and_the_next_run_learns_without_it(shelved):
    sha256 = json.loads(Path("data/ingested/catalog.json").read_text())[2]["media"][0]["sha256"]
    remember("c", sha256)
    found = forget(["c"], dry_run=False)
    assert not [path for path in Path("data").rglob("c") if path.is_dir()]
    assert "c/" not in Path("data/raw.dvc").read_text()
    assert sorted(path.name for path in Path("data/raw").iterdir()) == ["a", "b", "d"]
    verified = Path(".audiate/verified")
    assert json.loads((verified / "raw.json").read_text()) == {"data/raw/b/cam_x.mp4": [2]}
    assert json.loads((verified / "streams.json").read_text()) == {"other": "o"}
    assert not list((verified / "streams").iterdir())
    assert json.loads(Path(".audiate/watch/seen.json").read_text()) == {"b": {}}
    assert [path.name for path in Path(".audiate/resume").iterdir()] == ["other-0123"]
    assert any("the inbox may still hold c" in line for line in found.advice)
    assert not Path("data/incoming/.forgotten").exists()
    assert holding(CACHE, "C" * 3_000)  # of older versions, and said
    run("dvc", "repro", "-q")
    weights = Path("data/trained/net/weights").read_text()
    assert ("C" * 3_000 in weights, "A" * 3_000 in weights) == (False, True)
    assert "c" not in json.loads(Path("data/chunked/scores/takes.json").read_text())
    assert forget(["c"]).models == ()


def add_without_training(name):
    """Take one more take in, as a night does: the family is behind its data then."""
    folder = Path("data/raw") / name
    folder.mkdir()
    (folder / "cam_x.mp4").write_text(name * 3_000)
    run("dvc", "add", "-q", "data/raw")
    run("dvc", "repro", "-q", "chunk")


def test_weights_that_are_behind_learned_from_what_there_was_then(shelved):
    add_without_training("a_new")
    assert json.loads(Path("data/chunked/scores/takes.json").read_text())["a_new"] == {"part": "train"}
    assert forget(["a_new"]).models == ()
    assert [model.how for model in forget(["c"]).models] == ["trained on it"]
    shutil.rmtree(CACHE)  # nobody has the index that they learned from: they are held to have learned from all of now's
    assert [model.family for model in forget(["a_new"]).models] == ["net"]


def test_promoted_weights_that_learned_from_a_take_are_named_and_withdrawn(shelved):
    promoted = Path("data/promoted/net")
    promoted.mkdir(parents=True)
    (promoted / "weights").write_text("older ones")
    about = {"family": "net", "kind": "scores", "commit": None, "data_version": "v", "params": {}}
    sha256 = hashlib.sha256(b"older ones").hexdigest()
    (promoted / "promoted.json").write_text(
        json.dumps({**about, "learned": {"b": "one"}, "files": {"weights": sha256}})
    )
    assert forget(["a"]).models[0].how == "trained on it"
    found = forget(["b"], withdraw=True, dry_run=False)  # b is for testing now
    assert [(model.family, model.how) for model in found.models] == [
        ("net", "its promoted weights were trained or validated on it")
    ]
    assert not promoted.exists()


def test_withdrawn_models_go_with_what_they_made(shelved):
    found = forget(["d"], withdraw=True, dry_run=False)
    assert [(model.family, model.how) for model in found.models] == [("net", "validated on it")]
    for path in ("data/trained/net", "data/synthesized/net", "data/metrics/net.json"):
        assert path in found.paths
        assert not Path(path).exists()


def test_a_test_take_taught_nothing_but_its_sound_goes(shelved):
    found = forget(["b"], dry_run=False)
    assert found.models == ()
    assert "data/synthesized/net/net/b" in found.paths
    assert Path("data/trained/net/weights").exists()
    assert not Path("data/synthesized/net/net/b").exists()


def test_everywhere_removes_its_objects_from_cache_and_remote_and_no_other(shelved):
    assert holding(REMOTE, "C" * 3_000)
    before = set(CACHE.glob("??/*"))
    weights = {path for path in before if b"w" * 10_000 in path.read_bytes()}
    found = forget(["c"], everywhere=True, dry_run=False)
    # What is left of its bytes here is in weights that learned from it in older versions: said in the advice.
    assert set(holding(CACHE, "C" * 3_000)) <= weights
    assert {path.name for path in holding(REMOTE, "C" * 3_000)} <= {path.name for path in weights}
    assert any("models of these versions may have learned from it" in line for line in found.advice)
    gone = before - set(CACHE.glob("??/*"))
    assert [(removal.shelf, removal.n_objects) for removal in found.removals] == [("cache", 3), ("shelf", 3)]
    assert len(gone) == 3
    assert found.removals[0].n_shared == 1  # its take.yaml is that of the others too
    run("dvc", "repro", "-q")
    run("git", "add", "--all")
    run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "without c")
    run("dvc", "push", "-q")
    assert "in sync" in run("dvc", "status", "-c")
    # A version from before it came is whole; one that had it is not, and says which file it misses.
    run("git", "checkout", "-q", shelved[0])
    run("dvc", "checkout", "-q")
    assert Path("data/raw/b/cam_x.mp4").read_text() == "B" * 3_000
    run("git", "checkout", "-q", shelved[2])
    run("dvc", "checkout", fails=True)


def test_what_only_older_versions_hold_can_go_later(shelved):
    forget(["c"], dry_run=False)
    run("dvc", "repro", "-q")
    found = forget(["c"], everywhere=True, dry_run=False)
    assert found.paths == ()
    assert [removal.n_objects for removal in found.removals] == [3, 3]
    assert [removal.n_objects for removal in forget(["c"]).removals] == [0, 0]


def test_a_recording_that_another_take_has_too_is_named_and_nothing_goes(shelved):
    shutil.copytree("data/raw/c", "data/raw/copy_of_c")
    before = tree("data")
    with pytest.raises(ForgetError, match=r"cam_x\.mp4 is in copy_of_c too.*audiate forget c copy_of_c"):
        forget(["c"], dry_run=False)
    assert tree("data") == before
    assert forget(["c", "copy_of_c"]).paths[:2] == ("data/raw/c", "data/raw/copy_of_c")


def test_a_remote_that_does_not_answer_is_said_and_stops_everywhere_before_more_is_lost(shelved):
    Path(".dvc/config.local").write_text("[core]\n    remote = s\n['remote \"s\"']\n    url = gs://nobody/nothing\n")
    lines = []
    found = forget(["c"], tell=lines.append)
    assert [removal.shelf for removal in found.removals] == ["cache"]
    assert "what the remote holds is not known" in lines[0]
    with pytest.raises(ObjectsError, match="remote s"):
        forget(["c"], everywhere=True)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("c/cam_x", "is a view .cam_x. of a take, expected the take: audiate forget c"),
        ("ccc", "ccc is no take of data/raw, and no version holds one of that name"),
        ("filmed_x", "drawn by the stage film.*nobody is in it"),
        ("study", "git rm data/sample/midi/study.mid, commit, then dvc repro"),
        ("..", "is no name of a take"),
    ],
)
def test_what_cannot_be_forgotten_is_one_line_with_what_can_be_done(shelved, name, said):
    Path("data/filmed/filmed_x").mkdir(parents=True)
    Path("data/sample/midi").mkdir(parents=True)
    Path("data/sample/midi/study.mid").write_bytes(b"MThd")
    with pytest.raises(ForgetError, match=said) as raised:
        forget([name])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "take"),
    [
        ("data/raw/c/cam_x.mp4", "c"),
        ("data/chunked/scores/c/arrays.zarr/codes/c/0", "c"),
        ("data/synthesized/net/mean/c/cam_top/audio.flac", "c"),
        ("data/report/media/c/x.png", "c"),
        ("data/ingested/catalog.json", None),
        ("data/chunked/scores/takes.json", None),
        ("data/trained/c/weights", None),
        ("data/sample/midi/c.mid", None),
        ("elsewhere/raw/c/x", None),
    ],
)
def test_a_files_take_is_known_by_where_it_lies_and_never_by_a_name_alone(path, take):
    assert take_of_path(path) == take
