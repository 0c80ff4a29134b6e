"""Stage ``ingest``: what it takes in, sets aside with a reason, or refuses to go on with."""

import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

import flows.ingest
from tasks.step import file_sha256, write_whole
from tasks.takes import read_catalog
from tasks.tools import running_tools

PROJECT = Path(__file__).resolve().parents[2]


def quarantine(project):
    return {row["take"]: row for row in json.loads((project / "data/ingested/quarantine.json").read_text())}


# Scores that are none, and scores with something odd in them.


def number(value):
    """Write a number of variable length."""
    digits = [value & 0x7F]
    while value := value >> 7:
        digits.append(value & 0x7F | 0x80)
    return bytes(reversed(digits))


def on(gap, pitch=60):
    return number(gap) + bytes((0x90, pitch, 64))


def off(gap, pitch=60):
    return number(gap) + bytes((0x80, pitch, 0))


def tempo(microseconds):
    return b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big")


END = b"\x00\xff\x2f\x00"
NOTE = on(0, 62) + off(480, 62)


def score(*events, tracks=1, division=480):
    body = b"".join(events) + END
    return b"MThd" + struct.pack(">LHHH", 6, 1, tracks, division) + b"MTrk" + struct.pack(">L", len(body)) + body


REFUSED = {
    "D1-empty": (b"", "EMPTY", "x.mid: 0 bytes"),
    "D1-truncated": (score(NOTE)[:-6], "TRUNCATED", "byte 18"),
    "D1-track-of-4-GB": (score(NOTE)[:18] + b"\xff" * 4 + NOTE, "TRUNCATED", "4294967295 bytes"),
    "D2-tempo-0": (score(tempo(0), NOTE), "BAD_TEMPO", "byte 26: tempo of 0"),
    "D2-division-0": (score(NOTE, division=0), "BAD_DIVISION", "byte 12: 0 ticks"),
    "D3-31-frames": (score(NOTE, division=0xE128), "BAD_DIVISION", "byte 12: 0xe128"),
    "D4-9.9-million-ticks": (score(on(0), off(9_900_000)), "TOO_LONG", "at 10312.5 s"),
    "D5-268-million-ticks": (score(on(0), off(2**28 - 1)), "TOO_LONG", "expected at most 7200 s"),
    "D5-number-of-9-bytes": (score(b"\x80" * 8 + NOTE), "BAD_EVENT", "byte 22: a number of variable length"),
    "D6-10-h": (score(on(0), off(36_000 * 48), division=24), "TOO_LONG", "at 36000.0 s"),
    "D7-no-status": (score(b"\x00\x3c\x40"), "BAD_EVENT", "byte 23: data byte 0x3c"),
    "D7-data-over-127": (score(b"\x00\x90\x3c\xc8"), "BAD_EVENT", "byte 25: 0xc8"),
    "D8-only-hanging": (score(on(480)), "NO_NOTES", "1 hanging"),
    "D9-only-zero-length": (score(on(0), off(0)), "NO_NOTES", "1 zero_length"),
    "D11-meta-of-256-MB": (score(b"\x00\xff\x01\xff\xff\xff\x7f"), "TRUNCATED", "268435455 bytes"),
    "D12-65535-tracks": (score(NOTE, tracks=0xFFFF), "TRUNCATED", "track 2 of 65535"),
    "D13-too-many-notes": (score((on(0) + off(1)) * 200_001), "TOO_MANY_NOTES", "note 200001"),
    "D14-only-outside": (score(on(0, 5) + off(480, 5)), "NO_NOTES", "1 outside_keyboard"),
}

ODD = {
    "D8-hanging": (score(on(0, 60), NOTE), "hanging", 2),
    "D9-zero-length": (score(on(0), off(0), NOTE), "zero_length", 1),
    "D10-overlapping": (score(on(0), on(120), off(120), off(240)), "overlapping", 2),
    "D13-tempos": (score(tempo(500_000) * 100_000, NOTE), "tempo_events", 1),
    "D14-outside": (score(on(0, 120), off(9, 120), NOTE), "outside_keyboard", 1),
}


