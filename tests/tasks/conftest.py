"""A take on its way through the verbs, called as plain functions in an empty project."""

import json
import os
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.chunk import ChunkParams
from tasks.errors import BadInput
from tasks.extract import ExtractParams
from tasks.features.amplitudes import note_amplitudes, note_frequencies_hz
from tasks.ingest import EnsembleParams, IngestError, IngestParams, Source, ingest_kind, read_source, write_catalog
from tasks.instruments.midi import MidiPolicy
from tasks.instruments.midi_writer import write_midi
from tasks.instruments.notes import sorted_notes
from tasks.intake.devices import CaptureParams
from tasks.intake.quality import HoldBackParams
from tasks.keyboards.params import FindParams
from tasks.kinds.scores.chunk import chunk_take
from tasks.kinds.scores.extract import extract_take
from tasks.kinds.scores.render import render_take
from tasks.media.probe import MediaPolicy
from tasks.render import RenderParams
from tasks.step import RECEIPT, file_sha256
from tasks.store.arrays import write_arrays
from tasks.store.audio import write_flac
from tasks.store.segments import segment_rows, write_segments
from tasks.store.tables import write_table

INGEST = IngestParams(
    max_bad_fraction=0.9,
    max_devices=64,
    midi=MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut", channels=2),
    media=MediaPolicy(max_pixels=10**6, max_duration_s=600, max_bytes=10**8, max_streams=8, max_file_bytes=10**7),
    captures=CaptureParams(lenient=True, min_duration_s=0.5, short_fraction=0.5, silence_db=-60.0),
    ensembles=EnsembleParams(max_length_difference_s=1.0, max_residual_db=-30.0),
    hold_back=HoldBackParams(truncated=0.5, clipped=1.0, silent=False, master_missing=True),
    keyboards=FindParams(min_score=0.62, min_white_px=8.0),
)
RENDER = RenderParams(
    sample_rate=48_000,
    code_rates=(4_000, 8_000, 16_000),
    gain=1.0,
    program=0,
    tail_s=1.0,
    restrike_gap_s=0.05,
    lit="velocity",
    pedal="drawn",
)
EXTRACT = ExtractParams(frame_rate=Fraction(25), code_rate=4_000, n_classes=256, players="own")
CHUNK = ChunkParams(
    pictures_per_chunk=2,
    camera_width=64,
    camera_height=36,
    camera_margins=(0.05, 0.2),
    sound_rate=8000,
    stem_rate=8000,
    stem_channels=1,
)


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """Make four cameras and microphones, each unlike the others: of 2 s the first, of 1 s the others.

    ``remuxed.mkv`` is the first camera in another container.
    """

    def run_ffmpeg(*arguments):
        subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments], check=True, timeout=60)

    folder = tmp_path_factory.mktemp("media")
    for number in range(4):
        duration_s = 1 if number else 2
        sound = f"sine=frequency={300 + 70 * number}:duration={duration_s}:sample_rate=16000"
        picture = f"testsrc=size=64x48:rate=10:duration={duration_s},hue=h={40 * number}"
        coded = ("-c:v", "mpeg4", "-c:a", "aac", "-fflags", "+bitexact")
        run_ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *coded, str(folder / f"cam{number}.mp4"))
        run_ffmpeg("-f", "lavfi", "-i", sound, "-fflags", "+bitexact", str(folder / f"mic{number}.wav"))
    run_ffmpeg("-i", str(folder / "cam0.mp4"), "-c", "copy", str(folder / "remuxed.mkv"))
    return folder


@pytest.fixture
def notes_of():
    """Return a function that makes notes of (onset s, offset s, pitch, velocity) rows."""
    return lambda *rows: sorted_notes(*map(np.array, zip(*rows, strict=True)))


@pytest.fixture
def ingest_params():
    return INGEST


@pytest.fixture
def render_params():
    return RENDER


