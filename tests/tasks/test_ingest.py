"""Raw files to notes and facts. What the stage does with many takes is tests/flows/test_stages.py."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.errors import ParamsError
from tasks.ingest import find_sources, listing, refuse_copies
from tasks.instruments.midi import Controls, write_midi
from tasks.render import read_notes
from tasks.step import Verified

MAX_BYTES = 10**6


@pytest.fixture
def sample(project, notes_of):
    """Bundle two pieces, one of them with a fixed part."""
    folder = Path("data/sample")
    (folder / "midi").mkdir(parents=True)
    Path("data/raw").mkdir()
    for pitch, name in ((60, "b"), (62, "a")):
        write_midi(folder / "midi" / f"{name}.mid", notes_of((0.5, 1.0, pitch, 70)))
    pieces = {"a": {"composer": "A", "title": "T", "source": "op. 1", "part": "test"}, "b": {"composer": "B"}}
    (folder / "pieces.yaml").write_text(yaml.safe_dump(pieces))
    return folder


def test_takes_of_both_folders_are_listed_by_name_with_what_is_known_of_them(sample, notes_of):
    for name in ("aa", ".gitkeep"):
        (Path("data/raw") / name).mkdir()
    write_midi(Path("data/raw/aa/any.MID"), notes_of((0.5, 1.0, 60, 70)))
    sources, refused = find_sources(max_bytes=MAX_BYTES)
    assert [(s.name, s.path, s.piece, s.part) for s in sources] == [
        ("a", "data/sample/midi/a.mid", "a", "test"),
        ("aa", "data/raw/aa/any.MID", "aa", None),
        ("b", "data/sample/midi/b.mid", "b", None),
    ]
    assert dict(sources[0].about) == {"composer": "A", "title": "T", "source": "op. 1"}
    assert refused == []


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ("a: {part: test}", "data/sample/pieces.yaml: b is None, expected composer, title"),
        ("a: {part: tset}\nb: {}", "data/sample/pieces.yaml: a is {'part': 'tset'}, expected composer"),
        ("a: {}\nb: 3", "data/sample/pieces.yaml: b is 3, expected composer"),
        ("a: [", "data/sample/pieces.yaml cannot be read: "),
        ("- a", "data/sample/pieces.yaml holds list, expected a description of each piece"),
    ],
)
def test_a_bundled_piece_without_a_description_is_an_error_not_a_guess(sample, pieces, reason):
    (sample / "pieces.yaml").write_text(pieces)
    with pytest.raises(ParamsError, match=re.escape(reason)):
        find_sources(max_bytes=MAX_BYTES)


def test_the_same_bytes_under_a_second_name_are_refused_and_the_first_is_kept(sample):
    folder = Path("data/raw/copy")
    folder.mkdir()
    (folder / "other.mid").write_bytes((sample / "midi" / "b.mid").read_bytes())
    sources, _ = find_sources(max_bytes=MAX_BYTES)
    kept, refused = refuse_copies(sources, Verified(Path("verified.json")))
    assert [source.name for source in kept] == ["a", "b"]
    assert [(outcome.name, outcome.kind) for outcome in refused] == [("copy", "DUPLICATE")]
    assert "same bytes as take b" in refused[0].reason


def test_a_take_keeps_the_notes_its_file_was_written_with(ingest, notes_of):
    written = notes_of((0.5, 1.0, 60, 70), (0.5, 2.0, 64, 1), (1.5, 1.75, 60, 127))
    take = ingest("a", written, part="validation")
    notes, controls = read_notes("a")
    for name, column in written.columns().items():
        np.testing.assert_allclose(getattr(notes, name), column, atol=1e-4)  # a tick of the file
    assert len(controls.time_s) == 0
    assert (take.part, take.duration_s) == ("validation", pytest.approx(2.0, abs=1e-3))
    facts = json.loads(Path("data/ingested/a/take.json").read_text())
    [media] = facts["media"]
    data = Path(media["path"]).read_bytes()
    assert (media["sha256"], media["size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert facts["n_notes"] == 3


def test_a_pedal_holds_the_sound_of_a_key_that_came_up(ingest, notes_of):
    pedal = Controls(time_s=np.array([0.75, 3.0]), control=np.array([64, 64], np.uint8), value=np.array([127, 0]))
    ingest("a", notes_of((0.5, 1.0, 60, 70), (2.0, 3.5, 62, 70)), pedal=pedal)
    notes, controls = read_notes("a")
    np.testing.assert_allclose(notes.offset_s, [1.0, 3.5], atol=1e-3)
    np.testing.assert_allclose(notes.sounding_offset_s, [3.0, 3.5], atol=1e-3)
    assert controls.value.tolist() == [127, 0]


@pytest.mark.parametrize("change", ["new", "grown", "touched", "gone"])
def test_the_listing_tells_whatever_changed_in_data_raw(sample, change):
    path = Path("data/raw/x/x.mid")
    path.parent.mkdir()
    path.write_bytes(b"one")
    before = listing()
    assert listing() == before
    if change == "new":
        path.with_name("y.mid").write_bytes(b"")
    elif change == "grown":
        path.write_bytes(b"one more")
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    assert listing() != before