def put_file(project, name, content, file="x.mid"):
    folder = project / "data" / "raw" / name
    folder.mkdir()
    (folder / file).write_bytes(content)


def test_every_kind_of_bad_score_is_quarantined_with_kind_and_place_and_changes_no_neighbour(
    project, set_param, run, contents, capsys
):
    before = contents(project / "data/ingested")
    set_param("ingest", max_bad_fraction=1.0)
    for name, (content, _, _) in REFUSED.items():
        put_file(project, name, content)
    assert run("ingest") == 0
    found = quarantine(project)
    assert {name: found[name]["kind"] for name in found} == {name: kind for name, (_, kind, _) in REFUSED.items()}
    shown = capsys.readouterr().out
    for name, (_, kind, said) in REFUSED.items():
        reason = found[name]["reason"]
        assert reason.startswith("x.mid: ")
        assert said in reason
        assert f"ingest: quarantined {name}: {kind}: {reason}\n" in shown
    after = contents(project / "data/ingested")
    assert before.keys() == after.keys()
    assert [name for name in after if after[name] != before[name]] == ["quarantine.json"]


def test_what_is_odd_in_a_score_is_counted_and_the_score_kept(project, run, contents):
    before = contents(project / "data/ingested")
    for name, (content, _, _) in ODD.items():
        put_file(project, name, content)
    assert run("ingest") == 0
    assert quarantine(project) == {}
    for name, (_, counted, n_notes) in ODD.items():
        facts = json.loads((project / "data/ingested" / name / "take.json").read_text())
        assert (facts["counts"][counted] >= 1, facts["n_notes"]) == (True, n_notes), name
    after = contents(project / "data/ingested")
    assert {name for name in before if after[name] != before[name]} == {"catalog.json"}


def test_a_file_of_a_terabyte_is_refused_without_being_read(make_project, run):
    project = make_project(pieces=("a",))
    put_file(project, "huge", b"")
    with (project / "data/raw/huge/x.mid").open("wb") as file:
        file.truncate(10**12)  # a hole: takes no room
    began = time.monotonic()
    assert run("ingest") == 0
    assert time.monotonic() - began < 30
    row = quarantine(project)["huge"]
    assert (row["kind"], "1000000000000 bytes, expected at most 8388608" in row["reason"]) == ("TOO_LARGE", True)


ODD_NAMES = [
    "two\nlines",
    "red\x1b[31m",
    "<b>bold<",
    "$(touch pwned)",
    "\u202egnp",
    "..\\up",
    "x" * 101,
    b"not \xff utf-8",
]


def test_any_name_of_a_take_or_its_file_is_only_a_name_and_shown_in_letters_that_do_nothing(
    make_project, add_take, set_param, run, capsys
):
    project = make_project(pieces=("a",))
    for name in ODD_NAMES:
        path = os.path.join(os.fsencode(project / "data/raw"), os.fsencode(name))  # noqa: PTH118 - bytes
        os.mkdir(path)  # noqa: PTH102
    good = add_take(project, "good", 1).read_bytes()
    put_file(project, "hostile", good, file=os.fsdecode(b"\x1b[2J\n\xff.mid"))
    put_file(project, "link", b"")
    (project / "data/raw/link/x.mid").unlink()
    (project / "data/raw/link/\n.mid").symlink_to("/etc/passwd")
    set_param("ingest", max_bad_fraction=1.0)
    assert run("ingest") == 0
    found = list(quarantine(project).values())
    assert sorted(row["kind"] for row in found) == sorted(["BAD_NAME"] * len(ODD_NAMES) + ["DUPLICATE", "NOT_A_FILE"])
    assert all((row["take"] + row["reason"]).isprintable() for row in found)
    shown = capsys.readouterr()
    assert all(line.isprintable() for line in (shown.out + shown.err).splitlines())
    assert len(shown.out.splitlines()) == 1 + len(found)
    assert list(project.rglob("pwned")) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "pieces.yaml cannot be read: "),
        ("- a", "pieces.yaml holds list, expected a description of each piece"),
        ("a: 3", "pieces.yaml: a is 3, expected composer"),
        ("a: !!python/object/apply:os.system ['touch pwned']", "pieces.yaml cannot be read: "),
    ],
)
def test_a_description_of_the_pieces_that_is_none_is_one_line(make_project, run, capsys, text, said):
    project = make_project(pieces=("a",))
    (project / "data/sample/pieces.yaml").write_text(text)
    assert run("ingest") == 1
    error = capsys.readouterr().err
    assert (error.count("\n"), said in error) == (1, True), error
    assert list(project.rglob("pwned")) == []