@pytest.fixture
def extract_params():
    return EXTRACT


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ingest(project):
    """Return a function that ingests notes as a take and returns it."""

    def run(name, notes, *, pedal=None, part=None):
        midi = Path("data/raw") / name / "x.mid"
        midi.parent.mkdir(parents=True)
        write_midi(midi, notes, pedal=pedal)
        source = Source(name=name, kind="score", origin="raw", files=(str(midi),), piece=name, part=part)
        out = Path("data/ingested")
        (out / name).mkdir(parents=True)
        ingest_kind(source.data_set).ingest_take(source, out / name, INGEST)
        takes = write_catalog(out, [path.name for path in out.iterdir() if path.is_dir()])
        return next(take for take in takes if take.name == name)

    return run


def write_receipt(folder, key):
    """Make a take's folder valid, as the step does."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    outputs = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in files
    }
    (folder / RECEIPT).write_text(json.dumps({"key": key, "outputs": outputs}))


@pytest.fixture
def chunked(ingest):
    """Return a function that brings notes through ingest, render, extract and chunk, and returns the take."""

    def run(name, notes, *, part, **rendered):
        take = ingest(name, notes, part=part)
        render = RENDER.model_copy(update=rendered)
        works = (("rendered", render_take, render), ("extracted", extract_take, EXTRACT))
        for folder, work, params in (*works, ("chunked/scores", chunk_take, CHUNK)):
            out = Path("data") / folder / name
            out.mkdir(parents=True)
            work(take, out, params)
        write_receipt(out, name)
        return take

    return run


PITCHES = (66, 73, 78)
DURATION_S = 8.0


@pytest.fixture
def captured(tmp_path, monkeypatch):
    """Store one test take of two cameras; return a function that writes what a system made of it."""
    monkeypatch.chdir(tmp_path)
    folder, rate = Path("data/chunked/captures"), 8_000
    onset_s = np.arange(0.5, 7.0, 0.5)
    note = np.arange(len(onset_s)) % len(PITCHES)
    time_s = np.arange(round(DURATION_S * rate)) / rate
    audio = np.zeros_like(time_s)
    for moment, one in zip(onset_s, note, strict=True):
        ringing = np.exp(-np.maximum(time_s - moment, 0) / 0.15) * (time_s >= moment)
        audio += 0.2 * ringing * np.sin(2 * np.pi * 440 * 2 ** ((PITCHES[one] - 69) / 12) * time_s)
    amplitudes = note_amplitudes(
        audio.astype(np.float32),
        sample_rate=rate,
        frame_rate=Fraction(25),
        frequency_hz=note_frequencies_hz(PITCHES),
        n_frames=200,
    )
    arrays = {
        "codes": np.zeros(800, np.uint8),
        "amplitudes": amplitudes,
        "sound": np.rint(audio * 32767).astype(np.int16),
        "notes": np.stack([onset_s, onset_s + 0.2, np.array(PITCHES)[note], np.full(len(note), 80.0)], axis=1),
    }
    for camera, begins_s in (("cam_a", -0.5), ("cam_b", 2.25)):
        arrays[f"time_s_{camera}"] = np.arange(begins_s, DURATION_S, 0.04)
        arrays[f"pictures_{camera}"] = np.zeros((len(arrays[f"time_s_{camera}"]), 2, 2), np.uint8)
    attributes = {
        "code_rate": 100,
        "pitches": list(PITCHES),
        "frame_rate": "25",
        "cameras": ["cam_a", "cam_b"],
        "camera_margins": [0.0, 0.0],
        "instrument": "kalimba",
        "master": "mic_near",
        "duration_s": DURATION_S,
        "sound_rate": rate,
    }
    chunk_lengths = dict.fromkeys(arrays, 64)
    write_arrays(folder / "t" / "arrays.zarr", arrays, chunk_lengths=chunk_lengths, attributes=attributes)
    index = {"t": {"piece": "t", "part": "test", "digest": "t", "duration_s": DURATION_S}}
    (folder / "takes.json").write_text(json.dumps(index))
    write_segments(folder / "segments.parquet", segment_rows("t", "t", "test", "t", 800, length=400, hop=400))

    def perform(system, *, late_s, louder, folder_of_systems="synthesized"):
        notes = sorted_notes(
            onset_s + late_s, onset_s + late_s + 0.2, np.array(PITCHES)[note], np.full(len(note), 80, np.uint8)
        )
        for camera in ("cam_a", "cam_b"):
            made = Path(folder_of_systems) / system / "t" / camera
            made.mkdir(parents=True)
            write_flac(made / "audio.flac", audio.astype(np.float32), rate)
            write_table(made / "notes.parquet", notes.columns())
            table = {str(pitch): amplitudes[:, row] * np.float32(louder) for row, pitch in enumerate(PITCHES)}
            write_table(made / "amplitudes.parquet", table)

    return perform


STEM_RATE = 16_000  # Hz, of the ensembles that tests make


def playing(pitch, *, duration_s=2.0, sample_rate=STEM_RATE, silent_s=(0.5, 1.0)):
    """Make a tone that rests for a while, (n,) in [-0.2, 0.2]."""
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    tone = 0.2 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time_s)
    return np.where((time_s >= silent_s[0]) & (time_s < silent_s[1]), 0, tone)


@pytest.fixture
def tone():
    """Return a function that makes a player's sound."""
    return playing


