"""Raw files to notes and facts. What the stage does with many takes is tests/flows/test_stages.py."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks.errors import BadInput, DamagedData, ParamsError
from tasks.ingest import (
    IngestError,
    find_sources,
    ingest_kind,
    listing,
    refuse_copies,
    refuse_other_parts,
    write_catalog,
)
from tasks.instruments.midi import Controls
from tasks.instruments.midi_writer import write_midi
from tasks.intake.copies import Contents
from tasks.intake.folder import FolderSize
from tasks.intake.notes import read_notes
from tasks.intake.pedals import read_controls
from tasks.intake.record import read_capture
from tasks.media.encode import encode_sound
from tasks.media.probe import NO_LIMITS
from tasks.step import Verified

SIZE = FolderSize(score=10**6, media=10**7, devices=64)


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
    sources, refused = find_sources(size=SIZE)
    assert [(s.name, *s.files, s.piece, s.part) for s in sources] == [
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
        find_sources(size=SIZE)


def test_the_same_bytes_under_a_second_name_are_refused_and_the_first_is_kept(sample):
    folder = Path("data/raw/copy")
    folder.mkdir()
    (folder / "other.mid").write_bytes((sample / "midi" / "b.mid").read_bytes())
    sources, _ = find_sources(size=SIZE)
    kept, refused = refuse_copies(sources, Verified(Path("verified.json")).sha256)
    assert [source.name for source in kept] == ["a", "b"]
    assert [(outcome.name, outcome.kind) for outcome in refused] == [("copy", "DUPLICATE")]
    assert "same bytes as take b" in refused[0].reason


def test_a_take_keeps_the_notes_its_file_was_written_with(ingest, notes_of):
    written = notes_of((0.5, 1.0, 60, 70), (0.5, 2.0, 64, 1), (1.5, 1.75, 60, 127))
    take = ingest("a", written, part="validation")
    notes, controls = read_notes("a"), read_controls("a")
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
    notes, controls = read_notes("a"), read_controls("a")
    np.testing.assert_allclose(notes.offset_s, [1.0, 3.5], atol=1e-3)
    np.testing.assert_allclose(notes.sounding_offset_s, [3.0, 3.5], atol=1e-3)
    assert controls.value.tolist() == [127, 0]


@pytest.mark.parametrize("change", ["new", "grown", "touched", "gone"])
def test_the_listing_shows_whatever_changed_in_data_raw(sample, change):
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


# Captures


@pytest.fixture
def capture(sample, media):
    """Return a function that puts files into a take's folder: name there -> name among the media, or bytes."""

    def put(name, origin="raw", **files):
        folder = Path("data") / origin / name
        folder.mkdir(parents=True)
        for file, content in files.items():
            data = content if isinstance(content, bytes) else (media / content).read_bytes()
            (folder / file.replace("__", ".")).write_bytes(data)
        return folder

    return put


def ingested(name, params, *, sources=None):
    """Ingest one take and return its row."""
    found = sources or find_sources(size=SIZE)[0]
    out = Path("data/ingested") / name
    out.mkdir(parents=True)
    source = next(source for source in found if source.name == name)
    ingest_kind(source.data_set).ingest_take(source, out, params)
    return json.loads((out / "take.json").read_text())


