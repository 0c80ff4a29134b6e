"""What models read: the index of segments, what test takes are held against, and the figures of the data version."""

import hashlib
import json
from pathlib import Path

import pytest

from tasks.chunk import SegmentParams, data_metrics, index_takes, truth_digest
from tasks.errors import DamagedData, ParamsError
from tasks.step import RECEIPT, Verified
from tasks.store.segments import ScoreSet
from tasks.takes import SplitParams, Take, data_version

SPLIT = SplitParams(salt="s", train_percent=60, validation_percent=20, min_pieces=1)
SEGMENTS = SegmentParams(length_s=1.0, hop_s=0.5)
CHUNKED = Path("data/chunked")
SCORES = CHUNKED / "scores"


def scale(notes_of, n_notes, first_pitch=48):
    return notes_of(*((0.3 + 0.2 * n, 0.45 + 0.2 * n, first_pitch + n, 20 + 5 * n) for n in range(n_notes)))


@pytest.fixture
def indexed(chunked, notes_of):
    """Index three takes of 3, 4 and 5 notes, one a part."""
    parts = ("train", "validation", "test")
    takes = [chunked(f"take_{n}", scale(notes_of, n + 3), part=part) for n, part in enumerate(parts)]
    index_takes(SCORES, takes, SPLIT, SEGMENTS)
    return takes


def test_segments_cover_a_take_at_the_hop_and_each_part_has_its_own(indexed):
    scores = ScoreSet(SCORES)
    # Takes last 0.3 + 0.2 (n - 1) + 0.15 s and a tail of 1 s: 1.85, 2.05, 2.25 s; at 4,000 Hz, a second every half.
    starts = {"train": [0, 2_000], "validation": [0, 2_000, 4_000], "test": [0, 2_000, 4_000]}
    for n, (part, expected) in enumerate(starts.items()):
        rows = scores.segments(part)
        assert [row.start_sample for row in rows] == expected
        assert {(row.take, row.n_samples) for row in rows} == {(f"take_{n}", 4_000)}
    ids = [row.segment_id for part in starts for row in scores.segments(part)]
    assert len(set(ids)) == len(ids)


def test_the_figures_of_a_data_version_are_those_of_its_takes(indexed):
    for kind in ("captures", "ensembles"):
        (CHUNKED / kind).mkdir()
        index_takes(CHUNKED / kind, [], SPLIT, SEGMENTS)  # a project may have scores alone
    figures = data_metrics(CHUNKED, indexed, n_quarantined=2)
    assert figures["data_version"] == data_version(indexed)[:16]
    assert (figures["n_captures"], figures["capture_hours"]) == (0, 0)
    assert (figures["n_ensembles"], figures["ensemble_hours"]) == (0, 0)
    assert (figures["n_takes"], figures["n_pieces"], figures["n_quarantined"]) == (3, 3, 2)
    assert figures["hours"] == pytest.approx(6.15 / 3600, abs=1e-4)
    assert [figures[f"{part}_segments"] for part in ("train", "validation", "test")] == [2, 3, 3]
    minutes = [figures[f"{part}_minutes"] for part in ("train", "validation", "test")]
    assert minutes == pytest.approx([1.85 / 60, 2.05 / 60, 2.25 / 60], abs=0.006)


def test_a_part_without_pieces_stops_before_an_index_is_written(indexed):
    before = (SCORES / "takes.json").read_bytes()
    with pytest.raises(ParamsError, match="leaves 1 of 3 pieces for train, expected at least 2"):
        index_takes(SCORES, indexed, SPLIT.model_copy(update={"min_pieces": 2}), SEGMENTS)
    assert (SCORES / "takes.json").read_bytes() == before
    assert json.loads(before)["take_2"]["part"] == "test"


@pytest.fixture
def verified(project):
    return Verified(Path("verified.json"))


def made(folder, **files):
    """Write a folder as a stage leaves it, with its receipt."""
    outputs = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
        outputs[name] = {"size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
    (folder / RECEIPT).write_text(json.dumps({"key": "k", "outputs": outputs}))


def take_of(kind, name):
    return Take(name=name, kind=kind, piece=name, part="test", digest=name, duration_s=1.0)


@pytest.fixture
def truth(verified):
    """Return a function that makes what the stages before leave of test takes, and digests it by kind."""

    def run(scores=("s",), captures=("c", "f"), ensembles=("e",), *, sound="sound", film="film"):
        for name in scores:
            made(Path("data/ingested") / name, notes="notes")
            made(Path("data/rendered") / name, audio=sound)
        for name in captures:
            origin = Path("data/filmed" if name == "f" else "data/raw") / name
            if name == "f":
                made(origin, cam=film, truth="true notes")
            else:
                origin.mkdir(parents=True, exist_ok=True)
                (origin / "cam").write_text(film)
            media = [{"device": "cam", "role": "camera", "path": f"{origin}/cam", "state": "used", "facts": {}}]
            about = {"media": media, "cameras": {}, "master": None, "notes": None, "duration_s": 1.0}
            facts = json.dumps(about | {"instrument": {"name": "piano", "notes": []}})
            made(Path("data/ingested") / name, **{"take.json": facts})
        takes = {"scores": scores, "captures": captures, "ensembles": ensembles}
        return {kind: truth_digest([take_of(kind[:-1], n) for n in names], verified) for kind, names in takes.items()}

    return run


def changed(one, other):
    return {kind for kind in one if one[kind] != other[kind]}


def test_another_capture_changes_only_the_captures_truth(truth):
    assert changed(truth(), truth()) == set()
    assert changed(truth(), truth(captures=("c", "d", "f"))) == {"captures"}


def test_another_rendered_sound_changes_only_the_scores_truth(truth):
    assert changed(truth(), truth(sound="SOUND")) == {"scores"}


@pytest.mark.parametrize("captures", [("c",), ("f",)], ids=["recorded", "filmed"])
def test_another_film_changes_only_the_captures_truth(truth, captures):
    assert changed(truth(captures=captures), truth(captures=captures, film="FILM")) == {"captures"}


def test_the_true_notes_of_a_filmed_take_are_part_of_its_truth(truth, verified):
    before = truth()
    made(Path("data/filmed/f"), cam="film", truth="other notes")
    assert truth_digest([take_of("capture", name) for name in ("c", "f")], verified) != before["captures"]


def test_another_ensemble_changes_only_the_ensembles_truth(truth):
    assert changed(truth(), truth(ensembles=("e", "d"))) == {"ensembles"}


def test_a_truth_that_was_edited_by_hand_is_damage(truth, verified):
    truth()
    Path("data/rendered/s/audio").write_text("noise")
    with pytest.raises(DamagedData, match="data/rendered/s/audio was changed after it was made"):
        truth_digest([take_of("score", "s")], verified)
