"""A take on its way through the verbs, called as plain functions in an empty project."""

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tasks.captures.devices import CaptureParams
from tasks.chunk import ChunkParams, chunk_take
from tasks.extract import ExtractParams, extract_take
from tasks.ingest import IngestParams, Source, ingest_take, write_catalog
from tasks.instruments.midi import MidiPolicy, write_midi
from tasks.instruments.notes import sorted_notes
from tasks.media.probe import MediaPolicy
from tasks.render import RenderParams, render_take

INGEST = IngestParams(
    max_bad_fraction=0.9,
    midi=MidiPolicy(max_bytes=10**6, max_duration_s=600, max_notes=10_000, hanging="close", overlap="cut"),
    media=MediaPolicy(max_pixels=10**6, max_duration_s=600, max_bytes=10**8, max_streams=8, max_file_bytes=10**7),
    captures=CaptureParams(lenient=True, min_duration_s=0.5, short_fraction=0.5, silence_db=-60.0),
)
RENDER = RenderParams(sample_rate=48_000, gain=1.0, program=0, tail_s=1.0, restrike_gap_s=0.05, lit="velocity")
EXTRACT = ExtractParams(frame_rate=Fraction(25), code_rate=4_000, n_classes=256)
CHUNK = ChunkParams(
    pictures_per_chunk=2, camera_width=64, camera_height=36, camera_margins=(0.05, 0.2), sound_rate=8000
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
        ingest_take(source, out / name, INGEST)
        takes = write_catalog(out, [path.name for path in out.iterdir() if path.is_dir()])
        return next(take for take in takes if take.name == name)

    return run


@pytest.fixture
def chunked(ingest):
    """Return a function that brings notes through ingest, render, extract and chunk, and returns the take."""

    def run(name, notes, *, part):
        take = ingest(name, notes, part=part)
        works = (("rendered", render_take, RENDER), ("extracted", extract_take, EXTRACT))
        for folder, work, params in (*works, ("chunked/scores", chunk_take, CHUNK)):
            out = Path("data") / folder / name
            out.mkdir(parents=True)
            work(take, out, params)
        return take

    return run
