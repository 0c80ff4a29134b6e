"""Two versions with planted changes: each is found, and nothing else."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import yaml

from tasks.compare import CompareParams, _takes_read, compare_versions, failing
from tasks.errors import DamagedData, PipelineError
from tasks.store.tables import write_table
from tasks.versions import show
from tasks.versions.history import WORKSPACE, HistoryError, Version, read_version
from tasks.versions.noise import replicates_text
from tasks.versions.show import advice, markdown_of, tables_of

PARAMS = CompareParams(n_resamples=400, seed=1, n_moved=3)


class Project:
    """A project whose commits are made by hand: dvc.lock, and the cache as DVC fills it."""

    def __init__(self, folder):
        self.folder = folder
        self.cache = folder / ".dvc" / "cache" / "files" / "md5"
        self.cache.mkdir(parents=True)
        (folder / ".gitignore").write_text("/.dvc/cache\n/data/*\n!/data/code.json\n")
        self.git("init", "-q")

    def git(self, *arguments):
        subprocess.run(["git", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def store(self, content, suffix=""):
        md5 = hashlib.md5(content).hexdigest()  # noqa: S324 - DVC's name for it
        path = self.cache / md5[:2] / f"{md5[2:]}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return f"{md5}{suffix}"

    def commit(
        self, *, takes, tables=None, params=None, packages="a==1\n", quarantine=(), deps=None, files=None, **parts
    ):
        """Commit a version: its results as DVC keeps them, and its ``files`` as git does.

        ``parts``, by family: ``machines`` that trained it, ``read`` parameters of its evaluation as in dvc.lock, its
        ``pitches`` and its ``sounds``.
        """
        catalog = [
            {"take": take, "kind": "score", "piece": piece, "part": part, "digest": digest, "duration_s": 1.0}
            for take, piece, part, digest in takes
        ]
        folders = {
            "data/ingested": {
                "catalog.json": json.dumps(catalog).encode(),
                "quarantine.json": json.dumps(list(quarantine)).encode(),
            }
        }
        for family, columns in (tables or {}).items():
            write_table(self.folder / "table", columns)
            folders[f"data/evaluated/{family}"] = {"takes.parquet": (self.folder / "table").read_bytes()}
            (self.folder / "table").unlink()
        for family, columns in parts.get("pitches", {}).items():
            write_table(self.folder / "table", columns)
            folders[f"data/evaluated/{family}"]["pitches.parquet"] = (self.folder / "table").read_bytes()
            (self.folder / "table").unlink()
        for family, sounds in parts.get("sounds", {}).items():
            folders[f"data/synthesized/{family}"] = {name: text.encode() for name, text in sounds.items()}
        for family, said in parts.get("machines", {}).items():
            folders[f"data/trained/{family}"] = {"computed_by.json": json.dumps(said).encode()}
        for path, content in (files or {}).items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(content)
        stages = {}
        for path, files in folders.items():
            listed = [{"md5": self.store(content), "relpath": name} for name, content in files.items()]
            out = {"path": path, "md5": self.store(json.dumps(listed).encode(), ".dir")}
            rows = [{"path": name, "md5": md5} for name, md5 in (deps or {}).items()]
            stages[path.replace("data/", "")] = {"deps": rows, "outs": [out]}
            for name, content in files.items():
                (self.folder / path / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / path / name).write_bytes(content)
        for family, read in parts.get("read", {}).items():
            stages[f"evaluated/{family}"]["params"] = read
        (self.folder / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params or {}))
        (self.folder / "constraints.txt").write_text(packages)
        self.git("add", "--all")
        self.git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "one")

    def compare(self, old="HEAD~1", new="HEAD"):
        return compare_versions(read_version(old, root=self.folder), read_version(new, root=self.folder), PARAMS)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def take(name, *, piece=None, part=None, digest="0"):
    return name, piece or name, part, digest


def table(takes, **figures):
    """Make a family's table of one system ``s`` over takes that are their own pieces, or (take, piece) pairs."""
    pairs = [name if isinstance(name, tuple) else (name, name) for name in takes]
    names = {"system": ["s"] * len(pairs), "take": [name for name, _ in pairs], "piece": [piece for _, piece in pairs]}
    return {**names, **{key: np.array(values, float) for key, values in figures.items()}}


