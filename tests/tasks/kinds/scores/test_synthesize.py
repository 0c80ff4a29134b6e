"""Films of scores, whole and excerpts, and the sound that a family makes of them."""

from pathlib import Path

import numpy as np
import pytest

from tasks.chunk import SegmentParams, index_takes
from tasks.families.baselines import BaselinesParams
from tasks.intake.notes import read_notes
from tasks.kinds.scores.synthesize import film_of
from tasks.store.audio import read_audio
from tasks.store.rendered import RENDERED
from tasks.store.segments import ScoreSet
from tasks.store.tables import read_table
from tasks.synthesize import SynthesizeParams, synthesize_family
from tasks.takes import SplitParams, read_catalog
from tasks.train import train_family

BASELINES = BaselinesParams(n_fft=256, n_pictures=32, kept_s=0.2, grain_s=0.08, gain=1.0, program=0, seed=0)
LAST_S = 1.8  # the last key comes up: the last change of the pictures


@pytest.fixture
def scores(chunked, notes_of):
    """Chunk three takes of a piece each, the last for testing; return their data set."""
    for n, part in enumerate(("train", "validation", "test")):
        chunked(f"take_{n}", notes_of(*[(0.4 + 0.4 * i, 0.6 + 0.4 * i, 55 + i + n, 80) for i in range(4)]), part=part)
    folder = Path("data/chunked/scores")
    split = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
    index_takes(folder, read_catalog(), split, SegmentParams(length_s=1.0, hop_s=1.0))
    return ScoreSet(folder)


@pytest.fixture
def synthesize(scores):
    """Return a function that trains the baselines once, and lets them perform; returns the files' bytes by path."""
    train_family(
        "baselines",
        BASELINES,
        data=scores.folder,
        out=Path("trained"),
        resume_root=Path("resume"),
        accelerator="cpu",
        networks="portable",
    )

    def run(seconds, out="synthesized"):
        made = synthesize_family(
            "baselines",
            data=scores.folder,
            trained=Path("trained"),
            out=Path(out),
            params=SynthesizeParams(score_excerpt_s=seconds),
            accelerator="cpu",
            workers=2,
        )
        assert {one.take for one in made} == {"take_2"}
        return {str(path.relative_to(out)): path.read_bytes() for path in Path(out).rglob("*") if path.is_file()}

    return run


@pytest.mark.parametrize("longest_s", [0.3, 0.4, 1.0, LAST_S])
def test_an_excerpt_of_a_film_has_the_pictures_that_come_up_before_its_end(scores, longest_s):
    arrays = scores.open("take_2")
    whole, film = film_of(arrays, None), film_of(arrays, longest_s)
    n_pictures = int((whole.time_s < longest_s).sum())
    assert 1 <= n_pictures < len(whole.time_s)
    assert film.duration_s == longest_s
    assert film.time_s.tolist() == whole.time_s[:n_pictures].tolist()
    np.testing.assert_array_equal(film.pictures, whole.pictures[:n_pictures])
    assert film.time_s[-1] < longest_s <= whole.time_s[n_pictures]


@pytest.mark.parametrize("longest_s", [None, 60.0])
def test_a_film_that_is_no_longer_is_whole(scores, longest_s):
    arrays = scores.open("take_2")
    film = film_of(arrays, longest_s)
    assert (len(film.pictures), film.duration_s) == (len(arrays["pictures"]), arrays.attributes["duration_s"])
    assert film.time_s[-1] == LAST_S


def test_an_excerpt_longer_than_the_take_changes_no_byte(synthesize):
    whole = synthesize(None)
    assert {Path(name).name for name in whole} == {"audio.flac", "notes.parquet", "video.mp4"}
    assert synthesize(60.0, "again") == whole


def test_sound_notes_and_video_end_with_the_excerpt(synthesize, probed):
    synthesize(1.0)
    whole = read_notes("take_2", RENDERED)
    assert whole.onset_s.max() > 1.0
    for system in ("mean", "silence", "nearest", "unigram", "upper_bound"):
        folder = Path("synthesized") / system / "take_2"
        audio, sample_rate = read_audio(folder / "audio.flac")
        assert len(audio) == sample_rate
        assert probed(folder / "video.mp4", stream="v:0", entries="stream=nb_frames") == ["25"]
    notes = read_table(Path("synthesized/upper_bound/take_2/notes.parquet"))
    assert notes["onset_s"].tolist() == whole.onset_s[whole.onset_s < 1.0].tolist()
    assert notes["offset_s"].max() <= 1.0


def test_what_is_performed_of_an_excerpt_is_the_beginning_of_what_is_performed_of_the_whole(synthesize):
    synthesize(None)
    synthesize(1.0, "excerpt")
    for system in ("nearest", "upper_bound"):
        whole, sample_rate = read_audio(Path("synthesized") / system / "take_2/audio.flac")
        some, _ = read_audio(Path("excerpt") / system / "take_2/audio.flac")
        assert np.abs(some).max() > 0.01
        before = round(0.9 * sample_rate)  # of the nearest, grains overlap where the sound ends
        np.testing.assert_array_equal(some[:before], whole[:before])