def test_a_capture_without_a_take_file_is_described_by_its_names(capture, ingest_params):
    capture("one", cam_top__mp4="cam0.mp4", cam_side__mp4="cam1.mp4", mic_room__wav="mic0.wav")
    row = ingested("one", ingest_params)
    assert (row["kind"], row["piece"], row["part"], row["title"]) == ("capture", "one", None, "one")
    assert (row["instrument"], row["master"], row["n_notes"]) == ({"name": "none", "notes": []}, None, 0)
    assert [(m["device"], m["role"], m["state"], m["flags"]) for m in row["media"]] == [
        ("cam_side", "camera", "used", []),
        ("cam_top", "camera", "used", []),
        ("mic_room", "microphone", "used", []),
    ]
    assert row["duration_s"] == pytest.approx(2.0, abs=0.1)
    for media in row["media"]:
        data = Path(media["path"]).read_bytes()
        assert (media["sha256"], media["size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert [take.kind for take in write_catalog(Path("data/ingested"), ["one"])] == ["capture"]
    assert not Path("data/ingested/one/notes.parquet").exists()


def test_a_crop_outside_of_the_picture_is_refused_with_the_camera(capture, ingest_params):
    take_file = b"cameras: {top: {crop: [40, 0, 32, 24]}}\n"
    capture("one", cam_top__mp4="cam0.mp4", take__yaml=take_file)
    with pytest.raises(BadInput, match=r"cam_top.crop is \[40, 0, 32, 24\], expected .* within its picture of 64x48"):
        ingested("one", ingest_params)


def test_a_take_file_names_the_stream_of_a_device(capture, ingest_params):
    capture("one", cam_top__mp4="cam0.mp4", take__yaml=b"streams: {cam_top: {sound: 1}, cam_gone: {sound: 1}}\n")
    states = {media["device"]: media["kind"] for media in ingested("one", ingest_params)["media"]}
    assert states == {"cam_top": "", "cam_gone": "MISSING"}


def test_a_capture_is_what_its_take_file_describes(capture, ingest_params):
    take_file = (
        b"piece: a\npart: test\ntitle: T\nplayer: P\ninstrument: marimba-18\nmaster: mic_room\nnotes: recorded\n"
        b"cameras: {top: {crop: [0, 0, 32, 24]}, gone: {}}\n"
    )
    midi = (Path("data/sample/midi") / "a.mid").read_bytes()
    files = {"cam_top__mp4": "cam0.mp4", "mic_room__wav": "mic0.wav", "take__yaml": take_file, "x__mid": midi}
    capture("one", **files)
    row = ingested("one", ingest_params)
    assert (row["piece"], row["part"], row["title"], row["player"]) == ("a", "test", "T", "P")
    assert (row["instrument"]["name"], len(row["instrument"]["notes"])) == ("marimba-18", 18)
    assert (row["master"], row["notes"], row["n_notes"]) == ("mic_room", "recorded", 1)
    assert row["cameras"] == {"cam_top": {"crop": [0, 0, 32, 24], "corners": None}}
    states = {media["device"]: (media["role"], media["state"], media["kind"]) for media in row["media"]}
    assert states["cam_gone"] == ("camera", "refused", "MISSING")
    assert states["x"] == ("score", "used", "")
    assert Path("data/ingested/one/notes.parquet").exists()
    read = read_capture("one")
    assert [(device.name, device.role) for device in read.devices] == [
        ("cam_top", "camera"),
        ("mic_room", "microphone"),
    ]
    assert (read.master, read.notes, read.instrument) == ("mic_room", "recorded", "marimba-18")
    assert read.device("cam_top").crop == (0, 0, 32, 24)
    before = row["digest"]
    capture("two", **files | {"take__yaml": take_file + b"# more\n"})
    assert ingested("two", ingest_params)["digest"] != before


def test_the_digest_rests_on_the_takes_own_files_alone(capture, ingest_params):
    files = {"cam_top__mp4": "cam0.mp4", "take__yaml": b"piece: a\n"}
    capture("one", **files)
    folder = capture("one", "filmed", **files, rig__yaml=b"a", truth__json=b"b")
    (folder / "_receipt.json").write_text("{}")
    row = ingested("one", ingest_params, sources=find_sources(raw=Path("nowhere"), size=SIZE)[0])
    shutil.rmtree("data/ingested/one")
    shutil.rmtree("data/filmed")
    assert ingested("one", ingest_params)["digest"] == row["digest"]
    assert len(row["media"]) == 1


def test_one_bad_device_is_refused_and_the_take_goes_on(capture, media, ingest_params):
    cut = (media / "cam1.mp4").read_bytes()[:400]
    sound = "mic1.wav"
    capture(
        "one", cam_a__mp4="cam0.mp4", cam_b__mp4=cut, cam_c__mp4=b"", mic_a__wav=sound, mic_b__wav=sound, x__mid=b"M"
    )
    row = ingested("one", ingest_params)
    states = {media["device"]: (media["state"], media["kind"]) for media in row["media"]}
    assert (states["cam_a"], states["mic_a"]) == (("used", ""), ("used", ""))
    assert (states["mic_b"], states["x"][0]) == (("refused", "DUPLICATE"), "refused")
    assert [states[device][0] for device in ("cam_b", "cam_c")] == ["refused", "refused"]
    assert all(m["reason"] and m["facts"] is None for m in row["media"] if m["state"] == "refused")


def test_a_capture_of_which_no_device_can_be_used_is_no_take(capture, ingest_params):
    capture("one", cam_a__mp4=b"", mic_a__wav=b"RIFF")
    with pytest.raises(IngestError, match="no device can be used; ") as refused:
        ingested("one", ingest_params)
    assert refused.value.kind == "NO_DEVICE"


def test_a_device_that_holds_little_of_its_take_is_flagged(capture, ingest_params):
    capture("one", cam_a__mp4="cam0.mp4", mic_a__wav="mic1.wav")
    params = ingest_params.model_copy(
        update={"captures": ingest_params.captures.model_copy(update={"short_fraction": 0.6})}
    )
    flags = {media["device"]: media["flags"] for media in ingested("one", params)["media"]}
    assert flags == {"cam_a": [], "mic_a": ["short"]}


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"cam_a__mp4": "cam0.mp4", "take__yaml": b"pieces: a\n"}, "BAD_TAKE_FILE"),
        ({"take__yaml": b"piece: a\n"}, "NOT_A_TAKE"),
        ({"film__mp4": "cam0.mp4"}, "NOT_A_TAKE"),
    ],
)
def test_what_cannot_be_a_capture_is_refused_when_it_is_found(capture, files, kind):
    capture("one", **files)
    sources, refused = find_sources(size=SIZE)
    assert [source.name for source in sources] == ["a", "b"]
    assert [(outcome.name, outcome.kind) for outcome in refused] == [("one", kind)]