def test_every_change_of_data_parameters_and_code_is_named_and_no_other(project):
    deps = {"tasks/render.py": "1", "tasks/step.py": "1", "data/tools.json": "1", "data/raw": "1"}
    project.commit(
        takes=[take("a"), take("b"), take("c"), take("d")],
        params={"train": {"steps": 1, "rate": 0.1}, "old": None},
        packages="a==1\nb==2  # why\n",
        quarantine=[{"take": "x", "kind": "BAD", "reason": "old news"}],
        deps=deps,
    )
    project.commit(
        takes=[take("a"), take("b", digest="1"), take("c", part="test"), take("e")],
        params={"train": {"steps": 2, "rate": 0.1}},
        packages="a==1\nb==3\nc==1\n",
        quarantine=[
            {"take": "x", "kind": "BAD", "reason": "old news"},
            {"take": "y", "kind": "TRUNCATED", "reason": "y.mp4 ends"},
        ],
        deps={**deps, "tasks/render.py": "2", "data/tools.json": "2", "data/raw": "2"},
    )
    found = project.compare()
    assert (found.added, found.removed) == (("e",), ("d",))
    assert [(row.name, row.old, row.new) for row in found.changed] == [
        ("b", {"digest": "0"}, {"digest": "1"}),
        ("c", {"part": None}, {"part": "test"}),
    ]
    assert [row["take"] for row in found.quarantined] == ["y"]
    assert [(row.name, row.old, row.new) for row in found.params] == [("train.steps", 1, 2), ("old", None, None)]
    assert [(row.name, row.old, row.new) for row in found.packages] == [("b", "2", "3"), ("c", None, "1")]
    assert (found.tools, found.code) == (True, ("tasks/render.py",))
    assert (found.old.n_takes, found.new.n_takes) == (4, 4)
    assert found.old.data_version != found.new.data_version
    assert found.new.commit


def test_a_version_and_itself_differ_in_nothing(project):
    project.commit(takes=[take("a"), take("b")], tables={"f": table("ab", mr_stft=[1, 2])})
    found = project.compare("HEAD", "HEAD")
    assert (found.added, found.removed, found.changed, found.params, found.packages, found.code) == ((),) * 6
    assert not found.tools
    assert [(row.difference, row.verdict, row.moved) for row in found.differences] == [(0.0, "same", ())]
    assert advice(found) == "1 of 1 figures are the same in every take"


def test_the_difference_is_taken_over_the_takes_that_both_tested_from_the_same_bytes(project):
    takes = [take(name) for name in "abcde"]
    project.commit(takes=takes, tables={"f": table("abcd", mr_stft=[1, 2, 4, 100])})
    takes[3] = take("d", digest="changed")
    project.commit(takes=takes, tables={"f": table("ecbda", mr_stft=[9, 3, 1, 0, 1])})
    found = project.compare()
    (row,) = found.differences
    assert (row.n_takes, row.n_pieces) == (3, 3)
    assert (row.old, row.new, row.difference) == pytest.approx((7 / 3, 5 / 3, -2 / 3))
    assert found.left_out == ("d",)
    assert [(move.take, move.old, move.new) for move in row.moved] == [("b", 2.0, 1.0), ("c", 4.0, 3.0)]


@pytest.mark.parametrize(
    ("metric", "change", "verdict"),
    [
        ("mr_stft", -1.0, "better"),
        ("mr_stft", 1.0, "worse"),
        ("onset_f1", 1.0, "better"),
        ("onset_f1", -1.0, "worse"),
        ("onset_f1", 0.0, "same"),
        ("n_estimate", 1.0, "open"),  # more notes are neither better nor worse
        ("onset_precision", 1.0, "better"),
        ("si_sdr_improvement_db", -1.0, "worse"),
        ("leakage_db", -1.0, "better"),
        ("of_an_older_version", 1.0, "open"),
    ],
)
def test_what_is_better_follows_from_the_metric(project, metric, change, verdict):
    rng = np.random.default_rng(0)
    names = [f"t{number}" for number in range(12)]
    before = rng.normal(size=12)
    after = before + change * (1 + 0.1 * rng.normal(size=12))
    for values in (before, after):
        project.commit(takes=[take(name) for name in names], tables={"f": table(names, **{metric: values})})
    (row,) = project.compare().differences
    assert row.verdict == verdict


