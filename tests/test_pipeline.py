"""The whole pipeline from nothing: the files of this checkout, three short pieces, models too small to be any good."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tasks.families import FAMILIES as ADAPTERS
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_reader import read_midi
from tasks.instruments.midi_writer import write_midi

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

PROJECT = Path(__file__).resolve().parents[1]
PIECES = ("mozart_sonata_k545", "clementi_sonatina_c_major", "etude_thirds")  # one a part
FILMED = ("marimba_song", "marimba_waves", "marimba_rain")  # one a part too
ENSEMBLES = ("ah_vous_dirai_clarinets", "amazing_grace_duo", "au_clair_flutes")  # and here
MUSIC_S = 8.0  # kept of each
OWN = {"data/raw.dvc", "data/code.json", "data/truth.json", "dvc.lock"}  # what a checkout has made or taken in
POLICY = MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=16)

# What makes a family small. One that is not named here is trained as params.yaml says.
SMALL = {
    "baselines": {"n_pictures": 64},
    "capture_baselines": {"n_windows": 64},
    "cnn_lstm": {"n_steps": 4, "steps_per_epoch": 2, "sequence_length": 8, "batch_size": 2},
    "conv_lstm": {"n_steps": 4, "steps_per_epoch": 2, "sequence_length": 8, "batch_size": 2},
    "keyboard_camera": {"n_steps": 4, "steps_per_epoch": 2, "batch_size": 4, "n_channels": 8},
    "bitmap_mlp": {"n_steps": 4, "steps_per_epoch": 2, "n_components": 8, "hidden": [16], "silent_clip_s": 1.0},
    "bitmap_stft": {"n_steps": 4, "steps_per_epoch": 2, "n_components": 8, "hidden": [16], "silent_clip_s": 1.0},
    "wave_unet": {
        "n_layers": 7,
        "n_filters": 2,
        "n_fft": 256,
        "spectrum_hop": 128,
        "n_spectral": 8,
        "n_encoded": 4,
        "segment_s": 0.25,
        "n_steps": 4,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "n_validation_mixes": 2,
        "transcriber": {"n_filters": 2, "n_hidden": 4, "n_steps": 4, "batch_size": 2},
    },
    "piano_roll": {
        "n_hidden": 8,
        "n_steps": 4,
        "steps_per_epoch": 2,
        "batch_size": 4,
        "n_pictures": 64,
        "n_validation_pictures": 32,
    },
    "deepsynth": {
        "n_layers": 4,
        "n_channels": 8,
        "n_features": 8,
        "response_s": 0.5,
        "n_folds": 1,
        "n_past": 4,
        "n_taps": 16,
        "temperatures": [1.0],
        "n_steps": 4,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "crop_s": 0.25,
        "lead_s": 0.064,
        "n_decays": 1,
        "n_warmup_steps": 1,
        "n_validation_segments": 2,
        "precision": "32-true",
    },
}
FAMILIES = yaml.safe_load((PROJECT / "params.yaml").read_text())["families"]  # to kinds
LISTED = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
STAGES = [
    name
    for stage, described in LISTED.items()
    for name in ([f"{stage}@{family}" for family in FAMILIES] if "foreach" in described else [stage])
]


def of_family(family):
    return {stage for stage in STAGES if stage.endswith(f"@{family}")}


class Clone:
    """A project of its own: the checkout's files, under its own git and DVC."""

    def __init__(self, folder, prefect_home):
        self.folder = folder
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AUDIATE_")}
        self.environment |= {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PREFECT_HOME": str(prefect_home),
            "DVC_NO_ANALYTICS": "1",
            "AUDIATE_ACCELERATOR": "cpu",
        }
        self.environment.pop("PREFECT_API_URL", None)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in sorted({*names} - {""}):
            source, target = PROJECT / name, folder / name
            # What DVC tracks here, a user's own takes and results, is no part of a new clone's music.
            if name.startswith(("tests/", "data/metrics/")) or name in OWN:
                continue
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
        self.make_small()
        self.run("git", "init", "-q")
        self.run("git", "add", "--all")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", "start")
        self.run("python", "-m", "tasks.tools")

    def make_small(self):
        sample = self.folder / "data" / "sample"
        for path in (sample / "midi").iterdir():
            if path.stem not in PIECES:
                path.unlink()
                continue
            notes = read_midi(path, POLICY).notes
            write_midi(path, notes.take(notes.offset_s < MUSIC_S))
        pieces = yaml.safe_load((sample / "pieces.yaml").read_text())
        (sample / "pieces.yaml").write_text(yaml.safe_dump({name: pieces[name] for name in PIECES}))
        params = yaml.safe_load((self.folder / "params.yaml").read_text())
        params["split"]["min_pieces"] = 1
        params["film"] |= {"n_takes": len(FILMED), "pieces": {"marimba-18": list(FILMED)}}
        params["film"]["played_pianos"] = [PIECES[0], PIECES[2]]  # for training, and for testing
        params["film"]["recording"]["excerpt_s"] = MUSIC_S
        params["film"]["recording"]["hands"]["length_s"] = MUSIC_S
        n_takes = {"train": 1, "validation": 1, "test": 1}
        params["film"]["ensembles"] |= {"n_takes": n_takes, "pieces": list(ENSEMBLES), "excerpt_s": MUSIC_S}
        params["film"]["recording"]["rig"] |= {"sizes": [[128, 72]], "n_cameras": 2, "n_microphones": 1}
        params["train"] = {name: params["train"][name] | SMALL.get(name, {}) for name in FAMILIES}
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params))

    def run(self, *command):
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=1200, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def repro(self, *options):
        """Reproduce, and return DVC's words and the stages that it ran."""
        said = self.run("dvc", "repro", *options)
        return said, {line.split("'")[1] for line in said.splitlines() if line.startswith("Running stage '")}

    def stale(self):
        """Return the stages of which something changed that they directly rest on, once `code` has run."""
        self.run("dvc", "repro", "-q", "code")
        status = yaml.safe_load(self.run("dvc", "status", "--json"))
        return set(status)

    def lock(self):
        return (self.folder / "dvc.lock").read_bytes()


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    """Make two clones, reproduce both from nothing, side by side, and keep their first lock files."""
    root = tmp_path_factory.mktemp("clones")
    made = [Clone(root / name, root / "prefect") for name in ("first", "second")]
    with ThreadPoolExecutor(2) as pool:
        for _, ran in pool.map(Clone.repro, made):
            assert ran == set(STAGES)
    for clone in made:
        clone.first_lock = clone.lock()
    return made