def test_clocks_do_not_matter_contents_do(make_project, add_take, run, takes, contents):
    project = make_project(pieces=("a",))
    midi, other = add_take(project, "x", 1), add_take(project, "y", 2)
    assert run("ingest") == 0
    before = contents(project / "data/ingested")
    os.utime(midi, (0, 0))
    os.utime(other, (4e9, 4e9))
    assert run("ingest") == 0
    assert takes("ingest")["computed"] == []
    assert contents(project / "data/ingested") == before
    data, stat = bytearray(midi.read_bytes()), midi.stat()
    data[data.rindex(b"\x90") + 2] ^= 1  # a velocity: as many bytes as before
    midi.write_bytes(data)
    os.utime(midi, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run("ingest") == 0
    assert takes("ingest")["computed"] == ["x"]


def test_what_is_no_take_is_quarantined_with_its_reason(make_project, add_take, run, takes):
    project = make_project(pieces=("a",))
    raw, good = project / "data" / "raw", add_take(project, "good", 1)
    shutil.copytree(good.parent, raw / "copy")
    (raw / "link").symlink_to(good.parent)
    (raw / "fifo").mkdir()
    os.mkfifo(raw / "fifo" / "x.mid")
    (raw / "two").mkdir()
    for name in ("x.mid", "y.mid"):
        (raw / "two" / name).touch()
    for name in ("empty", "odd name\n", "-y", "a"):
        (raw / name).mkdir()
    assert run("ingest") == 0
    assert takes("ingest")["computed"] == ["a", "copy"]  # the first of two by name
    rows = json.loads((project / "data/ingested/quarantine.json").read_text())
    assert all(row["reason"].isprintable() for row in rows)
    assert sorted((row["kind"], row["take"]) for row in rows) == [
        ("BAD_NAME", "-y"),
        ("BAD_NAME", "odd name\\n"),
        ("DUPLICATE", "good"),
        ("NAME_TAKEN", "a"),
        ("NOT_A_FILE", "fifo"),
        ("NOT_A_FOLDER", "link"),
        ("NOT_A_TAKE", "empty"),
        ("NOT_A_TAKE", "two"),
    ]


def test_too_much_bad_input_fails_the_stage(make_project, add_take, set_param, run, capsys):
    project = make_project(pieces=("a",))
    for number in range(3):
        add_take(project, f"bad{number}", number).write_bytes(b"MThd")
    set_param("ingest", max_bad_fraction=0.5)
    assert run("ingest") == 1
    assert "3 of 4 takes cannot be used, expected at most ingest.max_bad_fraction = 0.5" in capsys.readouterr().err


def test_missing_takes_that_dvc_lists_are_asked_for(make_project, run, capsys):
    project = make_project(pieces=("a",))
    shutil.rmtree(project / "data/raw")
    (project / "data/raw.dvc").write_text("outs: []\n")
    assert run("ingest") == 1
    assert "run dvc pull" in capsys.readouterr().err


def test_a_bare_copy_while_ingest_runs_fails_it_in_words_and_the_next_run_takes_it_in(
    make_project, put, run, takes, monkeypatch, capsys
):
    project = make_project(pieces=("a",))
    write_catalog = flows.ingest.write_catalog

    def late(*arguments):
        put["captures"](project, "late", 1)
        return write_catalog(*arguments)

    monkeypatch.setattr(flows.ingest, "write_catalog", late)
    assert run("ingest") == 1
    assert capsys.readouterr().err == "ingest: data/raw changed while it was read: run again\n"
    monkeypatch.setattr(flows.ingest, "write_catalog", write_catalog)
    assert run("ingest") == 0
    assert takes("ingest")["computed"] == ["late"]
    assert [take.name for take in read_catalog()] == ["a", "late"]


def test_the_fraction_that_may_be_bad_computes_nothing_again(project, set_param, run, takes):
    set_param("ingest", max_bad_fraction=0.5)
    assert run("ingest") == 0
    assert takes("ingest")["computed"] == []


def test_filmed_takes_are_ingested_and_held_against_their_receipts(make_project, put, run, takes, capsys):
    project = make_project(pieces=("a",))
    put["captures"](project, "shot", 1)
    folder = project / "data/filmed/shot"
    folder.parent.mkdir()
    (project / "data/raw/shot").rename(folder)
    film = folder / "cam_top.mp4"
    outputs = {
        path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in sorted(folder.iterdir())
    }
    (folder / "_receipt.json").write_text(json.dumps({"key": "k", "outputs": outputs}))
    assert run("ingest") == 0
    assert takes("ingest")["computed"] == ["a", "shot"]
    with film.open("ab") as file:
        file.write(b"more")
    assert run("ingest") == 1
    assert "data/filmed/shot/cam_top.mp4 has" in capsys.readouterr().err


# All of it through DVC and the command line.


@pytest.mark.slow
def test_audiate_ingest_sets_a_corrupt_score_aside_and_exits_with_3_the_rest_as_without_it(
    tmp_path, add_take, contents
):
    kept = shutil.ignore_patterns("__pycache__", "tests")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}

    def audiate(project, *arguments):
        return subprocess.run(
            ["audiate", *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=300
        )

    projects = [tmp_path / name for name in ("alone", "among")]
    for project in projects:
        for folder in ("flows", "tasks", "models", "data/sample"):
            shutil.copytree(PROJECT / folder, project / folder, ignore=kept)
        for name in ("dvc.yaml", "params.yaml", "constraints.txt", ".dvcignore"):
            shutil.copy(PROJECT / name, project)
        write_whole(project / "data/tools.json", json.dumps(running_tools()))
        for folder in ("raw", "filmed"):
            (project / "data" / folder).mkdir()
        for command in (["git", "init", "--quiet"], ["dvc", "init", "--quiet"]):
            subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
        add_take(project, "good", 1)
    alone, among = projects
    put_file(among, "broken", score(NOTE)[:-6], file="[red]x.mid")
    (among / "data/raw/[bold]").mkdir()

    done = audiate(alone, "ingest")
    assert (done.returncode, "quarantined" in done.stdout.splitlines()[-1]) == (0, False), done.stderr
    done = audiate(among, "ingest", "--json")
    assert done.returncode == 3, done.stderr
    listed = json.loads(done.stdout)
    assert {row["take"]: row["kind"] for row in listed["quarantine"]} == {"broken": "TRUNCATED", "[bold]": "BAD_NAME"}
    assert "good" in {row["take"] for row in listed["takes"]}
    before, after = contents(alone / "data/ingested"), contents(among / "data/ingested")
    assert before.keys() == after.keys()
    assert [name for name in after if after[name] != before[name]] == ["quarantine.json"]

    # Once more: nothing to do for DVC, and still not all is well. Brackets are words to the table too.
    done = audiate(among, "ingest")
    assert done.returncode == 3
    assert "[red]x.mid" in done.stdout
    assert "[bold]" in done.stdout
    shutil.rmtree(among / "data/raw/broken")
    (among / "data/raw/[bold]").rmdir()
    assert audiate(among, "ingest").returncode == 0
    assert contents(among / "data/ingested") == before