def test_a_lag_is_better_the_nearer_it_is_to_0(project):
    names = list("abcdefgh")
    lag_ms = np.linspace(10, 11, 8)
    project.commit(takes=[take(name) for name in names], tables={"f": table(names, onset_lag_ms=-lag_ms)})
    project.commit(takes=[take(name) for name in names], tables={"f": table(names, onset_lag_ms=lag_ms / 2)})
    found = project.compare()
    (row,) = found.differences
    assert row.verdict == "better"
    assert row.difference == pytest.approx(-5.25)
    assert tables_of(found)[2].rows[0][2:5] == ("|Onset lag|, ms", "10.5", "5.2")


def test_views_are_rows_of_their_own_and_belong_to_the_take_that_they_film(project):
    views = [(f"{name}/{camera}", name) for name in "abc" for camera in ("left", "right")]
    takes = [take(name) for name in "abc"]
    project.commit(takes=takes, tables={"f": table(views, onset_f1=[0.5] * 6)})
    takes[2] = take("c", digest="changed")
    project.commit(takes=takes, tables={"f": table(views, onset_f1=[0.5, 0.6, 0.5, 0.6, 0.0, 0.0])})
    found = project.compare()
    (row,) = found.differences
    assert (row.n_takes, row.n_pieces, row.verdict) == (4, 2, "better")
    assert [move.take for move in row.moved] == ["a/right", "b/right"]
    assert (found.left_out, found.unmatched) == (("c",), ())


def test_a_family_without_a_row_in_common_is_named_and_not_called_unchanged(project):
    project.commit(takes=[take("a"), take("b")], tables={"f": table(["a/left"], mr_stft=[1])})
    project.commit(takes=[take("a"), take("b")], tables={"f": table(["b/left"], mr_stft=[1])})
    found = project.compare()
    assert (found.unmatched, found.differences) == (("f",), ())
    assert ("not compared", "f", "", "no take in both from the same bytes") in tables_of(found)[1].rows


def test_roles_are_read_from_the_rows_and_a_change_of_one_is_named(project):
    def of(*roles):
        columns = table("aa", mr_stft=[1, 2]) | {"system": ["net", "true"]}
        return {"f": columns | ({"role": list(roles)} if roles else {})}

    project.commit(takes=[take("a")], tables=of())  # from before systems had roles
    project.commit(takes=[take("a")], tables=of("model", "bound"))
    project.commit(takes=[take("a")], tables=of("idle", "bound"))
    found = project.compare("HEAD~2", "HEAD~1")
    assert [(row.system, row.role) for row in found.differences] == [("net", "model"), ("true", "bound")]
    assert found.systems == ()
    changed = project.compare()
    assert [(row.name, row.old, row.new) for row in changed.systems] == [("f/net", "model", "idle")]
    assert ("system", "f/net", "model", "idle") in tables_of(changed)[1].rows


def test_figures_of_one_version_alone_are_named_once_for_all_families(project):
    project.commit(takes=[take("a")], tables={name: table("a", old_key=[1], mr_stft=[1]) for name in "fg"})
    project.commit(takes=[take("a")], tables={name: table("a", new_key=[1], mr_stft=[1]) for name in "fg"})
    found = project.compare()
    assert [(row.name, row.old, row.new) for row in found.figures] == [("f, g", "old_key", "new_key")]
    assert {row.metric for row in found.differences} == {"mr_stft"}


