"""What goes wrong around the stages: bad scores, odd names, missing programs, a full disk, two runs at once."""

import importlib
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tasks.step import write_whole
from tasks.tools import running_tools

PROJECT = Path(__file__).resolve().parents[2]


def run(stage, *arguments):
    """Run a stage in this process and return its exit code."""
    return importlib.import_module(f"flows.{stage}").main(*arguments)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quarantine(project):
    return {row["take"]: row for row in json.loads((project / "data/ingested/quarantine.json").read_text())}


def set_param(section, **values):
    params = yaml.safe_load(Path("params.yaml").read_text())
    params[section] |= values
    Path("params.yaml").write_text(yaml.safe_dump(params))


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
    "D3-SMPTE": (score(NOTE, division=0xE728), "BAD_DIVISION", "byte 12: 0xe728 counts SMPTE frames"),
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


def put(project, name, content, file="x.mid"):
    folder = project / "data" / "raw" / name
    folder.mkdir()
    (folder / file).write_bytes(content)


def test_every_kind_of_bad_score_is_quarantined_with_kind_and_place_and_changes_no_neighbour(make_project, capsys):
    alone = make_project("alone")
    set_param("ingest", max_bad_fraction=1.0)
    assert run("ingest") == 0
    among = make_project("among")
    set_param("ingest", max_bad_fraction=1.0)
    for name, (content, _, _) in REFUSED.items():
        put(among, name, content)
    assert run("ingest") == 0
    found = quarantine(among)
    assert {name: found[name]["kind"] for name in found} == {name: kind for name, (_, kind, _) in REFUSED.items()}
    told = capsys.readouterr().out
    for name, (_, kind, said) in REFUSED.items():
        reason = found[name]["reason"]
        assert reason.startswith("x.mid: ")
        assert said in reason
        assert f"ingest: quarantined {name}: {kind}: {reason}\n" in told
    before, after = files(alone / "data/ingested"), files(among / "data/ingested")
    assert before.keys() == after.keys()
    assert [name for name in after if after[name] != before[name]] == ["quarantine.json"]


def test_what_is_odd_in_a_score_is_counted_and_the_score_kept(make_project):
    alone = make_project("alone")
    assert run("ingest") == 0
    among = make_project("among")
    for name, (content, _, _) in ODD.items():
        put(among, name, content)
    assert run("ingest") == 0
    assert quarantine(among) == {}
    for name, (_, counted, n_notes) in ODD.items():
        facts = json.loads((among / "data/ingested" / name / "take.json").read_text())
        assert (facts["counts"][counted] >= 1, facts["n_notes"]) == (True, n_notes), name
    for take in "abc":
        assert files(among / "data/ingested" / take) == files(alone / "data/ingested" / take)


def test_a_file_of_a_terabyte_is_refused_without_being_read(make_project):
    project = make_project(pieces=("a",))
    put(project, "huge", b"")
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
    make_project, add_take, capsys
):
    project = make_project(pieces=("a",))
    for name in ODD_NAMES:
        path = os.path.join(os.fsencode(project / "data/raw"), os.fsencode(name))  # noqa: PTH118 - bytes
        os.mkdir(path)  # noqa: PTH102
    good = add_take(project, "good", 1).read_bytes()
    put(project, "hostile", good, file=os.fsdecode(b"\x1b[2J\n\xff.mid"))
    put(project, "link", b"")
    (project / "data/raw/link/x.mid").unlink()
    (project / "data/raw/link/\n.mid").symlink_to("/etc/passwd")
    set_param("ingest", max_bad_fraction=1.0)
    assert run("ingest") == 0
    found = list(quarantine(project).values())
    assert sorted(row["kind"] for row in found) == sorted(["BAD_NAME"] * len(ODD_NAMES) + ["DUPLICATE", "NOT_A_FILE"])
    assert all((row["take"] + row["reason"]).isprintable() for row in found)
    told = capsys.readouterr()
    assert all(line.isprintable() for line in (told.out + told.err).splitlines())
    assert len(told.out.splitlines()) == 1 + len(found)
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
def test_a_description_of_the_pieces_that_is_none_is_one_line(make_project, capsys, text, said):
    project = make_project(pieces=("a",))
    (project / "data/sample/pieces.yaml").write_text(text)
    assert run("ingest") == 1
    error = capsys.readouterr().err
    assert (error.count("\n"), said in error) == (1, True), error
    assert list(project.rglob("pwned")) == []