@pytest.fixture
def clone(clones):
    return clones[0]


def test_two_clones_give_the_same_lock_byte_for_byte(clones):
    first, second = clones
    assert first.first_lock == second.first_lock
    assert set(yaml.safe_load(first.first_lock)["stages"]) == set(STAGES)


def test_from_nothing_every_stage_leaves_its_result(clone):
    data = clone.folder / "data"
    filmed = {f"filmed_{piece}_1" for piece in FILMED}
    filmed |= {f"filmed_{PIECES[0]}_hands_1", f"filmed_{PIECES[2]}_hands_2"}
    played = {f"filmed_{piece}_1" for piece in ENSEMBLES}
    found = {
        folder: {path.name for path in (data / folder).iterdir() if path.is_dir()}
        for folder in ("ingested", "synchronized", "chunked/captures", "chunked/ensembles")
    }
    assert found["ingested"] == filmed | played | set(PIECES)
    assert found["synchronized"] == filmed | played
    assert (found["chunked/captures"], found["chunked/ensembles"]) == (filmed, played)
    assert "filmed_marimba_rain_1" in (data / "report" / "captures.html").read_text()
    assert {path.stem for path in (data / "metrics").glob("*.json")} == {"data", "promoted", *FAMILIES}
    for family in FAMILIES:
        sounds = {
            "scores": "etude_thirds/video.mp4",
            "captures": "filmed_marimba_rain_1/*/video.mp4",
            "ensembles": "filmed_au_clair_flutes_1/stem_2_fl.flac",
        }[FAMILIES[family]]
        if family == "keyboard_camera":
            sounds = f"filmed_{PIECES[2]}_hands_2/*/video.mp4"
        systems = [path for path in (data / "synthesized" / family).iterdir() if path.is_dir()]
        assert systems
        assert all(list(system.glob(sounds)) for system in systems)
    assert "etude_thirds" in (data / "report" / "scores.html").read_text()