def test_a_family_that_params_no_longer_name_is_left_out_with_a_word(project):
    one = {"f": table("a", mr_stft=[1]), "gone": table("a", mr_stft=[1])}
    project.commit(takes=[take("a")], tables=one, params={"families": {"f": "scores", "gone": "scores"}})
    project.commit(takes=[take("a")], tables=one, params={"families": {"f": "scores"}})
    found = project.compare()
    assert {row.family for row in found.differences} == {"f"}
    assert (found.only_old, found.retired) == (("gone",), ("gone",))
    assert ("not compared", "gone", "", "params.yaml no longer names it") in tables_of(found)[1].rows


def code(**files):
    """Make data/code.json, whose digests are by file name without its suffix."""
    return {"data/code.json": json.dumps({"files": {f"tasks/{name}.py": digest for name, digest in files.items()}})}


def test_code_is_what_the_stage_code_lists(project):
    deps = {"tasks": "1", "flows": "1"}
    project.commit(takes=[take("a")], deps=deps, files=code(step="1", film="1", gone="1"))
    project.commit(takes=[take("a")], deps={**deps, "tasks": "2"}, files=code(step="1", film="2", came="1"))
    assert project.compare().code == ("tasks/came.py", "tasks/film.py", "tasks/gone.py")


@pytest.mark.parametrize("new", ["HEAD", WORKSPACE])
def test_code_of_a_version_from_before_the_stage_is_compared_by_its_contents(project, new):
    sources = {"tasks/step.py": "same\n", "tasks/film.py": "old\n"}
    deps = {"tasks/step.py": "md5 of step", "tasks/film.py": "md5 of film"}
    project.commit(takes=[take("a")], deps=deps, files=sources)
    project.commit(
        takes=[take("a")], files={**sources, "tasks/film.py": "new\n", **code(step="sha of step", film="sha of film")}
    )
    assert project.compare("HEAD~1", new).code == ("tasks/film.py",)


def test_another_machine_is_a_cause_of_its_own(project):
    names = ("net", "twin", "old", "same")
    tables = {name: table("a", mr_stft=[1]) for name in names}
    here = {"cpu": ["avx2"], "threads": 2, "libraries": {"torch": "2.13"}}
    there = {"cpu": ["avx2", "avx512f"], "threads": 2, "libraries": {"torch": "2.13"}}
    project.commit(takes=[take("a")], tables=tables, machines={"net": here, "twin": here, "same": here})
    project.commit(takes=[take("a")], tables=tables, machines={"net": there, "twin": there, "old": there, "same": here})
    found = project.compare()
    assert [(row.name, row.old, row.new) for row in found.machines] == [
        ("net, twin", {"cpu": ["avx2"]}, {"cpu": ["avx2", "avx512f"]})
    ]
    assert ("machine", "net, twin") in [row[:2] for row in tables_of(found)[1].rows]
    assert (found.code, found.packages, found.params) == ((), (), ())


def test_takes_of_one_piece_are_no_new_evidence(project):
    names = [(f"t{number}", "only") for number in range(9)]
    takes = [take(name, piece=piece) for name, piece in names]
    project.commit(takes=takes, tables={"f": table(names, mr_stft=np.arange(9))})
    project.commit(takes=takes, tables={"f": table(names, mr_stft=np.arange(9) + 5.0)})
    (row,) = project.compare().differences
    assert (row.n_takes, row.n_pieces, row.low, row.high, row.verdict) == (9, 1, None, None, "open")


def test_a_figure_that_a_take_lacks_leaves_that_take_out_of_that_figure_alone(project):
    takes = [take(name) for name in "abcd"]
    project.commit(takes=takes, tables={"f": table("abcd", mr_stft=[1, 1, 1, 1], velocity_mae=[1, np.nan, 1, 1])})
    project.commit(takes=takes, tables={"f": table("abcd", mr_stft=[2, 2, 2, 3], velocity_mae=[1, 1, np.nan, 3])})
    rows = {row.metric: row for row in project.compare().differences}
    assert (rows["mr_stft"].n_takes, rows["velocity_mae"].n_takes) == (4, 2)
    assert rows["velocity_mae"].difference == 1.0


