"""A change planted in one system's result is found by evaluate and compare, for each kind of data; nothing else is."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tasks.compare import CompareParams, compare_versions
from tasks.evaluate import EvaluateParams, evaluate_family
from tasks.features.polyphony import TranscribeParams
from tasks.registry import KINDS
from tasks.store.arrays import write_arrays
from tasks.store.audio import read_audio, write_flac
from tasks.store.segments import segment_rows, write_segments
from tasks.store.tables import read_table, write_table
from tasks.versions.history import WORKSPACE, read_version

COMPARE = CompareParams(n_resamples=100, seed=1, n_moved=9)
EVALUATE = EvaluateParams(onset_tolerance_s=0.05, n_resamples=50, seed=1, museval_players=1)
TRANSCRIBE = TranscribeParams(
    threshold=0.5, restrike_gap_s=0.05, n_iterations=4, release_db=25.0, longest_note_s=15.0, floor_db=-120.0
)
TAKES = ("t", "u")
RATE, SECONDS = 1000, 4
EVALUATED = Path("data/evaluated/toy")


class Toy:
    """A family whose results are written by the test."""

    systems = ("net", "plain")
    unordered = frozenset()

    def __init__(self, kind):
        self.data = kind

    def role(self, system):
        return "reference" if system == "plain" else "model"

    def nats(self, trained, data, rows, *, accelerator):
        return {}

    def frame_rate(self, trained, system):
        return None


def index(folder, n_samples):
    takes = {name: {"piece": name, "part": "test", "digest": name, "duration_s": 8.0} for name in TAKES}
    (folder / "takes.json").write_text(json.dumps(takes))
    rows = [segment_rows(name, name, "test", name, n_samples, length=400, hop=400) for name in TAKES]
    write_segments(folder / "segments.parquet", [row for own in rows for row in own])


@pytest.fixture
def scores(request):
    chunked, notes_of = request.getfixturevalue("chunked"), request.getfixturevalue("notes_of")
    notes = notes_of(*((0.3 + 0.3 * i, 0.5 + 0.3 * i, 55 + 3 * i, 60) for i in range(5)))
    for name in TAKES:
        chunked(name, notes, part="test")
    index(Path("data/chunked/scores"), 4000)
    for name in TAKES:
        audio, rate = read_audio(Path("data/rendered") / name / "audio.flac")
        for system in Toy.systems:
            made = Path("synthesized") / system / name
            made.mkdir(parents=True)
            write_flac(made / "audio.flac", audio, rate)
            write_table(made / "notes.parquet", notes.columns())
    return [f"{name}" for name in TAKES]


@pytest.fixture
def captures(request):
    perform = request.getfixturevalue("captured")
    folder = Path("data/chunked/captures")
    shutil.copytree(folder / "t", folder / "u")
    index(folder, 800)
    for system in Toy.systems:
        perform(system, late_s=0.0, louder=1.0)
        shutil.copytree(f"synthesized/{system}/t", f"synthesized/{system}/u")
    return [f"{name}/{camera}" for name in TAKES for camera in ("cam_a", "cam_b")]


@pytest.fixture
def ensembles(request):
    request.getfixturevalue("project")
    folder = Path("data/chunked/ensembles")
    time_s = np.arange(SECONDS * RATE) / RATE
    stems = {number: 0.2 * np.sin(2 * np.pi * hz * time_s) for number, hz in ((1, 50), (2, 120))}
    arrays = {f"stem_{number}": np.rint(stem * 32768).astype(np.int16)[None] for number, stem in stems.items()}
    arrays["mix"] = arrays["stem_1"] + arrays["stem_2"]
    attributes = {"instruments": ["vn", "vc"], "frame_rate": "25", "duration_s": float(SECONDS), "stem_rate": RATE}
    attributes |= {"n_channels": 1, "n_frames": 25 * SECONDS, "n_motion": 3}
    for name in TAKES:
        lengths = dict.fromkeys(arrays, 64)
        write_arrays(folder / name / "arrays.zarr", arrays, chunk_lengths=lengths, attributes=attributes)
        for system in Toy.systems:
            made = Path("synthesized") / system / name
            made.mkdir(parents=True)
            for number, code, other in ((1, "vn", 2), (2, "vc", 1)):
                sound = stems[number] + 0.1 * stems[other]
                soundfile.write(made / f"stem_{number}_{code}.flac", sound, RATE)
    index(folder, SECONDS * RATE)
    return list(TAKES)


@pytest.fixture
def kind(request):
    return request.param


@pytest.fixture
def rows(kind, request, monkeypatch):
    """Write results of two systems on two takes of a kind, commit their evaluation, and return its rows' names."""
    names = request.getfixturevalue(kind)
    monkeypatch.setattr("tasks.evaluate.load_family", lambda name: Toy(kind))
    evaluate(kind)
    commit()
    return names