def test_clocks_do_not_matter_contents_do(make_project, add_take):
    project = make_project(pieces=("a",))
    midi, other = add_take(project, "x", 1), add_take(project, "y", 2)
    assert run("ingest") == 0
    before = files(project / "data/ingested")
    os.utime(midi, (0, 0))
    os.utime(other, (4e9, 4e9))
    assert run("ingest") == 0
    assert json.loads(Path(".audiate/runs/ingest.json").read_text())["takes"]["computed"] == []
    assert files(project / "data/ingested") == before
    data, stat = bytearray(midi.read_bytes()), midi.stat()
    data[data.rindex(b"\x90") + 2] ^= 1  # a velocity: as many bytes as before
    midi.write_bytes(data)
    os.utime(midi, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run("ingest") == 0
    assert json.loads(Path(".audiate/runs/ingest.json").read_text())["takes"]["computed"] == ["x"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_input_of_a_stage_is_named_and_nothing_is_made_of_it(make_project, capsys):
    project = make_project()
    assert run("ingest") == 0
    take, whole = project / "data/ingested/b", project / "whole"
    shutil.copytree(take, whole)
    receipt = "_receipt.json"
    leads_outside = '{"key": "", "outputs": {"../../tools.json": {"size": 1, "sha256": ""}}}'
    for damage, said in [
        (lambda: flip(take / "notes.parquet"), "data/ingested/b/notes.parquet was changed after it was made"),
        (lambda: (take / "controls.parquet").unlink(), "data/ingested/b/controls.parquet is missing"),
        (lambda: (take / receipt).unlink(), "data/ingested/b has no _receipt.json: it was never finished"),
        (lambda: (take / receipt).write_text('{"outputs": []}'), "data/ingested/b/_receipt.json is not a receipt"),
        (lambda: (take / receipt).write_text(leads_outside), "data/ingested/b/../../tools.json is missing"),
        (lambda: shutil.rmtree(take), "data/ingested/b is missing: run the stage that makes it, or dvc pull"),
    ]:
        damage()
        assert run("render") == 1
        error = capsys.readouterr().err
        assert error.startswith(f"render: {said}")
        assert error.count("\n") == 1
        assert list((project / "data/rendered").iterdir()) == []
        shutil.rmtree(take, ignore_errors=True)
        shutil.copytree(whole, take)
    assert run("render") == 0


def test_a_take_whose_folder_is_lost_is_missed_and_not_left_out(make_project, capsys):
    project = make_project()
    for stage in ("ingest", "render", "synchronize", "extract"):
        assert run(stage) == 0
    for stage, folder in (("chunk", "data/extracted/b"), ("extract", "data/rendered/b")):
        shutil.rmtree(project / folder)
        assert run(stage) == 1
        said = capsys.readouterr().err
        assert said == f"{stage}: {folder} is missing: run the stage that makes it, or dvc pull\n"
    shutil.rmtree(project / "data/rendered")
    assert run("extract") == 1
    said = "extract: data/rendered/quarantine.json is missing: run the stage that makes data/rendered first\n"
    assert capsys.readouterr().err == said


# Programs that are missing.


def python(project, *arguments, **options):
    """Run a module of the project in a process of its own; return its exit code and the lines of its complaint."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, capture_output=True, text=True, timeout=300, **options
    )
    return done.returncode, done.stderr.splitlines()


PIPELINE = (
    *(("ingest",), ("render",), ("extract",), ("chunk",)),
    *(("train", "baselines"), ("synthesize", "baselines"), ("evaluate", "baselines"), ("report",)),
)
OUTPUTS = {
    "ingest": "data/ingested",
    "render": "data/rendered",
    "extract": "data/extracted",
    "chunk": "data/chunked/scores",
    "train": "data/trained/baselines",
    "synthesize": "data/synthesized/baselines",
    "evaluate": "data/evaluated/baselines",
    "report": "data/report",
}


BUILT = {}  # once for all tests here: it takes a while


@pytest.fixture
def finished(make_project, tmp_path, tmp_path_factory, monkeypatch):
    """Return a project in which every stage has run, with the baselines as its only family."""
    if BUILT:
        monkeypatch.chdir(shutil.copytree(BUILT["finished"], tmp_path / "finished"))
        return tmp_path / "finished"
    project = make_project("finished", pieces=("a", "b", "c"))
    shutil.copy(PROJECT / "dvc.yaml", project)
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["families"] = {"baselines": params["families"]["baselines"]}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert run("ingest") == 0
    assert run("synchronize") == 0  # there are no captures here: it writes next to nothing
    for stage in PIPELINE:
        assert run(*stage) == 0, stage
    BUILT["finished"] = shutil.copytree(project, tmp_path_factory.mktemp("built") / "finished")
    return project


def empty_path(project, folder):
    return {**os.environ, "PATH": str(folder)}


def no_library(project, folder):
    # What the loader finds where libfluidsynth3 is not installed; no test should remove it from this machine.
    (folder / "sitecustomize.py").write_text(
        "import ctypes.util\nfound = ctypes.util.find_library\n"
        "ctypes.util.find_library = lambda name: None if 'fluidsynth' in name else found(name)\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


def no_soundfont(project, folder):
    (folder / "pretty_midi").mkdir()
    (folder / "pretty_midi" / "__init__.py").touch()
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lack", "install", "commands"),
    [
        (
            empty_path,
            "ffmpeg is not installed: install it with `apt-get install ffmpeg`",
            [("flows.synthesize", "baselines"), ("flows.report",), ("tasks.tools",)],
        ),
        (
            no_library,
            "the library FluidSynth is missing: apt-get install libfluidsynth3",
            [("flows.render",), ("flows.synthesize", "baselines"), ("tasks.tools",)],
        ),
        (
            no_soundfont,
            "TimGM6mb.sf2 is missing: pip install --force-reinstall pretty_midi",
            [("flows.render",), ("flows.synthesize", "baselines"), ("tasks.tools",)],
        ),
    ],
    ids=["ffmpeg", "fluidsynth", "soundfont"],
)
def test_what_is_missing_is_one_line_that_says_what_to_install(finished, tmp_path, lack, install, commands):
    before = files(finished / "data")
    environment = lack(finished, tmp_path)
    for command in commands:
        code, said = python(finished, *command, env=environment)
        assert (code, len(said)) == (1, 1), said
        assert install in said[0]
        assert said[0].startswith(command[0].removeprefix("flows.").replace("tasks.tools", "setup"))
    assert files(finished / "data") == before


@pytest.mark.slow
def test_the_command_line_says_what_to_install_too(finished, tmp_path):
    command = [str(Path(sys.executable).with_name("audiate")), "render", "--preview", "a"]
    done = subprocess.run(command, cwd=finished, env=empty_path(finished, tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "audiate: ffmpeg is not installed: install it with `apt-get install ffmpeg`\n"
    assert list(finished.glob("*.mp4*")) == []


@pytest.mark.parametrize(("has", "missing"), [((), " ffmpeg libfluidsynth3"), (("ldconfig",), " ffmpeg")])
def test_set_up_without_apt_and_ffmpeg_is_one_line(tmp_path, has, missing):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sh", "dirname", "grep", "id", "cat", "cmp"):
        (programs / name).symlink_to(shutil.which(name))
    # The real one stands in /sbin, where set-up also looks.
    stand_in = "echo libfluidsynth.so.3" if "ldconfig" in has else "true"
    (programs / "ldconfig").write_text(f"#!/bin/sh\n{stand_in}\n")
    (programs / "ldconfig").chmod(0o755)
    shutil.copy(PROJECT / "setup.sh", tmp_path)
    done = subprocess.run(["./setup.sh"], cwd=tmp_path, env={"PATH": str(programs)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"setup: missing{missing}, and there is no apt-get here: install them with this system's package manager\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "setup.sh"]


# A disk that fills up.


def no_room(limit):
    def before_start():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return before_start


def half_made(data):
    return [path for path in data.rglob(".*") if path.name.endswith((".partial", ".replaced", ".part"))]


@pytest.mark.slow
@pytest.mark.parametrize("stage", PIPELINE, ids=lambda stage: stage[0])
def test_a_full_disk_is_one_line_leaves_nothing_half_made_and_the_rerun_completes(finished, stage):
    before = files(finished / "data")
    out = finished / OUTPUTS[stage[0]]
    shutil.rmtree(out)
    # Python itself would leave a bytecode file of 1,024 bytes behind, and trip over it next time.
    bare = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    code, said = python(finished, f"flows.{stage[0]}", *stage[1:], preexec_fn=no_room(1024), env=bare)
    assert (code, len(said)) == (1, 1), "\n".join(said)
    assert said[0].startswith("@".join(stage) + ": ")
    assert half_made(finished / "data") == []
    assert files(out) == {}
    assert run(*stage) == 0
    assert files(finished / "data") == before


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder that is a file system of 64 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def leave_free(folder, n_bytes):
    """Fill a file system but for so many bytes; return the file that does."""
    ballast = folder / "ballast"
    found = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - n_bytes, 1))
    return ballast


@pytest.mark.slow
def test_a_disk_that_is_really_full_stops_each_stage_in_words_and_with_room_again_it_completes(
    finished, small_disk, monkeypatch
):
    before = files(finished / "data")
    project = shutil.copytree(finished, small_disk / "project")
    monkeypatch.chdir(project)
    for stage in PIPELINE:
        out = project / OUTPUTS[stage[0]]
        needed = sum(len(content) for content in files(out).values())
        shutil.rmtree(out)
        ballast = leave_free(small_disk, needed // 2)
        code, said = python(project, f"flows.{stage[0]}", *stage[1:])
        assert (code, len(said)) == (1, 1), (stage, said)
        assert said[0].startswith("@".join(stage) + ": ")
        assert re.search("disk (is )?full|No space left|MiB free", said[0]), said
        assert half_made(project / "data") == []
        ballast.unlink()
        assert run(*stage) == 0
    assert files(project / "data") == before


# Two at once, and one that is stopped.


@pytest.mark.slow
def test_four_runs_at_once_wait_for_each_other_and_make_one_result(make_project, add_take):
    alone = make_project("alone")
    for number in range(6):
        add_take(alone, f"raw-{number}", number)
    assert run("ingest") == 0
    raced = make_project("raced")
    for number in range(6):
        add_take(raced, f"raw-{number}", number)
    racing = [
        subprocess.Popen([sys.executable, "-m", "flows.ingest"], cwd=raced, stdout=-1, stderr=-1, text=True)
        for _ in range(4)
    ]
    told = [runner.communicate(timeout=300) for runner in racing]
    assert [runner.returncode for runner in racing] == [0] * 4, told
    assert files(raced / "data/ingested") == files(alone / "data/ingested")
    assert sorted(out.split(" in ")[0] for out, _ in told) == [
        *["ingest: 0 computed, 9 reused, 0 quarantined"] * 3,
        "ingest: 9 computed, 0 reused, 0 quarantined",
    ]


def test_who_comes_second_says_for_whom_it_waits(make_project, capfd):
    project = make_project(pieces=("a",))
    (project / ".audiate/locks").mkdir(parents=True)
    holder = subprocess.Popen(
        ["flock", ".audiate/locks/ingest", "sh", "-c", "echo process $$ >.audiate/locks/ingest; echo held; sleep 1"],
        cwd=project,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    who = (project / ".audiate/locks/ingest").read_text().strip()
    assert run("ingest") == 0
    assert holder.wait() == 0
    assert capfd.readouterr().err == f"ingest: waiting for {who}, which runs this stage here\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_is_told_to_stop_does_so_soon_and_leaves_nothing_half_made(make_project, add_take, kind):
    project = make_project()
    for number in range(60):
        add_take(project, f"raw-{number}", number)
    assert run("ingest") == 0
    stage = subprocess.Popen(
        [sys.executable, "-m", "flows.render"], cwd=project, stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    rendered = project / "data/rendered"
    deadline = time.monotonic() + 120
    while not (rendered.is_dir() and any(rendered.glob("[a-z]*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stage.poll() is None
    stage.send_signal(kind)
    began = time.monotonic()
    _, error = stage.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert stage.returncode != 0
    said = {signal.SIGINT: "render: stopped; what was finished is kept, run it again to go on\n", signal.SIGTERM: ""}
    assert error == said[kind]
    assert half_made(rendered) == []
    made = files(rendered)
    assert run("render") == 0
    assert made.items() <= files(rendered).items()


# All of it through DVC and the command line.


@pytest.mark.slow
def test_audiate_ingest_sets_a_corrupt_score_aside_and_exits_with_3_the_rest_as_without_it(tmp_path, add_take):
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
    put(among, "broken", score(NOTE)[:-6], file="[red]x.mid")
    (among / "data/raw/[bold]").mkdir()

    done = audiate(alone, "ingest")
    assert (done.returncode, "quarantined" in done.stdout.splitlines()[-1]) == (0, False), done.stderr
    done = audiate(among, "ingest", "--json")
    assert done.returncode == 3, done.stderr
    told = json.loads(done.stdout)
    assert {row["take"]: row["kind"] for row in told["quarantine"]} == {"broken": "TRUNCATED", "[bold]": "BAD_NAME"}
    assert "good" in {row["take"] for row in told["takes"]}
    before, after = files(alone / "data/ingested"), files(among / "data/ingested")
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
    assert files(among / "data/ingested") == before