def test_families_and_systems_of_one_version_alone_are_named_and_not_compared(project):
    one = table("ab", mr_stft=[1, 2])
    project.commit(takes=[take("a"), take("b")], tables={"f": one, "gone": one})
    project.commit(takes=[take("a"), take("b")], tables={"f": {**one, "system": ["t", "t"]}, "came": one})
    found = project.compare()
    assert (found.only_old, found.only_new, found.differences) == (("gone",), ("came",), ())
    assert [(row.name, row.old, row.new) for row in found.systems] == [
        ("f/t", None, "evaluated"),
        ("f/s", "evaluated", None),
    ]
    assert advice(found) == "no figure is in both versions"


def test_the_working_tree_stands_for_the_new_version(project):
    project.commit(takes=[take("a")], tables={"f": table("a", mr_stft=[1])})
    project.commit(takes=[take("a"), take("b")], tables={"f": table("ab", mr_stft=[3, 1])})
    found = project.compare("HEAD~1", WORKSPACE)
    assert (found.added, found.new.commit) == (("b",), None)
    assert found.differences[0].difference == 2.0


def test_the_same_versions_give_the_same_bytes_and_json_keeps_all_of_it(project):
    rng = np.random.default_rng(1)
    names = [f"t{number}" for number in range(20)]
    for _ in range(2):
        columns = table(names, mr_stft=rng.normal(size=20), onset_f1=rng.normal(size=20))
        project.commit(takes=[take(name) for name in names], tables={"f": columns})
    first, second = project.compare(), project.compare()
    text = json.dumps(first.as_json(), allow_nan=False)
    assert text == json.dumps(second.as_json(), allow_nan=False)
    assert {row["metric"] for row in json.loads(text)["differences"]} == {"mr_stft", "onset_f1"}
    assert len(first.differences[0].moved) == PARAMS.n_moved
    assert "0 of 2 figures are the same in every take; 0 of the 2 others are called better or worse" in advice(first)


def test_names_from_outside_cannot_break_the_markdown(project):
    project.commit(takes=[take("a")])
    refused = [{"take": "x", "kind": "BAD_NAME", "reason": "data/raw/|\n# pwned\x1b[2J | "}]
    project.commit(takes=[take("a")], quarantine=refused)
    lines = markdown_of(project.compare()).splitlines()
    assert not [line for line in lines if line.startswith("# pwned")]
    assert "\x1b" not in "".join(lines)
    (row,) = [line for line in lines if "BAD_NAME" in line]
    assert row.replace("\\|", "").count("|") == 5


