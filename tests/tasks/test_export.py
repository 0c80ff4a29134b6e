"""Export: what is written is what the loaders give, whole or not at all, with a card that says what it is."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

import audiate
import tasks.export
from tasks.errors import DamagedData, PipelineError
from tasks.export import KINDS, export
from tasks.store.shards import write_parquets, write_tars
from tasks.store.tables import write_table
from tasks.takes import PARTS

ALL = {"kinds": KINDS, "parts": PARTS}


@pytest.fixture
def project(data_sets):
    return data_sets.folder


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, str):
            assert str(found[name]) == value
        else:
            assert found[name].dtype == value.dtype
            np.testing.assert_array_equal(found[name], value)


def members(path):
    """Return the members of a tar by their keys, and each key's names by their endings."""
    examples = {}
    with tarfile.open(path) as tar:
        for about in tar:
            key, _, ending = about.name.partition(".")
            examples.setdefault(key, {})[ending] = tar.extractfile(about).read()
    return examples


@pytest.mark.parametrize(
    ("kind", "subset"), [("scores", "scores"), ("captures", "captures_marimba-18"), ("ensembles",) * 2]
)
def test_members_of_a_tar_pair_up_and_are_what_the_loader_gives(project, kind, subset):
    export("webdataset", Path("out"), kinds=[kind], parts=["train"])
    found = members(Path("out") / subset / "train-00000.tar")
    expected = list(audiate.dataset(kind, "train"))
    assert list(found) == [f"{number:07d}" for number in range(len(expected))]
    for parts, example in zip(found.values(), expected, strict=True):
        arrays = {name.removesuffix(".npy"): np.load(io.BytesIO(one)) for name, one in parts.items() if name != "json"}
        assert_equal(json.loads(parts["json"]) | arrays, example)