def test_every_curve_that_dvc_plots_is_there_with_its_columns(clone):
    for group in yaml.safe_load((clone.folder / "dvc.yaml").read_text())["plots"]:
        for plot in group.values():
            for path, columns in plot["y"].items():
                header, *rows = (clone.folder / path).read_text().splitlines()
                assert {plot["x"], *([columns] if isinstance(columns, str) else columns)} <= set(header.split(","))
                assert len(rows) == 2  # an epoch each


def test_a_second_run_does_nothing(clone):
    said, ran = clone.repro()
    assert ran == set()
    assert "Data and pipelines are up to date." in said
    assert clone.lock() == clone.first_lock


# One family a kind; tests/tasks/test_code.py edits every module and reads the keys alone.
@pytest.mark.parametrize("family", {kind: family for family, kind in FAMILIES.items()}.values())
def test_an_edited_adapter_makes_its_own_family_stale_and_no_other(clone, family):
    module = clone.folder.joinpath(*ADAPTERS[family].partition(":")[0].split("."))
    path = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
    before = path.read_text()
    path.write_text(before + "\n# edited\n")
    try:
        assert clone.stale() == of_family(family) | {"score"}  # which sounds every family that is promoted
    finally:
        path.write_text(before)
    assert clone.stale() == set()


def test_another_seed_runs_its_own_family_and_the_report_and_nothing_else(clone):
    path, family = clone.folder / "params.yaml", "piano_roll"
    text, before = path.read_text(), yaml.safe_load(clone.lock())["stages"]
    params = yaml.safe_load(text)
    params["train"][family]["seed"] += 1
    path.write_text(yaml.safe_dump(params))
    try:
        assert clone.stale() == {f"train@{family}"}
        ran = clone.repro()[1]
    finally:
        path.write_text(text)
    after = yaml.safe_load(clone.lock())["stages"]
    assert ran == of_family(family) | {"report"}
    # `code`, which `stale` ran, reads the names of sections.
    assert {stage for stage in STAGES if before[stage] != after[stage]} - {"code"} == ran


def test_promoted_weights_score_what_comes_in_and_nothing_is_trained(clone):
    """Last here: one more take is filmed, of a piece that has been learned or tested."""
    family, scored = "capture_baselines", clone.folder / "data" / "scored"
    clone.run("python", "-c", "from flows.cli import main; main()", "promote", family)
    assert clone.repro("score")[1] - {"code"} == {"score"}
    index = json.loads((clone.folder / "data/chunked/captures/takes.json").read_text())
    tested = {name for name, take in index.items() if take["part"] == "test"}
    old = scored / family / f"filmed_{FILMED[2]}_1" / "_receipt.json"
    receipt = old.stat()
    figures = json.loads((clone.folder / "data/metrics/promoted.json").read_text())[family]
    evaluated = json.loads((clone.folder / f"data/metrics/{family}.json").read_text())
    assert figures.keys() == evaluated.keys()
    for system, values in figures.items():
        assert values == {name: evaluated[system][name] for name in values}, system
        assert values["onset_f1"] == evaluated[system]["onset_f1"]

    text = (clone.folder / "params.yaml").read_text()
    params = yaml.safe_load(text)
    params["film"]["n_takes"] += 1  # the first piece again, with another rig
    (clone.folder / "params.yaml").write_text(yaml.safe_dump(params))
    _, ran = clone.repro("score")
    assert {"film", "ingest", "synchronize", "extract", "chunk", "score"} <= ran
    assert not any("@" in stage for stage in ran)
    [new] = {path.name for path in (scored / family).iterdir() if path.is_dir()} - tested
    assert new == f"filmed_{FILMED[0]}_2"
    about = json.loads((scored / family / new / "score.json").read_text())
    part = index[f"filmed_{FILMED[0]}_1"]["part"]
    assert about["apart"] == (part != "test")
    assert old.stat().st_mtime_ns == receipt.st_mtime_ns