def copies(sources):
    streams = Contents(Path("streams.json"), NO_LIMITS)
    kept, refused = refuse_copies(sources, Verified(Path("verified.json")).sha256, streams)
    return [source.name for source in kept], [(outcome.name, outcome.kind) for outcome in refused]


def test_a_recording_that_comes_again_is_refused_in_any_container_and_the_first_is_kept(capture):
    capture("k", cam_a__mp4="cam0.mp4", mic_a__wav="mic0.wav")
    capture("l", cam_other__mp4="cam0.mp4")
    capture("m", cam_a__mkv="remuxed.mkv")
    capture("n", cam_a__mp4="cam1.mp4")
    sources, _ = find_sources(size=SIZE)
    assert copies(sources) == (["a", "b", "k", "n"], [("l", "DUPLICATE"), ("m", "DUPLICATE")])
    assert copies(sources[::-1]) == copies(sources)


@pytest.mark.parametrize(("take_file", "kinds"), [(b"piece: k\n", []), (b"title: new\n", ["OTHER_PIECE"])])
def test_a_recording_that_is_encoded_anew_is_of_the_same_piece_or_refused(capture, tmp_path, take_file, kinds):
    rng = np.random.default_rng(7)
    struck = rng.standard_normal((60, 8000)) * np.exp(-np.arange(8000) / 800) * 0.1
    tones = np.sin(2 * np.pi * rng.uniform(200, 3000, (60, 1)) * np.arange(8000) / 16000)
    audio = (struck + 0.3 * tones * np.exp(-np.arange(8000) / 1500)).ravel().astype(np.float32)
    for name, codec in (("x.wav", "pcm_s16le"), ("x.mp3", "mp3")):
        encode_sound(tmp_path / name, audio if codec != "mp3" else 0.5 * audio, sample_rate=16_000, codec=codec)
    capture("k", mic_a__wav=(tmp_path / "x.wav").read_bytes())
    capture("l", mic_b__mp3=(tmp_path / "x.mp3").read_bytes(), take__yaml=take_file)
    found, refused = copies(find_sources(size=SIZE)[0])
    assert ("k" in found, [kind for _, kind in refused]) == (True, kinds)


def test_what_was_filmed_comes_before_what_was_brought_and_both_after_the_bundled(capture):
    folder = capture("z", "filmed", cam_a__mp4="cam0.mp4")
    (folder / "_receipt.json").write_text("{}")
    capture("c", cam_a__mp4="cam0.mp4")
    capture("a0", x__mid=(Path("data/sample/midi") / "b.mid").read_bytes())
    capture("z0", "raw", cam_a__mp4="cam1.mp4")
    sources, refused = find_sources(size=SIZE)
    assert refused == []
    assert copies(sources) == (["a", "b", "z", "z0"], [("a0", "DUPLICATE"), ("c", "DUPLICATE")])


def test_a_filmed_take_that_was_never_finished_stops_the_stage(capture):
    capture("one", "filmed", cam_a__mp4="cam0.mp4")
    with pytest.raises(DamagedData, match=r"data/filmed/one has no _receipt\.json"):
        find_sources(size=SIZE)


@pytest.mark.parametrize(("piece", "kinds"), [("b", []), ("other", ["OTHER_PIECE"])])
def test_a_captures_score_may_be_a_known_one_of_the_same_piece(capture, piece, kinds):
    midi = (Path("data/sample/midi") / "b.mid").read_bytes()
    capture("one", cam_a__mp4="cam0.mp4", x__mid=midi, take__yaml=f"piece: {piece}\n".encode())
    assert [kind for _, kind in copies(find_sources(size=SIZE)[0])[1]] == kinds


def test_a_piece_that_is_fixed_to_one_part_takes_no_other(capture, ingest_params):
    capture("one", cam_a__mp4="cam0.mp4", take__yaml=b"piece: a\npart: train\n")
    capture("two", cam_a__mp4="cam1.mp4", take__yaml=b"piece: b\npart: train\n")
    sources, _ = find_sources(size=SIZE)
    kept, refused = refuse_other_parts(sources)
    assert [source.name for source in kept] == ["a", "b", "two"]
    assert [(outcome.name, outcome.kind) for outcome in refused] == [("one", "OTHER_PART")]
    assert "expected test as take a has it" in refused[0].reason
    for source in kept:
        ingested(source.name, ingest_params, sources=sources)
    takes = write_catalog(Path("data/ingested"), ["a", "b", "two"])
    assert {take.name: take.part for take in takes} == {"a": "test", "b": "train", "two": "train"}