def test_a_version_without_a_catalog_is_one_line(project):
    project.commit(takes=[take("a")])
    lock = yaml.safe_load((project.folder / "dvc.lock").read_text())
    del lock["stages"]["ingested"]
    (project.folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    project.git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-a", "-m", "no catalog")
    with pytest.raises(HistoryError, match="HEAD has no data/ingested: that version ends before"):
        project.compare()


def test_a_catalog_that_is_none_is_damage(project):
    project.commit(takes=[take("a")])
    (project.folder / "data/ingested/catalog.json").write_text('[{"take": "a"}]')
    with pytest.raises(DamagedData, match=r"catalog\.json of WORKSPACE is not a catalog"):
        project.compare("HEAD", WORKSPACE)


def of_twelve(**figures):
    """Make a family's table over twelve takes that are their own pieces."""
    return table([f"t{number}" for number in range(12)], **figures)


TWELVE = [take(f"t{number}") for number in range(12)]


def test_verdicts_hold_jointly_and_each_says_what_could_have_been_seen(project):
    rng = np.random.default_rng(4)
    before = {
        metric: rng.uniform(0.3, 0.6, 12) for metric in ("onset_f1", "offset_f1", "velocity_f1", "note_correlation")
    }
    noise = {metric: values + 0.02 * rng.normal(size=12) for metric, values in before.items()}
    after = {**noise, "onset_f1": before["onset_f1"] - 0.2 + 0.02 * rng.normal(size=12)}
    for columns in (before, after):
        project.commit(takes=TWELVE, tables={"f": of_twelve(**columns)})
    rows = {row.metric: row for row in project.compare().differences}
    assert rows.pop("onset_f1").verdict == "worse"
    for row in rows.values():
        assert row.verdict == "open"
        assert row.p <= row.p_joint
        assert 0.01 < row.seen_above < 0.1
        assert row.seen_above >= (row.high - row.low) / 2 - 1e-12  # beside others, no less is wanted than alone


def test_an_interval_ends_where_the_metric_does_and_two_pieces_can_show_nothing(project):
    takes = [take("a"), take("b")]
    project.commit(takes=takes, tables={"f": table("ab", onset_f1=[0.1, 0.5], onset_coincidence=[0.9, -0.1])})
    project.commit(takes=takes, tables={"f": table("ab", onset_f1=[0.2, 0.9], onset_coincidence=[-0.3, 0.4])})
    found = project.compare()
    for row in found.differences:
        assert (row.low, row.high, row.seen_above, row.verdict) == (-1.0, 1.0, None, "open")
    assert tables_of(found)[2].rows[0][7] == "nothing"
    assert "with 2 pieces no difference that these metrics can have would be seen" in advice(found)


def test_what_the_cache_lacks_is_compared_by_the_means_that_git_has(project):
    for number, value in ((1, 0.5), (2, 0.75)):
        figures = {"s": {"onset_f1": value, "n_estimate": 3.0, "by_players": {"2": {"onset_f1": 1.0}}}}
        project.commit(takes=[take("a")], tables={"f": table("a", onset_f1=[value])}, params={"n": number})
        metrics = project.folder / "data/metrics"
        metrics.mkdir(exist_ok=True)
        (metrics / "f.json").write_text(json.dumps(figures))
        (metrics / "data.json").write_text(json.dumps({"data_version": f"v{number}", "n_takes": number}))
        project.git("add", "--force", "data/metrics")
        project.git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "figures")
    shutil.rmtree(project.cache)
    found = project.compare("HEAD~2", "HEAD")
    assert (found.from_git, found.takes_known, found.added, found.left_out) == (("f",), False, (), ())
    assert [(side.data_version, side.n_takes) for side in (found.old, found.new)] == [("v1", 1), ("v2", 2)]
    rows = {row.metric: row for row in found.differences}
    assert (rows["onset_f1"].old, rows["onset_f1"].new, rows["onset_f1"].low) == (0.5, 0.75, None)
    assert (rows["onset_f1"].verdict, rows["n_estimate"].verdict) == ("open", "same")
    assert rows["onset_f1"].reason == "figures from git: no interval, no takes"
    assert ("figures", "f", "–", "from git: no interval, no takes") in tables_of(found)[1].rows


def test_a_folder_of_another_project_is_a_version(project, tmp_path_factory):
    project.commit(takes=[take("a")], tables={"f": table("a", onset_f1=[0.5])})
    other = tmp_path_factory.mktemp("other") / "project"
    shutil.copytree(project.folder, other)
    project.commit(takes=[take("a"), take("b")], tables={"f": table("ab", onset_f1=[0.75, 1.0])})
    found = project.compare(str(other), "HEAD")
    assert (found.added, found.old.commit) == (("b",), None)
    assert [(row.old, row.new) for row in found.differences] == [(0.5, 0.75)]


def test_fail_on_names_what_a_caller_does_not_want(project):
    low, high = np.linspace(0.3, 0.4, 12), np.linspace(0.6, 0.71, 12)
    project.commit(takes=TWELVE, tables={"f": of_twelve(onset_f1=high, offset_f1=low), "gone": of_twelve(mr_stft=low)})
    project.commit(takes=TWELVE, tables={"f": of_twelve(onset_f1=low, offset_f1=high, velocity_f1=high)})
    found = project.compare()
    assert [row.metric for row in failing(found, ["worse"])] == ["onset_f1"]
    assert {row.metric for row in failing(found, ["different"])} == {"onset_f1", "offset_f1"}
    assert failing(found, ["f/s/offset_f1"]) == []
    assert len(failing(found, ["f/s/onset_f1", "worse"])) == 1
    for rule, words in (
        ("f", "expected worse, different, or FAMILY/SYSTEM/METRIC"),
        ("gone/s/mr_stft", "HEAD~1 evaluated gone and HEAD did not"),
        ("f/s/velocity_f1", "HEAD has velocity_f1 of f and HEAD~1 does not: the figure did not exist then"),
        ("f/t/onset_f1", "no such system in both versions, expected one of s"),
        ("f/s/n", "no figure n of f/s in both versions"),
    ):
        with pytest.raises(PipelineError, match=words):
            failing(found, [rule])


