"""What goes wrong around the stages: damaged inputs, missing programs, a full disk, two runs at once."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_damaged_input_of_a_stage_is_named_and_nothing_is_made_of_it(project, run, capsys):
    shutil.rmtree(project / "data/rendered")
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


def test_a_take_whose_folder_is_lost_is_missed_and_not_left_out(project, run, capsys):
    for stage, folder in (("chunk", "data/extracted/b"), ("extract", "data/rendered/b")):
        shutil.rmtree(project / folder)
        assert run(stage) == 1
        said = capsys.readouterr().err
        assert said == f"{stage}: {folder} is missing: run the stage that makes it, or dvc pull\n"
    shutil.rmtree(project / "data/rendered")
    assert run("extract") == 1
    said = "extract: data/rendered/quarantine.json is missing: run the stage that makes data/rendered first\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("tool", ["fluidsynth", "soundfont"])
def test_another_tool_than_set_up_saw_stops_the_stage(project, run, capsys, tool):
    tools = json.loads((project / "data/tools.json").read_text())
    (project / "data/tools.json").write_text(json.dumps(tools | {tool: "another"}))
    assert run("render") == 1
    error = capsys.readouterr().err
    assert f"{tool} is {tools[tool]}, but data/tools.json says another: run make setup" in error
    assert error.count("\n") == 1


# Programs that are missing.


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
def test_what_is_missing_is_one_line_that_says_what_to_install(
    finished, run_python, contents, tmp_path, lack, install, commands
):
    before = contents(finished / "data")
    environment = lack(finished, tmp_path)
    for command in commands:
        code, said = run_python(finished, *command, env=environment)
        assert (code, len(said)) == (1, 1), said
        assert install in said[0]
        assert said[0].startswith(command[0].removeprefix("flows.").replace("tasks.tools", "setup"))
    assert contents(finished / "data") == before


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
def test_a_full_disk_is_one_line_leaves_nothing_half_made_and_the_rerun_completes(
    finished, run, run_python, contents, stage
):
    before = contents(finished / "data")
    out = finished / OUTPUTS[stage[0]]
    shutil.rmtree(out)
    # Python itself would leave a bytecode file of 1,024 bytes behind, and trip over it next time.
    bare = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    code, said = run_python(finished, f"flows.{stage[0]}", *stage[1:], preexec_fn=no_room(1024), env=bare)
    assert (code, len(said)) == (1, 1), "\n".join(said)
    named = "take " if stage[0] in ("render", "extract", "chunk") else ""
    assert said[0].startswith(f"{'@'.join(stage)}: {named}")
    assert half_made(finished / "data") == []
    assert contents(out) == {}
    assert run(*stage) == 0
    assert contents(finished / "data") == before


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
    finished, run, run_python, contents, small_disk, monkeypatch
):
    before = contents(finished / "data")
    project = shutil.copytree(finished, small_disk / "project")
    monkeypatch.chdir(project)
    for stage in PIPELINE:
        out = project / OUTPUTS[stage[0]]
        needed = sum(len(content) for content in contents(out).values())
        shutil.rmtree(out)
        ballast = leave_free(small_disk, needed // 2)
        code, said = run_python(project, f"flows.{stage[0]}", *stage[1:])
        assert (code, len(said)) == (1, 1), (stage, said)
        assert said[0].startswith("@".join(stage) + ": ")
        assert re.search("disk (is )?full|No space left|MiB free", said[0]), said
        assert half_made(project / "data") == []
        ballast.unlink()
        assert run(*stage) == 0
    assert contents(project / "data") == before


# Two at once, and one that is stopped.


@pytest.mark.slow
def test_four_runs_at_once_wait_for_each_other_and_make_one_result(make_project, add_take, run, contents):
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
    assert contents(raced / "data/ingested") == contents(alone / "data/ingested")
    assert sorted(out.split(" in ")[0] for out, _ in told) == [
        *["ingest: 0 computed, 9 reused, 0 quarantined"] * 3,
        "ingest: 9 computed, 0 reused, 0 quarantined",
    ]


def test_who_comes_second_says_for_whom_it_waits(make_project, run, capfd):
    project = make_project(pieces=("a",))
    lock = project / ".audiate/locks/ingest"
    lock.parent.mkdir(parents=True)
    holder = subprocess.Popen(
        ["flock", lock, "sh", "-c", f"echo process $$ >{lock}; echo held; read freed"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    who = lock.read_text().strip()

    def free_once_waited_for():
        deadline = time.monotonic() + 120
        waits = f":{lock.stat().st_ino} "
        while time.monotonic() < deadline:
            if any("->" in line and waits in line for line in Path("/proc/locks").read_text().splitlines()):
                break
            time.sleep(0.05)
        holder.communicate("freed\n")

    freeing = threading.Thread(target=free_once_waited_for)
    freeing.start()
    assert run("ingest") == 0
    freeing.join()
    assert holder.returncode == 0
    assert capfd.readouterr().err == f"ingest: waiting for {who}, which runs this stage here\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_stage_that_is_told_to_stop_does_so_soon_and_leaves_nothing_half_made(
    make_project, add_take, run, contents, kind
):
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
    made = contents(rendered)
    assert run("render") == 0
    assert made.items() <= contents(rendered).items()


@pytest.mark.slow
def test_a_stage_whose_server_dies_ends_within_a_minute_in_one_line_and_the_rerun_completes(
    make_project, add_take, run, contents, tmp_path
):
    project = make_project()
    for number in range(60):
        add_take(project, f"raw-{number}", number)
    assert run("ingest") == 0
    home = tmp_path / "own_prefect"
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    stage = subprocess.Popen(
        [sys.executable, "-m", "flows.render"],
        cwd=project,
        env={**environment, "PREFECT_HOME": str(home), "AUDIATE_WORKERS": "1"},
        stdout=-1,
        stderr=-1,
        text=True,
    )
    rendered = project / "data/rendered"
    deadline = time.monotonic() + 120
    while not (rendered.is_dir() and any(rendered.glob("[a-z]*"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert stage.poll() is None
    os.kill(json.loads((home / "server.json").read_text())["pid"], signal.SIGKILL)
    began = time.monotonic()
    out, error = stage.communicate(timeout=120)
    assert time.monotonic() - began < 60
    assert (stage.returncode, out) == (1, "")
    assert re.fullmatch(r"render: the Prefect server at \S+ died; what was finished is kept, run it again\n", error)
    made = {name: content for name, content in contents(rendered).items() if not name.startswith(".")}
    assert made
    assert run("render") == 0
    assert made.items() <= contents(rendered).items()
    assert half_made(rendered) == []
