"""Taking recordings in: whole or not at all, once and only once, whatever arrives and whenever it is stopped."""

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from tasks.add import AddSummary, add_takes
from tasks.errors import DamagedData, PipelineError, ToolError
from tasks.instruments.midi_writer import write_midi
from tasks.intake.folder import shown
from tasks.versions.raw import is_recorded, writing_raw

PROJECT = Path(__file__).resolve().parents[2]
GIT = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Make the project that every test starts from: of git and DVC, with no take."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "data" / "raw").mkdir(parents=True)
    (folder / "data" / "raw" / ".gitkeep").touch()
    (folder / ".dvcignore").write_text(".gitkeep\n")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-qm", "0"]):
        program = shutil.which(command[0]) or str(Path(os.sys.executable).with_name(command[0]))
        subprocess.run([program, *command[1:]], cwd=folder, check=True, env=os.environ | GIT, timeout=60)
    return folder


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """Stand in a new project."""
    folder = shutil.copytree(template, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def add(ingest_params):
    """Return a function that adds folders."""

    def run(*folders, **options):
        return add_takes(list(folders), params=ingest_params, **options)

    return run


def take(inbox, name, media, number=0, *, mic=True):
    folder = inbox / name
    folder.mkdir()
    shutil.copy(media / f"cam{number}.mp4", folder / "cam_top.mp4")
    if mic:
        shutil.copy(media / f"mic{number}.wav", folder / "mic_room.wav")
    return folder


def outcomes(summary: AddSummary):
    return [(row.take, row.device, row.state, row.kind) for row in summary.rows]


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def raw(project):
    return {name: data for name, data in files(project / "data" / "raw").items() if name != ".gitkeep"}


def recorded(project):
    return yaml.safe_load((project / "data" / "raw.dvc").read_text())["outs"][0]


def test_a_takes_folder_comes_in_whole_is_recorded_and_is_known_the_next_time(project, inbox, media, add):
    folder = take(inbox, "one", media)
    before = files(inbox)
    assert outcomes(add(folder)) == [("one", "", "added", "")]
    assert raw(project) == {f"one/{name}": data for name, data in files(folder).items()}
    assert files(inbox) == before
    assert recorded(project)["nfiles"] == 2
    assert is_recorded(Path("data/raw"))
    assert not (project / "data" / "incoming").exists()
    tracked = subprocess.run(["git", "ls-files", "data/raw"], capture_output=True, text=True, timeout=30).stdout
    assert tracked == ""
    assert "/raw" in (project / "data" / ".gitignore").read_text().split()
    stamp = (project / "data" / "raw.dvc").stat().st_mtime_ns
    assert outcomes(add(folder)) == [("one", "", "known", "")]
    assert (project / "data" / "raw.dvc").stat().st_mtime_ns == stamp


def test_a_dry_run_reports_the_same_and_writes_nothing(project, inbox, media, add):
    folder = take(inbox, "one", media)
    (inbox / "broken.mp4").write_bytes(b"")
    before = files(project)
    planned = add(inbox, dry_run=True)
    assert planned.dry_run
    assert files(project) == before
    assert outcomes(planned) == outcomes(add(inbox))
    assert outcomes(add(folder, dry_run=True)) == [("one", "", "known", "")]


def test_a_folder_of_takes_scores_and_marimba_recordings_is_sorted_into_takes(project, inbox, media, add, notes_of):
    take(inbox, "one", media, 0)
    (inbox / "score").mkdir()
    write_midi(inbox / "score" / "any.mid", notes_of((0.5, 1.0, 60, 70)))
    write_midi(inbox / "loose.mid", notes_of((0.5, 1.0, 61, 70)))
    shutil.copy(media / "cam1.mp4", inbox / "seq6a_angle1.mp4")
    shutil.copy(media / "cam2.mp4", inbox / "seq6a_angle2.mp4")
    shutil.copy(media / "cam3.mp4", inbox / "film.MP4")
    summary = add(inbox)
    assert outcomes(summary) == [(name, "", "added", "") for name in ("film", "loose", "one", "score", "seq6a")]
    assert sorted(raw(project)) == [
        "film/cam_main.MP4",
        "loose/loose.mid",
        "one/cam_top.mp4",
        "one/mic_room.wav",
        "score/any.mid",
        "seq6a/cam_angle1.mp4",
        "seq6a/cam_angle2.mp4",
        "seq6a/take.yaml",
    ]
    assert yaml.safe_load(raw(project)["seq6a/take.yaml"]) == {"piece": "seq6", "instrument": "marimba-18"}
    assert outcomes(add(inbox)) == [(name, "", "known", "") for name in ("film", "loose", "one", "score", "seq6a")]


PIECES = Path(__file__).parents[2] / "data/sample/midi"


@pytest.fixture
def collection(inbox):
    """Make a folder as collections of pieces come: composers' folders of MIDI files, a licence and a table beside."""
    pieces = sorted(PIECES.glob("*.mid"))[:5]
    for place, piece in zip(("a/one.mid", "a/two.mid", "b/one.mid", "b/three.MIDI", "c/four.mid"), pieces, strict=True):
        (inbox / place).parent.mkdir(exist_ok=True)
        shutil.copy(piece, inbox / place)
    (inbox / "LICENCE.txt").write_text("words")
    return inbox


def test_each_midi_file_of_a_collection_is_a_take_and_one_name_in_two_folders_is_two(project, collection, add):
    (collection / "a" / "README").write_text("words")
    before = files(collection)
    planned = add(collection, dry_run=True)
    summary = add(collection)
    assert planned.rows == summary.rows
    assert outcomes(summary) == [(name, "", "added", "") for name in ("a_one", "b_one", "c", "three", "two")]
    at = {"a_one": "a/one.mid", "b_one": "b/one.mid", "c": "c/four.mid", "three": "b/three.MIDI", "two": "a/two.mid"}
    assert raw(project) == {f"{name}/{path.partition('/')[2]}": before[path] for name, path in at.items()}
    assert files(collection) == before
    assert {row.state for row in add(collection).rows if row.kind == ""} == {"known"}


@pytest.mark.parametrize("beside", ["mic_room.wav", "film.mp4", "solo_vn.mp4", "stem_1_vn.wav", "take.yaml"])
def test_a_folder_with_more_than_midi_files_is_no_collection(project, collection, media, add, beside):
    if beside == "take.yaml":
        (collection / "a" / beside).write_text("piece: p\n")
    else:
        shutil.copy(media / ("mic0.wav" if beside.endswith(".wav") else "cam0.mp4"), collection / "a" / beside)
    rows = add(collection, dry_run=True).rows
    assert {row.take for row in rows} == {"a", "c", "one", "three"}
    assert [row.source for row in rows if row.take == "one"] == [str(collection / "b/one.mid")]


def test_a_name_that_the_folder_makes_too_long_is_refused(project, inbox, add):
    pieces = sorted(PIECES.glob("*.mid"))[:4]
    for place, piece in zip(("a", "b" * 99), (pieces[:2], pieces[2:]), strict=True):
        (inbox / place).mkdir()
        for name, path in zip(("one.mid", f"two_{place[0]}.mid"), piece, strict=True):
            shutil.copy(path, inbox / place / name)
    assert [(row.take, row.kind) for row in add(inbox, dry_run=True).rows] == [
        ("a_one", ""),
        ("one", "BAD_NAME"),
        ("two_a", ""),
        ("two_b", ""),
    ]


def test_one_broken_device_stays_outside_and_the_take_comes_in_without_it(project, inbox, media, add):
    folder = take(inbox, "one", media)
    (folder / "cam_side.mp4").write_bytes((media / "cam1.mp4").read_bytes()[:300])
    (folder / "cam_back.mp4").write_bytes(b"")
    (folder / "notes.mid").write_bytes(b"MThd")
    rows = outcomes(add(folder))
    assert rows[0] == ("one", "", "added", "")
    assert {(device, state) for _, device, state, _ in rows[1:]} == {
        ("cam_side", "quarantined"),
        ("cam_back", "quarantined"),
        ("notes", "quarantined"),
    }
    assert sorted(raw(project)) == ["one/cam_top.mp4", "one/mic_room.wav"]
    assert outcomes(add(folder))[0] == ("one", "", "known", "")
    shutil.copy(media / "cam1.mp4", folder / "cam_side.mp4")
    assert ("one", "", "added", "EXTENDED") in outcomes(add(folder))
    assert sorted(raw(project)) == ["one/cam_side.mp4", "one/cam_top.mp4", "one/mic_room.wav"]


def test_other_files_under_a_known_name_are_refused_without_replace(project, inbox, media, add):
    folder = take(inbox, "one", media)
    add(folder)
    before = raw(project)
    shutil.copy(media / "cam1.mp4", folder / "cam_top.mp4")
    refused = add(folder)
    assert outcomes(refused) == [("one", "", "quarantined", "NAME_TAKEN")]
    assert "cam_top.mp4" in refused.rows[0].reason
    assert raw(project) == before
    assert outcomes(add(folder, replace=True)) == [("one", "", "added", "REPLACED")]
    assert raw(project) == {f"one/{name}": data for name, data in files(folder).items()}
    assert is_recorded(Path("data/raw"))


@pytest.mark.parametrize("copy", ["bytes", "remuxed", "twice in one run"])
def test_the_same_recording_under_another_name_is_refused_and_the_other_named(project, inbox, media, add, copy):
    first = take(inbox, "one", media)
    second = inbox / "two"
    second.mkdir()
    name = "remuxed.mkv" if copy == "remuxed" else "cam0.mp4"
    shutil.copy(media / name, second / f"cam_other{Path(name).suffix}")
    if copy == "twice in one run":
        summary = add(first, second)
    else:
        add(first)
        summary = add(second)
    row = next(row for row in summary.rows if row.take == "two")
    assert (row.state, row.kind) == ("quarantined", "DUPLICATE")
    assert "a recording of take one" in row.reason
    assert {Path(name).parts[0] for name in raw(project)} == {"one"}


# FAULTS.md has the numbers: what each would do to a program that trusts names and files.
SPOILT = {
    b"-y.mp4": "BAD_NAME",  # M10
    b"concat:a|b.mp4": "BAD_NAME",
    b"$(touch pwned).mp4": "BAD_NAME",
    b"cam_%d.mp4": "BAD_NAME",
    b"cam_\xff\xfe.mp4": "BAD_NAME",
    b"cam_a\nb.mp4": "BAD_NAME",
    b"cam_half.mp4.part": "BAD_NAME",  # M14
    b"cam_link.mp4": "NOT_A_FILE",  # M11
    b"cam_fifo.mp4": "NOT_A_FILE",
    b"cam_folder.mp4": "NOT_A_FILE",
    b"cam_concat.mp4": None,  # M9
    b"cam_hls.mp4": None,
    b"cam_empty.mp4": None,  # M1
}


@pytest.mark.timeout(60)
def test_what_is_no_recording_or_has_no_proper_name_stays_outside(project, inbox, media, add):
    folder = take(inbox, "one", media)
    for name, kind in SPOILT.items():
        if kind == "BAD_NAME":
            shutil.copy(os.fsencode(media / "cam1.mp4"), os.fsencode(folder) + b"/" + name)
    (folder / "cam_link.mp4").symlink_to(media / "cam1.mp4")
    os.mkfifo(folder / "cam_fifo.mp4")
    (folder / "cam_folder.mp4").mkdir()
    shutil.copy(media / "cam3.mp4", inbox / "canary.mp4")
    (folder / "cam_concat.mp4").write_text("ffconcat version 1.0\nfile '../canary.mp4'\n")
    (folder / "cam_hls.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{media / 'cam3.mp4'}\n")
    (folder / "cam_empty.mp4").touch()
    summary = add(folder)
    rows = {row.source.rpartition("/")[2]: row for row in summary.rows if row.device}
    names = {shown(os.fsdecode(name)): kind for name, kind in SPOILT.items()}
    assert rows.keys() == names.keys()
    assert all(row.state == "quarantined" for row in rows.values())
    assert {name: row.kind for name, row in rows.items() if names[name]} == {
        n: kind for n, kind in names.items() if kind
    }
    assert all(word.isprintable() for row in summary.rows for word in (row.take, row.device, row.reason, row.source))
    assert sorted(raw(project)) == ["one/cam_top.mp4", "one/mic_room.wav"]
    assert not list(project.rglob("pwned")) + list(inbox.rglob("pwned"))
    assert (media / "cam3.mp4").read_bytes() not in files(project).values()


def test_takes_of_hostile_names_stay_outside(project, inbox, media, add):
    names = [b"-y", b"concat:a|b", b"$(touch pwned)", b"a\nb", b"\xff\xfe", b"..x", b"x" * 101]
    folders = [Path(os.fsdecode(os.fsencode(inbox) + b"/" + name)) for name in names]
    for folder in folders:
        folder.mkdir()
        shutil.copy(media / "cam1.mp4", folder / "cam_top.mp4")
    summary = add(*folders)
    assert [(row.state, row.kind) for row in summary.rows] == [("quarantined", "BAD_NAME")] * len(names)
    assert all(row.reason.isprintable() and row.take.isprintable() for row in summary.rows)
    assert raw(project) == {}
    assert not (project / "pwned").exists()


def test_what_is_no_take_at_all_is_a_row(project, inbox, media, add):
    (inbox / "empty").mkdir()
    (inbox / "file").write_text("words")
    (inbox / "link").symlink_to(media)
    (inbox / "words.txt").write_text("words")
    (inbox / "yaml").mkdir()
    (inbox / "yaml" / "take.yaml").write_text("piece: [\n")
    shutil.copy(media / "cam0.mp4", inbox / "yaml" / "cam_a.mp4")
    kinds = {row.take: row.kind for row in add(inbox, inbox / "nowhere").rows}
    assert kinds["empty"] == "NOT_A_TAKE"
    assert kinds["file"] == "NOT_A_TAKE"
    assert kinds["link"] == "NOT_A_FILE"
    assert kinds["yaml"] == "BAD_TAKE_FILE"
    assert kinds["nowhere"] == "MISSING"
    assert "words" not in kinds  # a document beside takes: a line, no row
    assert raw(project) == {}
    assert not (project / "data" / "raw.dvc").exists()


def test_a_file_that_is_written_to_while_it_is_copied_is_refused_and_comes_in_when_it_is_done(
    project, inbox, media, add, monkeypatch
):
    folder = take(inbox, "one", media)
    copy = shutil.copyfileobj

    def grow(source, to, length):
        copy(source, to, length)
        with (folder / "cam_top.mp4").open("ab") as file:
            file.write(b"more")

    monkeypatch.setattr("tasks.add.shutil.copyfileobj", grow)
    monkeypatch.setattr("tasks.add.FICLONE", 0)  # a file system that cannot share blocks
    assert outcomes(add(folder)) == [("one", "", "quarantined", "CHANGED")]
    assert raw(project) == {}
    assert not (project / "data" / "incoming").exists()
    monkeypatch.setattr("tasks.add.shutil.copyfileobj", copy)
    assert outcomes(add(folder)) == [("one", "", "added", "")]


def test_a_full_disk_is_one_line_and_keeps_nothing(project, inbox, media, add, monkeypatch):
    folder = take(inbox, "one", media)

    def no_room(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tasks.add.FICLONE", 0)
    with monkeypatch.context() as full:
        full.setattr("tasks.add.shutil.copyfileobj", no_room)
        with pytest.raises(ToolError, match="the disk is full while writing data/incoming/one"):
            add(folder)
    assert raw(project) == {}
    assert not list((project / "data").glob("incoming/*"))
    assert outcomes(add(folder)) == [("one", "", "added", "")]


ON_A_SMALL_DISK = """
set -e
mount -t tmpfs -o size=8m tmpfs {disk}
cp -r {template} {disk}/project
cd {disk}/project
head -c $(( $(df --output=avail -B1 . | tail -1) - {free_kib} * 1024 )) /dev/zero > {disk}/filler
{audiate} add {take} && echo came in || echo ended with $?
echo incoming: $(ls data/incoming 2>/dev/null)
rm {disk}/filler
{audiate} add {take} > /dev/null
echo then: $(ls data/raw/one)
{dvc} status
"""


def can_mount():
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.skipif(shutil.which("unshare") is None or not can_mount(), reason="nobody may mount a small disk here")
@pytest.mark.parametrize("free_kib", [400, 1040, 1500])  # of 1 MiB: while it is copied, noted, and cached
def test_a_disk_that_is_full_is_one_line_wherever_it_happens_and_the_next_run_completes_it(
    template, inbox, tmp_path, free_kib
):
    (inbox / "one").mkdir()
    noise = np.random.default_rng(0).integers(-3000, 3000, 2**19, np.int16)
    soundfile.write(inbox / "one" / "mic_room.wav", noise, 48_000, subtype="PCM_16")
    (tmp_path / "disk").mkdir()
    script = ON_A_SMALL_DISK.format(
        disk=tmp_path / "disk",
        template=template,
        free_kib=free_kib,
        take=inbox / "one",
        audiate=f'{sys.executable} -c "from flows.cli import main; main()"',
        dvc=f"{sys.executable} -m dvc",
    )
    environment = os.environ | GIT | {"PYTHONPATH": str(PROJECT), "COLUMNS": "200"}
    command = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "ended with 1", done.stdout + done.stderr
    assert "then: mic_room.wav" in done.stdout
    assert "up to date" in done.stdout
    complaint = [line for line in done.stderr.splitlines() if not line.startswith("add: ")]
    assert len(complaint) == 1, done.stderr
    assert complaint[0].startswith("audiate: ")
    assert "disk is full" in complaint[0] or "No space left" in complaint[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_what_may_not_be_read_is_a_row(project, inbox, media, add, monkeypatch, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch").chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    folder = take(inbox, "one", media)
    shutil.copy(media / "cam1.mp4", folder / "cam_side.mp4")
    (folder / "cam_side.mp4").chmod(0)
    (inbox / "closed").mkdir(mode=0)
    (inbox / "listed").mkdir()
    shutil.copy(media / "cam2.mp4", inbox / "listed" / "cam_a.mp4")
    (inbox / "listed").chmod(0o744)
    for parent in (project, inbox, *inbox.parents[:4], tmp_path):
        parent.chmod(0o755)
    os.seteuid(65534)
    try:
        summary = add(inbox, dry_run=True)
    finally:
        os.seteuid(0)
    assert outcomes(summary) == [
        ("closed", "", "quarantined", "UNREADABLE"),
        ("listed", "", "quarantined", "NO_DEVICE"),
        ("one", "", "added", ""),
        ("one", "cam_side", "quarantined", "UNREADABLE"),
    ]


def test_without_data_raw_nothing_is_made_in_its_place(project, inbox, media, add):
    shutil.rmtree(project / "data" / "raw")
    with pytest.raises(DamagedData, match="data/raw is missing"):
        add(take(inbox, "one", media))
    (project / "data" / "raw.dvc").write_text("outs: []\n")
    with pytest.raises(DamagedData, match="run dvc pull"):
        add(inbox / "one")
    assert not (project / "data" / "raw").exists()


def test_a_stage_that_reads_data_raw_is_waited_for_and_named(project, inbox, media, add):
    from dvc.repo import Repo
    from dvc.rwlock import rwlock

    folder = take(inbox, "one", media)
    reader = subprocess.Popen(["sleep", "100"])  # a process that lives
    repo = Repo()
    lock = Path(repo.tmp_dir) / "rwlock"
    lock.write_text(json.dumps({"read": {str(Path("data/raw").absolute()): [{"pid": reader.pid, "cmd": "repro"}]}}))
    with pytest.raises(PipelineError, match=rf"data/raw: process {reader.pid} \(repro\) is at work, expected nobody"):
        add(folder, wait=False)
    assert not Path("data/incoming").exists()  # nothing was copied for nothing
    lines = []
    done = []
    adding = threading.Thread(target=lambda: done.append(add(folder, tell=lines.append)))
    adding.start()
    deadline = time.monotonic() + 60
    while not any("waiting" in line for line in lines) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert f"data/raw: waiting for process {reader.pid} (repro)" in lines
    assert raw(project) == {}
    reader.kill()
    reader.wait()
    adding.join(60)
    assert outcomes(done[0]) == [("one", "", "added", "")]
    with rwlock(repo.tmp_dir, repo.fs, "other", [], [str(Path("data/raw").absolute())], False):
        pass  # nothing is left locked
    repo.close()


def test_an_add_that_must_not_wait_fails_and_names_the_process_at_work(project, inbox, media, add):
    lock = project / ".audiate" / "locks" / "add"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        held.write("process 12345\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(PipelineError, match="add: process 12345 runs it here"):
            add(take(inbox, "one", media), wait=False)


@pytest.mark.parametrize("torn", ["rwlock", "raw.dvc"])
def test_a_file_of_dvc_that_a_kill_cut_short_is_made_anew(project, inbox, media, add, torn):
    add(take(inbox, "one", media))
    path = {"rwlock": project / ".dvc" / "tmp" / "rwlock", "raw.dvc": project / "data" / "raw.dvc"}[torn]
    path.write_text(path.read_text()[:9] if torn == "raw.dvc" else '{"read": {"/x": [')
    add(take(inbox, "two", media, 1))
    assert recorded(project)["nfiles"] == 4


def test_what_was_copied_in_by_hand_is_recorded_with_the_next_add(project, inbox, media, add):
    add(take(inbox, "one", media))
    shutil.copytree(take(inbox, "two", media, 1), project / "data" / "raw" / "two")
    assert outcomes(add(inbox / "one")) == [("one", "", "known", "")]
    assert recorded(project)["nfiles"] == 4


def test_dvc_refuses_no_process_once_the_lock_is_released(project):
    with writing_raw(Path("data/raw"), tell=lambda line: None):
        pass
    with writing_raw(Path("data/raw"), tell=lambda line: None):
        pass


def in_a_fork(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_at_random_moments_the_next_run_completes_it(
    project, template, inbox, media, add, tmp_path, monkeypatch
):
    for number in range(3):
        take(inbox, f"take-{number}", media, number)
    began = time.monotonic()
    add(inbox)
    whole_s = time.monotonic() - began
    expected = raw(project), recorded(project)
    moments = random.Random(3)
    for trial in range(12):
        folder = shutil.copytree(template, tmp_path / f"killed-{trial}", symlinks=True)
        monkeypatch.chdir(folder)
        for _ in range(2):
            child = in_a_fork(lambda: add(inbox))
            time.sleep(moments.uniform(0, 1.1 * whole_s))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            for name, data in raw(folder).items():  # whole or not at all
                assert expected[0][name] == data
            there = {Path(name).parts[0] for name in raw(folder)}
            assert {name for name in expected[0] if Path(name).parts[0] in there} == set(raw(folder))
        summary = add(inbox)
        assert {row.state for row in summary.rows} <= {"added", "known"}
        assert (raw(folder), recorded(folder)) == expected
        assert not (folder / "data" / "incoming").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_many_at_once_wait_for_each_other_and_bring_each_take_in_once(project, inbox, media, add, tmp_path):
    for number in range(3):
        take(inbox, f"take-{number}", media, number)

    def work(number):
        summary = add(inbox)
        (tmp_path / f"counts-{number}").write_text(json.dumps(summary.counts()))

    children = [in_a_fork(lambda number=number: work(number)) for number in range(50)]
    for child in children:
        os.waitpid(child, 0)
    counts = [json.loads((tmp_path / f"counts-{number}").read_text()) for number in range(50)]
    assert sum(count["added"] for count in counts) == 3
    assert sum(count["known"] for count in counts) == 147
    assert raw(project) == {
        f"take-{number}/{name}": data for number in range(3) for name, data in files(inbox / f"take-{number}").items()
    }
    assert recorded(project)["nfiles"] == 6


def stem(folder, name, frequency_hz, *, seconds=2.0):
    folder.mkdir(exist_ok=True)
    time_s = np.arange(round(16_000 * seconds)) / 16_000
    soundfile.write(folder / name, 0.2 * np.sin(2 * np.pi * frequency_hz * time_s), 16_000, subtype="PCM_16")


def test_an_ensemble_comes_in_with_its_stems_and_its_mix(project, inbox, add):
    for name, frequency_hz in (("stem_1_vn.wav", 300), ("stem_2_vn.wav", 500), ("mix.wav", 400)):
        stem(inbox / "duet", name, frequency_hz)
    assert outcomes(add(inbox)) == [("duet", "", "added", "")]
    assert sorted(raw(project)) == ["duet/mix.wav", "duet/stem_1_vn.wav", "duet/stem_2_vn.wav"]
    assert outcomes(add(inbox)) == [("duet", "", "known", "")]


def test_each_solo_is_a_take_of_its_own(project, inbox, media, add):
    for number, name in enumerate(("solo_vn.mp4", "solo_vc.mp4")):
        shutil.copy(media / f"cam{number}.mp4", inbox / name)
    assert outcomes(add(inbox)) == [("solo_vc", "", "added", ""), ("solo_vn", "", "added", "")]
    assert sorted(raw(project)) == ["solo_vc/solo_vc.mp4", "solo_vn/solo_vn.mp4"]


def test_a_file_of_stems_is_a_take_by_its_songs_name(project, inbox, media, add):
    shutil.copy(media / "cam1.mp4", inbox / "A Band - The Song.stem.mp4")
    assert outcomes(add(inbox / "A Band - The Song.stem.mp4", dry_run=True)) == [("A_Band_-_The_Song", "", "added", "")]


def test_an_ensemble_with_a_broken_stem_does_not_come_in(project, inbox, add):
    stem(inbox / "duet", "stem_1_vn.wav", 300)
    (inbox / "duet" / "stem_2_vn.wav").write_bytes(b"no sound")
    summary = add(inbox / "duet")
    assert [(row.take, row.state) for row in summary.rows] == [("duet", "quarantined")]
    assert "stem_2_vn.wav" in summary.rows[0].reason
    assert raw(project) == {}


def test_players_that_take_yaml_names_wrongly_keep_an_ensemble_out(project, inbox, add):
    stem(inbox / "duet", "stem_1_vn.wav", 300)
    (inbox / "duet" / "take.yaml").write_text("players: [{instrument: vn, stem: stem_9_vn}]")
    row = add(inbox / "duet").rows[0]
    assert (row.state, row.kind) == ("quarantined", "MISSING")
    assert "take.yaml names stem_9_vn of player 1" in row.reason