@pytest.mark.parametrize(
    ("rates", "onset_f1", "offset_f1"),
    [
        ((1, 1), ("open", "only the machine differs"), ("open", "only the machine differs")),
        ((1, 2), ("open", "within what seeds move"), ("better", "")),
    ],
)
def test_what_seeds_or_machines_move_is_no_difference(project, rates, onset_f1, offset_f1):
    rng = np.random.default_rng(0)
    before = rng.uniform(0.3, 0.6, 12)
    for rate, values in zip(rates, (before, before + 0.05 + 0.002 * rng.normal(size=12)), strict=True):
        project.commit(
            takes=TWELVE,
            tables={"f": of_twelve(onset_f1=values, offset_f1=values)},
            machines={"f": {"cpu": values[0]}},
            read={"f": {"params.yaml": {"train.f": {"rate": rate}}}},
        )
    replicates = project.folder / "data/replicates"
    replicates.mkdir(parents=True)
    systems = {"s": {"onset_f1": [0.4, 0.45, 0.5, 0.42, 0.48], "offset_f1": [0.45, 0.4501, 0.4502, 0.4501, 0.45]}}
    (replicates / "f.json").write_text(replicates_text(range(5), systems))
    rows = {row.metric: row for row in project.compare("HEAD~1", WORKSPACE).differences}
    assert (rows["onset_f1"].verdict, rows["onset_f1"].reason) == onset_f1
    assert (rows["offset_f1"].verdict, rows["offset_f1"].reason) == offset_f1
    # Five seeds say how far apart two trainings are: t at 4 degrees of freedom, beside one other figure.
    error = np.sqrt(2) * np.std(systems["s"]["onset_f1"], ddof=1)
    assert rows["onset_f1"].seen_above == pytest.approx(scipy.stats.t.ppf(1 - 0.05 / 4, 4) * error)


def test_a_family_that_was_trained_anew_and_never_replicated_is_named(project):
    before = np.random.default_rng(1).uniform(0.3, 0.6, 12)
    for rate, values in ((1, before), (2, before - 0.1)):
        project.commit(
            takes=TWELVE,
            tables={"f": of_twelve(onset_f1=values), "g": of_twelve(onset_f1=values)},
            machines={"f": {"cpu": rate}, "g": {"cpu": 1}},
            params={"train": {"f": {"rate": rate}}},
            read={"f": {"params.yaml": {"train.f": {"rate": rate}}}},
        )
    found = project.compare()
    assert {row.family: row.verdict for row in found.differences} == {"f": "worse", "g": "worse"}
    assert found.unmeasured == ("f",)  # the weights of g are the same
    assert "what seeds move in f was not measured and may be all of it: `audiate replicate FAMILY`" in advice(found)
    replicates = project.folder / "data/replicates"
    replicates.mkdir(parents=True)
    systems = {"s": {"onset_f1": [0.4, 0.4001, 0.4002, 0.4001, 0.4]}}
    (replicates / "f.json").write_text(replicates_text(range(5), systems))
    found = project.compare("HEAD~1", WORKSPACE)
    assert found.unmeasured == ()
    assert "not measured" not in advice(found)


def test_replicates_that_are_none_are_damage(project):
    for _ in range(2):
        project.commit(takes=[take("a")], tables={"f": table("a", mr_stft=[1])}, machines={"f": {"cpu": "a"}})
    replicates = project.folder / "data/replicates"
    replicates.mkdir(parents=True)
    (replicates / "f.json").write_text('{"seeds": [0], "systems": {"s": {"mr_stft": [1.0]}}}')
    (project.folder / "data/trained/f/computed_by.json").write_text("{}")
    lock = (project.folder / "dvc.lock").read_text()
    md5 = project.store(b"[]", ".dir")
    made = yaml.safe_load(lock)["stages"]["trained/f"]["outs"][0]["md5"]
    (project.folder / "dvc.lock").write_text(lock.replace(made, md5))
    with pytest.raises(DamagedData, match=r"replicates/f\.json of WORKSPACE does not list values by seed"):
        project.compare("HEAD", WORKSPACE)