@pytest.fixture
def ensemble(project, ingest_params):
    """Return a function that puts sounds and other files into data/raw/TAKE, and ingests that as a take.

    Sounds are arrays (n,) or (n, channels) by file name; others are bytes, or paths of files to copy.
    """

    def run(name, files, *, sample_rate=STEM_RATE, params=ingest_params, **said):
        folder = Path("data/raw") / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            if isinstance(content, np.ndarray):
                soundfile.write(folder / file, content, sample_rate, subtype="PCM_16")
            elif isinstance(content, bytes):
                (folder / file).write_bytes(content)
            else:
                shutil.copy(content, folder / file)
        if said:
            (folder / "take.yaml").write_text(json.dumps(said))
        source = read_source(folder, "raw", {}, size=params.size)
        if not isinstance(source, Source):
            raise IngestError(source.reason, kind=source.kind)
        out = Path("data/ingested")
        (out / name).mkdir(parents=True)
        try:
            ingest_kind(source.data_set).ingest_take(source, out / name, params)
        except BadInput:
            shutil.rmtree(out / name)
            raise
        takes = write_catalog(out, [path.name for path in out.iterdir() if path.is_dir()])
        return next(take for take in takes if take.name == name)

    return run


# A project of DVC whose stages really run: what takes hold goes through folders of takes to the models of one family.
SHELVED_STAGES = """
stages:
  ingest:
    cmd: python pipeline.py ingest
    deps: [data/raw]
    outs: [data/ingested]
  chunk:
    cmd: python pipeline.py chunk
    deps: [data/ingested]
    outs: [data/chunked/scores]
    metrics:
      - data/metrics/data.json: {cache: false}
  train:
    foreach: [net]
    do:
      cmd: python pipeline.py train
      deps: [data/chunked/scores]
      params: [width]
      outs: [data/trained/net]
      metrics:
        - data/metrics/net.json: {cache: false}
  synthesize:
    foreach: [net]
    do:
      cmd: python pipeline.py synthesize
      deps: [data/chunked/scores, data/trained/net]
      outs: [data/synthesized/net]
"""
SHELVED_PIPELINE = """
import hashlib, json, sys
from pathlib import Path

PARTS = {"a": "train", "b": "test", "c": "train", "d": "validation"}


def put(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def takes(folder):
    return sorted(path for path in Path(folder).iterdir() if path.is_dir())


def ingest():
    rows = []
    for take in takes("data/raw"):
        files = [path for path in sorted(take.iterdir()) if path.name != "take.yaml"]
        put(f"data/ingested/{take.name}/notes", f"notes of {files[0].read_text()}")
        media = [{"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in files]
        rows.append({"take": take.name, "kind": "score", "media": media})
    put("data/ingested/catalog.json", json.dumps(rows))


def chunk():
    index = {}
    for take in takes("data/ingested"):
        put(f"data/chunked/scores/{take.name}/arrays", f"arrays of {(take / 'notes').read_text()}")
        index[take.name] = {"part": PARTS[take.name[0]]}
    put("data/chunked/scores/takes.json", json.dumps(index))
    put("data/metrics/data.json", json.dumps({"data_version": hashlib.sha256(str(index).encode()).hexdigest()}))


def train():
    learned = [(take / "arrays").read_text() for take in takes("data/chunked/scores") if PARTS[take.name[0]] != "test"]
    put("data/trained/net/weights", Path("params.yaml").read_text() + str(learned) + "w" * 10_000)
    put("data/metrics/net.json", json.dumps({"net": {"f1": len(learned) / 10}}))


def synthesize():
    for take in takes("data/chunked/scores"):
        if PARTS[take.name[0]] == "test":
            put(f"data/synthesized/net/net/{take.name}/audio", f"sound of {(take / 'arrays').read_text()}")


globals()[sys.argv[1]]()
"""