@pytest.mark.parametrize(
    ("kind", "subset"), [("scores", "scores"), ("captures", "captures_marimba-18"), ("ensembles",) * 2]
)
def test_parquet_files_are_read_by_pyarrow_alone(project, kind, subset):
    export("huggingface", Path("out"), kinds=[kind], parts=["train"])
    table = pq.read_table(Path("out") / subset / "train-00000.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    expected = list(audiate.dataset(kind, "train"))
    assert table.num_rows == len(expected)
    for row, example in zip(table.to_pylist(), expected, strict=True):
        types = {name: value.dtype for name, value in example.items() if not isinstance(value, str)}
        assert_equal(row | {name: np.array(row[name], dtype) for name, dtype in types.items()}, example)
        for name, value in example.items():
            about = features[name]
            if isinstance(value, str):
                assert about == {"_type": "Value", "dtype": "string"}
            elif value.ndim == 1:
                assert about["feature"]["dtype"] == value.dtype.name
            else:
                assert (about["_type"], about["shape"][1:]) == (f"Array{value.ndim}D", [*value.shape[1:]])
    header = yaml.safe_load((Path("out") / "README.md").read_text().split("---\n")[1])
    files = {
        split["split"]: [*Path("out").glob(split["path"])]
        for config in header["configs"]
        if config["config_name"] == subset
        for split in config["data_files"]
    }
    assert [path.name for path in files["train"]] == ["train-00000.parquet"]


def test_npz_files_are_read_by_numpy_without_pickles(project):
    export("npz", Path("out"), kinds=["captures"], parts=["validation"])
    paths = sorted(Path("out/captures_marimba-18/validation/three").iterdir())
    for path, example in zip(paths, audiate.dataset("captures", "validation"), strict=True):
        with np.load(path, allow_pickle=False) as found:
            assert_equal(dict(found), example)


@pytest.mark.parametrize("write", [write_tars, write_parquets])
def test_many_examples_become_several_files_and_each_is_in_one(project, write):
    examples = audiate.dataset("scores", "train")
    n_bytes = sum(value.nbytes for value in examples[0].values() if not isinstance(value, str))
    Path("out").mkdir()
    names = write(Path("out"), "train", examples, shard_bytes=n_bytes + 1)
    assert len(examples) == 3
    assert [Path(name).stem for name in names] == ["train-00000", "train-00001"]
    if write is write_tars:
        found = [
            json.loads(one["json"])["segment_id"] for name in names for one in members(Path("out") / name).values()
        ]
    else:
        found = [one for name in names for one in pq.read_table(Path("out") / name)["segment_id"].to_pylist()]
    assert found == [example["segment_id"] for example in examples]


@pytest.mark.parametrize("form", ["webdataset", "huggingface", "npz"])
def test_the_same_data_give_the_same_bytes(project, form):
    for out in ("one", "two"):
        export(form, Path(out), kinds=["ensembles"], parts=["train"])
    written = [path.relative_to("one") for path in Path("one").rglob("*") if path.is_file()]
    assert len(written) > 1
    for name in written:
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes(), name


def test_a_dry_run_counts_and_writes_nothing(project):
    planned = export("npz", Path("out"), **ALL, dry_run=True)
    assert not Path("out").exists()
    counts = {(one.name, one.part): (len(one.takes), one.n_examples) for one in planned}
    assert counts == {
        ("scores", "train"): (1, 3),
        ("scores", "test"): (1, 3),
        ("captures_marimba-18", "train"): (2, 12),
        ("captures_marimba-18", "validation"): (1, 6),
        ("ensembles", "train"): (2, 6),
    }
    scores = next(one for one in planned if one.name == "scores")
    assert scores.hours == pytest.approx(6 / 3600)
    done = export("npz", Path("out"), kinds=["scores"], parts=["train"])
    assert done == [scores]


def test_instruments_are_subsets_of_their_own(project, data_sets):
    shutil.rmtree("data/chunked/captures")
    data_sets.write(
        "captures", {"p": "train", "m": "train"}, lambda n: data_sets.capture(n, ("piano", "marimba-18")[n])
    )
    written = export("webdataset", Path("out"), kinds=["captures"], parts=["train"])
    assert [(one.name, one.takes) for one in written] == [("captures_marimba-18", ("m",)), ("captures_piano", ("p",))]


def test_a_folder_that_is_not_empty_is_refused_and_nothing_half_is_left(project):
    Path("full").mkdir()
    Path("full/mine.txt").write_text("mine")
    with pytest.raises(PipelineError, match="full is not empty"):
        export("npz", Path("full"), **ALL)
    with pytest.raises(PipelineError, match=r"mine.txt is a file"):
        export("npz", Path("full/mine.txt"), **ALL)
    with pytest.raises(PipelineError, match=r"mine.txt/out cannot be written: Not a directory"):
        export("npz", Path("full/mine.txt/out"), **ALL)
    with pytest.raises(PipelineError, match="has no takes of ensembles in test"):
        export("npz", Path("out"), kinds=["ensembles"], parts=["test"])
    # Pictures of the last take are damaged: it fails after the first take was written.
    folder = Path("data/chunked/captures/two/arrays.zarr/pictures_cam_b/c")
    (shard,) = (path for path in folder.rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[30] ^= 255
    shard.write_bytes(bytes(content))
    begun = []
    with pytest.raises(DamagedData, match="two"):
        export("npz", Path("out"), kinds=["captures"], parts=["train"], tell=begun.append)
    assert begun[0] == "captures_marimba-18 train: one"
    assert not [path for path in Path().iterdir() if "out" in path.name]


def test_an_example_is_read_when_the_one_before_it_is_written(project, monkeypatch):
    events = []
    maker = type(audiate.dataset("captures", "train"))
    read = maker.__getitem__

    def write(folder, part, examples):
        events.extend(("written", example["take"]) for example in examples)
        return []

    monkeypatch.setitem(tasks.export.WRITERS, "npz", write)
    monkeypatch.setattr(
        maker, "__getitem__", lambda self, number: events.append(("read", number)) or read(self, number)
    )
    export("npz", Path("out"), kinds=["captures"], parts=["train"])
    assert [what for what, _ in events] == ["read", "written"] * 12


def test_the_card_says_where_takes_are_from_how_well_they_are_synchronized_and_which_version_it_is(project):
    facts = {"kind": "capture", "part": None, "duration_s": 6.0, "notes": "recorded"}
    rows = [
        facts | {"take": "one", "piece": "one", "digest": "a", "source": "Smith 1998; CC-BY 4.0"},
        facts | {"take": "two", "piece": "two", "digest": "b", "notes": None},
        facts | {"take": "three", "piece": "three", "digest": "c"},
    ]
    folders = {"one": "raw", "two": "raw", "three": "filmed"}
    rows = [row | {"media": [{"path": f"data/{folders[row['take']]}/{row['take']}/cam_a.mp4"}]} for row in rows]
    Path("data/ingested").mkdir()
    Path("data/ingested/catalog.json").write_text(json.dumps(rows))
    for take, verdict, error_ms in (("one", "locked", 0.5), ("two", "unrelated", 9.0)):
        Path(f"data/synchronized/{take}").mkdir(parents=True)
        columns = {"device": ["mic", "cam_a"], "role": ["master", "camera"], "verdict": ["locked", verdict]}
        write_table(Path(f"data/synchronized/{take}/clock.parquet"), columns | {"error_ms": np.array([0.0, error_ms])})
    export("webdataset", Path("out"), kinds=["captures"], parts=PARTS)
    card = (Path("out") / "README.md").read_text()
    for words in (
        "3 takes, 18 examples",
        "| captures_marimba-18 | train | 2 | 2 | 12 | 0.003 |",
        "| captures_marimba-18 | `pictures` | (48, 3, 40, 40) | uint8 |",
        "- train: one, two\n- validation: three\n",
        "- 2 takes: taken in by the project\n",
        "- 1 takes: simulated by audiate's virtual rig\n",
        "- notes of 1 takes: none were recorded\n",
        "- Smith 1998; CC-BY 4.0: one\n",
        "- 2 takes name none: three, two\n",
        "1 locked, 1 unrelated",
        "median 0.500 ms, largest 0.500 ms",
        "no git revision",
        "of all takes of the project",
    ):
        assert words in card, words
    catalog = Path("data/ingested/catalog.json")
    catalog.write_text(catalog.read_text().replace('"digest": "c"', '"digest": "d"'))
    export("webdataset", Path("again"), kinds=["captures"], parts=PARTS)
    lines = [text.splitlines() for text in (card, (Path("again") / "README.md").read_text())]
    changed = [old for old, new in zip(*lines, strict=True) if old != new]
    assert [line[:14] for line in changed] == ["- data version"]