def test_the_sounds_and_notes_of_what_moved_most_are_named(project):
    for estimate in (0, 3):
        counts = {"pitch": [60, 62], "tp": [1, 1], "fp": [0, estimate], "fn": [0, 0]}
        pitches = {"system": ["s", "s"], "take": ["a", "a"], **{key: np.array(n) for key, n in counts.items()}}
        project.commit(
            takes=[take("a"), take("b")],
            tables={"f": table("ab", onset_f1=[0.5 + estimate / 10, 0.3])},
            pitches={"f": pitches},
            sounds={"f": {"s/a/audio.flac": f"sound {estimate}", "s/a/video.mp4": "", "s/b/audio.flac": "same"}},
        )
    found = project.compare()
    (move,) = found.moves
    assert (move.take, move.metric, move.old, move.new) == ("a", "onset_f1", 0.5, 0.8)
    assert [Path(path).read_text() for path in (*move.old_sounds, *move.new_sounds)] == ["sound 0", "sound 3"]
    assert [(part.part, part.old, part.new) for part in found.parts] == [("note 62", 1.0, 0.4)]


def test_a_family_that_is_behind_its_data_is_told(project, monkeypatch):
    project.commit(takes=[take("a")], tables={"f": table("a", mr_stft=[1])})
    monkeypatch.setattr(Version, "behind", lambda _: {"f": "data/chunked/scores"})
    found = project.compare("HEAD", "HEAD")
    assert found.behind == ("f",)
    [changes] = [shown for shown in tables_of(found) if shown.title == "what changed"]
    assert ("behind", "f", "", "was trained on earlier data than there is") in changes.rows


def test_a_family_that_was_behind_is_moved_by_what_it_had_not_read_before(project):
    """Trained on Sunday on a; b came in on Monday and went on Tuesday, c stayed: Wednesday read c, and never b."""

    def version(name, takes):
        rows = {take: {"digest": "0", "piece": take, "part": None, "duration_s": 1.0} for take in takes}
        listed = [{"md5": project.store(json.dumps(rows).encode()), "relpath": "takes.json"}]
        read = {"path": "data/chunked/scores", "md5": project.store(json.dumps(listed).encode(), ".dir")}
        return Version(name=name, commit="0", lock={"stages": {"train@f": {"deps": [read]}}}, root=project.folder)

    monday, wednesday = version("monday", "a"), version("wednesday", "ac")
    catalogs = {"b": False}  # monday's has it, wednesday's has not; c is in both
    assert _takes_read(monday, wednesday, "f", catalogs, made=set()) == {"c": False}
    assert _takes_read(monday, wednesday, "f", catalogs, made={"c"}) == {"c": True}
    unread = Version(name="old", commit="0", lock={"stages": {}}, root=project.folder)
    assert _takes_read(unread, wednesday, "f", catalogs, made=set()) == catalogs


def test_of_many_open_differences_those_that_moved_most_are_shown_and_the_others_counted(project, monkeypatch):
    monkeypatch.setattr(show, "OPEN_SHOWN", 1)
    takes = [take("a"), take("b"), take("c")]
    project.commit(takes=takes, tables={"f": table("abc", mr_stft=[1, 2, 3], log_magnitude=[1, 2, 3])})
    project.commit(takes=takes, tables={"f": table("abc", mr_stft=[1, 2, 3.5], log_magnitude=[1, 2, 3.1])})
    found = project.compare()
    assert [row.verdict for row in found.differences] == ["open", "open"]
    [figures] = [shown for shown in tables_of(found) if shown.title == "what it changed"]
    assert [row[2] for row in figures.rows] == ["MR-STFT", ""]
    assert figures.rows[1][0] == "and 1 more that are open: --json has all"