def run_in(folder, *command, fails=False):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert bool(done.returncode) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def set_remote(project):
    # Absolute: DVC takes a relative remote for one under / when it reads another commit's configuration.
    url = project.parent / "remote"
    (project / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = shelf\n['remote \"shelf\"']\n    url = {url}\n"
    )


def put_take(folder, name, content):
    take = folder / "data" / "raw" / name
    take.mkdir(parents=True, exist_ok=True)
    (take / "cam_x.mp4").write_text(content)
    (take / "take.yaml").write_text("piece: one\n")


def commit_results(folder, message):
    run_in(folder, "dvc", "add", "-q", "data/raw")
    run_in(folder, "dvc", "repro", "-q")
    run_in(folder, "git", "add", "--all")
    run_in(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-m", message)
    return run_in(folder, "git", "rev-parse", "HEAD").strip()


@pytest.fixture(scope="session")
def shelved_once(tmp_path_factory):
    """Make a project of four versions and push them: takes a and b, then c, then d, then another width.

    Version 1 has the tag ``first``. The remote is the folder ``remote`` beside the project.
    """
    folder = tmp_path_factory.mktemp("shelved")
    project = folder / "project"
    project.mkdir()
    run_in(project, "git", "init", "-q", "-b", "main")
    run_in(project, "dvc", "init", "-q")
    set_remote(project)
    (project / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (project / ".gitignore").write_text(".audiate/\ndata/incoming/\n")
    (project / "dvc.yaml").write_text(SHELVED_STAGES)
    (project / "pipeline.py").write_text(SHELVED_PIPELINE)
    (project / "params.yaml").write_text("width: 1\n")
    put_take(project, "a", "A" * 3_000)
    put_take(project, "b", "B" * 3_000)
    commits = [commit_results(project, "version 1")]
    run_in(project, "git", "tag", "first")
    for number, name in ((2, "c"), (3, "d")):
        put_take(project, name, name.upper() * 3_000)
        commits.append(commit_results(project, f"version {number}"))
    (project / "params.yaml").write_text("width: 2\n")
    commits.append(commit_results(project, "version 4"))
    run_in(project, "dvc", "push", "-q", "--all-commits")
    return folder, commits


@pytest.fixture
def shelved(shelved_once, tmp_path, monkeypatch):
    """Stand in a copy of that project of DVC, with a remote of its own; return the commits of its four versions."""
    folder, commits = shelved_once
    shutil.copytree(folder, tmp_path / "shelved", symlinks=True)
    monkeypatch.chdir(tmp_path / "shelved" / "project")
    set_remote(tmp_path / "shelved" / "project")
    return commits