def evaluate(kind):
    evaluate_family(
        "toy",
        data=Path("data/chunked") / kind,
        trained=Path("trained"),
        synthesized=Path("synthesized"),
        out=EVALUATED,
        params=EVALUATE,
        transcribe_params=TRANSCRIBE,
        workers=2,
        accelerator="cpu",
    )


def commit():
    """Commit the version that lies here, as DVC would: its results in the cache, by their hashes in dvc.lock."""
    ingested = Path("data/ingested")
    ingested.mkdir(parents=True, exist_ok=True)
    facts = {"kind": "score", "part": "test", "digest": "0", "duration_s": 8.0}
    (ingested / "catalog.json").write_text(json.dumps([{"take": name, "piece": name, **facts} for name in TAKES]))
    (ingested / "quarantine.json").write_text("[]")
    stages = {}
    for folder, files in (
        (ingested, [ingested / "catalog.json", ingested / "quarantine.json"]),
        (EVALUATED, sorted(EVALUATED.iterdir())),
    ):
        listed = [{"md5": store(path.read_bytes()), "relpath": path.name} for path in files]
        md5 = store(json.dumps(listed).encode(), ".dir")
        stages[folder.name] = {"outs": [{"path": folder.as_posix(), "md5": md5}]}
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    Path(".gitignore").write_text("*\n!dvc.lock\n")
    for command in (
        ("init", "-q"),
        ("add", "--all"),
        ("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm1"),
    ):
        subprocess.run(["git", *command], check=True, capture_output=True, timeout=60)


def store(content, suffix=""):
    md5 = hashlib.md5(content).hexdigest()  # noqa: S324 - DVC's name for it
    path = Path(".dvc/cache/files/md5") / md5[:2] / f"{md5[2:]}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return f"{md5}{suffix}"


def compare(kind):
    evaluate(kind)
    return compare_versions(read_version("HEAD"), read_version(WORKSPACE), COMPARE)


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_what_is_evaluated_again_is_the_same(rows, kind):
    found = compare(kind)
    assert found.unmatched == found.left_out == found.systems == found.figures == ()
    assert {(row.system, row.role) for row in found.differences} == {("net", "model"), ("plain", "reference")}
    assert {row.verdict for row in found.differences} == {"same"}
    assert {row.n_takes for row in found.differences} == {len(rows)}
    assert {row.n_pieces for row in found.differences} == {len(TAKES)}


@pytest.mark.parametrize("kind", KINDS, indirect=True)
def test_a_change_of_one_result_is_found_in_its_row_and_nowhere_else(rows, kind):
    changed = rows[-1]
    for path in Path("synthesized/net", changed).glob("*.flac"):
        sound, rate = soundfile.read(path)
        noise = np.random.default_rng(0).normal(scale=0.02, size=len(sound))
        soundfile.write(path, sound + noise, rate, subtype="PCM_16")
    found = compare(kind)
    assert {row.verdict for row in found.differences if row.system == "plain"} == {"same"}
    moved = [row for row in found.differences if row.verdict != "same"]
    assert {move.take for row in moved for move in row.moved} == {changed}
    metric = "si_sdr_db" if kind == "ensembles" else "mr_stft"
    (row,) = [row for row in moved if row.metric == metric]
    assert row.new < row.old if kind == "ensembles" else row.new > row.old


def raise_two_semitones(row):
    path = Path("synthesized/net", row, "notes.parquet")
    notes = read_table(path)
    write_table(path, {**notes, "pitch": notes["pitch"] + np.uint8(2)})


def exchange_players(row):
    first, second = sorted(Path("synthesized/net", row).glob("stem_*.flac"))
    sounds = [soundfile.read(path)[0] for path in (second, first)]
    for path, sound in zip((first, second), sounds, strict=True):
        soundfile.write(path, sound, RATE)


@pytest.mark.parametrize(
    ("kind", "plant", "metric", "unmoved"),
    [
        ("scores", raise_two_semitones, "onset_f1", "mr_stft"),
        ("captures", raise_two_semitones, "onset_f1", "mr_stft"),
        ("ensembles", exchange_players, "si_sdr_db", None),
    ],
    indirect=["kind"],
)
def test_a_planted_regression_is_worse_in_what_it_touches_and_its_parts_are_named(rows, kind, plant, metric, unmoved):
    for row in rows:
        plant(row)
    found = compare(kind)
    by_metric = {row.metric: row for row in found.differences if row.system == "net"}
    assert by_metric[metric].verdict == "worse"
    assert by_metric[metric].new < by_metric[metric].old
    assert {move.take for move in by_metric[metric].moved} == set(rows)
    if unmoved is not None:
        assert (by_metric[metric].old, by_metric[metric].new) == (1.0, 0.0)
        assert by_metric[unmoved].verdict == "same"
    assert {row.verdict for row in found.differences if row.system == "plain"} == {"same"}
    assert {move.take for move in found.moves} == set(rows)
    assert {part.system for part in found.parts} == {"net"}
    assert all(part.new < part.old for part in found.parts)
