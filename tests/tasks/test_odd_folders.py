"""What one folder does is that folder's row: its neighbours come in, and the next run goes on."""

import time

import pytest

import tasks.ingest
from tasks.errors import BadInput, DamagedData, contained
from tasks.ingest import Candidate, find_sources, kind_of, refuse_copies
from tasks.intake.arrivals import find_arrivals
from tasks.intake.describe import TakeFile
from tasks.intake.folder import FolderSize
from tasks.kinds.scores import ingest as scores

SIZE = FolderSize(score=10**6, media=10**7, devices=64)
NOTE = bytes([0, 0x90, 60, 80, 0x83, 0x60, 0x80, 60, 64, 0, 0xFF, 0x2F, 0])
MIDI = b"MThd\0\0\0\x06\0\1\0\1\1\xe0MTrk\0\0\0" + bytes([len(NOTE)]) + NOTE


@pytest.fixture
def raw(tmp_path):
    for number, name in enumerate(("a_before", "z_after")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.mid").write_bytes(MIDI + bytes(number))  # no copies of each other
    return tmp_path


def found(raw):
    """Return the takes, and kind and reason of each folder that is none."""
    sources, refused = find_sources(raw / "none", raw / "none", raw, size=SIZE)
    return [source.name for source in sources], {row.name: (row.kind, row.reason) for row in refused}


@pytest.mark.parametrize(
    "text",
    [
        "piece: 1" + ":1" * 5000,
        "master: 9" + "9" * 6000,
        "title: 2024-99-99\npiece: {",
        "piece: !!int '1:30'",
        "{" * 3000,
        "? " * 9 + "a",
        "piece: *a",
        "a: .inf\n1: 2\n",
    ],
)
def test_an_odd_take_file_is_its_folders_row(raw, text):
    (raw / "odd").mkdir()
    (raw / "odd" / "x.mid").write_bytes(MIDI)
    (raw / "odd" / "take.yaml").write_text(text)
    began = time.process_time()
    takes, refused = found(raw)
    assert time.process_time() - began < 2.0
    assert takes == ["a_before", "z_after"]
    assert refused["odd"][0] == "BAD_TAKE_FILE"
    assert "take.yaml, line " in refused["odd"][1]


def test_a_folder_of_300_devices_is_refused_before_any_is_opened(raw, monkeypatch):
    (raw / "many").mkdir()
    for number in range(300):
        (raw / "many" / f"cam_{number}.mp4").write_bytes(b"x")
    monkeypatch.setattr("tasks.intake.folder.os.open", None)  # opening one would fail
    monkeypatch.setattr("tasks.intake.folder.fault_of", lambda path, _max_bytes: None)
    takes, refused = found(raw)
    assert takes == ["a_before", "z_after"]
    assert refused["many"][0] == "TOO_MANY"
    assert "holds 300 recordings and 0 other files, expected at most 64 (ingest.max_devices)" in refused["many"][1]


def test_what_no_one_foresaw_in_one_folder_is_its_row(raw, monkeypatch):
    read = tasks.ingest.read_take_file

    def fails_once(path):
        raise RecursionError("too\ndeep") if path is not None else None
        return read(path)

    (raw / "odd").mkdir()
    (raw / "odd" / "x.mid").write_bytes(MIDI)
    (raw / "odd" / "take.yaml").write_text("piece: p\n")
    monkeypatch.setattr(tasks.ingest, "read_take_file", lambda path: read(path) if path is None else fails_once(path))
    takes, refused = found(raw)
    assert takes == ["a_before", "z_after"]
    assert refused["odd"] == (
        "UNEXPECTED",
        "data/raw/'odd' cannot be used, for a reason that was not foreseen (RecursionError: too deep)",
    )


def test_what_no_one_foresaw_in_one_takes_bytes_is_its_row(raw, monkeypatch):
    sources, _ = find_sources(raw / "none", raw / "none", raw, size=SIZE)

    def sha256(path):
        if path.parent.name == "a_before":
            raise ZeroDivisionError
        return path.parent.name

    kept, refused = refuse_copies(sources, sha256)
    assert [source.name for source in kept] == ["z_after"]
    assert [(row.name, row.kind) for row in refused] == [("a_before", "UNEXPECTED")]
    monkeypatch.setattr(scores, "read_take_file", lambda *_: 1 / 0)
    with pytest.raises(BadInput, match=r"z_after cannot be used, .*ZeroDivisionError: division by zero") as caught:
        scores.ingest_take(kept[0], raw, None)
    assert caught.value.kind == "UNEXPECTED"


@pytest.mark.parametrize(
    "error", [DamagedData("named"), OSError(28, "full"), ImportError(), BadInput("named", kind="X")]
)
def test_what_has_a_name_and_what_the_machine_refuses_goes_on_as_it_is(error):
    with pytest.raises(type(error)) as caught, contained("x"):
        raise error
    assert caught.value is error


def test_a_known_data_sets_folder_is_an_ensemble_by_the_names_it_will_have(tmp_path):
    for name in ("mixture", "drums", "vocals"):
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    (take,) = find_arrivals([tmp_path], SIZE)
    candidate = Candidate(where="x", files=take.files, refused=(), described=TakeFile())
    assert kind_of(candidate) == "ensembles"
